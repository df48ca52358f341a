// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - The account's totals
 */
#include "acct/account.h"
#include "harness.h"

FIXTURE_EMPTY(account);

/* A pass of before found @bytes that no page can be given back for. */
static void strand(int64_t bytes)
{
	account_dirty(bytes);
	account.slots_stranded = account.slots_dirty;
}

TEST_F(account, what_is_stranded_is_not_dirty)
{
	strand(8 * MIB);
	EXPECT_EQ(0u, account_slots_dirty());
	account_dirty(MIB);
	EXPECT_EQ(MIB, account_slots_dirty());
}

TEST_F(account, stranded_slots_that_are_taken_again_hide_no_others)
{
	strand(8 * MIB);
	account_dirty(-8 * (int64_t)MIB);
	account_dirty(6 * MIB);
	EXPECT_EQ(6 * MIB, account_slots_dirty());

	/* Some of them: the rest is stranded as before. */
	strand(2 * MIB);
	account_dirty(-3 * (int64_t)MIB);
	account_dirty(MIB);
	EXPECT_EQ(MIB, account_slots_dirty());
}

TEST_F(account, what_threads_tell_counts_the_same)
{
	struct account_delta delta = { .dirty = -8 * (int64_t)MIB };

	strand(8 * MIB);
	account_tell(&delta);
	EXPECT_EQ(0, delta.dirty);
	delta.dirty = MIB;
	account_tell(&delta);
	EXPECT_EQ(MIB, account_slots_dirty());
}

TEST_F(account, the_level_sees_what_was_hidden)
{
	strand(8 * MIB);
	account.wake_level = MIB;
	account_look(0);
	EXPECT_EQ(0u, account.wanted);
	account_dirty(-8 * (int64_t)MIB);
	account_dirty(2 * MIB);
	account_look(0);
	EXPECT_EQ(WANTED_PASS, account.wanted);
}

TEST_HARNESS_MAIN
