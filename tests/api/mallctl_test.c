// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - jemalloc's names: mallctl(), malloc_stats_print()
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include "ebb/jemalloc.h"
#include "harness.h"

/* Nobody else gives back, or counts. */
extern const char *ebb_conf;
const char *ebb_conf = "reclaim=off,control_dir=off,lazy_ms=100,decay_ms=3600000";

#define NR	4000

FIXTURE(mallctl) {
	void *p[NR];
};

FIXTURE_SETUP(mallctl)
{
}

FIXTURE_TEARDOWN(mallctl)
{
}

static void allocate_all(FIXTURE_DATA(mallctl) *self, size_t size)
{
	for (int i = 0; i < NR; i++) {
		self->p[i] = malloc(size);
		if (!self->p[i])
			abort();
		memset(self->p[i], 1, size);
	}
}

static void free_all(FIXTURE_DATA(mallctl) *self)
{
	for (int i = 0; i < NR; i++)
		free(self->p[i]);
}

/* A value of its type, or what says that it was not to be had. */
#define GET(type, name) ({						\
	type _value = (type)-77;					\
	size_t _len = sizeof(_value);					\
									\
	mallctl(name, &_value, &_len, NULL, 0) ? (type)-77 : _value;	\
})

#define SET(name, type, to) ({						\
	type _new = (to);						\
									\
	mallctl(name, NULL, NULL, &_new, sizeof(_new));			\
})

static void refresh(void)
{
	if (SET("epoch", uint64_t, 1))
		abort();
}

TEST_F(mallctl, facts)
{
	EXPECT_EQ(0, strncmp("5.3.0-", GET(const char *, "version"), 6));
	EXPECT_EQ(1, GET(unsigned int, "arenas.narenas"));
	EXPECT_EQ(1, GET(unsigned int, "opt.narenas"));
	EXPECT_EQ(page_size(), GET(size_t, "arenas.page"));
	EXPECT_EQ(16, GET(size_t, "arenas.quantum"));
	EXPECT_TRUE(GET(bool, "config.stats"));
	EXPECT_FALSE(GET(bool, "config.prof"));
	EXPECT_FALSE(GET(bool, "opt.prof"));
	EXPECT_FALSE(GET(bool, "opt.zero"));
	EXPECT_EQ(0, strcmp("false", GET(const char *, "opt.junk")));
	EXPECT_EQ(0, strcmp("", GET(const char *, "config.malloc_conf")));
	EXPECT_EQ(0, strcmp("disabled", GET(const char *, "arena.0.dss")));
	/* Without the background thread nothing decays. */
	EXPECT_FALSE(GET(bool, "background_thread"));
	EXPECT_EQ(-1, GET(ssize_t, "opt.dirty_decay_ms"));
	EXPECT_EQ(-1, GET(ssize_t, "arena.0.muzzy_decay_ms"));
}

/* What Rust's jemalloc-ctl, folly and MariaDB know, but for heap profiles. */
TEST_F(mallctl, knows_what_programs_ask)
{
	static const char *const names[] = {
		"arenas.narenas", "background_thread", "config.malloc_conf",
		"epoch", "max_background_threads", "opt.abort",
		"opt.background_thread", "opt.dss", "opt.junk",
		"opt.lg_tcache_max", "opt.narenas", "opt.oversize_threshold",
		"opt.percpu_arena", "opt.prof", "opt.tcache", "opt.zero",
		"stats.active", "stats.allocated", "stats.mapped",
		"stats.metadata", "stats.metadata_thp", "stats.resident",
		"stats.retained", "thread.allocated", "thread.allocatedp",
		"thread.arena", "thread.deallocated", "thread.deallocatedp",
		"thread.tcache.enabled", "version",
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		uint64_t value;
		size_t len = sizeof(value), mib[4], miblen = 4;

		/* What is not as long says so, and how long it is. */
		if (mallctl(names[i], &value, &len, NULL, 0))
			EXPECT_EQ(0, mallctl(names[i], &value, &len, NULL, 0))
				TH_LOG("%s", names[i]);
		EXPECT_EQ(0, mallctlnametomib(names[i], mib, &miblen));
	}
}

TEST_F(mallctl, what_is_unknown_is_enoent)
{
	static const char *const names[] = {
		"", ".", "nonsense", "stats", "stats.", "stats.nonsense",
		"stats.allocated.", "stats.allocated.x", ".stats.allocated",
		"stats..allocated", "statsxallocated", "epoch ", "arena.0",
		"arena..purge", "arena.x.purge", "arena.2.purge",
		"arena.4097.purge", "arena.-1.purge", "arena.1x.purge",
		"arena.99999999999999999999.purge", "arena.#.purge",
		"arenas.bin.72.size", "arenas.bin.4096.size", "arenas.create",
		"tcache.create", "prof.dump", "thread.allocate",
		"stats.arenas.3.resident", "arenas.bin.size",
	};
	size_t len = 8, mib[8], miblen = 8;
	char value[8];

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		EXPECT_EQ(ENOENT, mallctl(names[i], value, &len, NULL, 0))
			TH_LOG("%s", names[i]);
		EXPECT_EQ(ENOENT, mallctlnametomib(names[i], mib, &miblen));
		EXPECT_EQ(8, miblen);
	}
	EXPECT_EQ(ENOENT, mallctl(NULL, value, &len, NULL, 0));
}

TEST_F(mallctl, wrong_sizes_are_einval)
{
	size_t len = 4, active = GET(size_t, "stats.active");
	unsigned char small[4], big[16] = { 0 };
	uint32_t epoch = 1;

	/* As much as fits is stored. */
	EXPECT_EQ(EINVAL, mallctl("stats.active", small, &len, NULL, 0));
	EXPECT_EQ(4, len);
	EXPECT_EQ(0, memcmp(small, &active, 4));
	len = 16;
	EXPECT_EQ(EINVAL, mallctl("stats.active", big, &len, NULL, 0));
	EXPECT_EQ(8, len);
	EXPECT_EQ(0, memcmp(big, &active, 8));
	EXPECT_TRUE(all_zero(big + 8, 8));
	EXPECT_EQ(EINVAL, mallctl("epoch", NULL, NULL, &epoch, sizeof(epoch)));
	EXPECT_EQ(EINVAL, mallctl("epoch", NULL, NULL, NULL, 8));
	EXPECT_EQ(EINVAL, mallctl("thread.arena", NULL, NULL, big, 8));
}

TEST_F(mallctl, what_may_not_be_is_eperm)
{
	size_t value = 1, len = sizeof(value);

	EXPECT_EQ(EPERM, SET("stats.allocated", size_t, 1));
	EXPECT_EQ(EPERM, SET("opt.narenas", unsigned int, 1));
	EXPECT_EQ(EPERM, mallctl("arena.0.purge", &value, &len, NULL, 0));
	EXPECT_EQ(EPERM, mallctl("arena.0.purge", NULL, NULL, &value, len));
	EXPECT_EQ(1, value);
}

/* Options are the admin's: a program may say what holds, and no more. */
TEST_F(mallctl, options_stay_as_they_are)
{
	const char *none = "disabled", *some = "primary";

	EXPECT_EQ(0, SET("background_thread", bool, false));
	EXPECT_EQ(EFAULT, SET("background_thread", bool, true));
	EXPECT_FALSE(GET(bool, "background_thread"));
	EXPECT_EQ(0, SET("arenas.dirty_decay_ms", ssize_t, -1));
	EXPECT_EQ(EFAULT, SET("arenas.dirty_decay_ms", ssize_t, 0));
	EXPECT_EQ(0, SET("thread.arena", unsigned int, 0));
	EXPECT_EQ(EFAULT, SET("thread.arena", unsigned int, 1));
	EXPECT_EQ(EFAULT, SET("thread.tcache.enabled", bool, false));
	EXPECT_EQ(0, SET("arena.0.dss", const char *, none));
	EXPECT_EQ(EFAULT, SET("arena.0.dss", const char *, some));
}

TEST_F(mallctl, a_name_may_be_looked_up_once)
{
	unsigned int nbins = GET(unsigned int, "arenas.nbins");
	size_t mib[6], miblen = 6, len, size, last = 0;
	uint32_t nregs;

	ASSERT_EQ(0, mallctlnametomib("arenas.bin.0.size", mib, &miblen));
	ASSERT_EQ(4, miblen);
	EXPECT_EQ(0, mib[2]);
	for (mib[2] = 0; mib[2] < nbins; mib[2]++) {
		len = sizeof(size);
		ASSERT_EQ(0, mallctlbymib(mib, 4, &size, &len, NULL, 0));
		EXPECT_LT(last, size);
		EXPECT_EQ(size, nallocx(size, 0));
		EXPECT_LT(last ? size : 0, nallocx(size + 1, 0));
		last = size;
	}
	len = sizeof(size);
	EXPECT_EQ(ENOENT, mallctlbymib(mib, 4, &size, &len, NULL, 0));
	ASSERT_EQ(0, mallctlnametomib("arenas.bin.7.nregs", mib, &miblen));
	EXPECT_EQ(7, mib[2]);
	len = sizeof(nregs);
	ASSERT_EQ(0, mallctlbymib(mib, 4, &nregs, &len, NULL, 0));
	EXPECT_EQ(64 * KIB / 128, nregs);
}

TEST_F(mallctl, mibs_are_believed_as_far_as_they_fit)
{
	size_t mib[6], part[2], len = sizeof(size_t), miblen = 2, value;

	ASSERT_EQ(0, mallctlnametomib("stats.arenas.0.pdirty", part, &miblen));
	EXPECT_EQ(2, miblen);
	miblen = 6;
	ASSERT_EQ(0, mallctlnametomib("stats.arenas.0.pdirty", mib, &miblen));
	ASSERT_EQ(4, miblen);
	EXPECT_EQ(0, memcmp(part, mib, sizeof(part)));
	EXPECT_EQ(0, mallctlbymib(mib, 4, &value, &len, NULL, 0));
	mib[2] = MALLCTL_ARENAS_ALL;
	EXPECT_EQ(0, mallctlbymib(mib, 4, &value, &len, NULL, 0));
	mib[2] = 2;
	EXPECT_EQ(ENOENT, mallctlbymib(mib, 4, &value, &len, NULL, 0));
	mib[2] = 0;
	for (size_t i = 0; i <= 6; i++)
		if (i != 4)
			EXPECT_EQ(ENOENT, mallctlbymib(mib, i, &value, &len,
						       NULL, 0));
	mib[1]++;
	EXPECT_EQ(ENOENT, mallctlbymib(mib, 4, &value, &len, NULL, 0));
	mib[1]--;
	mib[3] = SIZE_MAX;
	EXPECT_EQ(ENOENT, mallctlbymib(mib, 4, &value, &len, NULL, 0));
}

TEST_F(mallctl, epoch_grows_and_refreshes)
{
	uint64_t epoch = GET(uint64_t, "epoch"), old = 1;
	size_t before, len = sizeof(old);

	refresh();
	EXPECT_EQ(epoch + 1, GET(uint64_t, "epoch"));
	before = GET(size_t, "stats.allocated");
	allocate_all(self, 1000);
	EXPECT_EQ(before, GET(size_t, "stats.allocated"));
	/* Set and read at once, as redis does: what is read is the new one. */
	EXPECT_EQ(0, mallctl("epoch", &old, &len, &old, len));
	EXPECT_EQ(epoch + 2, old);
	EXPECT_EQ(before + NR * malloc_usable_size(self->p[0]),
		  GET(size_t, "stats.allocated"));
}

static void expect_exact(struct __test_metadata *_metadata)
{
	struct ebb_heap_counts counts;
	size_t allocated, active, resident;

	refresh();
	allocated = GET(size_t, "stats.allocated");
	active = GET(size_t, "stats.active");
	resident = GET(size_t, "stats.resident");
	ASSERT_EQ(0, ebb_heap_count(&counts));
	EXPECT_EQ(counts.live_bytes, allocated);
	EXPECT_EQ(counts.meta_bytes, GET(size_t, "stats.metadata"));
	EXPECT_LE(counts.live_bytes + counts.cached_bytes, active);
	EXPECT_LE(counts.live_bytes + counts.cached_bytes +
		  counts.dirty_bytes + counts.lazy_bytes + counts.meta_bytes,
		  resident);
	EXPECT_EQ(0, active % page_size());
	EXPECT_LE(active + counts.meta_bytes, resident);
	EXPECT_EQ(allocated, GET(size_t, "stats.arenas.0.small.allocated") +
			     GET(size_t, "stats.arenas.0.large.allocated"));
	EXPECT_EQ(active, page_size() *
			  GET(size_t, "stats.arenas.4096.pactive"));
}

/* Without a walk, and yet to the byte, whatever was done before. */
TEST_F(mallctl, figures_are_exact)
{
	struct rng rng;

	rng_seed(&rng, 5);
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < NR; i++)
			if (rng_below(&rng, 2)) {
				free(self->p[i]);
				self->p[i] = malloc(rng_size(&rng, 3, 16));
			}
		expect_exact(_metadata);
		if (round % 5 == 4)
			malloc_trim(0);
	}
	free_all(self);
	expect_exact(_metadata);
	malloc_trim(0);
	expect_exact(_metadata);
}

static sem_t made, may_end;

static void *keep_some(void *arg)
{
	void **mine = arg;

	for (int i = 0; i < NR; i++)
		if (i % 3)
			free(mine[i]);
	for (int i = 0; i < NR; i++)
		if (i % 3)
			mine[i] = malloc(500);
	sem_post(&made);
	while (sem_wait(&may_end) && errno == EINTR)
		;
	return NULL;
}

TEST_F(mallctl, figures_are_exact_over_threads)
{
	pthread_t threads[4];

	sem_init(&made, 0, 0);
	sem_init(&may_end, 0, 0);
	allocate_all(self, 300);
	for (int i = 0; i < 4; i++) {
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, keep_some,
					    self->p));
		while (sem_wait(&made) && errno == EINTR)
			;
	}
	EXPECT_LE(2, GET(unsigned int, "stats.arenas.0.nthreads"));
	expect_exact(_metadata);
	for (int i = 0; i < 4; i++)
		sem_post(&may_end);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	expect_exact(_metadata);
	free_all(self);
	expect_exact(_metadata);
}

/* Their thread has told nothing of what is small. */
TEST_F(mallctl, resident_falls_with_what_is_purged)
{
	static const char *const names[] = {
		"arena.0.purge", "arena.1.purge", "arena.4096.purge",
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		size_t full, resident, rss;

		allocate_all(self, 8000);
		refresh();
		resident = GET(size_t, "stats.resident");
		EXPECT_LE((size_t)NR * 8000, GET(size_t, "stats.active"));
		free_all(self);
		full = rss_bytes();
		ASSERT_EQ(0, mallctl(names[i], NULL, NULL, NULL, 0));
		rss = rss_bytes();
		refresh();
		EXPECT_GE(full - NR * 8000 / 10 * 9, rss);
		EXPECT_GE(resident - NR * 8000 / 10 * 9,
			  GET(size_t, "stats.resident"));
		EXPECT_LE((size_t)NR * 8000 / 10 * 9,
			  GET(size_t, "stats.retained"));
		EXPECT_EQ(0, GET(size_t, "stats.arenas.0.pdirty"));
	}
}

static size_t lazy_pages(void)
{
	refresh();
	return GET(size_t, "stats.arenas.0.pmuzzy");
}

TEST_F(mallctl, decay_spares_what_is_young)
{
	size_t full, retained;
	char *p = malloc(16 * MIB);

	memset(p, 1, 16 * MIB);
	free(p);
	full = rss_bytes();
	refresh();
	retained = GET(size_t, "stats.retained");
	/* Lazy in a while, and clean in an hour. */
	EXPECT_TRUE(WAIT_FOR(!mallctl("arena.0.decay", NULL, NULL, NULL, 0) &&
			     lazy_pages() > 0));
	EXPECT_EQ(retained, GET(size_t, "stats.retained"));
	EXPECT_EQ(0, mallctl("arena.0.purge", NULL, NULL, NULL, 0));
	EXPECT_EQ(0, lazy_pages());
	EXPECT_GE(full - 15 * MIB, rss_bytes());
}

TEST_F(mallctl, a_thread_empties_its_cache)
{
	struct ebb_heap_counts counts;

	allocate_all(self, 100);
	free_all(self);
	ASSERT_EQ(0, ebb_heap_count(&counts));
	EXPECT_LT(0, counts.cached_bytes);
	EXPECT_EQ(0, mallctl("thread.tcache.flush", NULL, NULL, NULL, 0));
	ASSERT_EQ(0, ebb_heap_count(&counts));
	EXPECT_EQ(0, counts.cached_bytes);
}

TEST_F(mallctl, lookup_tells_what_is_ours)
{
	unsigned int arena = 77;
	size_t len = sizeof(arena);
	void *ptr = malloc(10), *not_ours = &len;

	EXPECT_EQ(0, mallctl("arenas.lookup", &arena, &len, &ptr, sizeof(ptr)));
	EXPECT_EQ(0, arena);
	EXPECT_EQ(EINVAL, mallctl("arenas.lookup", &arena, &len, &not_ours,
				  sizeof(ptr)));
	EXPECT_EQ(EINVAL, mallctl("arenas.lookup", &arena, &len, NULL, 0));
	free(ptr);
}

/* === The report =========================================================== */

static char text[64 * 1024];

static void append(void *opaque, const char *s)
{
	/* As redis does. */
	free(malloc(strlen(s)));
	if (opaque != &text)
		abort();
	strncat(text, s, sizeof(text) - strlen(text) - 1);
}

/* The number behind @name. */
static size_t said(const char *name)
{
	const char *at = strstr(text, name);

	return at ? strtoul(at + strlen(name), NULL, 10) : SIZE_MAX;
}

TEST_F(mallctl, the_report_has_the_figures)
{
	allocate_all(self, 2000);
	malloc_stats_print(append, &text, NULL);
	EXPECT_TRUE(strstr(text, "version: \"5.3.0-"));
	EXPECT_TRUE(strstr(text, "opt.narenas: 1\n"));
	EXPECT_EQ(GET(size_t, "stats.allocated"), said("stats.allocated: "));
	EXPECT_EQ(GET(size_t, "stats.resident"), said("stats.resident: "));
	EXPECT_EQ(said("\nlive: "), said("stats.allocated: "));
	text[0] = '\0';
	malloc_stats_print(append, &text, "gblax");
	EXPECT_FALSE(strstr(text, "version"));
	EXPECT_LT(NR * 2000, said("stats.allocated: "));
}

TEST_F(mallctl, the_report_is_json_if_wanted)
{
	int depth = 0, deepest = 0;

	malloc_stats_print(append, &text, "J");
	for (const char *at = text; *at; at++) {
		depth += *at == '{';
		depth -= *at == '}';
		ASSERT_LE(0, depth);
		if (depth > deepest)
			deepest = depth;
	}
	EXPECT_EQ(0, depth);
	EXPECT_EQ(3, deepest);
	EXPECT_EQ(0, strncmp("{\n\"jemalloc\": {\n", text, 16));
	EXPECT_FALSE(strstr(text, ",\n}"));
	EXPECT_FALSE(strstr(text, ",,"));
	EXPECT_EQ(GET(size_t, "stats.allocated"), said("\"allocated\": "));
	EXPECT_EQ(said("\"live\": "), said("\"allocated\": "));
}

TEST_F(mallctl, the_report_goes_to_malloc_message)
{
	malloc_message = append;
	malloc_stats_print(NULL, &text, NULL);
	EXPECT_TRUE(strstr(text, "--- End ebbmalloc statistics ---\n"));
}

TEST_HARNESS_MAIN
