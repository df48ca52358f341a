/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - What a way of giving ranges back is to os/advise.c
 */
#ifndef EBB_OS_ADVISE_BACKEND_H
#define EBB_OS_ADVISE_BACKEND_H

#include "base/atomic.h"
#include "ebb/control.h"
#include "os/advise.h"

enum backend_state {
	BACKEND_UNTRIED,
	BACKEND_LIVE,
	BACKEND_UNAVAILABLE,
};

/* Written by who makes the pass, one at a time; read by any thread. */
struct backend_counters {
	uint64_t ranges;	/* taken */
	uint64_t bytes;
	uint64_t calls;		/* into the kernel */
	uint64_t partial;	/* calls that stopped at a range */
	uint64_t fallbacks;	/* ranges it left to madvise */
};

struct advise_backend {
	const char *name;

	/*
	 * Find out whether it can be used, and make ready what it needs;
	 * 0 or -errno, and then @reason may say more.  @keep_fds: descriptors
	 * may be kept, in a file table of the calling thread's own.
	 */
	int (*open)(struct advise_backend *backend, bool keep_fds);

	/*
	 * Advise @nr ranges; ok[] is false at first and set for each that was
	 * taken.  What it leaves, madvise is tried on.  Returns 0, or -errno
	 * if calls of its own kind were made and none did anything: then it
	 * may be useless altogether.
	 */
	int (*advise)(struct advise_backend *backend,
		      const struct advise_range *ranges, size_t nr, int advice,
		      bool *ok);

	/* By the thread that opened it. */
	void (*close)(void);

	/* In a forked child: what was open is another process's; no syscall. */
	void (*forget)(void);

	/* Set by open: not tied to the thread that opened it. */
	bool any_thread;

	/*
	 * Written by the reclaimer thread, or by a pass that degrades it;
	 * @state is released after @reason and @error.
	 */
	enum backend_state state;
	const char *reason;
	int error;
	uint64_t cost_ns;	/* of a range; 0: not measured */
	struct backend_counters counters;
};

static inline void backend_count(uint64_t *counter, uint64_t nr)
{
	store_relaxed(counter, *counter + nr);
}

/*
 * @state is released after what explains it, and acquired; the same holds for
 * what is chosen.
 */
void backend_set_state(struct advise_backend *backend,
		       enum backend_state state);
enum backend_state backend_get_state(const struct advise_backend *backend);
void backend_choose(struct advise_backend *backend);
struct advise_backend *backend_chosen(void);

/* Unavailable from now on; @reason may be NULL: the kernel's @err says all. */
void backend_give_up(struct advise_backend *backend, const char *reason,
		     int err);

void backend_set_counters(struct advise_backend *backend,
			  const struct backend_counters *from);

/* In the order of enum ebb_backend, from madvise on; NULL: not built in. */
#define NR_BACKENDS	3u
extern struct advise_backend *const advise_backends[NR_BACKENDS];

/* What the thread that opened them, the reclaimer, found there. */
extern struct advise_owner {
	const char *no_table;	/* NULL: it has a file table of its own */
	int status_fd;		/* kept open in it for probe_filters(), or -1 */
	int filters;		/* as it chose; -1: unknown */
} advise_owner;

/* Whether this is that thread. */
extern __thread bool advise_is_owner;

/* One file and, but for madvise, one CONFIG symbol each. */
extern struct advise_backend madvise_backend;
extern struct advise_backend process_backend;
extern struct advise_backend uring_backend;

/* The reclaimer: a seccomp filter came later; only madvise is left. */
void advise_filtered(void);

#endif
