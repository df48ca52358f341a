/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ebbmalloc tests - Pressure sources on fake cgroup trees
 */
#include <errno.h>
#include <poll.h>
#include "base/log.h"
#include "reclaim/source.h"
#include "harness.h"
#include "unit/fake_tree.h"

FIXTURE(source)
{
	struct fake_tree tree;
	struct cgroup_view view;
	struct signals signals;
	char report[2048];
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
	signals_init(signals, source_now_ms());
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
		if (source != &psi_source)
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
	signals_init(signals, source_now_ms());
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
	EXPECT_NE(NULL, strstr(self->report, "cgroup2: live (memory.events), "
			       "1 events, last "));
	EXPECT_NE(NULL, strstr(self->report, "cgroup1: unavailable: the memory "
			       "controller is on cgroup v2\n"));
	EXPECT_NE(NULL, strstr(self->report, "psi: "));
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

TEST_HARNESS_MAIN
