/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The reclaimer thread
 */
#ifndef EBB_RECLAIM_RECLAIMER_H
#define EBB_RECLAIM_RECLAIMER_H

#include "base/compiler.h"

/*
 * Start the thread if it does not run yet.  May allocate through malloc
 * (pthread_create does), so the caller holds no lock and is not inside a
 * fork handler.  Where it cannot be started: one log line, the reason is kept
 * (reclaimer_state), passes then happen in-band, and no second try is made
 * until a fork.
 */
void reclaimer_start(void);

/* Have the thread look now (dirty memory crossed a bound); cheap if awake. */
void reclaimer_wake(void);

/*
 * Have the thread look now, whatever there is to see, since app_say() was
 * called.  Context: any thread, signal handlers included.
 */
void reclaimer_alarm(void);

/* "off", "not started", "running", or why it cannot run. */
const char *reclaimer_state(void);

bool reclaimer_running(void);

/* Whether it runs or may be started yet; false: off, or it failed to. */
bool reclaimer_possible(void);

/*
 * Something else that the thread sees to, told by a higher floor; all functions
 * run on the thread.
 */
struct reclaimer_guest {
	/*
	 * The thread begins.  @own_table: descriptors that it opens from now
	 * on are its own, and may be kept.
	 */
	void (*begin)(bool own_table);

	/* What is to be waited for until it can be read; -1: nothing. */
	int (*poll_fd)(void);

	/*
	 * Once in each round.  @ready: poll_fd() can be read.  Returns the
	 * milliseconds after which it wants to be called again at the latest,
	 * 0 for at once, since it changed options; or RECLAIMER_NO_VISIT.
	 */
	uint32_t (*visit)(bool ready);
};

#define RECLAIMER_NO_VISIT	UINT32_MAX

/*
 * One more thing that it sees to once in each round; set before the thread is
 * started, or NULL.  @pressed: there is pressure.  Returns milliseconds as
 * visit() does, but not 0.
 */
extern uint32_t (*reclaimer_errand)(bool own_table, bool pressed);

/* Before the thread is started. */
void reclaimer_set_guest(const struct reclaimer_guest *guest);

/*
 * Have the thread make a round now, whatever there is to see.  Context: as
 * reclaimer_alarm().
 */
void reclaimer_visit(void);

/* thread_min or reclaim were changed. */
void reclaimer_option_changed(void);

/* Fork handlers: before (waits for a pass in progress), after in both. */
void reclaimer_prefork(void);
void reclaimer_postfork_parent(void);
void reclaimer_postfork_child(void);

/* What the thread has done and seen; kept across a fork. */
struct reclaim_stats {
	uint64_t nr_passes;
	uint64_t nr_forced;		/* of them: everything, for pressure */
	uint64_t nr_over;		/* of them: dirty_max was crossed */
	uint64_t nr_wakes;		/* by threads that freed memory */
	uint64_t lazy_bytes;		/* totals over the passes */
	uint64_t clean_bytes;
	uint64_t refused_bytes;
	uint64_t limit;			/* last sample; UINT64_MAX: none */
	uint64_t headroom;
	uint64_t pressure;		/* enum pressure, not answered yet */
};

/* Context: any thread; each number whole, not all of one moment. */
void reclaimer_stats(struct reclaim_stats *ret_stats);

#endif
