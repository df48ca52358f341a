// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Before main, after it, and under odd circumstances
 */
#include "harness.h"
#include "api/run.h"

/* What each of the early functions allocated. */
#define NR_EARLY	4
static char *early[NR_EARLY];

static void allocate_early(int which)
{
	early[which] = malloc(1000);
	if (early[which])
		pattern_fill(early[which], 1000, (uint64_t)which);
	free(calloc(3, 50000));
	free(realloc(malloc(10), 70000));
}

static void before_all_constructors(void)
{
	allocate_early(0);
}

__attribute__((section(".preinit_array"), used))
static void (*const preinit)(void) = before_all_constructors;

__attribute__((constructor(101))) static void first_constructor(void)
{
	allocate_early(1);
}

__attribute__((constructor(60000))) static void late_constructor(void)
{
	allocate_early(2);
}

__attribute__((constructor)) static void last_constructor(void)
{
	allocate_early(3);
}

/* The exits of children that were told to say so by this pipe. */
static int exit_pipe = -1;

static void use_heap_at_exit(const char *mark)
{
	char *p;

	if (exit_pipe < 0)
		return;
	p = malloc(3000);
	if (!p || write(exit_pipe, mark, 1) != 1)
		_exit(9);
	memset(p, 1, 3000);
	free(p);
	free(early[0]);
	early[0] = NULL;
}

__attribute__((destructor(101))) static void last_destructor(void)
{
	use_heap_at_exit("c");
}

__attribute__((destructor)) static void first_destructor(void)
{
	use_heap_at_exit("b");
}

static void at_exit(void)
{
	use_heap_at_exit("a");
}

FIXTURE(init) {
	char helper[PATH_MAX];
	char library_buf[PATH_MAX];
	const char *library;
	struct run run;
};

FIXTURE_SETUP(init)
{
	self->library = library_path(self->library_buf);
	self->run.program = beside(self->helper, "helper");
	self->run.argv[0] = self->helper;
	self->run.preload = self->library;
	ASSERT_EQ(0, access(self->run.program, X_OK));
	ASSERT_EQ(0, access(self->library, R_OK));
}

FIXTURE_TEARDOWN(init)
{
}

TEST_F(init, memory_from_before_main_is_good)
{
	for (int i = 0; i < NR_EARLY; i++) {
		ASSERT_NE(NULL, early[i]);
		EXPECT_TRUE(pattern_holds(early[i], 1000, (uint64_t)i));
		early[i] = realloc(early[i], 90000);
		EXPECT_TRUE(pattern_holds(early[i], 1000, (uint64_t)i));
		free(early[i]);
	}
}

TEST_F(init, destructors_and_atexit_functions_allocate)
{
	int fds[2], status;
	char marks[8] = "";
	pid_t pid;

	ASSERT_EQ(0, pipe(fds));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		close(fds[0]);
		exit_pipe = fds[1];
		atexit(at_exit);
		exit(0);
	}
	close(fds[1]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(3, read(fds[0], marks, sizeof(marks) - 1));
	EXPECT_STREQ("abc", marks);
}

TEST_F(init, preloading_replaces_malloc)
{
	self->run.argv[1] = (char *)"whose";
	ASSERT_TRUE(run_program(&self->run));
	EXPECT_EQ(0, self->run.status);
	EXPECT_NE(NULL, strstr(self->run.output, "libebbmalloc.so"));
}

TEST_F(init, c_programs_do_not_need_the_cxx_library)
{
	self->run.argv[1] = (char *)"cxx";
	ASSERT_TRUE(run_program(&self->run));
	EXPECT_EQ(0, self->run.status);
}

TEST_F(init, library_opened_late_serves_those_who_ask_it)
{
	self->run.argv[1] = (char *)"dlopen";
	self->run.argv[2] = (char *)self->library;
	self->run.preload = NULL;
	ASSERT_TRUE(run_program(&self->run));
	EXPECT_STREQ("", self->run.output);
	EXPECT_EQ(0, self->run.status);
}

TEST_F(init, works_when_the_program_clears_its_environment)
{
	self->run.argv[1] = (char *)"clearenv";
	ASSERT_TRUE(run_program(&self->run));
	EXPECT_STREQ("", self->run.output);
	EXPECT_EQ(0, self->run.status);
}

TEST_F(init, works_without_file_descriptors_0_to_2)
{
	const char *confs[] = { NULL, "verbose=1", "nonsense=1" };

	self->run.argv[1] = (char *)"work";
	self->run.close_std = true;
	for (size_t i = 0; i < ARRAY_LEN(confs); i++) {
		self->run.conf = confs[i];
		ASSERT_TRUE(run_program(&self->run));
		EXPECT_EQ(0, self->run.status);
	}
}

TEST_F(init, a_bad_option_is_one_line_and_harms_nothing)
{
	const char *newline;

	self->run.argv[1] = (char *)"work";
	self->run.conf = "decay_ms=soon";
	ASSERT_TRUE(run_program(&self->run));
	EXPECT_EQ(0, self->run.status);
	EXPECT_NE(NULL, strstr(self->run.output, "decay_ms"));
	EXPECT_NE(NULL, strstr(self->run.output, "soon"));
	newline = strchr(self->run.output, '\n');
	ASSERT_NE(NULL, newline);
	EXPECT_EQ('\0', newline[1]);
}

TEST_F(init, verbose_says_who_is_there)
{
	self->run.argv[1] = (char *)"work";
	self->run.conf = "verbose=1";
	ASSERT_TRUE(run_program(&self->run));
	EXPECT_EQ(0, self->run.status);
	EXPECT_NE(NULL, strstr(self->run.output, "ebbmalloc"));
}

TEST_F(init, says_nothing_unless_asked)
{
	self->run.argv[1] = (char *)"work";
	ASSERT_TRUE(run_program(&self->run));
	EXPECT_STREQ("", self->run.output);
}

TEST_F(init, a_process_without_frees_has_no_second_thread)
{
	self->run.argv[1] = (char *)"threads";
	self->run.conf = "thread_min=1G";
	ASSERT_TRUE(run_program(&self->run));
	EXPECT_STREQ("1\n", self->run.output);
}

TEST_F(init, much_dirty_memory_starts_the_background_thread)
{
	self->run.argv[1] = (char *)"threads";
	ASSERT_TRUE(run_program(&self->run));
	EXPECT_STREQ("2\n", self->run.output);
}

TEST_F(init, reclaim_off_never_starts_it)
{
	self->run.argv[1] = (char *)"threads";
	self->run.conf = "reclaim=off";
	ASSERT_TRUE(run_program(&self->run));
	EXPECT_STREQ("1\n", self->run.output);
}

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* The least of several runs: memory, and how long it all took. */
static size_t least_rss(struct run *run, uint64_t *ret_us)
{
	size_t least = SIZE_MAX;

	*ret_us = UINT64_MAX;
	for (int i = 0; i < 20; i++) {
		uint64_t begin = now_us(), took;
		size_t rss;

		if (!run_program(run))
			return SIZE_MAX;
		took = now_us() - begin;
		rss = strtoul(run->output, NULL, 10);
		if (rss && rss < least)
			least = rss;
		if (took < *ret_us)
			*ret_us = took;
	}
	return least;
}

/* Most of it are pages of the file, shared by all, that the kernel maps around
 * those that are touched: 64 KiB at a time, so a little more code may be much. */
TEST_F(init, an_idle_process_costs_at_most_350_kb_more)
{
	uint64_t with_us, without_us;
	size_t with, without;

	self->run.argv[1] = (char *)"rss";
	with = least_rss(&self->run, &with_us);
	self->run.preload = NULL;
	without = least_rss(&self->run, &without_us);
	TH_LOG("memory: %zu KiB with, %zu without; run in %llu us with, %llu "
	       "without", with / KIB, without / KIB,
	       (unsigned long long)with_us, (unsigned long long)without_us);
	EXPECT_GE(without + 350 * KIB, with);
}

TEST_HARNESS_MAIN
