/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ebbmalloc tests - Pressure sources on fake cgroup trees
 */
#include <errno.h>
#include <poll.h>
#include "base/clock.h"
#include "base/log.h"
#include "reclaim/app.h"
#include "reclaim/source.h"
#include "harness.h"
#include "unit/fake_tree.h"

FIXTURE(source)
{
	struct fake_tree tree;
	struct cgroup_view view;
	struct signals signals;
	char report[4096];
};

FIXTURE_SETUP(source)
{
	ASSERT_TRUE(fake_tree_make(&self->tree));
}

FIXTURE_TEARDOWN(source)
{
	EXPECT_TRUE(fake_tree_remove(&self->tree));
}

static void make_v1(const struct fake_tree *tree)
{
	fake_tree_put_proc(tree, "4:memory:/a/b\n",
			   "35 31 0:32 / /m rw - cgroup cgroup rw,memory\n");
	fake_tree_put(tree, "/m/memory.limit_in_bytes",
		      "9223372036854771712\n");
	fake_tree_put(tree, "/m/memory.usage_in_bytes", "90000000\n");
	fake_tree_put(tree, "/m/a/memory.limit_in_bytes", "60000000\n");
	fake_tree_put(tree, "/m/a/memory.usage_in_bytes", "20000000\n");
	fake_tree_put(tree, "/m/a/b/memory.limit_in_bytes", "50000000\n");
	fake_tree_put(tree, "/m/a/b/memory.usage_in_bytes", "20000000\n");
}

static void make_v2(const struct fake_tree *tree)
{
	fake_tree_put_proc(tree, "0::/a/b\n",
			   "35 31 0:32 / /u rw - cgroup2 cgroup2 rw\n");
	fake_tree_put(tree, "/u/a/memory.max", "max\n");
	fake_tree_put(tree, "/u/a/memory.high", "max\n");
	fake_tree_put(tree, "/u/a/memory.current", "30000000\n");
	fake_tree_put(tree, "/u/a/b/memory.max", "50000000\n");
	fake_tree_put(tree, "/u/a/b/memory.high", "40000000\n");
	fake_tree_put(tree, "/u/a/b/memory.current", "10000000\n");
	fake_tree_put(tree, "/u/a/b/memory.min", "0\n");
	fake_tree_put(tree, "/u/a/b/memory.events",
		      "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n");
}

static void open_all(struct cgroup_view *view, const struct fake_tree *tree,
		     const char *no_table)
{
	cgroup_find(tree->top, view);
	source_open_all(view, no_table);
}

static void sample(struct signals *signals)
{
	signals_init(signals, clock_ms());
	source_sample_all(signals);
}

TEST_F(source, headroom_v1_is_the_least_along_the_path)
{
	make_v1(&self->tree);
	open_all(&self->view, &self->tree, NULL);
	EXPECT_TRUE(headroom_source.state == SOURCE_LIVE);
	sample(&self->signals);
	EXPECT_EQ(30000000u, self->signals.headroom);
	EXPECT_EQ(50000000u, self->signals.limit);

	fake_tree_put(&self->tree, "/m/a/memory.usage_in_bytes", "45000000\n");
	sample(&self->signals);
	EXPECT_EQ(15000000u, self->signals.headroom);
	EXPECT_EQ(60000000u, self->signals.limit);
}

TEST_F(source, headroom_v2_is_below_high)
{
	make_v2(&self->tree);
	open_all(&self->view, &self->tree, NULL);
	sample(&self->signals);
	EXPECT_EQ(30000000u, self->signals.headroom);
	EXPECT_EQ(40000000u, self->signals.limit);
	EXPECT_FALSE(self->signals.protected);
}

TEST_F(source, headroom_follows_limits_that_change)
{
	make_v2(&self->tree);
	open_all(&self->view, &self->tree, NULL);
	fake_tree_put(&self->tree, "/u/a/b/memory.high", "max\n");
	sample(&self->signals);
	EXPECT_EQ(50000000u, self->signals.limit);
	fake_tree_put(&self->tree, "/u/a/b/memory.max", "max\n");
	sample(&self->signals);
	EXPECT_EQ(CGROUP_NO_LIMIT, self->signals.limit);
	EXPECT_EQ(CGROUP_NO_LIMIT, self->signals.headroom);
	fake_tree_put(&self->tree, "/u/a/memory.max", "30000001\n");
	sample(&self->signals);
	EXPECT_EQ(1u, self->signals.headroom);
}

TEST_F(source, headroom_above_the_limit_is_none)
{
	make_v2(&self->tree);
	open_all(&self->view, &self->tree, NULL);
	fake_tree_put(&self->tree, "/u/a/b/memory.current", "40000001\n");
	sample(&self->signals);
	EXPECT_EQ(0u, self->signals.headroom);
}

TEST_F(source, droppable_file_cache_is_room_where_room_is_short)
{
	make_v1(&self->tree);
	fake_tree_put(&self->tree, "/m/a/b/memory.stat",
		      "inactive_file 7\ntotal_inactive_file 5000000\n");
	open_all(&self->view, &self->tree, NULL);
	sample(&self->signals);
	EXPECT_EQ(30000000u, self->signals.headroom);
	fake_tree_put(&self->tree, "/m/a/b/memory.usage_in_bytes",
		      "49000000\n");
	sample(&self->signals);
	EXPECT_EQ(6000000u, self->signals.headroom);
}

TEST_F(source, memory_min_is_seen)
{
	make_v2(&self->tree);
	fake_tree_put(&self->tree, "/u/a/b/memory.min", "1048576\n");
	open_all(&self->view, &self->tree, NULL);
	sample(&self->signals);
	EXPECT_TRUE(self->signals.protected);
}

TEST_F(source, without_a_private_table_headroom_alone_is_live)
{
	make_v2(&self->tree);
	open_all(&self->view, &self->tree, "no private file table");
	EXPECT_TRUE(headroom_source.state == SOURCE_LIVE);
	EXPECT_TRUE(cgroup2_source.state == SOURCE_UNAVAILABLE);
	EXPECT_TRUE(psi_source.state == SOURCE_UNAVAILABLE);
	EXPECT_STREQ("no private file table", cgroup2_source.reason);
	sample(&self->signals);
	EXPECT_EQ(30000000u, self->signals.headroom);
	fake_tree_put(&self->tree, "/u/a/b/memory.current", "20000000\n");
	sample(&self->signals);
	EXPECT_EQ(20000000u, self->signals.headroom);
}

TEST_F(source, without_a_cgroup_each_has_a_reason)
{
	fake_tree_put_proc(&self->tree, "", "");
	open_all(&self->view, &self->tree, NULL);
	for (unsigned int i = 0; source_at(i); i++) {
		const struct source *source = source_at(i);

		ASSERT_NE(NULL, source->reason);
		EXPECT_NE('\0', source->reason[0]);
		if (source != &psi_source && source != &app_source)
			EXPECT_TRUE(source->state == SOURCE_UNAVAILABLE);
	}
	sample(&self->signals);
	EXPECT_EQ(CGROUP_NO_LIMIT, self->signals.headroom);
}

/* What cgroup2 says once memory.events holds @text. */
static enum pressure events_say(const struct fake_tree *tree,
				struct signals *signals, const char *text)
{
	struct pollfd set[SOURCE_MAX_FDS * 4];
	unsigned int nr = source_poll_set(set, ARRAY_LEN(set));

	fake_tree_put(tree, "/u/a/b/memory.events", text);
	for (unsigned int i = 0; i < nr; i++)
		set[i].revents = set[i].fd == cgroup2_source.fds[0] ?
				 POLLPRI | POLLERR : 0;
	signals_init(signals, clock_ms());
	source_dispatch(set, nr, signals);
	return signals->pressure;
}

TEST_F(source, memory_events_are_graded)
{
	make_v2(&self->tree);
	open_all(&self->view, &self->tree, NULL);
	ASSERT_TRUE(cgroup2_source.state == SOURCE_LIVE);
	EXPECT_TRUE(events_say(&self->tree, &self->signals,
			       "high 0\nmax 0\noom 0\n") == PRESSURE_NONE);
	EXPECT_EQ(0u, self->signals.by_source);
	EXPECT_TRUE(events_say(&self->tree, &self->signals,
			       "high 1\nmax 0\noom 0\n") == PRESSURE_SEVERE);
	EXPECT_NE(0u, self->signals.by_source);
	EXPECT_EQ(1u, cgroup2_source.nr_events);
	EXPECT_TRUE(events_say(&self->tree, &self->signals,
			       "high 1\nmax 0\noom 1\n") == PRESSURE_SEVERE);
}

TEST_F(source, max_events_are_debounced)
{
	make_v2(&self->tree);
	fake_tree_put(&self->tree, "/u/a/b/memory.stat", "anon 9\nfile 1\n");
	open_all(&self->view, &self->tree, NULL);
	EXPECT_TRUE(events_say(&self->tree, &self->signals,
			       "high 0\nmax 1\noom 0\n") == PRESSURE_SEVERE);
	EXPECT_TRUE(events_say(&self->tree, &self->signals,
			       "high 0\nmax 2\noom 0\n") == PRESSURE_NONE);
	sleep_ms(110);
	EXPECT_TRUE(events_say(&self->tree, &self->signals,
			       "high 0\nmax 3\noom 0\n") == PRESSURE_SEVERE);
}

TEST_F(source, max_events_of_file_cache_are_not_pressure)
{
	make_v2(&self->tree);
	fake_tree_put(&self->tree, "/u/a/b/memory.stat", "anon 1\nfile 9\n");
	open_all(&self->view, &self->tree, NULL);
	EXPECT_TRUE(events_say(&self->tree, &self->signals,
			       "high 0\nmax 1\noom 0\n") == PRESSURE_NONE);
}

TEST_F(source, report_has_a_line_for_each)
{
	make_v2(&self->tree);
	open_all(&self->view, &self->tree, NULL);
	events_say(&self->tree, &self->signals, "high 1\nmax 0\noom 0\n");
	source_report(self->report, sizeof(self->report));
	EXPECT_NE(NULL, strstr(self->report,
			       "headroom: live (cgroup v2), 0 events\n"));
	EXPECT_NE(NULL, strstr(self->report, "cgroup2: live (memory.events, by "
			       "inotify), 1 events, last "));
	EXPECT_NE(NULL, strstr(self->report, "cgroup1: unavailable: the memory "
			       "controller is on cgroup v2\n"));
	EXPECT_NE(NULL, strstr(self->report, "watch: unavailable: "
			       "$MEMORY_PRESSURE_WATCH is not set\n"));
	EXPECT_NE(NULL, strstr(self->report, "psi: "));
	EXPECT_NE(NULL, strstr(self->report, "app: live (ebb_pressure()), "
			       "0 events\n"));

	/* Bit 1 is that of cgroup2. */
	source_count_purge(2);
	source_report(self->report, sizeof(self->report));
	EXPECT_NE(NULL, strstr(self->report, "by inotify), 1 events, 1 passes, "
			       "last "));
}

TEST_F(source, report_is_cut_at_the_end_of_the_buffer)
{
	make_v2(&self->tree);
	open_all(&self->view, &self->tree, NULL);
	memset(self->report, 'x', sizeof(self->report));
	EXPECT_EQ(19u, source_report(self->report, 20));
	EXPECT_EQ('\0', self->report[19]);
	EXPECT_EQ('x', self->report[20]);
}

TEST_F(source, reset_shows_that_the_child_has_none)
{
	struct pollfd set[4];

	make_v2(&self->tree);
	open_all(&self->view, &self->tree, NULL);
	source_reset_all();
	EXPECT_EQ(0u, source_poll_set(set, ARRAY_LEN(set)));
	source_report(self->report, sizeof(self->report));
	EXPECT_NE(NULL, strstr(self->report, "cgroup2: unavailable: the "
			       "reclaimer has not run yet\n"));
}

/* === Lost and found, by a clock that only this test moves === */

static void round_at(const struct fake_tree *tree, uint64_t now_ms,
		     struct signals *signals)
{
	signals_init(signals, now_ms);
	source_refind(tree->top, now_ms);
	source_sample_all(signals);
}

/* Another cgroup of the same tree, with less room. */
static void move_to_c(const struct fake_tree *tree)
{
	fake_tree_put(tree, "/u/a/c/memory.max", "20000000\n");
	fake_tree_put(tree, "/u/a/c/memory.high", "max\n");
	fake_tree_put(tree, "/u/a/c/memory.current", "5000000\n");
	fake_tree_put(tree, "/u/a/c/memory.events", "high 0\nmax 0\noom 0\n");
	fake_tree_put(tree, "/proc/thread-self/cgroup", "0::/a/c\n");
}

TEST_F(source, a_move_is_seen_once_a_second)
{
	uint64_t t;

	make_v2(&self->tree);
	open_all(&self->view, &self->tree, NULL);
	t = clock_ms();
	move_to_c(&self->tree);
	round_at(&self->tree, t + SOURCE_CHECK_MS / 2, &self->signals);
	EXPECT_EQ(40000000u, self->signals.limit);
	round_at(&self->tree, t + SOURCE_CHECK_MS, &self->signals);
	EXPECT_EQ(20000000u, self->signals.limit);
	EXPECT_EQ(1u, headroom_source.nr_found);
	EXPECT_EQ(1u, cgroup2_source.nr_found);
	EXPECT_STREQ("/u/a/c", fake_tree_below(&self->tree,
					       self->view.memory.path));
	source_report(self->report, sizeof(self->report));
	EXPECT_NE(NULL, strstr(self->report, "found again 1 times\n"));
}

TEST_F(source, what_stays_the_same_is_left_alone)
{
	int fd;

	make_v2(&self->tree);
	open_all(&self->view, &self->tree, NULL);
	fd = cgroup2_source.fds[0];
	for (uint64_t t = clock_ms(); t < clock_ms() + 100000;
	     t += 5000)
		round_at(&self->tree, t, &self->signals);
	EXPECT_EQ(0u, headroom_source.nr_found);
	EXPECT_EQ(0u, cgroup2_source.nr_found);
	EXPECT_EQ(fd, cgroup2_source.fds[0]);
}

TEST_F(source, a_move_that_cannot_be_read_is_none)
{
	make_v2(&self->tree);
	open_all(&self->view, &self->tree, NULL);
	fake_tree_drop(&self->tree, "/proc/thread-self/cgroup");
	round_at(&self->tree, clock_ms() + 5000, &self->signals);
	EXPECT_TRUE(headroom_source.state == SOURCE_LIVE);
	EXPECT_EQ(40000000u, self->signals.limit);
}

/* Without the file, the tries are 1, 2, 4 ... 60 seconds apart. */
TEST_F(source, tries_are_further_and_further_apart)
{
	static const unsigned int gaps_s[] = { 1, 2, 4, 8, 16, 32, 60, 60 };
	uint64_t t;

	make_v2(&self->tree);
	fake_tree_drop(&self->tree, "/u/a/b/memory.events");
	fake_tree_put(&self->tree, "/u/a/b/memory.events/is-no-file", "");
	open_all(&self->view, &self->tree, NULL);
	ASSERT_EQ(-EISDIR, cgroup2_source.error);
	t = cgroup2_source.retry_ms - SOURCE_RETRY_MIN_MS;
	for (size_t i = 0; i < ARRAY_LEN(gaps_s); i++) {
		EXPECT_EQ(t + gaps_s[i] * 1000, cgroup2_source.retry_ms);
		round_at(&self->tree, t + gaps_s[i] * 1000 - 1,
			 &self->signals);
		EXPECT_EQ(t + gaps_s[i] * 1000, cgroup2_source.retry_ms);
		t += gaps_s[i] * 1000;
		round_at(&self->tree, t, &self->signals);
		EXPECT_LT(t, cgroup2_source.retry_ms);
	}
	EXPECT_TRUE(cgroup2_source.state == SOURCE_UNAVAILABLE);
	EXPECT_EQ(0u, cgroup2_source.nr_found);
}

TEST_F(source, what_dies_is_found_again)
{
	uint64_t t;

	make_v2(&self->tree);
	open_all(&self->view, &self->tree, NULL);
	t = clock_ms();
	fake_tree_put(&self->tree, "/u/a/b/memory.current", "not a number\n");
	fake_tree_put(&self->tree, "/u/a/memory.max", "none\n");
	fake_tree_put(&self->tree, "/u/a/memory.high", "none\n");
	round_at(&self->tree, t, &self->signals);
	EXPECT_STREQ("the cgroup is gone", headroom_source.reason);
	ASSERT_FALSE(headroom_source.state == SOURCE_LIVE);
	fake_tree_put(&self->tree, "/u/a/b/memory.current", "7\n");
	round_at(&self->tree, t + 900, &self->signals);
	EXPECT_FALSE(headroom_source.state == SOURCE_LIVE);
	round_at(&self->tree, t + SOURCE_RETRY_MIN_MS, &self->signals);
	EXPECT_TRUE(headroom_source.state == SOURCE_LIVE);
	EXPECT_EQ(1u, headroom_source.nr_found);
	EXPECT_EQ(40000000u - 7, self->signals.headroom);

	/* It is cgroup v1 that is not here, and tried no more. */
	EXPECT_EQ(-EOPNOTSUPP, cgroup1_source.error);
	EXPECT_EQ(SOURCE_RETRY_MIN_MS, cgroup1_source.retry_gap_ms);
}

TEST_F(source, a_mount_that_comes_late_is_found)
{
	make_v2(&self->tree);
	fake_tree_put_proc(&self->tree, "0::/a/b\n", "");
	open_all(&self->view, &self->tree, NULL);
	EXPECT_STREQ("no mount shows the own v2 cgroup",
		     headroom_source.reason);
	make_v2(&self->tree);
	round_at(&self->tree, clock_ms() + 2 * SOURCE_RETRY_MIN_MS,
		 &self->signals);
	EXPECT_TRUE(headroom_source.state == SOURCE_LIVE);
	EXPECT_EQ(40000000u, self->signals.limit);
}

TEST_F(source, a_limit_that_changes_is_told)
{
	struct pollfd set[SOURCE_MAX_FDS * 4];
	unsigned int nr;

	make_v2(&self->tree);
	open_all(&self->view, &self->tree, NULL);
	sample(&self->signals);
	ASSERT_EQ(1u, headroom_source.nr_fds);
	EXPECT_STREQ("cgroup v2, changes of limits", headroom_source.reason);
	nr = source_poll_set(set, ARRAY_LEN(set));
	EXPECT_EQ(0, poll(set, nr, 0));
	fake_tree_put(&self->tree, "/u/a/memory.max", "35000000\n");
	EXPECT_EQ(1, poll(set, nr, 1000));
	signals_init(&self->signals, clock_ms());
	source_dispatch(set, nr, &self->signals);
	EXPECT_TRUE(self->signals.limits_changed);
	EXPECT_TRUE(self->signals.pressure == PRESSURE_NONE);
	EXPECT_EQ(0u, self->signals.by_source);
	source_sample_all(&self->signals);
	EXPECT_EQ(5000000u, self->signals.headroom);
	EXPECT_EQ(0, poll(set, nr, 0));
}

TEST_F(source, without_a_limit_no_inotify_instance_is_taken)
{
	make_v2(&self->tree);
	fake_tree_put(&self->tree, "/u/a/b/memory.max", "max\n");
	fake_tree_put(&self->tree, "/u/a/b/memory.high", "max\n");
	open_all(&self->view, &self->tree, NULL);
	sample(&self->signals);
	EXPECT_EQ(0u, headroom_source.nr_fds);
	EXPECT_STREQ("cgroup v2", headroom_source.reason);
}

/* === The application's word === */

TEST_F(source, the_application_s_word_counts_once_the_greater_one)
{
	make_v2(&self->tree);
	open_all(&self->view, &self->tree, NULL);
	EXPECT_FALSE(app_is_waiting());
	app_say(PRESSURE_SEVERE);
	app_say(PRESSURE_MILD);
	EXPECT_TRUE(app_is_waiting());
	sample(&self->signals);
	EXPECT_TRUE(self->signals.pressure == PRESSURE_SEVERE);
	EXPECT_NE(0u, self->signals.by_source);
	EXPECT_EQ(1u, app_source.nr_events);
	EXPECT_FALSE(app_is_waiting());
	sample(&self->signals);
	EXPECT_TRUE(self->signals.pressure == PRESSURE_NONE);

	app_say(PRESSURE_MILD);
	app_say(PRESSURE_NONE);
	EXPECT_FALSE(app_is_waiting());
}

TEST_HARNESS_MAIN
