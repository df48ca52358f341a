// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Names of the heap's mappings
 *
 * Not by the harness, which forks for each test: what a fork has copied the
 * kernel does not merge with what comes later, names or not.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include "common.h"
#include "kselftest.h"

#define NAME		"[anon:ebbmalloc: heap]"
#define MAPS_MAX	(1 * MIB)
#define NR_SMALL	200000u
#define NR_LARGE	24u

#ifndef PR_SET_VMA
#define PR_SET_VMA		0x53564d41
#define PR_SET_VMA_ANON_NAME	0
#endif

/* What /proc/self/maps says of the window, which is where @end of the names is. */
struct window {
	unsigned int nr_named;
	unsigned int nr_inside;	/* without a name, between named ones */
	unsigned int nr_apart;	/* beside a named one that is like it */
	uintptr_t start, end;
};

static bool kernel_has_names(void)
{
	size_t len = page_size();
	void *p = mmap(NULL, len, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);
	int err = prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, len, "test");

	munmap(p, len);
	return !err;
}

static void add_line(struct window *window, const char *line)
{
	static uintptr_t last_end;
	static char last_perms[8];
	static unsigned int nr_since;
	uintptr_t start, end;
	char perms[8];

	if (sscanf(line, "%lx-%lx %7s", &start, &end, perms) != 3)
		return;
	if (!strstr(line, NAME)) {
		nr_since += window->nr_named > 0;
		return;
	}
	if (!window->nr_named++) {
		window->start = start;
		nr_since = 0;
		last_end = 0;
	}
	window->nr_inside += nr_since;
	nr_since = 0;
	if (start == last_end && !strcmp(perms, last_perms))
		window->nr_apart++;
	last_end = window->end = end;
	strcpy(last_perms, perms);
}

/* Allocates nothing. */
static struct window read_window(void)
{
	static char maps[MAPS_MAX];
	struct window window = { 0 };

	if (read_file("/proc/self/maps", maps, sizeof(maps)) < 0)
		ksft_exit_fail_msg("no maps\n");
	for (char *line = strtok(maps, "\n"); line; line = strtok(NULL, "\n"))
		add_line(&window, line);
	ksft_print_msg("%u mappings with the name, %u without inside, %u apart\n",
		       window.nr_named, window.nr_inside, window.nr_apart);
	return window;
}

static void grow(void)
{
	for (unsigned int i = 0; i < NR_SMALL; i++)
		memset(hide(malloc(500)), 1, 500);
}

/* Objects that are moved by mremap, since what is behind them is in use. */
static void move_and_free(void)
{
	char *p[NR_LARGE];

	for (unsigned int i = 0; i < NR_LARGE; i++)
		memset(p[i] = malloc(6 * MIB), 1, 6 * MIB);
	for (unsigned int i = 0; i < NR_LARGE; i += 2)
		memset(p[i] = realloc(p[i], 14 * MIB), 2, 14 * MIB);
	for (unsigned int i = 0; i < NR_LARGE; i++)
		free(p[i]);
	malloc_trim(0);
}

static bool stats_say(const char *what)
{
	static char text[16384];
	char path[] = "/tmp/ebb-names-XXXXXX";
	int fd = mkstemp(path), old = dup(2);
	ssize_t got;

	unlink(path);
	dup2(fd, 2);
	malloc_stats();
	fflush(stderr);
	dup2(old, 2);
	got = pread(fd, text, sizeof(text) - 1, 0);
	text[got > 0 ? got : 0] = '\0';
	close(fd);
	close(old);
	return strstr(text, what);
}

int main(void)
{
	struct window first, second, third;

	ksft_print_header();
	ksft_set_plan(6);
	ksft_test_result(stats_say("names of mappings: not given while"),
			 "a_small_heap_has_no_name\n");
	grow();
	if (!kernel_has_names()) {
		ksft_test_result(stats_say("names of mappings: not known"),
				 "the_statistics_say_so\n");
		for (int i = 0; i < 4; i++)
			ksft_test_result_skip("kernel without CONFIG_ANON_VMA_NAME\n");
		ksft_finished();
	}
	ksft_test_result(stats_say("names of mappings: given"),
			 "the_statistics_say_so\n");
	first = read_window();
	ksft_test_result(first.nr_named && !first.nr_inside &&
			 (uintptr_t)hide(malloc(10)) - first.start <
			 first.end - first.start,
			 "all_of_the_window_has_the_name\n");
	ksft_test_result(!first.nr_apart, "what_is_alike_is_one_mapping\n");
	grow();
	second = read_window();
	ksft_test_result(second.nr_named == first.nr_named && !second.nr_inside,
			 "growing_makes_no_more_mappings\n");
	move_and_free();
	third = read_window();
	ksft_test_result(third.nr_named <= second.nr_named + 1 &&
			 !third.nr_inside,
			 "what_was_moved_leaves_none_behind\n");
	ksft_finished();
}
