/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ebbmalloc tests - The PSI trigger on a real cgroup
 */
#include <poll.h>
#include "base/param.h"
#include "reclaim/source.h"
#include "harness.h"
#include "reclaim/own_cgroup.h"

FIXTURE(psi)
{
	struct own_cgroup own;
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
		own_cgroup_remove(&self->own);
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
	EXPECT_STREQ("memory.pressure of the own cgroup", psi_source.reason);
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

	signals_init(&self->signals, source_now_ms());
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

TEST_HARNESS_MAIN
