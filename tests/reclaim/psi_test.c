/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ebbmalloc tests - The PSI trigger on a real cgroup
 */
#include <errno.h>
#include <poll.h>
#include "base/clock.h"
#include "base/param.h"
#include "reclaim/source.h"
#include "harness.h"
#include "reclaim/hear.h"
#include "reclaim/own_cgroup.h"
#include "unit/fake_tree.h"

FIXTURE(psi)
{
	struct group own;
	struct cgroup_view view;
	struct signals signals;
	char why[256];
	bool made;
};

FIXTURE_SETUP(psi)
{
	cgroup_find("", &self->view);
	self->made = own_cgroup_make(&self->own, &self->view.unified);
	cgroup_find("", &self->view);
}

FIXTURE_TEARDOWN(psi)
{
	if (self->made)
		group_remove(&self->own);
}

static bool kernel_has_psi(void)
{
	return !access("/proc/pressure/memory", R_OK);
}

TEST_F(psi, own_cgroup_takes_the_trigger)
{
	if (!self->made || !kernel_has_psi())
		SKIP(return, "no v2 cgroup can be made here, or PSI is off");
	source_open_all(&self->view, NULL);
	EXPECT_TRUE(psi_source.state == SOURCE_LIVE);
	EXPECT_EQ(psi_source.reason, strstr(psi_source.reason,
					    "memory.pressure of the own "
					    "cgroup"));
	EXPECT_EQ(1u, psi_source.nr_fds);
}

TEST_F(psi, events_without_stall_are_false)
{
	struct pollfd pfd = { .revents = POLLPRI };

	if (!self->made || !kernel_has_psi())
		SKIP(return, "no v2 cgroup can be made here, or PSI is off");
	source_open_all(&self->view, NULL);
	ASSERT_TRUE(psi_source.state == SOURCE_LIVE);
	pfd.fd = psi_source.fds[0];
	pfd.events = POLLPRI;
	EXPECT_EQ(0, poll(&pfd, 1, 0));

	signals_init(&self->signals, clock_ms());
	EXPECT_EQ(0, psi_source.event(&psi_source, 0, &self->signals));
	EXPECT_TRUE(self->signals.pressure == PRESSURE_NONE);
	EXPECT_EQ(0u, psi_source.nr_events);
}

TEST_F(psi, without_an_own_cgroup_the_system_is_watched)
{
	if (!kernel_has_psi())
		SKIP(return, "PSI is off");
	self->view.unified.path[0] = '\0';
	source_open_all(&self->view, NULL);
	if (psi_source.state != SOURCE_LIVE)
		SKIP(return, "/proc/pressure/memory takes no trigger here");
	EXPECT_EQ(psi_source.reason, strstr(psi_source.reason, "system-wide"));
}

TEST_F(psi, zero_turns_it_off)
{
	ASSERT_EQ(0, param_set("psi_us", "0", self->why, sizeof(self->why)));
	source_open_all(&self->view, NULL);
	EXPECT_TRUE(psi_source.state == SOURCE_UNAVAILABLE);
	EXPECT_STREQ("turned off by psi_us=0", psi_source.reason);
}

TEST_F(psi, the_removed_cgroup_s_trigger_dies)
{
	struct pollfd pfd = { .events = POLLPRI };

	if (!self->made || !kernel_has_psi())
		SKIP(return, "no v2 cgroup can be made here, or PSI is off");
	source_open_all(&self->view, NULL);
	ASSERT_TRUE(psi_source.state == SOURCE_LIVE);
	group_remove(&self->own);
	self->made = false;
	pfd.fd = psi_source.fds[0];
	ASSERT_EQ(1, poll(&pfd, 1, PATIENCE_MS));
	hear(0, clock_ms() + 10, &self->signals);
	EXPECT_FALSE(psi_source.state == SOURCE_LIVE);
	EXPECT_EQ(-ENODEV, psi_source.error);

	/* It is not closed in the round, but afterwards. */
	EXPECT_LE(0, fcntl(pfd.fd, F_GETFD));
	settle();
	EXPECT_EQ(-1, fcntl(pfd.fd, F_GETFD));

	/* The process is elsewhere now, where there is another. */
	hear(0, clock_ms() + SOURCE_CHECK_MS, &self->signals);
	EXPECT_TRUE(psi_source.state == SOURCE_LIVE);
	EXPECT_EQ(1u, psi_source.nr_found);
}

TEST_F(psi, without_the_right_to_write_the_system_is_watched)
{
	if (!self->made || !kernel_has_psi() || seteuid(65534))
		SKIP(return, "no v2 cgroup can be made here, or PSI is off");
	source_open_all(&self->view, NULL);
	EXPECT_STREQ("system-wide; own memory.pressure may not be written",
		     psi_source.reason) {
		TH_LOG("%s", psi_source.reason);
	}
	EXPECT_TRUE(psi_source.state == SOURCE_LIVE);
	ASSERT_EQ(0, seteuid(0));
}

/* === Grades, on a file that is no trigger === */

#define FINE_US		500000		/* the window that is granted here */

FIXTURE(grade)
{
	struct fake_tree tree;
	struct cgroup_view view;
	struct signals signals;
	uint64_t now_ms;
};

/* Stall times since the tree was made. */
static void put_totals(FIXTURE_DATA(grade) *self, uint64_t some_us,
		       uint64_t full_us)
{
	char text[256];

	snprintf(text, sizeof(text), "some avg10=0.00 avg60=0.00 avg300=0.00 "
		 "total=%llu\nfull avg10=0.00 avg60=0.00 avg300=0.00 "
		 "total=%llu\n", 7000000ULL + some_us, 5000000ULL + full_us);
	fake_tree_put(&self->tree, "/u/a/memory.pressure", text);
}

FIXTURE_SETUP(grade)
{
	ASSERT_TRUE(fake_tree_make(&self->tree));
	fake_tree_put_proc(&self->tree, "0::/a\n",
			   "35 31 0:32 / /u rw - cgroup2 cgroup2 rw\n");
	fake_tree_put(&self->tree, "/u/a/cgroup.type", "domain\n");
	put_totals(self, 0, 0);
	cgroup_find(self->tree.top, &self->view);
	source_open_all(&self->view, NULL);
	ASSERT_TRUE(psi_source.state == SOURCE_LIVE);
	self->now_ms = clock_ms();
}

FIXTURE_TEARDOWN(grade)
{
	EXPECT_TRUE(fake_tree_remove(&self->tree));
}

/* What an event says after @ms more, with these stall times. */
static int event_after(FIXTURE_DATA(grade) *self, unsigned int ms,
		       uint64_t some_us, uint64_t full_us)
{
	int ret;

	self->now_ms += ms;
	put_totals(self, some_us, full_us);
	signals_init(&self->signals, self->now_ms);
	ret = psi_source.event(&psi_source, 0, &self->signals);
	return ret <= 0 ? ret : (int)self->signals.pressure;
}

/* Of psi_us=100000 in 2 s. */
#define THRESHOLD_US	(FINE_US / 20)

TEST_F(grade, the_trigger_is_the_same_share_of_a_fine_window)
{
	char text[300], path[128];
	const char wanted[] = "some 25000 500000";

	snprintf(path, sizeof(path), "%s/u/a/memory.pressure", self->tree.top);
	ASSERT_LT(0, read_file(path, text, sizeof(text)));
	/* With its zero byte: the kernel overwrites the last one. */
	EXPECT_EQ(0, memcmp(text, wanted, sizeof(wanted)));
	EXPECT_STREQ("memory.pressure of the own cgroup, fine",
		     psi_source.reason);
}

TEST_F(grade, an_event_without_new_stall_is_false)
{
	EXPECT_EQ(0, event_after(self, 500, 0, 0));
	EXPECT_EQ(0, event_after(self, 500, THRESHOLD_US / 2 - 1, 0));
	EXPECT_EQ(PRESSURE_MILD, event_after(self, 0, THRESHOLD_US, 0));
	EXPECT_EQ(0, event_after(self, 500, THRESHOLD_US, 0));
}

TEST_F(grade, a_small_share_is_mild_and_a_large_one_severe)
{
	EXPECT_EQ(PRESSURE_MILD, event_after(self, 500, FINE_US / 10 - 1, 0));
	EXPECT_EQ(PRESSURE_SEVERE, event_after(self, 500, FINE_US / 5, 0));
}

TEST_F(grade, less_counts_where_all_stall)
{
	EXPECT_EQ(PRESSURE_MILD, event_after(self, 500, FINE_US / 20,
					     FINE_US / 20 - 1));
	EXPECT_EQ(PRESSURE_SEVERE, event_after(self, 500, FINE_US / 10,
					       FINE_US / 10));
}

TEST_F(grade, what_is_severe_is_an_option)
{
	char why[256];

	ASSERT_EQ(0, param_set("psi_some", "40", why, sizeof(why)));
	ASSERT_EQ(0, param_set("psi_full", "0", why, sizeof(why)));
	EXPECT_EQ(PRESSURE_MILD, event_after(self, 500, FINE_US / 5,
					     FINE_US / 5));
	EXPECT_EQ(PRESSURE_SEVERE, event_after(self, 500, FINE_US,
					       FINE_US / 5));

	ASSERT_EQ(0, param_set("psi_some", "0", why, sizeof(why)));
	EXPECT_EQ(PRESSURE_MILD, event_after(self, 500, 2 * FINE_US,
					     FINE_US));
	ASSERT_EQ(0, param_set("psi_full", "100", why, sizeof(why)));
	EXPECT_EQ(PRESSURE_SEVERE, event_after(self, 500, 3 * FINE_US,
					       2 * FINE_US));
}

TEST_F(grade, after_a_pause_the_share_is_not_known)
{
	EXPECT_EQ(PRESSURE_MILD, event_after(self, 60000, FINE_US, FINE_US));
	EXPECT_EQ(PRESSURE_SEVERE, event_after(self, 500, 2 * FINE_US,
					       FINE_US));
}

TEST_F(grade, totals_that_fall_are_no_stall)
{
	EXPECT_EQ(PRESSURE_MILD, event_after(self, 500, THRESHOLD_US, 0));
	EXPECT_EQ(0, event_after(self, 500, 0, 0));
}

TEST_HARNESS_MAIN
