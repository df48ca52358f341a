// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Guard mode: a seeded set of misuse, and what is said of it
 *
 * api/misuse misuses an object in each of the ways in seeds[], with the library
 * preloaded; this looks at how it ends and what it says.
 */
#include <signal.h>
#include "harness.h"
#include "match.h"
#include "api/run.h"

#define ANY	"0x[0-9a-f]+"

/* One program: what it does, and the first line of the report. */
struct seed {
	const char *kind;
	size_t size;
	size_t by;
	const char *words;	/* extended regular expression, behind CALL(): */
};

#define OVER(n, of)	"overflow: " #n " bytes? after the object of " #of " bytes"
#define UNDER(n, of)	"underflow: " #n " bytes? before the object of " #of \
			" bytes"
#define FREED(of)	"use after free: object of " #of " bytes"
#define FREED_AT(n, of)	"use after free: " #n " bytes? into the object of " \
			#of " bytes"
#define TWICE(of)	"double free: object of " #of " bytes"
#define INSIDE(n, of)	"interior pointer: " #n " bytes? into the object of " \
			#of " bytes"
#define BEFORE(n, of)	"invalid pointer: " #n " bytes? before the object of " \
			#of " bytes"
#define SIZED(n, of)	"wrong size: object of " #of " bytes at " ANY \
			", sized free of " #n "$"

/* With the object at the right end of its pages, and at the left one. */
static const struct seed right[] = {
	{ "over-read", 8, 1, "read.*" OVER(1, 8) },
	{ "over-read", 8, 4000, "read.*" OVER(4000, 8) },
	{ "over-read", 4096, 1, "read.*" OVER(1, 4096) },
	{ "over-read", 4096, 4000, "read.*" OVER(4000, 4096) },
	{ "over-read", 262144, 1, "read.*" OVER(1, 262144) },
	{ "over-read", 262144, 4000, "read.*" OVER(4000, 262144) },
	{ "over-write", 8, 1, "(read|write).*" OVER(1, 8) },
	{ "over-write", 8, 4000, OVER(4000, 8) },
	{ "over-write", 24, 1, "free.*" OVER(1, 24) },
	{ "over-write", 24, 8, "free.*" OVER(8, 24) },
	{ "over-write", 4096, 1, OVER(1, 4096) },
	{ "over-write", 4096, 4000, OVER(4000, 4096) },
	{ "over-write", 262144, 1, OVER(1, 262144) },
	{ "over-write", 262144, 4000, OVER(4000, 262144) },
	{ "span-write", 8, 100, OVER(1, 8) },
	{ "span-write", 24, 100, OVER(9, 24) },
	{ "span-write", 4096, 100, OVER(1, 4096) },
	{ "span-write", 262144, 100, OVER(1, 262144) },
	{ "under-write", 8, 1, "free.*" UNDER(1, 8) },
	{ "under-write", 8, 4000, "free.*" UNDER(4000, 8) },
	{ "under-write", 4096, 1, UNDER(1, 4096) },
	{ "under-write", 4096, 4000, UNDER(4000, 4096) },
	{ "under-write", 262144, 1, UNDER(1, 262144) },
	{ "under-write", 262144, 4000, UNDER(4000, 262144) },
	{ "span-under", 8, 100, "free.*" UNDER(100, 8) },
	{ "span-under", 4096, 100, UNDER(1, 4096) },
	{ "span-under", 262144, 100, UNDER(1, 262144) },
	{ "under-read", 4096, 1, "read.*" UNDER(1, 4096) },
	{ "under-read", 4096, 4000, "read.*" UNDER(4000, 4096) },
	{ "under-read", 262144, 1, "read.*" UNDER(1, 262144) },
	{ "under-read", 262144, 4000, "read.*" UNDER(4000, 262144) },
	{ "after-read", 8, 0, "read.*" FREED(8) },
	{ "after-read", 8, 7, "read.*" FREED_AT(7, 8) },
	{ "after-read", 4096, 0, "read.*" FREED(4096) },
	{ "after-read", 4096, 4095, "read.*" FREED_AT(4095, 4096) },
	{ "after-read", 262144, 0, "read.*" FREED(262144) },
	{ "after-read", 262144, 200000, "read.*" FREED_AT(200000, 262144) },
	{ "after-write", 8, 0, FREED(8) },
	{ "after-write", 8, 7, FREED_AT(7, 8) },
	{ "after-write", 4096, 0, FREED(4096) },
	{ "after-write", 4096, 4095, FREED_AT(4095, 4096) },
	{ "after-write", 262144, 0, FREED(262144) },
	{ "after-write", 262144, 200000, FREED_AT(200000, 262144) },
	{ "reused-read", 8, 0, "read.*" FREED(8) },
	{ "reused-read", 4096, 0, "read.*" FREED(4096) },
	{ "reused-read", 262144, 0, "read.*" FREED(262144) },
	{ "reused-write", 8, 0, FREED(8) },
	{ "reused-write", 4096, 0, FREED(4096) },
	{ "reused-write", 262144, 0, FREED(262144) },
	{ "realloc-read", 8, 0, "read.*" FREED(8) },
	{ "realloc-read", 4096, 0, "read.*" FREED(4096) },
	{ "realloc-read", 262144, 0, "read.*" FREED(262144) },
	{ "double", 8, 0, "free.*" TWICE(8) },
	{ "double", 4096, 0, "free.*" TWICE(4096) },
	{ "double", 262144, 0, "free.*" TWICE(262144) },
	{ "double-later", 8, 0, "free.*" TWICE(8) },
	{ "double-later", 4096, 0, "free.*" TWICE(4096) },
	{ "double-later", 262144, 0, "free.*" TWICE(262144) },
	{ "double-thread", 8, 0, "free.*" TWICE(8) },
	{ "double-thread", 4096, 0, "free.*" TWICE(4096) },
	{ "double-thread", 262144, 0, "free.*" TWICE(262144) },
	{ "interior", 8, 1, "free.*" INSIDE(1, 8) },
	{ "interior", 4096, 16, "free.*" INSIDE(16, 4096) },
	{ "interior", 262144, 4096, "free.*" INSIDE(4096, 262144) },
	{ "before", 8, 16, "free.*" BEFORE(16, 8) },
	{ "before", 24, 16, "free.*" BEFORE(16, 24) },
	{ "stack", 8, 0, "free.*invalid pointer: not in this heap" },
	{ "sized-more", 8, 1, "free_sized.*" SIZED(9, 8) },
	{ "sized-more", 4096, 4096, "free_sized.*" SIZED(8192, 4096) },
	{ "sized-more", 262144, 1, "free_sized.*" SIZED(262145, 262144) },
	{ "sized-less", 8, 1, "free_sized.*" SIZED(7, 8) },
	{ "sized-less", 4096, 1, "free_sized.*" SIZED(4095, 4096) },
	{ "sized-less", 262144, 4096, "free_sized.*" SIZED(258048, 262144) },
};

static const struct seed left[] = {
	{ "under-read", 8, 1, "read.*" UNDER(1, 8) },
	{ "under-read", 8, 4000, "read.*" UNDER(4000, 8) },
	{ "under-read", 24, 16, "read.*" UNDER(16, 24) },
	{ "under-write", 8, 1, UNDER(1, 8) },
	{ "under-write", 24, 4000, UNDER(4000, 24) },
	{ "over-write", 8, 1, "free.*" OVER(1, 8) },
	{ "over-write", 24, 4000, "free.*" OVER(4000, 24) },
};

FIXTURE(guard) {
	char program[PATH_MAX];
	char library[PATH_MAX];
	struct run run;
};

FIXTURE_SETUP(guard)
{
	self->run.program = beside(self->program, "misuse");
	self->run.preload = library_path(self->library);
	self->run.argv[0] = (char *)"misuse";
	ASSERT_EQ(0, access(self->run.program, X_OK));
}

FIXTURE_TEARDOWN(guard)
{
}

static bool run_seed(struct run *run, const struct seed *seed,
		     const char *conf, const char *rounds)
{
	static char size[24], by[24];

	snprintf(size, sizeof(size), "%zu", seed->size);
	snprintf(by, sizeof(by), "%zu", seed->by);
	run->conf = conf;
	run->argv[1] = (char *)seed->kind;
	run->argv[2] = size;
	run->argv[3] = by;
	run->argv[4] = (char *)rounds;
	run->argv[5] = NULL;
	return run_program(run);
}

static bool said(const struct run *run, const char *pattern)
{
	return text_fits(run->output, pattern, REG_NEWLINE);
}

/* Whether the first line is the report of @seed, and a whole one follows. */
static bool is_reported(const struct run *run, const struct seed *seed)
{
	char pattern[512];

	snprintf(pattern, sizeof(pattern),
		 "^ebbmalloc\\[[0-9]+\\]: [a-z_]+\\(" ANY "\\): .*$");
	if (run->status != 256 + SIGABRT || !said(run, pattern) ||
	    !said(run, seed->words))
		return false;
	return said(run, "^ebbmalloc\\[[0-9]+\\]:   use by thread [0-9]+ "
			 "\\(misuse\\)$") &&
	       said(run, "^ebbmalloc\\[[0-9]+\\]:     #0 " ANY) &&
	       said(run, "^ebbmalloc\\[[0-9]+\\]:   end of report 1$");
}

#define EXPECT_ALL_REPORTED(seeds, conf) do {				\
	for (size_t _i = 0; _i < ARRAY_LEN(seeds); _i++) {		\
		const struct seed *_seed = &(seeds)[_i];		\
									\
		ASSERT_TRUE(run_seed(&self->run, _seed, conf, NULL));	\
		EXPECT_TRUE(is_reported(&self->run, _seed))		\
			TH_LOG("%s %zu %zu: status %d, it said: %s",	\
			       _seed->kind, _seed->size, _seed->by,	\
			       self->run.status, self->run.output);	\
	}								\
} while (0)

TEST_F_TIMEOUT(guard, all_reports_each_of_the_set, 120)
{
	EXPECT_ALL_REPORTED(right, "guard=all");
}

TEST_F_TIMEOUT(guard, all_on_the_left_reports_what_is_before, 120)
{
	EXPECT_ALL_REPORTED(left, "guard=all,guard_side=left");
}

/* Who allocated and who freed it, with names of functions. */
TEST_F(guard, report_has_three_stacks)
{
	static const struct seed seed = { "after-write", 24, 0, FREED(24) };
	const char *at = self->run.output;

	ASSERT_TRUE(run_seed(&self->run, &seed, "guard=all", NULL));
	ASSERT_TRUE(is_reported(&self->run, &seed));
	EXPECT_TRUE(said(&self->run, "  allocated by thread [0-9]+ "
			 "\\(misuse\\), [0-9]+ ms before$"));
	EXPECT_TRUE(said(&self->run, "  freed by thread [0-9]+ "
			 "\\(misuse\\), [0-9]+ ms before$"));
	EXPECT_TRUE(said(&self->run, "#[0-9]+ " ANY " in main\\+0x[0-9a-f]+ "
			 "\\(/.*/misuse\\+0x[0-9a-f]+\\)$"));
	for (int nr = 0; nr < 3; nr++) {
		at = strstr(at, "#0 0x");
		ASSERT_NE(NULL, at);
		at++;
	}
}

/* What lies between an object and the end of its page cannot trap. */
TEST_F(guard, all_does_not_see_reads_beside_an_object)
{
	static const struct seed seeds[] = {
		{ "over-read", 24, 1, "" }, { "under-read", 8, 1, "" },
	};

	for (size_t i = 0; i < ARRAY_LEN(seeds); i++) {
		ASSERT_TRUE(run_seed(&self->run, &seeds[i], "guard=all",
				     NULL));
		EXPECT_EQ(0, self->run.status);
	}
}

TEST_F(guard, proper_use_is_not_reported)
{
	static const char *const confs[] = {
		"guard=all", "guard=all,guard_side=left",
		"guard=all,guard_quarantine=1",
		"guard=sampled,guard_every=1", "guard=sampled,guard_size=8",
	};
	static const struct seed seeds[] = {
		{ "again", 8, 0, "" }, { "again", 24, 0, "" },
		{ "again", 4096, 0, "" }, { "again", 262144, 0, "" },
	};

	for (size_t c = 0; c < ARRAY_LEN(confs); c++)
		for (size_t i = 0; i < ARRAY_LEN(seeds); i++) {
			ASSERT_TRUE(run_seed(&self->run, &seeds[i], confs[c],
					     "100"));
			EXPECT_EQ(0, self->run.status);
			EXPECT_EQ(0, strlen(self->run.output))
				TH_LOG("%s: %s", confs[c], self->run.output);
		}
}

/* Threads that free each other's objects, while one of them forks. */
TEST_F(guard, crowds_find_their_objects_as_they_were)
{
	static const char *const confs[] = {
		"guard=all", "guard=all,guard_quarantine=64K,thread_min=0",
		"guard=sampled,guard_every=3,thread_min=0,decay_ms=0",
	};
	static const struct seed seed = { "crowd", 8, 0, "" };

	for (size_t c = 0; c < ARRAY_LEN(confs); c++) {
		ASSERT_TRUE(run_seed(&self->run, &seed, confs[c], NULL));
		EXPECT_EQ(0, self->run.status);
		EXPECT_EQ(0, strlen(self->run.output))
			TH_LOG("%s: %s", confs[c], self->run.output);
	}
}

/* By its size alone it is guarded for sure. */
TEST_F(guard, sampled_reports_what_is_of_guard_size)
{
	static const struct seed seeds[] = {
		{ "over-write", 4096, 1, OVER(1, 4096) },
		{ "after-read", 4096, 0, "read.*" FREED(4096) },
		{ "double", 262144, 0, "free.*" TWICE(262144) },
	};

	EXPECT_ALL_REPORTED(seeds, "guard=sampled,guard_size=4K");
}

/* Which is one in two on average, of so many that each slab has some. */
TEST_F(guard, sampled_reports_what_it_guards)
{
	static const struct seed seed = { "hoard", 4096, 0,
					  "read.*" FREED(4096) };

	ASSERT_TRUE(run_seed(&self->run, &seed,
			     "guard=sampled,guard_every=2", "200"));
	EXPECT_TRUE(is_reported(&self->run, &seed))
		TH_LOG("status %d, it said: %s", self->run.status,
		       self->run.output);
}

TEST_F(guard, recovery_goes_on_after_reads_only)
{
	static const struct seed reads = { "after-read", 4096, 0, "" };
	static const struct seed writes = { "after-write", 4096, 0,
					    FREED(4096) };
	const char *conf = "guard=sampled,guard_size=4K,guard_recover=on";

	ASSERT_TRUE(run_seed(&self->run, &reads, conf, "3"));
	EXPECT_EQ(0, self->run.status);
	EXPECT_TRUE(said(&self->run, FREED(4096)));
	EXPECT_TRUE(said(&self->run, "end of report 3$"));
	EXPECT_FALSE(said(&self->run, "end of report 4$"));
	/* It reads first, which is reported, and writes then. */
	ASSERT_TRUE(run_seed(&self->run, &writes, conf, NULL));
	EXPECT_EQ(256 + SIGABRT, self->run.status);
	EXPECT_TRUE(said(&self->run, "read.*" FREED(4096)));
	EXPECT_TRUE(said(&self->run, "write.*" FREED(4096)));
	EXPECT_TRUE(said(&self->run, "end of report 2$"));
}

TEST_F(guard, profile_excludes_guards_and_says_so)
{
	static const struct seed seed = { "none", 4096, 0, "" };

	ASSERT_TRUE(run_seed(&self->run, &seed, "profile=1M,guard=all", NULL));
	EXPECT_EQ(0, self->run.status);
	EXPECT_TRUE(said(&self->run, "guard: off, since there is a profile"));
}

/* How many of the set end, and how, without guards for each object. */
static void count_deaths(struct run *run, const char *conf, unsigned int *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(right); i++)
		if (run_seed(run, &right[i], conf, NULL) &&
		    run->status == 256 + SIGABRT)
			(*ret)++;
}

/* Frees that are wrong are found at any time. */
TEST_F_TIMEOUT(guard, off_reports_wrong_frees_alone, 120)
{
	unsigned int by_default = 0, checked = 0, sampled = 0;

	count_deaths(&self->run, NULL, &by_default);
	count_deaths(&self->run, "check=1", &checked);
	count_deaths(&self->run, "guard=sampled", &sampled);
	TH_LOG("of %zu by default %u, with check=1 %u, guard=sampled %u",
	       ARRAY_LEN(right), by_default, checked, sampled);
	/* At least what is freed twice at once, from inside, or was never ours. */
	EXPECT_LE(8, by_default);
	EXPECT_GT(ARRAY_LEN(right) / 2, by_default);
	EXPECT_LE(by_default, checked);
}

TEST_HARNESS_MAIN
