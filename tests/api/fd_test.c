// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Files of the program are left alone
 */
#include "harness.h"
#include "api/run.h"
#include "cgroup.h"

FIXTURE(fd) {
	char daemon[PATH_MAX];
	char library[PATH_MAX];
	struct group group;
	struct run run;
};

FIXTURE_VARIANT(fd) {
	const char *conf;
};

FIXTURE_VARIANT_ADD(fd, by_default) {
	.conf = NULL,
};

FIXTURE_VARIANT_ADD(fd, thread_at_once_and_verbose) {
	.conf = "thread_min=0,decay_ms=10,lazy_ms=5,verbose=1",
};

FIXTURE_SETUP(fd)
{
	self->run.program = beside(self->daemon, "daemon");
	self->run.preload = library_path(self->library);
	self->run.conf = variant->conf;
	self->run.argv[0] = self->daemon;
	self->run.argv[1] = (char *)"";
	ASSERT_EQ(0, access(self->run.program, X_OK));
	group_make(&self->group);
}

FIXTURE_TEARDOWN(fd)
{
	group_remove(&self->group);
}

TEST_F_TIMEOUT(fd, nothing_is_written_to_or_closed_without_a_limit, 60)
{
	ASSERT_TRUE(run_program(&self->run));
	EXPECT_EQ(0, self->run.status)
		TH_LOG("it said: %s", self->run.output);
}

TEST_F_TIMEOUT(fd, nothing_is_written_to_or_closed_under_pressure, 60)
{
	if (!self->group.path[0])
		SKIP(return, "no memory cgroup can be made here");
	self->run.argv[1] = self->group.path;
	ASSERT_TRUE(group_enter(&self->group));
	ASSERT_TRUE(run_program(&self->run));
	EXPECT_EQ(0, self->run.status)
		TH_LOG("it said: %s", self->run.output);
}

/* What its parent's reclaimer held open has a number that is its own file. */
TEST_F_TIMEOUT(fd, nothing_is_closed_in_children_forked_in_a_pass, 90)
{
	self->run.argv[2] = (char *)"200";
	self->run.conf = "thread_min=0,decay_ms=0,lazy_ms=-1,tick_min_ms=1";
	ASSERT_TRUE(run_program(&self->run));
	EXPECT_EQ(0, self->run.status)
		TH_LOG("it said: %s", self->run.output);
}

TEST_HARNESS_MAIN
