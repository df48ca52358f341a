// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - What is written is known, and what is not gets cold
 *
 * Each test is a forked child, whose own reclaimer begins to track anew.
 */
#include <malloc.h>
#include <sys/mman.h>
#include "harness.h"

#define LARGE	(8 * MIB)
#define PART	(2 * MIB)
#define SLACK	(256 * KIB)	/* what else is live: libc's, stdio's */

const char *ebb_conf = "track_writes=20,cold_ms=200,thread_min=0,"
		       "control_dir=off";

FIXTURE(written) {
	FILE *info;
	char *large;
	char buffer[4096];
};

static uint64_t counter(FILE *info, const char *name)
{
	static char text[16384];
	char key[80];
	char *at;

	rewind(info);
	if (malloc_info(0, info) || fflush(info) ||
	    pread(fileno(info), text, sizeof(text) - 1, 0) <= 0)
		return 0;
	snprintf(key, sizeof(key), "\"%s\" value=\"", name);
	at = strstr(text, key);
	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

/* What malloc_stats() says of it. */
static bool says(const char *words)
{
	static char text[16384];
	int fd = memfd_create("stats", 0), saved = dup(2);

	dup2(fd, 2);
	malloc_stats();
	dup2(saved, 2);
	close(saved);
	memset(text, 0, sizeof(text));
	if (pread(fd, text, sizeof(text) - 1, 0) <= 0)
		return false;
	close(fd);
	return strstr(text, words);
}

FIXTURE_SETUP(written)
{
	self->info = tmpfile();
	ASSERT_NE(NULL, self->info);
	setvbuf(self->info, self->buffer, _IOFBF, sizeof(self->buffer));
	self->large = hide(malloc(LARGE));
	memset(self->large, 1, LARGE);
	/* What is free has the thread started. */
	free(hide(malloc(100 * KIB)));
	malloc_trim(0);
	for (int i = 0; i < 100; i++)
		free(memset(hide(malloc(200 * KIB)), 1, 200 * KIB));
}

FIXTURE_TEARDOWN(written)
{
	free(self->large);
	fclose(self->info);
}

#define NEEDS_TRACKING() do {						\
	ASSERT_TRUE(WAIT_FOR(counter(self->info, "nr_write_scans") ||	\
			     (says("writes: unavailable") &&		\
			      !says("not run yet"))));			\
	if (!counter(self->info, "nr_write_scans"))			\
		SKIP(return, "writes cannot be tracked here");		\
} while (0)

static bool is_near(uint64_t value, uint64_t expected)
{
	return value + SLACK >= expected && value <= expected + SLACK;
}

TEST_F(written, what_nobody_writes_gets_cold)
{
	NEEDS_TRACKING();
	EXPECT_TRUE(WAIT_FOR(is_near(counter(self->info, "cold"), LARGE)));
}

/* The part is written more often than cold_ms, the rest is not. */
TEST_F(written, what_is_written_does_not)
{
	NEEDS_TRACKING();
	EXPECT_TRUE(WAIT_FOR(({
		memset(self->large + MIB, 2, PART);
		is_near(counter(self->info, "cold"), LARGE - PART);
	})));
	EXPECT_TRUE(WAIT_FOR(is_near(counter(self->info, "cold"), LARGE)));
}

/* At least each of these pages, at a look between two rounds. */
TEST_F(written, each_look_counts_written_pages)
{
	uint64_t before, scans;

	NEEDS_TRACKING();
	for (int i = 0; i < 3; i++) {
		before = counter(self->info, "written");
		scans = counter(self->info, "nr_write_scans");
		memset(self->large, i, PART);
		/* The one under way may have passed by, the next sees all. */
		ASSERT_TRUE(WAIT_FOR(counter(self->info, "nr_write_scans") >=
				     scans + 2));
		EXPECT_LE(before + PART, counter(self->info, "written"));
	}
}

/* The kernel's own writes are seen, and succeed. */
TEST_F(written, system_calls_write_to_it)
{
	int fds[2];

	NEEDS_TRACKING();
	ASSERT_EQ(0, pipe(fds));
	ASSERT_TRUE(WAIT_FOR(is_near(counter(self->info, "cold"), LARGE)));
	EXPECT_TRUE(WAIT_FOR(({
		bool done = true;

		for (size_t at = 0; at < PART; at += page_size())
			done = done && write(fds[1], "xyz", 3) == 3 &&
			       read(fds[0], self->large + at, 3) == 3;
		done && is_near(counter(self->info, "cold"), LARGE - PART);
	})));
}

/* What was freed is not live, and so not cold. */
TEST_F(written, free_memory_is_not_cold)
{
	NEEDS_TRACKING();
	ASSERT_TRUE(WAIT_FOR(is_near(counter(self->info, "cold"), LARGE)));
	free(self->large);
	self->large = NULL;
	EXPECT_TRUE(WAIT_FOR(is_near(counter(self->info, "cold"), 0)));
}

TEST_HARNESS_MAIN
