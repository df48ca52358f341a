/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Guard marks: pages given back trap until they are handed out
 *
 * What it is: with guard=decommitted a touch of a page that was given back to
 * the kernel raises a signal instead of backing the page anew.  Two kinds of
 * trap do it: guard markers (MADV_GUARD_INSTALL, Linux 6.13), or userfaultfd
 * with its SIGBUS feature, where a page traps as long as it is missing.
 *
 * Model: a table has a word for each page of the window: since when the page
 * is given back, or that it is handed out, or nothing.
 *
 *	         guard_mark_give(), then the advice
 *	PRESENT ────────────────────────────────────► given back at T: traps
 *	   ▲                                               │
 *	   └───────────────────────────────────────────────┘
 *	    the trap is gone, then the word: guard_mark_hand_out()
 *
 * Invariants:
 * (1) A page that traps has a word that says so: words are set before the
 *     trap and cleared after it is gone.  The other way round a word may say
 *     so for a moment, or for long in the child of a fork, and then somebody
 *     removes a trap that is not there.
 * (2) A word is set only by who has claimed all of the page, and cleared by
 *     who holds a part of it that is not handed out yet.  So both exclude
 *     each other, and only clearing races with clearing: two may both remove,
 *     and whoever finds the word cleared finds the trap removed.
 * (3) A word may stay though its page does not trap: where the kernel refused
 *     the advice, perhaps in part.
 * (4) With userfaultfd a page that was never handed out traps, too.
 *
 * Locking: none.  Fork: the child inherits markers and words.  Not so a
 * userfaultfd: nothing traps there, and guard_mark_state() says so.
 */
#ifndef EBB_OS_GUARD_MARK_H
#define EBB_OS_GUARD_MARK_H

#include "base/atomic.h"
#include "os/advise.h"

/* Pages may trap; set by guard_mark_start(), cleared where that is lost. */
extern bool guard_marks_on;

/* Why a page traps. */
enum guard_why {
	GUARD_NOT,		/* it does not, as far as we know */
	GUARD_GIVEN,		/* it was given back */
	GUARD_FRESH,		/* it was never handed out */
};

struct guard_counters {
	uint64_t marked;	/* bytes given back that trap */
	uint64_t given;		/* bytes given back with a trap so far */
	uint64_t give_ns;	/* spent on it, with giving back itself */
	uint64_t handed;	/* bytes whose trap was removed */
	uint64_t hand_ns;	/* spent on it */
	uint64_t hand_calls;
};

/*
 * Find out how pages of [@base, @base + @len) can be made to trap, and have
 * them do so from now on; nothing of it is handed out yet.  @refused: NULL, or
 * why it must not be.
 */
void guard_mark_start(char *base, size_t len, const char *refused);

/*
 * @nr ranges, all of them claimed, are about to be given back by the advice
 * that guard_mark_advice() names.  Then what of them was taken is told, and
 * the time it took.
 */
void guard_mark_give(const struct advise_range *ranges, size_t nr);
void guard_mark_gave(const struct advise_range *ranges, size_t nr,
		     const bool *ok, uint64_t ns);
enum advise_kind guard_mark_advice(void);

/* Of [@start, @start + @len), whole pages, nothing traps any more. */
void guard_mark_hand_out(char *start, size_t len);

/* The same, if it may be that something does. */
static inline void guard_hand_out(char *start, size_t len)
{
	if (unlikely(load_relaxed(&guard_marks_on)))
		guard_mark_hand_out(start, len);
}

/*
 * Whether every page traps that is not backed.  Then free memory must not be
 * lazy, since what the kernel took would trap under its next owner; nor must
 * pages be moved, which leaves others missing; nor memory that is in use be
 * given back.
 */
bool guard_missing_traps(void);

/* Whether @addr lies in memory of which pages may trap. */
bool guard_mark_covers(const void *addr);

/* Why the page at @addr traps; *@ret_ms: for how long it has done so. */
enum guard_why guard_mark_why(const void *addr, uint64_t *ret_ms);

/*
 * The page at @addr is handed out and missing all the same, since the program
 * gave it back itself: make it present.  False: it is not for us to do, or it
 * was not missing.
 */
bool guard_mark_resolve(char *addr);

void guard_mark_count(struct guard_counters *ret);

/* "guard: ..."; the length stored, 0: nothing was asked for. */
size_t guard_mark_describe(char *buf, size_t size);

void guard_mark_postfork_child(void);

/* A way to trap; one file and one CONFIG symbol each. */
struct guard_trap {
	const char *name;
	enum advise_kind advice;	/* gives back and sets the trap */
	bool missing;			/* a page that is not backed traps */
	/* 0 or -errno, and then *@ret_reason may say more. */
	int (*open)(char *base, size_t len, const char **ret_reason);
	/*
	 * Remove what traps there.  0, 1 if a page of it was missing, or
	 * -errno; -EBADF: the trap is lost, all over.  Not on the reclaimer's
	 * thread, which has a file table of its own.
	 */
	int (*remove)(char *start, size_t len);
	void (*forget)(void);		/* in a forked child */
};

extern const struct guard_trap guard_trap_marker, guard_trap_uffd;

#endif
