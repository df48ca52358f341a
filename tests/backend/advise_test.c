/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ebbmalloc tests - Giving ranges back: the same claims for every backend
 */
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include "base/atomic.h"
#include "base/log.h"
#include "base/param.h"
#include "os/advise.h"
#include "os/map.h"
#include "harness.h"
#include "cgroup.h"
#include "backend/filter.h"

#ifndef SYS_process_madvise
#define SYS_process_madvise	440
#endif

#define MAX_RANGES	1024
#define REPORT_SIZE	2048

/* === What is advised, and how it is looked at ========================= */

struct memory {
	char *base;
	size_t len;
	struct advise_range ranges[MAX_RANGES];
	bool ok[MAX_RANGES];
	struct advise_result result;
	size_t nr;
};

static char *map_memory(size_t len)
{
	char *base = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE |
			  MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (base == MAP_FAILED)
		return NULL;
	madvise(base, len, MADV_NOHUGEPAGE);
	return base;
}

/* @nr ranges of one page, with one between each two that is none. */
static bool make_memory(struct memory *memory, size_t nr)
{
	memory->nr = nr;
	memory->len = (2 * nr + 1) * map_page_size;
	memory->base = map_memory(memory->len);
	if (!memory->base)
		return false;
	for (size_t i = 0; i < nr; i++)
		memory->ranges[i] = (struct advise_range){
			memory->base + (2 * i + 1) * map_page_size,
			map_page_size,
		};
	memset(memory->base, 0x5a, memory->len);
	return true;
}

static void run(struct memory *memory, enum advise_kind kind)
{
	memory->result = (struct advise_result){ 0 };
	advise_ranges(memory->ranges, memory->nr, kind, memory->ok,
		      &memory->result);
}

static bool is_resident(const char *page)
{
	unsigned char vec;

	return mincore((void *)(uintptr_t)page, map_page_size, &vec) ||
	       vec & 1;
}

static bool is_full_of(const char *page, char value)
{
	for (size_t i = 0; i < map_page_size; i++)
		if (page[i] != value)
			return false;
	return true;
}

/* How many of the ranges are not backed. */
static size_t nr_gone(const struct memory *memory)
{
	size_t nr = 0;

	for (size_t i = 0; i < memory->nr; i++)
		nr += !is_resident(memory->ranges[i].start);
	return nr;
}

static size_t nr_ok(const struct memory *memory)
{
	size_t nr = 0;

	for (size_t i = 0; i < memory->nr; i++)
		nr += memory->ok[i];
	return nr;
}

static size_t nr_zero(const struct memory *memory)
{
	size_t nr = 0;

	for (size_t i = 0; i < memory->nr; i++)
		nr += is_full_of(memory->ranges[i].start, 0);
	return nr;
}

/* Whether each page that is in no range is as it was. */
static bool neighbours_hold(const struct memory *memory)
{
	for (size_t i = 0; i <= memory->nr; i++)
		if (!is_full_of(memory->base + 2 * i * map_page_size, 0x5a))
			return false;
	return true;
}

static void unmake(struct memory *memory)
{
	munmap(memory->base, memory->len);
}

/* A line of smaps_rollup, in bytes; 0 if it is missing. */
static size_t rollup_bytes(const char *name)
{
	char text[4096];
	const char *line;

	if (read_file("/proc/self/smaps_rollup", text, sizeof(text)) < 0)
		return 0;
	line = strstr(text, name);
	return line ? strtoul(line + strlen(name), NULL, 10) * KIB : 0;
}

static size_t lazy_bytes(void)
{
	return rollup_bytes("LazyFree:");
}

/* The report's number before @unit on the line of @name; -1: no such. */
static long reported(const char *name, const char *unit)
{
	char report[REPORT_SIZE], key[64], *line, *end, *at;

	advise_report(report, sizeof(report));
	snprintf(key, sizeof(key), "%s: ", name);
	line = strstr(report, key);
	if (!line || (line > report && line[-1] != '\n'))
		return -1;
	end = strchr(line, '\n');
	*end = '\0';
	at = strstr(line, unit);
	if (!at)
		return 0;	/* nothing counted yet */
	while (at > line && (at[-1] == ' ' || at[-1] == '.' ||
			     (at[-1] >= '0' && at[-1] <= '9')))
		at--;
	return strtol(at, NULL, 10);
}

static bool report_says(const char *text)
{
	char report[REPORT_SIZE];

	advise_report(report, sizeof(report));
	return strstr(report, text);
}

static void set_option(const char *name, const char *value)
{
	char why[256];

	if (param_set(name, value, why, sizeof(why)))
		ksft_print_msg("%s\n", why);
}

/* === The same for all ================================================= */

FIXTURE(advise)
{
	struct memory memory;
	char report[REPORT_SIZE];
};

FIXTURE_VARIANT(advise)
{
	const char *backend;
	unsigned int index;
};

FIXTURE_VARIANT_ADD(advise, madvise) {
	.backend = "madvise",
};

FIXTURE_VARIANT_ADD(advise, process) {
	.backend = "process_madvise",
	.index = 1,
};

FIXTURE_VARIANT_ADD(advise, uring) {
	.backend = "io_uring",
	.index = 2,
};

FIXTURE_SETUP(advise)
{
	log_init();
	map_init();
	set_option("log", "off");
	set_option("backend", variant->backend);
}

FIXTURE_TEARDOWN(advise)
{
}

/* Choose; where it cannot be had the test has nothing to say. */
#define START() do {							\
	advise_start(NULL);						\
	advise_describe(variant->index, self->report,			\
			sizeof(self->report));				\
	if (strcmp(advise_name(), variant->backend))			\
		SKIP(return, "%s", self->report);			\
} while (0)

TEST_F(advise, gives_back_exactly_what_it_is_told)
{
	static const size_t counts[] = { 1, 2, 63, 64, 65, 511, 512, 1024 };
	struct memory *memory = &self->memory;

	START();
	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		ASSERT_TRUE(make_memory(memory, counts[i]));
		run(memory, ADVISE_CLEAN);
		EXPECT_EQ(counts[i], nr_ok(memory));
		EXPECT_EQ(counts[i], nr_gone(memory));
		EXPECT_EQ(counts[i] * map_page_size,
			  memory->result.done_bytes);
		EXPECT_EQ(0u, memory->result.refused_bytes);
		EXPECT_LE(1u, memory->result.nr_calls);
		EXPECT_TRUE(neighbours_hold(memory));
		EXPECT_EQ(counts[i], nr_zero(memory));
		unmake(memory);
	}
}

TEST_F(advise, forced_by_option_it_is_the_one_that_works)
{
	struct memory *memory = &self->memory;

	START();
	ASSERT_TRUE(make_memory(memory, 512));
	EXPECT_EQ(0, reported(variant->backend, " ranges"));
	run(memory, ADVISE_CLEAN);
	EXPECT_EQ(512, reported(variant->backend, " ranges"));
	EXPECT_EQ(512 * map_page_size / KIB,
		  (size_t)reported(variant->backend, " KiB"));
	EXPECT_EQ(memory->result.nr_calls,
		  (uint64_t)reported(variant->backend, " calls"));
	EXPECT_EQ(0, reported(variant->backend, " left to madvise"));
	if (!strcmp(variant->backend, "process_madvise"))
		EXPECT_EQ(2u, memory->result.nr_calls);
	if (!strcmp(variant->backend, "io_uring"))
		EXPECT_EQ(8u, memory->result.nr_calls);
}

TEST_F(advise, lazy_pages_stay_until_they_are_wanted)
{
	struct memory *memory = &self->memory;
	size_t before, after;

	START();
	ASSERT_TRUE(make_memory(memory, 1024));
	before = lazy_bytes();
	run(memory, ADVISE_LAZY);
	EXPECT_EQ(1024u, nr_ok(memory));
	after = lazy_bytes();
	/* The kernel may have a few on their way. */
	EXPECT_LE(before + 900 * map_page_size, after);
	EXPECT_EQ(0u, nr_gone(memory));

	for (size_t i = 0; i < memory->nr; i += 2)
		memset(memory->ranges[i].start, 7, map_page_size);
	EXPECT_GE(after - 400 * map_page_size, lazy_bytes());
	madvise(memory->base, memory->len, MADV_PAGEOUT);
	for (size_t i = 0; i < memory->nr; i += 2)
		EXPECT_TRUE(is_full_of(memory->ranges[i].start, 7));
	for (size_t i = 1; i < memory->nr; i += 2)
		EXPECT_TRUE(is_full_of(memory->ranges[i].start, 0) ||
			    is_full_of(memory->ranges[i].start, 0x5a));
	EXPECT_TRUE(neighbours_hold(memory));
}

TEST_F(advise, ranges_beyond_4_gib)
{
	static const size_t at_gib[] = { 0, 1, 2, 3, 4, 5 };
	size_t whole = (size_t)5 << 30;
	char *base = map_memory(whole + 5 * map_page_size);
	struct memory *memory = &self->memory;

	START();
	if (!base)
		SKIP(return, "no address space of 5 GiB");
	memory->nr = 2;
	memory->ranges[0] = (struct advise_range){
		base, whole + 2 * map_page_size };
	memory->ranges[1] = (struct advise_range){
		base + whole + 3 * map_page_size, map_page_size };
	for (size_t i = 0; i < ARRAY_LEN(at_gib); i++)
		memset(base + (at_gib[i] << 30), 1, 2 * map_page_size);
	memset(base + whole, 0x5a, 5 * map_page_size);

	memory->result = (struct advise_result){ 0 };
	advise_ranges(memory->ranges, 2, ADVISE_CLEAN, memory->ok,
		      &memory->result);
	EXPECT_EQ(2u, nr_ok(memory));
	EXPECT_EQ(whole + 3 * map_page_size, memory->result.done_bytes);
	for (size_t i = 0; i < ARRAY_LEN(at_gib); i++) {
		EXPECT_FALSE(is_resident(base + (at_gib[i] << 30)));
		EXPECT_FALSE(is_resident(base + (at_gib[i] << 30) +
					 map_page_size));
	}
	EXPECT_TRUE(is_full_of(base + whole + 2 * map_page_size, 0x5a));
	EXPECT_FALSE(is_resident(base + whole + 3 * map_page_size));
	EXPECT_TRUE(is_full_of(base + whole + 4 * map_page_size, 0x5a));
}

/* AddressSanitizer makes libc's functions for this do nothing. */
static long lock(void *start, size_t len)
{
	return syscall(SYS_mlock, start, len);
}

TEST_F(advise, locked_memory_is_refused_and_nothing_else)
{
	struct memory *memory = &self->memory;
	size_t nr_locked = 0;

	START();
	ASSERT_TRUE(make_memory(memory, 600));
	for (size_t i = 0; i < memory->nr; i += 97, nr_locked++)
		if (lock(memory->ranges[i].start, map_page_size))
			SKIP(return, "memory cannot be locked here");
	run(memory, ADVISE_CLEAN);
	for (size_t i = 0; i < memory->nr; i++) {
		EXPECT_EQ(i % 97 != 0, memory->ok[i]);
		EXPECT_EQ(i % 97 == 0, is_resident(memory->ranges[i].start));
	}
	EXPECT_EQ(nr_locked * map_page_size, memory->result.refused_bytes);
	EXPECT_EQ((600 - nr_locked) * map_page_size,
		  memory->result.done_bytes);
	EXPECT_EQ(600 - nr_locked,
		  (size_t)reported(variant->backend, " ranges"));
	if (strcmp(variant->backend, "madvise"))
		EXPECT_EQ(nr_locked, (size_t)reported(variant->backend,
						      " left to madvise"));
	EXPECT_TRUE(is_full_of(memory->ranges[97].start, 0x5a));
	EXPECT_TRUE(neighbours_hold(memory));
	EXPECT_STREQ(variant->backend, advise_name());
}

TEST_F(advise, all_locked_is_no_reason_to_give_a_backend_up)
{
	struct memory *memory = &self->memory;

	START();
	ASSERT_TRUE(make_memory(memory, 100));
	if (lock(memory->base, memory->len))
		SKIP(return, "memory cannot be locked here");
	run(memory, ADVISE_CLEAN);
	EXPECT_EQ(0u, nr_ok(memory));
	EXPECT_EQ(0u, memory->result.done_bytes);
	EXPECT_STREQ(variant->backend, advise_name());
	syscall(SYS_munlock, memory->base, memory->len);
	run(memory, ADVISE_CLEAN);
	EXPECT_EQ(100u, nr_ok(memory));
	EXPECT_EQ(100u, nr_gone(memory));
}

TEST_F(advise, a_hole_is_refused_and_nothing_else)
{
	static const size_t holes[] = { 0, 40, 41, 299 };
	struct memory *memory = &self->memory;

	START();
	ASSERT_TRUE(make_memory(memory, 300));
	for (size_t i = 0; i < ARRAY_LEN(holes); i++)
		munmap(memory->ranges[holes[i]].start, map_page_size);
	run(memory, ADVISE_CLEAN);
	EXPECT_EQ(300 - ARRAY_LEN(holes), nr_ok(memory));
	for (size_t i = 0; i < ARRAY_LEN(holes); i++)
		EXPECT_FALSE(memory->ok[holes[i]]);
	for (size_t i = 0; i < memory->nr; i++)
		if (memory->ok[i])
			EXPECT_FALSE(is_resident(memory->ranges[i].start));
	EXPECT_TRUE(neighbours_hold(memory));
}

/* In the child; the number of the step that failed, else 0. */
static int child_gives_back(struct memory *memory, const char *backend)
{
	advise_postfork_child();
	if (strcmp(advise_name(), "madvise"))
		return 1;
	run(memory, ADVISE_CLEAN);
	if (nr_gone(memory) != memory->nr)
		return 2;
	memset(memory->base, 0x33, memory->len);
	advise_start(NULL);
	if (strcmp(advise_name(), backend))
		return 3;
	run(memory, ADVISE_CLEAN);
	if (nr_ok(memory) != memory->nr || nr_gone(memory) != memory->nr)
		return 4;
	return nr_zero(memory) == memory->nr ? 0 : 5;
}

TEST_F(advise, a_forked_child_gives_back_its_own)
{
	struct memory *memory = &self->memory;
	int status;
	pid_t pid;

	START();
	ASSERT_TRUE(make_memory(memory, 300));
	pid = fork();
	if (!pid)
		_exit(child_gives_back(memory, variant->backend));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
	EXPECT_EQ(0u, nr_gone(memory));
	for (size_t i = 0; i < memory->nr; i++)
		EXPECT_TRUE(is_full_of(memory->ranges[i].start, 0x5a));
	run(memory, ADVISE_CLEAN);
	EXPECT_EQ(300u, nr_ok(memory));
	EXPECT_EQ(300u, nr_gone(memory));
	EXPECT_STREQ(variant->backend, advise_name());
}

static uint64_t open_files(void)
{
	uint64_t open = 0;

	for (int fd = 0; fd < 64; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			open |= 1ULL << fd;
	return open;
}

/*
 * What is open in it is the program's, whatever its parent's thread had there.
 * Each start closes what the one before has opened.
 */
static int child_closes_nothing(struct memory *memory)
{
	uint64_t before = open_files();

	advise_postfork_child();
	run(memory, ADVISE_CLEAN);
	advise_start("none here");
	run(memory, ADVISE_CLEAN);
	advise_start(NULL);
	run(memory, ADVISE_CLEAN);
	advise_start("none here");
	return before & ~open_files() ? 6 : 0;
}

TEST_F(advise, a_forked_child_closes_no_file_of_its_own)
{
	struct memory *memory = &self->memory;
	int status;
	pid_t pid;

	if (!strcmp(variant->backend, "process_madvise") &&
	    !filter_argument(SYS_process_madvise, -10001,
			     SECCOMP_RET_ERRNO | EBADF))
		SKIP(return, "no seccomp here, so no pidfd is needed");
	START();
	ASSERT_TRUE(make_memory(memory, 300));
	run(memory, ADVISE_CLEAN);
	pid = fork();
	if (!pid)
		_exit(child_closes_nothing(memory));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
}

TEST_F(advise, unprivileged)
{
	struct rlimit no_lock = { 64 * KIB, 64 * KIB };
	struct memory *memory = &self->memory;

	if (!getuid() && (setrlimit(RLIMIT_MEMLOCK, &no_lock) ||
			  setgid(65534) || setuid(65534)))
		SKIP(return, "the user cannot be changed");
	START();
	ASSERT_TRUE(make_memory(memory, 300));
	run(memory, ADVISE_CLEAN);
	EXPECT_EQ(300u, nr_ok(memory));
	EXPECT_EQ(300u, nr_gone(memory));
	run(memory, ADVISE_LAZY);
	EXPECT_EQ(300u, nr_ok(memory));
}

static uint32_t stop;

static void *spin(void *unused)
{
	(void)unused;
	while (!load_relaxed(&stop))
		cpu_relax();
	return NULL;
}

TEST_F(advise, beside_a_running_thread)
{
	struct memory *memory = &self->memory;
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, spin, NULL));
	START();
	for (int i = 0; i < 5; i++) {
		ASSERT_TRUE(make_memory(memory, 512));
		run(memory, ADVISE_CLEAN);
		EXPECT_EQ(512u, nr_gone(memory));
		EXPECT_TRUE(neighbours_hold(memory));
		unmake(memory);
	}
	store_relaxed(&stop, 1);
	pthread_join(thread, NULL);
}

static void *run_elsewhere(void *memory)
{
	run(memory, ADVISE_CLEAN);
	return NULL;
}

/* Only the ring is tied to its thread; nothing of it is used elsewhere. */
TEST_F(advise, a_pass_on_another_thread)
{
	bool shared = strcmp(variant->backend, "io_uring");
	struct memory *memory = &self->memory;
	pthread_t thread;

	START();
	ASSERT_TRUE(make_memory(memory, 300));
	ASSERT_EQ(0, pthread_create(&thread, NULL, run_elsewhere, memory));
	pthread_join(thread, NULL);
	EXPECT_EQ(300u, nr_ok(memory));
	EXPECT_EQ(300u, nr_gone(memory));
	EXPECT_TRUE(neighbours_hold(memory));
	EXPECT_EQ(shared ? 300 : 0, reported(variant->backend, " ranges"));
	EXPECT_EQ(shared && strcmp(variant->backend, "madvise") ? 0 : 300,
		  reported("madvise", " ranges"));
}

TEST_F(advise, without_a_private_table_nothing_is_kept_open)
{
	struct memory *memory = &self->memory;
	int next = dup(2);

	close(next);
	advise_start("none here");
	EXPECT_EQ(next, dup(2));
	ASSERT_TRUE(make_memory(memory, 300));
	run(memory, ADVISE_CLEAN);
	EXPECT_EQ(300u, nr_gone(memory));
	if (strcmp(variant->backend, "io_uring"))
		return;
	EXPECT_STREQ("madvise", advise_name());
	EXPECT_TRUE(report_says("io_uring: unavailable: no private file table "
				"to keep a ring in (EBADF)\n") ||
		    report_says("not built in"));
}

TEST_F(advise, a_filter_that_comes_later_does_not_kill)
{
	static const long calls[] = { SYS_process_madvise, 425, 426, 427 };
	struct memory *memory = &self->memory;

	START();
	if (!filter_calls(calls, ARRAY_LEN(calls), SECCOMP_RET_KILL_PROCESS))
		SKIP(return, "no seccomp here");
	ASSERT_TRUE(make_memory(memory, 300));
	run(memory, ADVISE_CLEAN);
	EXPECT_EQ(300u, nr_gone(memory));
	EXPECT_STREQ("madvise", advise_name());
	if (strcmp(variant->backend, "madvise"))
		EXPECT_TRUE(report_says(": unavailable: a seccomp filter came "
					"while the process ran (EPERM)"));
}

/*
 * As on kernels that do not know PIDFD_SELF: a pidfd, for the reclaimer alone,
 * and never for a child, whose copy names the parent.
 */
TEST_F(advise, by_a_pidfd_where_self_has_no_name)
{
	struct memory *memory = &self->memory;
	pthread_t thread;
	int status;
	pid_t pid;

	if (strcmp(variant->backend, "process_madvise"))
		SKIP(return, "it is process_madvise that needs a pidfd");
	if (!filter_argument(SYS_process_madvise, -10001,
			     SECCOMP_RET_ERRNO | EBADF))
		SKIP(return, "no seccomp here");
	START();
	ASSERT_TRUE(make_memory(memory, 300));
	run(memory, ADVISE_CLEAN);
	EXPECT_EQ(300u, nr_gone(memory));
	EXPECT_EQ(300, reported("process_madvise", " ranges"));

	memset(memory->base, 0x5a, memory->len);
	pid = fork();
	if (!pid)
		_exit(child_gives_back(memory, variant->backend));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, WEXITSTATUS(status));
	EXPECT_EQ(0u, nr_gone(memory));

	ASSERT_EQ(0, pthread_create(&thread, NULL, run_elsewhere, memory));
	pthread_join(thread, NULL);
	EXPECT_EQ(300u, nr_gone(memory));
	EXPECT_EQ(300, reported("process_madvise", " ranges"));
	EXPECT_EQ(300, reported("madvise", " ranges"));

	advise_start("none here");
	EXPECT_STREQ("madvise", advise_name());
	EXPECT_TRUE(report_says("process_madvise: unavailable: no private file "
				"table to keep a pidfd in (EBADF)\n"));
}

/* Every n-th call of either kind, and all of them. */
TEST_F(advise, failing_calls_lose_no_range)
{
	static const char *const sites[] = {
		"process_madvise:1", "process_madvise:3", "io_uring:1",
		"io_uring:2", "io_uring:3", "io_uring:7",
	};
	struct memory *memory = &self->memory;

	for (size_t i = 0; i < ARRAY_LEN(sites); i++) {
		char why[256];

		ASSERT_EQ(0, param_set("inject", "", why, sizeof(why)));
		START();
		if (param_set("inject", sites[i], why, sizeof(why)))
			SKIP(return, "needs CONFIG_INJECT");
		for (int round = 0; round < 3; round++) {
			ASSERT_TRUE(make_memory(memory, 1024));
			run(memory, ADVISE_CLEAN);
			EXPECT_EQ(1024u, nr_ok(memory));
			EXPECT_EQ(1024u, nr_gone(memory));
			EXPECT_TRUE(neighbours_hold(memory));
			unmake(memory);
		}
	}
}

TEST_F(advise, what_only_fails_is_given_up_visibly)
{
	struct memory *memory = &self->memory;
	char why[256];

	if (strcmp(variant->backend, "process_madvise"))
		SKIP(return, "injected for process_madvise only");
	START();
	if (param_set("inject", "process_madvise:1", why, sizeof(why)))
		SKIP(return, "needs CONFIG_INJECT");
	ASSERT_TRUE(make_memory(memory, 300));
	run(memory, ADVISE_CLEAN);
	EXPECT_EQ(300u, nr_gone(memory));
	EXPECT_STREQ("madvise", advise_name());
	EXPECT_TRUE(report_says("process_madvise: unavailable: refused what "
				"madvise then took (EINVAL)\n"));
}

/* === Choosing ========================================================= */

FIXTURE_EMPTY(choice);

/* In nanoseconds; 0 where it is not measured. */
static double cost_of(const char *line)
{
	const char *at = strstr(line, " us a range");

	if (!at)
		return 0;
	while (at[-1] == '.' || (at[-1] >= '0' && at[-1] <= '9'))
		at--;
	return strtod(at, NULL);
}

TEST_F(choice, auto_takes_the_cheapest_of_those_that_live)
{
	char line[512];
	double chosen = 0;

	log_init();
	map_init();
	advise_start(NULL);
	for (unsigned int i = 0; advise_describe(i, line, sizeof(line)); i++)
		if (strstr(line, ": chosen, "))
			chosen = cost_of(line);
	ASSERT_LT(0, chosen);
	for (unsigned int i = 0; advise_describe(i, line, sizeof(line)); i++) {
		TH_LOG("%s", line);
		if (cost_of(line) > 0)
			EXPECT_LE(chosen, cost_of(line));
	}
}

TEST_F(choice, is_madvise_before_there_is_a_reclaimer)
{
	struct memory *memory = malloc(sizeof(*memory));

	map_init();
	ASSERT_NE(NULL, memory);
	EXPECT_STREQ("madvise", advise_name());
	EXPECT_EQ(0u, advise_cost_ns());
	EXPECT_TRUE(report_says("madvise: chosen, not measured\n"));
	ASSERT_TRUE(make_memory(memory, 30));
	run(memory, ADVISE_CLEAN);
	EXPECT_EQ(30u, nr_gone(memory));
	EXPECT_TRUE(report_says("madvise: chosen, not measured, 30 ranges"));
}

TEST_F(choice, leaves_no_mapping_and_one_descriptor_behind)
{
	char before[64], after[64];
	int next;

	log_init();
	map_init();
	/* What the first call itself needs, then what each one leaves. */
	advise_start(NULL);
	next = dup(2);
	close(next);
	ASSERT_LT(0, read_file("/proc/self/statm", before, sizeof(before)));
	for (int i = 0; i < 5; i++)
		advise_start(NULL);
	ASSERT_LT(0, read_file("/proc/self/statm", after, sizeof(after)));
	EXPECT_EQ(strtoul(before, NULL, 10), strtoul(after, NULL, 10));
	EXPECT_EQ(next, dup(2));
}

TEST_F(choice, works_where_all_memory_is_locked)
{
	log_init();
	map_init();
	if (syscall(SYS_mlockall, MCL_FUTURE))
		SKIP(return, "memory cannot be locked here");
	advise_start(NULL);
	EXPECT_LT(0u, advise_cost_ns());
}

TEST_F(choice, survives_failing_system_calls)
{
	static const char *const specs[] = {
		"all:1", "all:2", "all:3", "all:5", "mmap:1", "open:1",
		"read:1", "madvise:1", "madvise:2",
	};
	struct memory *memory = malloc(sizeof(*memory));
	char why[256];

	log_init();
	map_init();
	set_option("log", "off");
	ASSERT_NE(NULL, memory);
	for (size_t i = 0; i < ARRAY_LEN(specs); i++) {
		if (param_set("inject", specs[i], why, sizeof(why)))
			SKIP(return, "needs CONFIG_INJECT");
		advise_start(NULL);
		set_option("inject", "");
		ASSERT_TRUE(make_memory(memory, 200));
		run(memory, ADVISE_CLEAN);
		EXPECT_EQ(200u, nr_gone(memory));
		unmake(memory);
	}
}

/* === Splitting huge folios ============================================ */

FIXTURE(split)
{
	struct group group;
	char *memory;
};

FIXTURE_SETUP(split)
{
	map_init();
	group_make(&self->group);
}

FIXTURE_TEARDOWN(split)
{
	group_remove(&self->group);
}

#define HUGE_LEN	(2 * MIB)
#define NR_HUGE		8

/* NR_HUGE huge folios, or NULL. */
static char *make_huge(void)
{
	char *base = mmap(NULL, (NR_HUGE + 1) * HUGE_LEN,
			  PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (base == MAP_FAILED)
		return NULL;
	base = (char *)(((uintptr_t)base + HUGE_LEN - 1) &
			~(uintptr_t)(HUGE_LEN - 1));
	if (madvise(base, NR_HUGE * HUGE_LEN, MADV_HUGEPAGE))
		return NULL;
	memset(base, 1, NR_HUGE * HUGE_LEN);
	return base;
}

static size_t huge_bytes(void)
{
	return rollup_bytes("AnonHugePages:");
}

TEST_F(split, makes_the_usage_fall_after_partial_returns)
{
	size_t partial, after;

	if (!self->group.path[0] || !group_enter(&self->group))
		SKIP(return, "no memory cgroup can be made here");
	if (map_page_size != 4 * KIB)
		SKIP(return, "huge pages are not 2 MiB here");
	self->memory = make_huge();
	if (!self->memory || huge_bytes() < NR_HUGE * HUGE_LEN)
		SKIP(return, "no huge pages to be had (%zu KiB)",
		     huge_bytes() / KIB);

	for (size_t i = 0; i < NR_HUGE; i++)
		madvise(self->memory + i * HUGE_LEN, HUGE_LEN / 2,
			MADV_DONTNEED);
	partial = group_usage(&self->group);
	if (partial < NR_HUGE * HUGE_LEN)
		SKIP(return, "the kernel has split them by itself");
	EXPECT_EQ(NR_HUGE, advise_split(self->memory, NR_HUGE * HUGE_LEN,
				   HUGE_LEN));
	after = group_usage(&self->group);
	/* But for what each CPU keeps in its stock, and one that was busy. */
	EXPECT_GE(partial - NR_HUGE * HUGE_LEN / 4, after);
	for (size_t i = 0; i < NR_HUGE * HUGE_LEN; i += 4 * KIB)
		EXPECT_EQ(i % HUGE_LEN >= HUGE_LEN / 2, self->memory[i]);
}

TEST_F(split, leaves_whole_and_empty_ones_alone)
{
	if (map_page_size != 4 * KIB)
		SKIP(return, "huge pages are not 2 MiB here");
	self->memory = make_huge();
	if (!self->memory || huge_bytes() < NR_HUGE * HUGE_LEN)
		SKIP(return, "no huge pages to be had");
	madvise(self->memory, 2 * HUGE_LEN, MADV_DONTNEED);
	EXPECT_EQ(0u, advise_split(self->memory, NR_HUGE * HUGE_LEN,
				   HUGE_LEN));
	EXPECT_EQ((NR_HUGE - 2) * HUGE_LEN, huge_bytes());
}

TEST_HARNESS_MAIN
