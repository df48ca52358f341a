/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Notice of pressure, for a higher floor
 */
#include <time.h>

#include "acct/account.h"
#include "base/sys.h"
#include "reclaim/notice.h"

static uint32_t word;			/* enum pressure; a futex */
static uint32_t least_wanted;		/* enum pressure */
static bool is_heard;

void notice_listen(enum pressure least)
{
	store_relaxed(&least_wanted, least);
}

bool notice_is_wanted(void)
{
	return load_relaxed(&least_wanted) != PRESSURE_NONE;
}

void notice_set_heard(bool heard)
{
	store_relaxed(&is_heard, heard);
	/* Pairs with notice_post(): what it did not wake for is taken. */
	fence_seq_cst();
}

void notice_post(enum pressure pressure)
{
	uint32_t least = load_relaxed(&least_wanted);
	uint32_t old = load_relaxed(&word);

	if (likely(!least) || pressure < least)
		return;
	while (old < pressure && !cas_acq_rel(&word, &old, pressure))
		;
	/* Pairs with notice_set_heard(). */
	fence_seq_cst();
	if (!load_relaxed(&is_heard))
		or_relaxed(&account.wanted, WANTED_NOTICE);
	else if (old < pressure)
		sys_futex_wake(&word, 1);
}

enum pressure notice_take(void)
{
	return (enum pressure)xchg_acquire(&word, PRESSURE_NONE);
}

void notice_wait(uint32_t ms)
{
	struct timespec ts = { ms / 1000, (long)(ms % 1000) * 1000000 };

	/* The kernel looks at the word again before it sleeps. */
	sys_futex_wait(&word, PRESSURE_NONE, ms ? &ts : NULL);
}
