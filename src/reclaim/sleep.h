/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - How the reclaimer thread sleeps and is woken
 *
 * What it is: the thread's one wait, and the protocol by which no memory that is
 * freed meanwhile goes unnoticed.  What wakes it is in reclaim/reclaimer.h:
 * reclaimer_wake(), reclaimer_alarm(), reclaimer_visit().
 *
 * Wake: application threads share no descriptor with the thread's file table,
 * so a wake is a signal, sent to this thread alone with tgkill(2) and heard
 * through a signalfd.  SIGSTKFLT is used because no kernel since 2.4 and no
 * library sends it.  It is blocked here, as all signals are, and a blocked
 * signal is queued whatever its action is; it is never delivered.  Only a
 * sigaction() to SIG_IGN in between discards one that is queued;
 * reclaimer_wake() repeats a wake that remains unheard.
 *
 * States (sleep_word):
 *
 *	         go_to_sleep()              reclaimer_wake()
 *	AWAKE ───────────────────► ASLEEP ───────────────────► WOKEN
 *	  ▲                           │ tick, source, look again  │ signalfd
 *	  └───────────────────────────┴───────────────────────────┘ wake_up()
 *
 * The reclaimer sets account.wake_level, the free bytes at which it wants to
 * be woken, stores ASLEEP, fences, and looks at the free bytes again; who
 * frees memory, or lets a cache grow, adds to the free bytes, fences, looks at
 * the level, fences, and looks at sleep_word.  One of the two sees the other,
 * so nothing is freed unnoticed.  Awake, it sets the level out of reach.
 *
 * Locking: none; sleep_word is the thread's and the wakers', the rest of what
 * is not atomic the thread's alone.
 *
 * Fork: the child has no thread; sleep_postfork_child() has the word say so.
 */
#ifndef EBB_RECLAIM_SLEEP_H
#define EBB_RECLAIM_SLEEP_H

#include "reclaim/source.h"

/* What a sleep came to. */
struct sleep_end {
	bool freed;		/* memory has been, up to the level */
	bool woken;		/* by who freed it */
	bool guest_ready;	/* the guest's descriptor can be read */
};

/*
 * This is the thread that is going to sleep.  @no_table: NULL, or why it may
 * keep nothing open.  Returns that, or why there is nothing to wait with: then
 * it hears wakes and its tick, but no source.
 */
const char *sleep_begin(const char *no_table);

/*
 * Until a source or @guest_fd (-1: none) can be read, @level bytes are free,
 * app_say() or reclaimer_visit() was called, or for @ms; 0: no longer than that
 * takes.  Context: the thread.
 */
struct sleep_end sleep_until(uint64_t level, uint32_t ms, int guest_fd);

/* Hand @signals to the sources that were ready when it ended, once. */
void sleep_dispatch(struct signals *signals);

/* What reclaimer_visit() asked for is about to be done. */
void sleep_visited(void);

void sleep_postfork_child(void);

#endif
