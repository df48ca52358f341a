/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ebbmalloc tests - Reclaim policy, with a fake clock
 */
#include "reclaim/policy.h"
#include "harness.h"

#define LIMIT	(64 * MIB)

/* A process in the middle of its life: aging, at ease, default options. */
FIXTURE(policy)
{
	struct policy_input in;
	struct policy_decision out;
};

FIXTURE_SETUP(policy)
{
	self->in = (struct policy_input){
		.now_ms = 100000,
		.limit = LIMIT,
		.headroom = LIMIT / 2,
		.dirty = 10 * MIB,
		.conf = {
			.decay_ms = 500,
			.lazy_ms = 150,
			.over_part = 8,
			.young_ms = 100,
			.drop_ms = 500,
			.mild_ms = 20,
			.tick_min_ms = 10,
			.tick_max_ms = 1000,
			.tight = LIMIT / 4,
			.low = LIMIT / 16,
			.drop = 25 * MIB,
			.dirty_min = MIB,
			.dirty_max = 50 * MIB,
			.refault = 32 * MIB,
			.refault_max = 8,
		},
		.state = {
			.known = true,
			.aging = true,
			.last_pass_ms = 99000,
			.dirty_left = 10 * MIB,
		},
	};
}

FIXTURE_TEARDOWN(policy)
{
}

static void decide(struct policy_input *in, struct policy_decision *out)
{
	*out = policy_decide(in);
	in->state = out->state;
	in->pressure = PRESSURE_NONE;
	in->woken = false;
}

/* Run the pass that was asked for; it found @found bytes. */
static void answer(struct policy_input *in, const struct policy_decision *out,
		   uint64_t found, bool aging)
{
	struct purge_result result = {
		.clean_bytes = found,
		.dirty_left = in->dirty - found,
		.aging = aging,
	};

	in->state = policy_note(out, &in->conf, &result, in->now_ms);
	in->dirty -= found;
}

TEST_F(policy, calm_uses_the_options_ages)
{
	decide(&self->in, &self->out);
	EXPECT_TRUE(self->out.run);
	EXPECT_EQ(150u, self->out.order.lazy_age_ms);
	EXPECT_EQ(500u, self->out.order.clean_age_ms);
	EXPECT_FALSE(self->out.order.force);
}

TEST_F(policy, what_is_seen_is_told_whether_answered_or_not)
{
	decide(&self->in, &self->out);
	EXPECT_EQ(PRESSURE_NONE, self->out.seen);
	self->in.pressure = PRESSURE_MILD;
	decide(&self->in, &self->out);
	EXPECT_EQ(PRESSURE_MILD, self->out.seen);
	/* Kept, to be answered later, but seen once. */
	decide(&self->in, &self->out);
	EXPECT_EQ(PRESSURE_NONE, self->out.seen);
	self->in.dirty = 0;
	self->in.headroom = LIMIT / 17;
	for (int i = 0; i < 3; i++) {
		self->in.pressure = PRESSURE_MILD;
		decide(&self->in, &self->out);
		EXPECT_EQ(PRESSURE_SEVERE, self->out.seen);
		answer(&self->in, &self->out, 0, false);
		self->in.now_ms += 1000;
	}
}

TEST_F(policy, who_listens_has_headroom_looked_at)
{
	self->in.dirty = 0;
	self->in.state.dirty_left = 0;
	self->in.state.aging = false;
	self->in.state.nr_empty = 1;
	decide(&self->in, &self->out);
	EXPECT_EQ(0u, self->out.tick_ms);
	self->in.listened = true;
	decide(&self->in, &self->out);
	EXPECT_EQ(1000u, self->out.tick_ms);
	/* The more often the less there is. */
	self->in.headroom = LIMIT / 8;
	decide(&self->in, &self->out);
	EXPECT_GE(510u, self->out.tick_ms);
	EXPECT_LE(490u, self->out.tick_ms);
	self->in.limit = CGROUP_NO_LIMIT;
	decide(&self->in, &self->out);
	EXPECT_EQ(0u, self->out.tick_ms);
}

TEST_F(policy, tick_is_the_lazy_age)
{
	self->in.state.last_pass_ms = self->in.now_ms;
	decide(&self->in, &self->out);
	EXPECT_FALSE(self->out.run);
	EXPECT_EQ(150u, self->out.tick_ms);
}

TEST_F(policy, tick_is_never_below_ten_ms)
{
	self->in.state.last_pass_ms = self->in.now_ms;
	self->in.conf.lazy_ms = 0;
	self->in.conf.decay_ms = 0;
	decide(&self->in, &self->out);
	EXPECT_FALSE(self->out.run);
	EXPECT_EQ(10u, self->out.tick_ms);
	EXPECT_EQ(0u, self->out.order.clean_age_ms);
}

TEST_F(policy, tick_backs_off_while_nothing_is_found)
{
	for (int i = 0; i < 8; i++) {
		decide(&self->in, &self->out);
		ASSERT_TRUE(self->out.run);
		answer(&self->in, &self->out, 0, true);
		self->in.now_ms += 1000;
	}
	self->in.now_ms = self->in.state.last_pass_ms;
	decide(&self->in, &self->out);
	EXPECT_EQ(250u, self->out.tick_ms);

	self->in.conf.decay_ms = -1;
	decide(&self->in, &self->out);
	EXPECT_EQ(1000u, self->out.tick_ms);
}

TEST_F(policy, tick_does_not_back_off_after_a_drop)
{
	self->in.conf.drop = 5 * MIB;
	self->in.conf.dirty_max = 0;
	self->in.conf.decay_ms = 10000;
	self->in.state.nr_empty = 8;
	self->in.state.last_pass_ms = self->in.now_ms;
	decide(&self->in, &self->out);
	EXPECT_EQ(150u, self->out.tick_ms);
	EXPECT_EQ(500u, self->out.order.clean_age_ms);
}

TEST_F(policy, idle_process_is_not_woken)
{
	self->in.dirty = 0;
	self->in.state.aging = false;
	decide(&self->in, &self->out);
	EXPECT_FALSE(self->out.run);
	EXPECT_EQ(0u, self->out.tick_ms);
	EXPECT_EQ(0u, self->out.wake_dirty);
}

TEST_F(policy, dirty_memory_that_ages_no_more_costs_one_look_a_second)
{
	self->in.state.aging = false;
	decide(&self->in, &self->out);
	EXPECT_FALSE(self->out.run);
	EXPECT_EQ(1000u, self->out.tick_ms);

	self->in.limit = self->in.headroom = CGROUP_NO_LIMIT;
	decide(&self->in, &self->out);
	EXPECT_EQ(0u, self->out.tick_ms);
}

TEST_F(policy, a_wake_starts_aging_again)
{
	self->in.state.aging = false;
	self->in.woken = true;
	decide(&self->in, &self->out);
	EXPECT_TRUE(self->out.run);
}

TEST_F(policy, the_first_look_runs_a_pass)
{
	self->in.state = (struct policy_state){ 0 };
	decide(&self->in, &self->out);
	EXPECT_TRUE(self->out.run);
	EXPECT_FALSE(self->out.order.force);
}

TEST_F(policy, ages_shrink_with_headroom_below_a_quarter)
{
	self->in.headroom = LIMIT / 4;
	decide(&self->in, &self->out);
	EXPECT_EQ(500u, self->out.order.clean_age_ms);

	self->in.headroom = LIMIT / 8;
	decide(&self->in, &self->out);
	EXPECT_GE(250u, self->out.order.clean_age_ms);
	EXPECT_LE(240u, self->out.order.clean_age_ms);
	EXPECT_GE(75u, self->out.order.lazy_age_ms);
	EXPECT_LE(70u, self->out.order.lazy_age_ms);
	EXPECT_FALSE(self->out.order.force);
}

TEST_F(policy, ages_are_least_from_high_on)
{
	self->in.conf.soft = LIMIT / 10;
	self->in.headroom = LIMIT / 10;
	decide(&self->in, &self->out);
	EXPECT_TRUE(self->out.run);
	EXPECT_FALSE(self->out.order.force);
	EXPECT_EQ(20u, self->out.order.clean_age_ms);
	EXPECT_EQ(PURGE_NEVER, self->out.order.lazy_age_ms);
}

TEST_F(policy, budget_shrinks_with_headroom)
{
	self->in.conf.dirty_max = 16 * MIB;
	decide(&self->in, &self->out);
	EXPECT_FALSE(self->out.over);

	self->in.headroom = LIMIT / 8;
	decide(&self->in, &self->out);
	EXPECT_TRUE(self->out.over);
	EXPECT_LE(2 * MIB, self->out.order.want_bytes);
	EXPECT_GE(3 * MIB, self->out.order.want_bytes);
}

/* @mib a second are retaken for @seconds; how many times ages are raised. */
static uint32_t retake(struct policy_input *in, uint64_t mib, int seconds)
{
	struct policy_decision out;

	while (seconds--) {
		in->now_ms += 1000;
		in->retaken += mib * MIB;
		decide(in, &out);
	}
	return out.order.clean_age_ms / 500;
}

TEST_F(policy, what_is_retaken_at_once_ages_longer)
{
	ASSERT_EQ(1u, retake(&self->in, 0, 1));
	EXPECT_EQ(1u, retake(&self->in, 31, 3));
	EXPECT_EQ(2u, retake(&self->in, 33, 1));
	EXPECT_EQ(4u, retake(&self->in, 33, 1));
	EXPECT_EQ(8u, retake(&self->in, 33, 10));
	/* Between a quarter and the whole of the bound it stays. */
	EXPECT_EQ(8u, retake(&self->in, 20, 10));
	EXPECT_EQ(4u, retake(&self->in, 7, 1));
	EXPECT_EQ(1u, retake(&self->in, 0, 5));
}

TEST_F(policy, ages_fall_after_a_long_sleep)
{
	retake(&self->in, 0, 1);
	ASSERT_EQ(8u, retake(&self->in, 100, 5));
	self->in.now_ms += 60000;
	decide(&self->in, &self->out);
	EXPECT_EQ(500u, self->out.order.clean_age_ms);
}

TEST_F(policy, refault_of_zero_never_raises)
{
	self->in.conf.refault = 0;
	EXPECT_EQ(1u, retake(&self->in, 1000, 10));
}

TEST_F(policy, raised_ages_yield_to_severe)
{
	retake(&self->in, 0, 1);
	retake(&self->in, 100, 5);
	self->in.headroom = 0;
	decide(&self->in, &self->out);
	EXPECT_TRUE(self->out.order.force);
}

TEST_F(policy, little_dirty_memory_is_in_no_hurry)
{
	self->in.dirty = MIB;
	self->in.state.last_pass_ms = self->in.now_ms - 500;
	decide(&self->in, &self->out);
	EXPECT_FALSE(self->out.run);
	EXPECT_EQ(500u, self->out.tick_ms);
	EXPECT_EQ(PURGE_NEVER, self->out.order.lazy_age_ms);

	/* Near the limit it is. */
	self->in.headroom = LIMIT / 8;
	decide(&self->in, &self->out);
	EXPECT_TRUE(self->out.run);
}

/* One free a millisecond, a pass takes all: at most one look a second. */
TEST_F(policy, a_calm_process_is_woken_once_a_second)
{
	uint64_t start = self->in.now_ms, next = start;
	int nr_looks = 0;

	self->in.dirty = 0;
	self->in.state.dirty_left = 0;
	while (self->in.now_ms < start + 10000) {
		bool due = next && self->in.now_ms >= next;

		self->in.now_ms++;
		self->in.dirty += 512;
		if (!due && self->in.dirty < self->out.wake_dirty)
			continue;
		nr_looks++;
		self->in.woken = !due;
		decide(&self->in, &self->out);
		if (self->out.run) {
			answer(&self->in, &self->out, self->in.dirty, false);
			decide(&self->in, &self->out);
		}
		next = self->out.tick_ms ?
		       self->in.now_ms + self->out.tick_ms : 0;
	}
	EXPECT_GE(11, nr_looks);
	EXPECT_LE(5, nr_looks);
}

TEST_F(policy, headroom_is_looked_at_more_often_as_it_shrinks)
{
	self->in.state.aging = false;
	self->in.state.nr_empty = 1;
	decide(&self->in, &self->out);
	EXPECT_EQ(1000u, self->out.tick_ms);
	self->in.headroom = LIMIT / 8;
	self->in.conf.dirty_max = 0;
	decide(&self->in, &self->out);
	EXPECT_GE(500u, self->out.tick_ms);
	EXPECT_LE(400u, self->out.tick_ms);
	self->in.conf.soft = LIMIT / 8;
	decide(&self->in, &self->out);
	EXPECT_EQ(10u, self->out.tick_ms);
}

TEST_F(policy, low_headroom_forces_everything)
{
	self->in.headroom = LIMIT / 16 - 1;
	decide(&self->in, &self->out);
	EXPECT_TRUE(self->out.run);
	EXPECT_TRUE(self->out.order.force);
	EXPECT_TRUE(self->out.order.drain);
	EXPECT_EQ(0u, self->out.order.clean_age_ms);
}

TEST_F(policy, no_limit_is_never_low)
{
	self->in.limit = self->in.headroom = CGROUP_NO_LIMIT;
	decide(&self->in, &self->out);
	EXPECT_FALSE(self->out.order.force);
	EXPECT_EQ(500u, self->out.order.clean_age_ms);
}

TEST_F(policy, huge_limits_do_not_overflow)
{
	self->in.limit = 1ULL << 61;
	self->in.headroom = 1ULL << 58;
	self->in.conf.tight = self->in.limit / 4;
	decide(&self->in, &self->out);
	EXPECT_FALSE(self->out.order.force);
	EXPECT_LE(249u, self->out.order.clean_age_ms);
	EXPECT_GE(250u, self->out.order.clean_age_ms);
}

TEST_F(policy, severe_event_forces_at_once_though_a_pass_just_ended)
{
	self->in.state.last_pass_ms = self->in.now_ms;
	self->in.pressure = PRESSURE_SEVERE;
	decide(&self->in, &self->out);
	EXPECT_TRUE(self->out.run);
	EXPECT_TRUE(self->out.order.force);
}

TEST_F(policy, severe_event_forces_with_nothing_dirty)
{
	self->in.dirty = 0;
	self->in.state.aging = false;
	self->in.pressure = PRESSURE_SEVERE;
	decide(&self->in, &self->out);
	EXPECT_TRUE(self->out.run);
	EXPECT_TRUE(self->out.order.drain);
}

TEST_F(policy, forced_passes_are_ten_ms_apart)
{
	self->in.pressure = PRESSURE_SEVERE;
	decide(&self->in, &self->out);
	answer(&self->in, &self->out, MIB, true);

	self->in.now_ms += 4;
	self->in.pressure = PRESSURE_SEVERE;
	decide(&self->in, &self->out);
	EXPECT_FALSE(self->out.run);
	EXPECT_EQ(6u, self->out.tick_ms);

	self->in.now_ms += 6;
	decide(&self->in, &self->out);
	EXPECT_TRUE(self->out.run);
	EXPECT_TRUE(self->out.order.force);
}

/* A thread that waited for its turn wanted some memory, others still want it. */
TEST_F(policy, a_forced_pass_that_was_cut_short_is_run_again)
{
	const struct purge_result cut = { .clean_bytes = MIB, .cut = true };

	self->in.pressure = PRESSURE_SEVERE;
	decide(&self->in, &self->out);
	self->in.state = policy_note(&self->out, &self->in.conf, &cut,
				     self->in.now_ms);
	self->in.pressure = PRESSURE_NONE;
	decide(&self->in, &self->out);
	EXPECT_FALSE(self->out.run);

	self->in.now_ms += 10;
	decide(&self->in, &self->out);
	EXPECT_TRUE(self->out.run);
	EXPECT_TRUE(self->out.order.force);
}

TEST_F(policy, forced_passes_that_find_nothing_back_off_to_a_second)
{
	uint32_t gap = 0;

	for (int i = 0; i < 12; i++) {
		self->in.pressure = PRESSURE_SEVERE;
		decide(&self->in, &self->out);
		ASSERT_TRUE(self->out.run);
		answer(&self->in, &self->out, 0, false);
		EXPECT_LE(gap, self->in.state.forced_gap_ms);
		gap = self->in.state.forced_gap_ms;
		self->in.now_ms = self->in.state.forced_after_ms;
	}
	EXPECT_EQ(1000u, gap);

	self->in.pressure = PRESSURE_SEVERE;
	decide(&self->in, &self->out);
	answer(&self->in, &self->out, MIB, false);
	EXPECT_EQ(10u, self->in.state.forced_gap_ms);
}

/* Low headroom; all that a pass gives back is taken again until the next. */
static uint64_t thrash(struct policy_input *in, uint64_t bytes, uint64_t taken)
{
	struct policy_decision out;
	uint64_t before = in->now_ms;

	in->headroom = LIMIT / 32;
	in->conf.soft = LIMIT / 10;
	for (int i = 0; i < 20; i++) {
		before = in->now_ms;
		for (decide(in, &out); !out.run; decide(in, &out))
			in->now_ms += max(out.tick_ms, 1u);
		answer(in, &out, bytes, true);
		in->dirty += bytes;
		in->retaken += taken;
	}
	return in->now_ms - before;
}

TEST_F(policy, what_is_given_back_in_vain_is_so_less_often)
{
	EXPECT_EQ(10u, thrash(&self->in, 4 * MIB, 4 * MIB / 4));
	EXPECT_EQ(1000u, thrash(&self->in, 4 * MIB, 4 * MIB));
	EXPECT_EQ(10u, thrash(&self->in, 4 * MIB, 0));
	/* So little is not judged. */
	EXPECT_EQ(10u, thrash(&self->in, MIB / 4, MIB / 4));
}

/* Usage may cross a threshold to and fro; who waits is no such thing. */
TEST_F(policy, who_waits_is_heard_sooner_than_a_level)
{
	thrash(&self->in, 4 * MIB, 4 * MIB);
	self->in.now_ms = self->in.state.last_pass_ms + 79;
	self->in.pressure = PRESSURE_SEVERE;
	self->in.asked = true;
	decide(&self->in, &self->out);
	EXPECT_FALSE(self->out.run);
	self->in.asked = false;
	self->in.now_ms++;
	decide(&self->in, &self->out);
	EXPECT_TRUE(self->out.run);
	answer(&self->in, &self->out, 4 * MIB, true);
	self->in.dirty += 4 * MIB;
	self->in.retaken += 4 * MIB;
	/* It was answered; the next is for a level. */
	self->in.now_ms += 80;
	self->in.pressure = PRESSURE_SEVERE;
	decide(&self->in, &self->out);
	EXPECT_FALSE(self->out.run);
	EXPECT_EQ(10u, self->out.tick_ms);
}

TEST_F(policy, what_else_is_freed_is_not_in_vain)
{
	thrash(&self->in, 4 * MIB, 4 * MIB);
	self->in.now_ms = self->in.state.last_pass_ms + 10;
	decide(&self->in, &self->out);
	EXPECT_FALSE(self->out.run);
	self->in.dirty = 20 * MIB;
	decide(&self->in, &self->out);
	EXPECT_TRUE(self->out.run);
	EXPECT_TRUE(self->out.order.force);
}

TEST_F(policy, what_headroom_falls_to_counts_anew)
{
	thrash(&self->in, 4 * MIB, 4 * MIB);
	self->in.now_ms = self->in.state.last_pass_ms + 10;
	decide(&self->in, &self->out);
	EXPECT_FALSE(self->out.run);
	/* It is looked at, though no pass is due for a second. */
	EXPECT_EQ(10u, self->out.tick_ms);
	self->in.headroom = LIMIT / 100;
	decide(&self->in, &self->out);
	EXPECT_TRUE(self->out.run);
}

TEST_F(policy, low_headroom_with_nothing_to_give_sleeps)
{
	self->in.headroom = 0;
	self->in.dirty = 0;
	self->in.state.aging = false;
	decide(&self->in, &self->out);
	ASSERT_TRUE(self->out.run);
	answer(&self->in, &self->out, 0, false);

	self->in.now_ms += 5000;
	decide(&self->in, &self->out);
	EXPECT_FALSE(self->out.run);
	EXPECT_EQ(0u, self->out.tick_ms);

	/* Once it has been at ease, the next time counts again. */
	self->in.headroom = LIMIT / 2;
	decide(&self->in, &self->out);
	self->in.headroom = 0;
	decide(&self->in, &self->out);
	EXPECT_TRUE(self->out.run);
}

TEST_F(policy, mild_event_takes_what_is_older_than_twenty_ms)
{
	self->in.state.last_pass_ms = self->in.now_ms - 10;
	self->in.pressure = PRESSURE_MILD;
	decide(&self->in, &self->out);
	EXPECT_TRUE(self->out.run);
	EXPECT_FALSE(self->out.order.force);
	EXPECT_EQ(20u, self->out.order.clean_age_ms);
	answer(&self->in, &self->out, MIB, true);
	EXPECT_TRUE(self->in.state.pending == PRESSURE_NONE);
}

TEST_F(policy, calm_pass_does_not_answer_a_severe_event)
{
	struct policy_decision calm = {
		.state = { .pending = PRESSURE_SEVERE },
	};
	struct purge_result result = { 0 };

	self->in.state = policy_note(&calm, &self->in.conf, &result,
				     self->in.now_ms);
	EXPECT_TRUE(self->in.state.pending == PRESSURE_SEVERE);
}

TEST_F(policy, over_dirty_max_what_was_freed_just_now_may_be_wanted_again)
{
	self->in.conf.dirty_max = 5 * MIB;
	self->in.conf.decay_ms = 60000;
	self->in.state.last_pass_ms = self->in.now_ms - 10;
	decide(&self->in, &self->out);
	EXPECT_TRUE(self->out.run);
	EXPECT_EQ(7500u, self->out.order.clean_age_ms);
	answer(&self->in, &self->out, MIB, true);

	self->in.now_ms += 10;
	self->in.state.refault_ms = self->in.now_ms;
	decide(&self->in, &self->out);
	EXPECT_TRUE(self->out.run);
	EXPECT_EQ(100u, self->out.order.clean_age_ms);
	answer(&self->in, &self->out, MIB, true);

	self->in.now_ms += 10;
	self->in.state.raised = 8;
	decide(&self->in, &self->out);
	EXPECT_EQ(800u, self->out.order.clean_age_ms);

	self->in.conf.young_ms = 0;
	decide(&self->in, &self->out);
	EXPECT_EQ(0u, self->out.order.clean_age_ms);
}

TEST_F(policy, crossing_dirty_max_cleans_old_first_and_then_all)
{
	self->in.conf.dirty_max = 5 * MIB;
	self->in.headroom = LIMIT / 4 - MIB;
	self->in.state.last_pass_ms = self->in.now_ms - 10;
	decide(&self->in, &self->out);
	EXPECT_TRUE(self->out.run);
	EXPECT_TRUE(self->out.over);
	EXPECT_EQ(62u, self->out.order.clean_age_ms);
	answer(&self->in, &self->out, MIB, true);

	self->in.now_ms += 10;
	decide(&self->in, &self->out);
	EXPECT_TRUE(self->out.run);
	EXPECT_EQ(0u, self->out.order.clean_age_ms);
	answer(&self->in, &self->out, 9 * MIB, false);

	self->in.now_ms += 10;
	decide(&self->in, &self->out);
	EXPECT_FALSE(self->out.run);
	EXPECT_FALSE(self->out.over);
}

TEST_F(policy, over_part_says_what_goes_first)
{
	self->in.conf.dirty_max = 5 * MIB;
	self->in.conf.over_part = 1;
	decide(&self->in, &self->out);
	EXPECT_EQ(500u, self->out.order.clean_age_ms);

	self->in.conf.over_part = 100;
	self->in.state.over = false;
	decide(&self->in, &self->out);
	EXPECT_EQ(5u, self->out.order.clean_age_ms);
}

TEST_F(policy, memory_over_dirty_max_that_cannot_go_is_not_hammered)
{
	uint64_t start = self->in.now_ms;
	int nr_passes = 0;

	self->in.conf.dirty_max = MIB;
	while (self->in.now_ms < start + 10000) {
		decide(&self->in, &self->out);
		if (self->out.run) {
			nr_passes++;
			answer(&self->in, &self->out, 0, true);
		}
		self->in.now_ms++;
	}
	EXPECT_GE(60, nr_passes);
}

TEST_F(policy, memory_that_is_locked_is_tried_ever_more_rarely)
{
	struct purge_result result = { .refused_bytes = 10 * MIB,
				       .dirty_left = 10 * MIB, .aging = true };
	uint64_t start = self->in.now_ms;
	int nr_passes = 0;

	while (self->in.now_ms < start + 600000) {
		decide(&self->in, &self->out);
		if (self->out.run) {
			self->in.state = policy_note(&self->out, &self->in.conf,
						     &result, self->in.now_ms);
			/* What waits its age again is not refused each time. */
			result.refused_bytes ^= 10 * MIB;
			nr_passes++;
		}
		self->in.now_ms += max(self->out.tick_ms, 1u);
	}
	EXPECT_GE(20, nr_passes);
	EXPECT_LE(10, nr_passes);
	/* What else is freed wakes at once, and is seen to in time. */
	self->in.now_ms = self->in.state.last_pass_ms + 1;
	decide(&self->in, &self->out);
	ASSERT_FALSE(self->out.run);
	EXPECT_EQ(0u, self->out.wake_dirty);
	self->in.dirty += MIB;
	self->in.woken = true;
	decide(&self->in, &self->out);
	EXPECT_TRUE(self->out.run || self->out.tick_ms <= 1000);
	/* It was taken into use: what is freed now is other memory. */
	self->in.dirty = MIB;
	decide(&self->in, &self->out);
	self->in.state = self->out.state;
	self->in.dirty = 10 * MIB;
	decide(&self->in, &self->out);
	EXPECT_TRUE(self->out.run || self->out.tick_ms <= 1000);
}

TEST_F(policy, never_yields_to_pressure_and_dirty_max_only)
{
	self->in.conf.decay_ms = self->in.conf.lazy_ms = -1;
	decide(&self->in, &self->out);
	EXPECT_FALSE(self->out.run);
	EXPECT_EQ(PURGE_NEVER, self->out.order.clean_age_ms);
	EXPECT_EQ(PURGE_NEVER, self->out.order.lazy_age_ms);
	EXPECT_EQ(1000u, self->out.tick_ms);
	EXPECT_EQ(self->in.conf.dirty_max, self->out.wake_dirty);

	self->in.dirty = self->in.conf.dirty_max + 1;
	decide(&self->in, &self->out);
	EXPECT_TRUE(self->out.run);
	EXPECT_EQ(62u, self->out.order.clean_age_ms);

	self->in.dirty = MIB;
	self->in.pressure = PRESSURE_SEVERE;
	decide(&self->in, &self->out);
	EXPECT_TRUE(self->out.order.force);
}

TEST_F(policy, no_lazy_step_where_the_kernel_would_not_take_it)
{
	self->in.protected = true;
	decide(&self->in, &self->out);
	EXPECT_EQ(PURGE_NEVER, self->out.order.lazy_age_ms);
	EXPECT_EQ(500u, self->out.order.clean_age_ms);
}

TEST_F(policy, no_lazy_step_where_clean_comes_first)
{
	self->in.conf.decay_ms = 100;
	decide(&self->in, &self->out);
	EXPECT_EQ(PURGE_NEVER, self->out.order.lazy_age_ms);
	EXPECT_EQ(100u, self->out.order.clean_age_ms);
}

TEST_F(policy, a_doze_ends_at_dirty_max)
{
	self->in.state.last_pass_ms = self->in.now_ms;
	self->in.conf.dirty_max = 11 * MIB;
	decide(&self->in, &self->out);
	EXPECT_EQ(11 * MIB, self->out.wake_dirty);

	self->in.conf.dirty_max = 0;
	decide(&self->in, &self->out);
	EXPECT_LT(self->in.dirty, self->out.wake_dirty);
	EXPECT_GE(2 * self->in.dirty, self->out.wake_dirty);
}

/* Everything freed at once, and a pass finds what is old enough. */
TEST_F(policy, freed_memory_is_clean_within_a_second)
{
	uint64_t freed = self->in.now_ms, passes = 0;
	uint32_t age;

	self->in.conf.dirty_max = 0;
	while (self->in.dirty && self->in.now_ms < freed + 2000) {
		decide(&self->in, &self->out);
		age = (uint32_t)(self->in.now_ms - freed);
		if (self->out.run) {
			bool old = age >= self->out.order.clean_age_ms;

			answer(&self->in, &self->out,
			       old ? self->in.dirty : 0, !old);
			passes++;
			continue;
		}
		self->in.now_ms += self->out.tick_ms;
	}
	EXPECT_GE(freed + 800, self->in.now_ms);
	EXPECT_GE(8u, passes);
}

TEST_HARNESS_MAIN
