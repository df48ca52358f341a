// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - The tables of the heap profile, under many threads
 */
#include <pthread.h>
#include <sys/mman.h>
#include "base/atomic.h"
#include "base/err.h"
#include "base/fd_window.h"
#include "base/param.h"
#include "debug/profile.h"
#include "heap/heap.h"
#include "heap/sample.h"
#include "os/map.h"
#include "fds.h"
#include "harness.h"

#define NR_THREADS	4u
#define NR_EACH		2000u
#define ROUNDS		30u
#define SIZE		64u
#define NR_STACKS	700u	/* that come again and again */
#define KEEP_EVERY	10u	/* of the objects stays */
#define DUMP_MAX	(4 * MIB)
#define NR_FORKS	2000

static char *memory;		/* of the heap, so that it has descriptors */
static bool ending;
static uint64_t nr_lost;

FIXTURE(table)
{
	char *dump;
};

FIXTURE_SETUP(table)
{
	enum run_state was;
	struct slab *run;
	char why[200];

	map_init();
	sizeclass_init();
	ASSERT_EQ(0, range_init(64 * MIB));
	run = run_alloc(NR_THREADS * NR_EACH * SIZE / SLAB_SIZE + 1, 1, &was);
	ASSERT_NE(NULL, run);
	memory = slab_base(run);
	EXPECT_EQ(-ENODATA, profile_write(1));
	ASSERT_EQ(0, param_set("profile", "4096", why, sizeof(why)));
	profile_init();
	ASSERT_TRUE(heap_profiled);
	self->dump = malloc(DUMP_MAX);
	ASSERT_NE(NULL, self->dump);
}

FIXTURE_TEARDOWN(table)
{
	free(self->dump);
}

static void take(unsigned int i, unsigned int round)
{
	struct stack_frame frame = {
		.ret = 0x10000 + (i * 7 + round) % NR_STACKS,
	};

	profile_take(memory + (size_t)i * SIZE, SIZE, &frame);
}

/* Each has its own objects, and all have the stacks. */
static void *take_and_forget(void *arg)
{
	unsigned int first = (unsigned int)(uintptr_t)arg * NR_EACH;

	for (unsigned int round = 0; round < ROUNDS; round++) {
		for (unsigned int i = first; i < first + NR_EACH; i++)
			take(i, round);
		for (unsigned int i = first; i < first + NR_EACH; i++) {
			if (round + 1 == ROUNDS && i % KEEP_EVERY == 0)
				continue;
			if (!profile_forget(memory + (size_t)i * SIZE).site)
				add_relaxed(&nr_lost, 1);
		}
	}
	return NULL;
}

struct sums {
	unsigned long live, live_bytes, allocated, allocated_bytes;
};

static void add(struct sums *to, const struct sums *from)
{
	to->live += from->live;
	to->live_bytes += from->live_bytes;
	to->allocated += from->allocated;
	to->allocated_bytes += from->allocated_bytes;
}

static bool scan(const char *text, struct sums *sums)
{
	return sscanf(text, "%lu: %lu [%lu: %lu] @", &sums->live,
		      &sums->live_bytes, &sums->allocated,
		      &sums->allocated_bytes) == 4;
}

/* Write it and read it: whether each line can be. */
static bool write_and_read(char *dump, struct sums *ret_sums, bool moving)
{
	int fd = memfd_create("profile", MFD_CLOEXEC);
	struct sums total, sum = { 0 }, one;
	ssize_t len = -1;
	char *line;

	if (!profile_write(fd))
		len = pread(fd, dump, DUMP_MAX - 1, 0);
	close(fd);
	if (len <= 0)
		return false;
	dump[len] = '\0';
	if (strncmp(dump, "heap profile: ", 14) || !scan(dump + 14, &total) ||
	    !strstr(dump, "@ heap_v2/4096\n") ||
	    !strstr(dump, "\nMAPPED_LIBRARIES:\n"))
		return false;
	for (line = strchr(dump, '\n') + 1; scan(line, &one);
	     line = strchr(line, '\n') + 1) {
		/* Live ones are counted first. */
		if (one.live > one.allocated ||
		    one.live_bytes != one.live * SIZE ||
		    one.allocated_bytes != one.allocated * SIZE)
			return false;
		add(&sum, &one);
	}
	*ret_sums = sum;
	return moving || !memcmp(&sum, &total, sizeof(sum));
}

static void *write_always(void *dump)
{
	struct sums sums;
	bool good = true;

	while (good && !load_relaxed(&ending))
		good = write_and_read(dump, &sums, true);
	return good ? NULL : dump;
}

TEST_F(table, is_exact_whatever_happens_at_once)
{
	const unsigned int kept = NR_THREADS * NR_EACH / KEEP_EVERY;
	pthread_t threads[NR_THREADS], writer;
	struct profile_stats stats;
	struct sums sums;
	void *bad;

	ASSERT_EQ(0, pthread_create(&writer, NULL, write_always, self->dump));
	for (uintptr_t i = 0; i < NR_THREADS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, take_and_forget,
					    (void *)i));
	for (unsigned int i = 0; i < NR_THREADS; i++)
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
	store_relaxed(&ending, true);
	ASSERT_EQ(0, pthread_join(writer, &bad));
	EXPECT_EQ(NULL, bad);
	profile_stats(&stats);
	EXPECT_EQ(0, stats.nr_dropped);
	EXPECT_EQ(0, nr_lost);
	EXPECT_EQ(kept, stats.nr_live);
	ASSERT_TRUE(write_and_read(self->dump, &sums, false));
	EXPECT_EQ(kept, sums.live);
	EXPECT_EQ(NR_THREADS * NR_EACH * ROUNDS, sums.allocated);
	for (unsigned int i = 0; i < NR_THREADS * NR_EACH; i++)
		EXPECT_EQ(i % KEEP_EVERY == 0, !!profile_forget(
				memory + (size_t)i * SIZE).site);
	for (unsigned int i = 0; i < NR_THREADS * NR_EACH * SIZE / SLAB_SIZE;
	     i++)
		EXPECT_EQ(0, slab_of(memory + i * SLAB_SIZE)->nr_samples);
}

/* As the library's handlers do. */
static void before_fork(void)
{
	fd_window_prefork(true);
}

static void after_fork_in_child(void)
{
	profile_postfork_child();
	fd_window_postfork_child();
}

static uint32_t nr_dumps;

static void *dump_always(void *arg)
{
	while (!load_relaxed(&ending)) {
		if (profile_dump())
			return NULL;
		add_relaxed(&nr_dumps, 1);
	}
	return arg;
}

TEST_F(table, forked_children_have_no_file_of_a_dump)
{
	char dir[] = "/tmp/ebb-dump-XXXXXX", path[64], why[200];
	int expected = nr_open(), found_more = 0;
	pthread_t writer;
	void *ret;

	ASSERT_NE(NULL, mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/dump", dir);
	ASSERT_EQ(0, param_set("profile_dump", path, why, sizeof(why)));
	ASSERT_EQ(0, pthread_atfork(before_fork, fd_window_postfork_parent,
				    after_fork_in_child));
	take(1, 0);
	ASSERT_EQ(0, pthread_create(&writer, NULL, dump_always, self->dump));
	ASSERT_TRUE(WAIT_FOR(load_relaxed(&nr_dumps)));
	for (int i = 0; i < NR_FORKS && !found_more; i++)
		found_more = fork_finds_more(expected);
	EXPECT_EQ(0, found_more);
	store_relaxed(&ending, true);
	ASSERT_EQ(0, pthread_join(writer, &ret));
	EXPECT_EQ(self->dump, ret);
	EXPECT_EQ(expected, nr_open());
	EXPECT_LE(10u, nr_dumps);
	unlink(path);
	rmdir(dir);
}

TEST_F(table, what_was_forgotten_can_be_restored)
{
	struct profile_sample sample;
	struct profile_stats stats;
	struct sums sums;

	take(1, 0);
	sample = profile_forget(memory + SIZE);
	EXPECT_NE(0, sample.site);
	EXPECT_EQ(0, profile_forget(memory + SIZE).site);
	profile_restore(memory + SIZE, sample);
	profile_stats(&stats);
	EXPECT_EQ(1, stats.nr_live);
	ASSERT_TRUE(write_and_read(self->dump, &sums, false));
	EXPECT_EQ(1, sums.live);
	EXPECT_EQ(1, sums.allocated);
	EXPECT_EQ(sample.site, profile_forget(memory + SIZE).site);
}

TEST_F(table, more_stacks_than_places_are_counted)
{
	struct profile_stats stats;
	struct sums sums;

	for (unsigned int i = 0; i < 20000; i++) {
		struct stack_frame frame = { .ret = 0x10000 + i };

		profile_take(memory, SIZE, &frame);
		profile_forget(memory);
	}
	profile_stats(&stats);
	EXPECT_EQ(0, stats.nr_live);
	ASSERT_TRUE(write_and_read(self->dump, &sums, false));
	EXPECT_EQ(20000, sums.allocated + stats.nr_dropped);
	EXPECT_LT(10000, sums.allocated);
}

TEST_F(table, a_writer_says_what_went_wrong)
{
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	ASSERT_LE(0, full);
	EXPECT_EQ(-ENOSPC, profile_write(full));
	EXPECT_EQ(-EBADF, profile_write(-1));
	lock_take(&zone_first->lock);
	EXPECT_EQ(-EDEADLK, profile_dump());
	lock_release(&zone_first->lock);
	close(full);
}

TEST_HARNESS_MAIN
