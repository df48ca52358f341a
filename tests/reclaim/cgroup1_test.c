/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ebbmalloc tests - v1 usage thresholds and headroom on a real cgroup
 */
#include <poll.h>
#include <sys/mman.h>
#include "reclaim/source.h"
#include "harness.h"
#include "reclaim/own_cgroup.h"

#define LIMIT	(64 * MIB)

FIXTURE(cgroup1)
{
	struct own_cgroup own;
	struct cgroup_view view;
	struct signals signals;
	char *memory;
	bool made;
};

static void settle(void)
{
	while (source_settle())
		;
}

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
	ASSERT_TRUE(own_cgroup_write_number(self->own.path,
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
		own_cgroup_remove(&self->own);
}

#define NEEDS_V1() do {							\
	if (!self->made)						\
		SKIP(return, "no v1 memory cgroup can be made here");	\
} while (0)

/* Touch [first, end) and hear within 100 ms what that brings about. */
static enum pressure touch(char *memory, size_t first, size_t end,
			   struct signals *signals)
{
	struct pollfd set[SOURCE_MAX_FDS * 4];
	unsigned int nr = source_poll_set(set, ARRAY_LEN(set));

	memset(memory + first, 1, end - first);
	poll(set, nr, 100);
	signals_init(signals, source_now_ms());
	source_dispatch(set, nr, signals);
	source_sample_all(signals);
	return signals->pressure;
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
	EXPECT_TRUE(own_cgroup_write_number(self->own.path,
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
	EXPECT_TRUE(own_cgroup_write(self->own.path, "memory.limit_in_bytes",
				     "-1"));
	source_reset_all();
	source_open_all(&self->view, NULL);
	EXPECT_TRUE(cgroup1_source.state == SOURCE_LIVE);
	if (strcmp(cgroup1_source.reason, "no limit set"))
		SKIP(return, "a level above has a limit");
	EXPECT_TRUE(own_cgroup_write_number(self->own.path,
					    "memory.limit_in_bytes", LIMIT));
	sleep_ms(1050);
	touch(self->memory, 0, MIB, &self->signals);
	settle();
	EXPECT_STREQ("usage thresholds", cgroup1_source.reason);
	EXPECT_TRUE(touch(self->memory, 0, 58 * MIB, &self->signals) ==
		    PRESSURE_SEVERE);
}

TEST_HARNESS_MAIN
