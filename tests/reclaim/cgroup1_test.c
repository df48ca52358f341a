/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ebbmalloc tests - v1 usage thresholds and headroom on a real cgroup
 */
#include <errno.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include "base/clock.h"
#include "reclaim/source.h"
#include "harness.h"
#include "reclaim/hear.h"
#include "reclaim/own_cgroup.h"

#define LIMIT	(64 * MIB)

FIXTURE(cgroup1)
{
	struct group own;
	struct cgroup_view view;
	struct signals signals;
	char *memory;
	bool made;
};

FIXTURE_SETUP(cgroup1)
{
	cgroup_find("", &self->view);
	self->made = self->view.version == CGROUP_V1 &&
		     own_cgroup_make(&self->own, &self->view.memory);
	self->memory = mmap(NULL, 2 * LIMIT, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->memory);
	ASSERT_EQ(0, madvise(self->memory, 2 * LIMIT, MADV_NOHUGEPAGE));
	if (!self->made)
		return;
	ASSERT_TRUE(group_write_number(self->own.path,
					    "memory.limit_in_bytes", LIMIT));
	cgroup_find("", &self->view);
	ASSERT_STREQ(self->own.path, self->view.memory.path);
	source_open_all(&self->view, NULL);
	settle();
}

FIXTURE_TEARDOWN(cgroup1)
{
	munmap(self->memory, 2 * LIMIT);
	if (self->made)
		group_remove(&self->own);
}

#define NEEDS_V1() do {							\
	if (!self->made)						\
		SKIP(return, "no v1 memory cgroup can be made here");	\
} while (0)

/* Touch [first, end) and hear within 100 ms what that brings about. */
static enum pressure touch(char *memory, size_t first, size_t end,
			   struct signals *signals)
{
	memset(memory + first, 1, end - first);
	return hear(100, clock_ms(), signals);
}

TEST_F(cgroup1, headroom_is_what_is_left)
{
	NEEDS_V1();
	ASSERT_TRUE(headroom_source.state == SOURCE_LIVE);
	touch(self->memory, 0, 16 * MIB, &self->signals);
	EXPECT_EQ(LIMIT, self->signals.limit);
	EXPECT_LE(LIMIT - 20 * MIB, self->signals.headroom);
	EXPECT_GE(LIMIT - 15 * MIB, self->signals.headroom);
}

TEST_F(cgroup1, upward_crossings_are_events_of_rising_grade)
{
	NEEDS_V1();
	ASSERT_TRUE(cgroup1_source.state == SOURCE_LIVE);
	EXPECT_STREQ("usage thresholds", cgroup1_source.reason);
	EXPECT_TRUE(touch(self->memory, 0, 40 * MIB, &self->signals) ==
		    PRESSURE_NONE);
	EXPECT_TRUE(touch(self->memory, 40 * MIB, 50 * MIB, &self->signals) ==
		    PRESSURE_MILD);
	EXPECT_TRUE(touch(self->memory, 50 * MIB, 58 * MIB, &self->signals) ==
		    PRESSURE_SEVERE);
	EXPECT_EQ(2u, cgroup1_source.nr_events);

	/* The way down is signalled by the kernel, too, and is no event. */
	madvise(self->memory, 2 * LIMIT, MADV_DONTNEED);
	EXPECT_TRUE(touch(self->memory, 0, MIB, &self->signals) ==
		    PRESSURE_NONE);
	EXPECT_EQ(2u, cgroup1_source.nr_events);
	EXPECT_TRUE(touch(self->memory, 0, 50 * MIB, &self->signals) ==
		    PRESSURE_MILD);
}

TEST_F(cgroup1, thresholds_follow_the_limit)
{
	NEEDS_V1();
	EXPECT_TRUE(group_write_number(self->own.path,
					    "memory.limit_in_bytes", 2 * LIMIT));
	sleep_ms(1050);
	touch(self->memory, 0, MIB, &self->signals);
	settle();
	EXPECT_TRUE(touch(self->memory, 0, 60 * MIB, &self->signals) ==
		    PRESSURE_NONE);
	EXPECT_EQ(2 * LIMIT, self->signals.limit);
	EXPECT_TRUE(touch(self->memory, 60 * MIB, 100 * MIB, &self->signals) ==
		    PRESSURE_MILD);
}

TEST_F(cgroup1, without_a_limit_it_waits_for_one)
{
	NEEDS_V1();
	EXPECT_TRUE(group_write(self->own.path, "memory.limit_in_bytes",
				     "-1"));
	source_reset_all();
	source_open_all(&self->view, NULL);
	EXPECT_TRUE(cgroup1_source.state == SOURCE_LIVE);
	if (strcmp(cgroup1_source.reason, "no limit set"))
		SKIP(return, "a level above has a limit");
	EXPECT_TRUE(group_write_number(self->own.path,
					    "memory.limit_in_bytes", LIMIT));
	sleep_ms(1050);
	touch(self->memory, 0, MIB, &self->signals);
	settle();
	EXPECT_STREQ("usage thresholds", cgroup1_source.reason);
	EXPECT_TRUE(touch(self->memory, 0, 58 * MIB, &self->signals) ==
		    PRESSURE_SEVERE);
}

/* A second cgroup beside the own one. */
static bool make_other(const struct group *own, char *path, size_t size)
{
	snprintf(path, size, "%s-b", own->path);
	return !mkdir(path, 0755);
}

TEST_F(cgroup1, a_changed_limit_is_told)
{
	struct pollfd pfd = { .events = POLLIN };

	NEEDS_V1();
	touch(self->memory, 0, 30 * MIB, &self->signals);
	ASSERT_EQ(1u, headroom_source.nr_fds);
	pfd.fd = headroom_source.fds[0];
	EXPECT_EQ(0, poll(&pfd, 1, 0));
	EXPECT_TRUE(group_write_number(self->own.path,
					    "memory.limit_in_bytes",
					    LIMIT / 2));
	EXPECT_EQ(1, poll(&pfd, 1, 1000));

	/* At once, not at the next look; and so are the thresholds. */
	hear(0, clock_ms(), &self->signals);
	EXPECT_EQ(LIMIT / 2, self->signals.limit);
	EXPECT_EQ(1u, headroom_source.nr_events);
	settle();
	madvise(self->memory, 2 * LIMIT, MADV_DONTNEED);
	hear(100, clock_ms(), &self->signals);
	EXPECT_TRUE(touch(self->memory, 0, 26 * MIB, &self->signals) ==
		    PRESSURE_MILD);
}

TEST_F(cgroup1, a_move_is_noticed_and_the_sources_found_again)
{
	char other[CGROUP_PATH_MAX + 128];
	uint64_t t = clock_ms();

	NEEDS_V1();
	ASSERT_TRUE(make_other(&self->own, other, sizeof(other)));
	EXPECT_TRUE(group_write_number(other, "memory.limit_in_bytes",
					    2 * LIMIT));
	EXPECT_TRUE(group_write(other, "cgroup.procs", "0"));
	hear(0, t, &self->signals);
	EXPECT_STREQ(self->own.path, self->view.memory.path);
	hear(0, t + SOURCE_CHECK_MS, &self->signals);
	EXPECT_STREQ(other, self->view.memory.path);
	settle();
	EXPECT_TRUE(cgroup1_source.state == SOURCE_LIVE);
	EXPECT_EQ(1u, cgroup1_source.nr_found);
	EXPECT_EQ(1u, headroom_source.nr_found);
	EXPECT_EQ(2 * LIMIT, self->signals.limit);
	EXPECT_TRUE(touch(self->memory, 0, 60 * MIB, &self->signals) ==
		    PRESSURE_NONE);
	EXPECT_TRUE(touch(self->memory, 60 * MIB, 100 * MIB, &self->signals) ==
		    PRESSURE_MILD);

	/* The old one may go: nothing that is still open tells of it. */
	group_remove(&self->own);
	self->made = false;
	EXPECT_TRUE(hear(100, t + 2000, &self->signals) == PRESSURE_NONE);
	EXPECT_TRUE(cgroup1_source.state == SOURCE_LIVE);
	EXPECT_EQ(0, rmdir(other));
}

static unsigned int count_fds(void)
{
	unsigned int nr = 0;

	for (int fd = 0; fd < 256; fd++)
		nr += fcntl(fd, F_GETFD) >= 0;
	return nr;
}

TEST_F(cgroup1, moving_to_and_fro_leaks_no_descriptor)
{
	char other[CGROUP_PATH_MAX + 128];
	uint64_t t = clock_ms();
	unsigned int before;

	NEEDS_V1();
	ASSERT_TRUE(make_other(&self->own, other, sizeof(other)));
	EXPECT_TRUE(group_write_number(other, "memory.limit_in_bytes",
					    2 * LIMIT));
	hear(0, t, &self->signals);
	before = count_fds();
	for (int i = 0; i < 20; i++) {
		group_write(i % 2 ? self->own.path : other, "cgroup.procs",
				 "0");
		t += SOURCE_CHECK_MS;
		hear(0, t, &self->signals);
	}
	EXPECT_EQ(20u, headroom_source.nr_found);
	settle();
	EXPECT_EQ(before, count_fds());
	EXPECT_EQ(0, rmdir(other));
}

TEST_F(cgroup1, without_the_right_to_register_it_says_so)
{
	NEEDS_V1();
	if (seteuid(65534))
		SKIP(return, "not root");
	source_open_all(&self->view, NULL);
	EXPECT_FALSE(cgroup1_source.state == SOURCE_LIVE);
	EXPECT_STREQ("cannot open cgroup.event_control",
		     cgroup1_source.reason);
	EXPECT_EQ(-EACCES, cgroup1_source.error);
	hear(0, clock_ms(), &self->signals);
	EXPECT_EQ(LIMIT, self->signals.limit);
	EXPECT_STREQ("cgroup v1, changes of limits", headroom_source.reason);

	/* Once it is allowed, it is found. */
	ASSERT_EQ(0, seteuid(0));
	hear(0, clock_ms() + SOURCE_RETRY_MIN_MS, &self->signals);
	EXPECT_TRUE(cgroup1_source.state == SOURCE_LIVE);
}

static bool remount_one(const struct cgroup_dir *dir, unsigned long how)
{
	char point[CGROUP_PATH_MAX];

	snprintf(point, sizeof(point), "%.*s", (int)dir->top_len, dir->path);
	return !*point || !mount("none", point, NULL,
				 MS_REMOUNT | MS_BIND | how, NULL);
}

/* Both cgroup file systems as this process sees them. */
static bool remount(const struct cgroup_view *view, unsigned long how)
{
	return remount_one(&view->memory, how) &&
	       remount_one(&view->unified, how);
}

static bool leave_mounts(void)
{
	return !unshare(CLONE_NEWNS) &&
	       !mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

TEST_F(cgroup1, read_only_cgroupfs_leaves_headroom_and_the_system_s_psi)
{
	struct group unified;
	bool has_psi = !access("/proc/pressure/memory", R_OK);

	NEEDS_V1();
	if (!own_cgroup_make(&unified, &self->view.unified))
		unified.path[0] = '\0';
	cgroup_find("", &self->view);
	if (!leave_mounts() || !remount(&self->view, MS_RDONLY)) {
		group_remove(&unified);
		SKIP(return, "no mount namespace can be made here");
	}
	source_open_all(&self->view, NULL);
	touch(self->memory, 0, 16 * MIB, &self->signals);
	EXPECT_EQ(LIMIT, self->signals.limit);
	EXPECT_EQ(1u, headroom_source.nr_fds);
	EXPECT_FALSE(cgroup1_source.state == SOURCE_LIVE);
	EXPECT_EQ(-EROFS, cgroup1_source.error);
	if (has_psi && unified.path[0])
		EXPECT_STREQ("system-wide; own memory.pressure is read-only",
			     psi_source.reason);

	/* To clean up. */
	EXPECT_TRUE(remount(&self->view, 0));
	group_remove(&unified);
}

TEST_HARNESS_MAIN
