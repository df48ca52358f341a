// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Limits of address space, commit charge and locked memory
 */
#include <sys/mman.h>
#include <sys/resource.h>
#include "harness.h"
#include "api/run.h"

#define LIMIT		(1024 * MIB)

FIXTURE(limit) {
	char helper[PATH_MAX];
	char library[PATH_MAX];
	struct run run;
};

FIXTURE_SETUP(limit)
{
	self->run.program = beside(self->helper, "helper");
	self->run.preload = library_path(self->library);
	self->run.argv[0] = self->helper;
	ASSERT_EQ(0, access(self->run.program, X_OK));
}

FIXTURE_TEARDOWN(limit)
{
}

/* From here on for this process and all it runs. */
static bool limit_address_space(size_t bytes)
{
	struct rlimit limit = { bytes, bytes };

	return !setrlimit(RLIMIT_AS, &limit);
}

/* What the helper prints last in @mode; 0 if it fails. */
static size_t run_for_number(struct run *run, const char *mode)
{
	char *newline, *last;

	run->argv[1] = (char *)mode;
	if (run_program(run) && !run->status) {
		/* The library may have a word to say before it. */
		newline = strrchr(run->output, '\n');
		if (newline)
			*newline = '\0';
		last = strrchr(run->output, '\n');
		return strtoul(last ? last + 1 : run->output, NULL, 10);
	}
	fprintf(stderr, "# helper %s: status %d, it said: %s\n", mode,
		run->status, run->output);
	return 0;
}

TEST_F(limit, reservation_takes_at_most_a_quarter_of_what_is_left)
{
	size_t with, without;

	ASSERT_TRUE(limit_address_space(LIMIT));
	with = run_for_number(&self->run, "vmsize");
	self->run.preload = NULL;
	without = run_for_number(&self->run, "vmsize");
	ASSERT_LT(0, with);
	ASSERT_LT(0, without);
	TH_LOG("VmSize %zu MiB with, %zu MiB without", with / MIB,
	       without / MIB);
	/* The library's own image comes on top. */
	EXPECT_GE((LIMIT - without) / 4 + 16 * MIB, with - without);
}

TEST_F_TIMEOUT(limit, large_objects_fill_most_of_the_address_space, 60)
{
	size_t got;

	ASSERT_TRUE(limit_address_space(LIMIT));
	got = run_for_number(&self->run, "fill-large");
	TH_LOG("%zu MiB of %zu MiB", got / MIB, LIMIT / MIB);
	EXPECT_LE(LIMIT / 10 * 7, got);
}

TEST_F_TIMEOUT(limit, small_objects_fill_most_of_the_address_space, 60)
{
	size_t got;

	ASSERT_TRUE(limit_address_space(LIMIT));
	got = run_for_number(&self->run, "fill-small");
	TH_LOG("%zu MiB of %zu MiB", got / MIB, LIMIT / MIB);
	EXPECT_LE(LIMIT / 10 * 7, got);
}

TEST_F(limit, a_tiny_address_space_is_enough_for_a_start)
{
	ASSERT_TRUE(limit_address_space(24 * MIB));
	EXPECT_LT(0, run_for_number(&self->run, "vmsize"));
}

/* The reservation is older than the limit. */
TEST_F(limit, a_limit_set_later_is_survived)
{
	static char *p[4096];
	size_t nr = 0;

	free(malloc(1));
	ASSERT_TRUE(limit_address_space(64 * MIB));
	while (nr < 4096 && (p[nr] = malloc(64 * KIB)))
		memset(p[nr++], 1, 64 * KIB);
	EXPECT_TRUE(nr == 4096 || errno == ENOMEM);
	for (size_t i = 0; i < nr; i++)
		free(p[i]);
	malloc_trim(0);
	free(malloc(100));
}

TEST_F_TIMEOUT(limit, strict_overcommit_is_respected, 60)
{
	char mode[8];

	if (read_file("/proc/sys/vm/overcommit_memory", mode,
		      sizeof(mode)) <= 0 || *mode != '2')
		SKIP(return, "vm.overcommit_memory is not 2, and it is the "
		     "whole system's: not changed by a test");
	EXPECT_LT(0, run_for_number(&self->run, "commit"));
}

TEST_F(limit, locked_memory_does_not_back_the_reservation)
{
	size_t before = rss_bytes();
	char *p;

	free(malloc(1));
	if (mlockall(MCL_CURRENT | MCL_FUTURE))
		SKIP(return, "mlockall: %s", strerror(errno));
	EXPECT_GE(before + 64 * MIB, rss_bytes());
	p = malloc(8 * MIB);
	ASSERT_NE(NULL, p);
	memset(p, 1, 8 * MIB);
	EXPECT_GE(before + 96 * MIB, rss_bytes());
	free(p);
	for (int i = 0; i < 10000; i++)
		free(malloc((size_t)i * 10));
	EXPECT_GE(before + 96 * MIB, rss_bytes());
}

/*
 * Resident bytes of those objects, which may be free: a background thread that
 * comes meanwhile makes other memory resident.
 */
static size_t resident_in(char *const p[1000])
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), sum = 0;
	unsigned char in[16];

	for (int i = 0; i < 1000; i++) {
		char *at = (char *)((uintptr_t)p[i] & ~(page - 1));
		size_t nr = ((uintptr_t)p[i] + 20000 - (uintptr_t)at + page -
			     1) / page;

		if (nr > sizeof(in) || mincore(at, nr * page, in))
			return 0;
		for (size_t k = 0; k < nr; k++)
			sum += (in[k] & 1) * page;
	}
	return sum;
}

/* Whatever it can do with locked memory, what it says of it is true. */
TEST_F(limit, trim_of_locked_memory_does_not_lie)
{
	static char *p[1000];
	size_t before, after;
	int said;

	free(malloc(1));
	if (mlockall(MCL_CURRENT | MCL_FUTURE))
		SKIP(return, "mlockall: %s", strerror(errno));
	for (int i = 0; i < 1000; i++)
		memset(p[i] = malloc(20000), 1, 20000);
	for (int i = 0; i < 1000; i++)
		free(p[i]);
	before = resident_in(p);
	ASSERT_LT(0, before);
	said = malloc_trim(0);
	after = resident_in(p);
	EXPECT_EQ(said != 0, after + 64 * KIB < before);
	for (int i = 0; i < 1000; i++) {
		p[i] = calloc(1, 20000);
		ASSERT_TRUE(p[i] && all_zero(p[i], 20000));
	}
}

TEST_F(limit, trim_of_much_locked_memory_comes_to_an_end)
{
	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT))
		SKIP(return, "mlockall: %s", strerror(errno));
	free(malloc(1500 * MIB));
	malloc_trim(0);
}

TEST_HARNESS_MAIN
