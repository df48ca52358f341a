/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Siblings: the other processes of the cgroup
 *
 * What it is: a source of pressure, and the way to be one.  Processes of a
 * cgroup spend one limit, but each gives back only its own memory, and that when
 * it notices.  So a thread that is near the limit and has nothing to give back
 * asks those who have (sibling_ask), and waits a moment; the others hear it as
 * pressure.  One of them leads: when the kernel tells it of pressure, it asks
 * the rest, some of whom may have no signal that is live.
 *
 * Who takes part: processes of one user in one memory cgroup with a limit, that
 * have a reclaimer thread with a file table of its own; they find each other by
 * the roster (reclaim/roster.h).  Any thread may ask, also of a process
 * that has no reclaimer yet, since it only grew so far.
 *
 * Invariants:
 * (1) Nothing depends on it: who hears nothing notices by its own signals, as
 *     without siblings; who asks in vain goes on as before.
 * (2) Asked are those with the most to spare, and no more of them than have what
 *     is wanted, by their own word, told in each round of theirs; by who has less
 *     than the margin, and ever more rarely where it did not help.
 * (3) Who leads passes on what the kernel said, never what a sibling did.
 *
 * Locking: sibling_lock (rank 5, after inband_lock), tried only, by who asks;
 * the reclaimer waits for it when it joins, LOCK_PATIENCE_MS at most: who asks
 * may be stopped.  The rest is the reclaimer thread's.
 *
 * Seccomp: calls are tried in a throwaway child before the reclaimer joins, and
 * where there are other filters since then it makes none but close(2), and joins
 * anew.  Who asks tries nothing: see inband_ms in tunables.rst.
 *
 * Fork: a child takes no part until it has a reclaimer.
 */
#ifndef EBB_RECLAIM_SIBLING_H
#define EBB_RECLAIM_SIBLING_H

#include "reclaim/roster.h"
#include "reclaim/source.h"

/* Where rosters are, told by a higher floor; paths have ROSTER_PATH_MAX. */
struct sibling_places {
	/*
	 * The directory, made if need be; what nobody uses any more is removed.
	 * Its path, or -errno and why.  Context: the reclaimer thread.
	 */
	int (*make)(char *path, const char **ret_why);

	/* The @i-th path where it may be for @uid; false behind the last. */
	bool (*at)(unsigned int i, uint32_t uid, char *path);
};

struct sibling_stats {
	uint64_t nr_others;	/* at the last count */
	uint64_t leads;		/* 1: this process does */
	uint64_t nr_asks;	/* times that others were asked */
};

#if IS_ENABLED(CONFIG_SIBLINGS)

/* At start, before anybody confines the process. */
void sibling_set_places(const struct sibling_places *places);

/*
 * Whether it is worth while to look whether there are any; remembered for
 * SIBLING_CHECK_MS.  Context: one thread at a time, in an fd_window.
 */
#define SIBLING_CHECK_MS	100u
bool sibling_may_be(void);

/*
 * Ask for @want bytes; whether anybody was asked, who says there is something to
 * spare.  Context: in an fd_window; waits for nothing.
 */
bool sibling_ask(const struct cgroup_view *view, uint64_t want);

/* The process ends: what it leaves on disk is removed. */
void sibling_exit(void);

/* Whether there is anything to remove. */
bool sibling_has_joined(void);

void sibling_stats(struct sibling_stats *ret_stats);

void sibling_postfork_child(void);

#else

static inline void sibling_set_places(const struct sibling_places *places)
{
	(void)places;
}

static inline bool sibling_may_be(void)
{
	return false;
}

static inline bool sibling_ask(const struct cgroup_view *view, uint64_t want)
{
	(void)view;
	(void)want;
	return false;
}

static inline void sibling_exit(void)
{
}

static inline bool sibling_has_joined(void)
{
	return false;
}

static inline void sibling_stats(struct sibling_stats *ret_stats)
{
	*ret_stats = (struct sibling_stats){ 0 };
}

static inline void sibling_postfork_child(void)
{
}

#endif

#endif
