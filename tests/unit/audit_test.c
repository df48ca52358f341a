// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Audits that make way, and go on
 *
 * The parts of the library are the real ones; purge.c and audit.c are included,
 * so that somebody waits from a chosen step on, and zone.c, so that there are two
 * zones.
 */
#include "os/resident.h"

static void open_and_count(struct resident *resident);

#define resident_open	open_and_count
#include "reclaim/audit.c"
#undef resident_open
#include "reclaim/purge.c"
#include "vm/zone.c"

#include "heap/drain.h"
#include "harness.h"

#define NR_SLABS	600u		/* of one range each */
#define NR_RUNS		20u

FIXTURE(audit) {
	struct purge_order order;
	struct purge_result result;
	struct slab *slabs;
	struct slab *runs[NR_RUNS];
};

static unsigned int nr_looks;
static unsigned int wait_from;		/* somebody waits from that look on */

static void open_and_count(struct resident *resident)
{
	if (++nr_looks == wait_from)
		nr_waiting = 1;
	resident_open(resident);
}

/* Backed, though the slabs are free and their pages marked clean. */
static void write_to(const struct slab *slab)
{
	*(volatile char *)slab_base(slab) = 1;
}

static unsigned int nr_backed(const struct slab *slab, unsigned int nr)
{
	unsigned int found = 0;

	for (unsigned int i = 0; i < nr; i++) {
		unsigned char vec = 0;

		if (!mincore(slab_base(slab + i), map_page_size, &vec))
			found += vec & 1;
	}
	return found;
}

static unsigned int nr_runs_backed(FIXTURE_DATA(audit) *self)
{
	unsigned int found = 0;

	for (unsigned int i = 0; i < NR_RUNS; i++)
		found += nr_backed(self->runs[i], 1);
	return found;
}

FIXTURE_SETUP(audit)
{
	enum run_state was;

	map_init();
	sizeclass_init();
	drain_init();
	ASSERT_EQ(0, range_init(256 * MIB));
	map_no_huge(range.base, 256 * MIB);
	self->slabs = run_alloc(NR_SLABS, 1, &was);
	ASSERT_NE(NULL, self->slabs);
	for (unsigned int i = 0; i < NR_SLABS; i++) {
		slab_init(self->slabs + i, 0, &orphan_heap, RUN_CLEAN);
		write_to(self->slabs + i);
	}
	/* With something between them, or they would be one. */
	make_until(1);
	for (unsigned int i = 0; i < NR_RUNS; i++) {
		/* What is in one extent: the next one may fit better. */
		own.at = i < NR_RUNS / 2 - 2;
		self->runs[i] = run_alloc(1 + i, 1, &was);
		ASSERT_NE(NULL, self->runs[i]);
		EXPECT_EQ(own.at, self->runs[i]->zone);
		ASSERT_NE(NULL, run_alloc(1, 1, &was));
	}
	/* And no others that are clean. */
	own.at = 1;
	while (zones[1].counters.in_state[RUN_CLEAN])
		ASSERT_NE(NULL, run_alloc(1, 1, &was));
	own.at = 0;
	for (unsigned int i = 0; i < NR_RUNS; i++) {
		run_free(self->runs[i], 1 + i, RUN_CLEAN);
		write_to(self->runs[i]);
	}
	self->order = (struct purge_order){
		.lazy_age_ms = PURGE_NEVER,
		.clean_age_ms = PURGE_NEVER,
		.yields = true,
		.audit = true,
	};
	ASSERT_EQ(NR_SLABS, nr_backed(self->slabs, NR_SLABS));
	ASSERT_EQ(NR_RUNS, nr_runs_backed(self));
}

FIXTURE_TEARDOWN(audit)
{
}

TEST_F(audit, gives_back_all_that_was_written_to)
{
	ASSERT_EQ(0, purge_run(&self->order, &self->result));
	EXPECT_TRUE(self->result.audited);
	EXPECT_EQ(0u, nr_backed(self->slabs, NR_SLABS));
	EXPECT_EQ(0u, nr_runs_backed(self));
}

TEST_F(audit, does_not_begin_while_somebody_waits)
{
	nr_waiting = 1;
	ASSERT_EQ(0, purge_run(&self->order, &self->result));
	EXPECT_FALSE(self->result.audited);
	EXPECT_EQ(0u, nr_looks);
	EXPECT_EQ(NR_SLABS, nr_backed(self->slabs, NR_SLABS));
}

TEST_F(audit, makes_way_and_goes_on_where_it_was)
{
	unsigned int left;

	wait_from = 1;
	ASSERT_EQ(0, purge_run(&self->order, &self->result));
	EXPECT_FALSE(self->result.audited);
	EXPECT_EQ(1u, nr_looks);
	/* The pass itself had come to its end. */
	EXPECT_FALSE(self->result.cut);
	EXPECT_FALSE(self->result.aging);
	left = nr_backed(self->slabs, NR_SLABS);
	EXPECT_LT(0u, left);
	EXPECT_GT(NR_SLABS, left);
	EXPECT_EQ(0u, nr_backed(self->slabs, NR_SLABS - left));

	/* What was looked at is not looked at again, */
	nr_waiting = 0;
	write_to(self->slabs);
	ASSERT_EQ(0, purge_run(&self->order, &self->result));
	EXPECT_TRUE(self->result.audited);
	EXPECT_EQ(1u, nr_backed(self->slabs, NR_SLABS));
	EXPECT_EQ(0u, nr_runs_backed(self));
	/* but by the next audit. */
	ASSERT_EQ(0, purge_run(&self->order, &self->result));
	EXPECT_TRUE(self->result.audited);
	EXPECT_EQ(0u, nr_backed(self->slabs, NR_SLABS));
}

/* Each pass takes a step; runs one by one, none of them twice. */
TEST_F(audit, comes_to_its_end_step_by_step)
{
	struct pass pass = {
		.order = &self->order,
		.result = &self->result,
		.now_ms = clock_coarse_ms(),
	};
	unsigned int left, nr = 0;

	lock_take(&pass_lock);
	batch_open(&pass);
	while (nr_backed(self->slabs, NR_SLABS))
		ASSERT_TRUE(audit_step(&pass));
	for (left = nr_runs_backed(self); audit_step(&pass); nr++)
		EXPECT_EQ(--left, nr_runs_backed(self));
	EXPECT_EQ(NR_RUNS - 1, nr);
	EXPECT_EQ(0u, nr_runs_backed(self));
	batch_close();
	lock_release(&pass_lock);
}

/* As malloc_trim() is promised. */
TEST_F(audit, of_a_pass_that_does_not_yield_is_finished)
{
	self->order.yields = false;
	wait_from = 1;
	ASSERT_EQ(0, purge_run(&self->order, &self->result));
	EXPECT_TRUE(self->result.audited);
	EXPECT_EQ(0u, nr_backed(self->slabs, NR_SLABS));
	EXPECT_EQ(0u, nr_runs_backed(self));
}

TEST_HARNESS_MAIN
