/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Memory pressure sources
 */
#ifndef EBB_RECLAIM_SOURCE_H
#define EBB_RECLAIM_SOURCE_H

#include "base/compiler.h"
#include "reclaim/cgroup.h"

#define SOURCE_MAX_FDS	4

struct pollfd;

/* How hard a source says that memory is wanted; the greater wins. */
enum pressure {
	PRESSURE_NONE,
	PRESSURE_MILD,		/* old free memory shall go now */
	PRESSURE_SEVERE,	/* all free memory, caches included */
};

/* What the sources said in one round of the reclaimer's loop. */
struct signals {
	uint64_t now_ms;
	uint64_t limit;		/* of the tightest visible level; without one:
				 * CGROUP_NO_LIMIT */
	uint64_t headroom;	/* below it, droppable file cache included */
	bool soft;		/* that limit is a memory.high */
	bool protected;		/* memory.min: the kernel will not take lazily
				 * freed pages before it kills */
	enum pressure pressure;
	uint32_t by_source;	/* sources that said so, bit = index */
	bool asked;		/* one of them for somebody, the kernel or a
				 * process, who waits for memory */
	bool limits_changed;	/* somebody wrote to a limit's file */
	uint64_t spare;		/* bytes that could be given back, at most: set
				 * before they are asked */
};

static inline void signals_init(struct signals *signals, uint64_t now_ms)
{
	*signals = (struct signals){
		.now_ms = now_ms,
		.limit = CGROUP_NO_LIMIT,
		.headroom = CGROUP_NO_LIMIT,
	};
}

enum source_state {
	SOURCE_CLOSED,		/* no reclaimer in this process yet */
	SOURCE_LIVE,
	SOURCE_UNAVAILABLE,
};

/*
 * One kind of signal.  All functions run on the reclaimer thread and return
 * 0 or -errno; on failure they have set @reason.
 */
struct source {
	const char *name;

	/*
	 * Begin to watch; adds to @fds, and keeps @view until it is closed.
	 * What it held before is gone, or another process's.  Failure: it is
	 * closed.
	 */
	int (*open)(struct source *source, const struct cgroup_view *view);

	/* Close what it holds apart from @fds; may be NULL. */
	void (*close)(struct source *source);

	/*
	 * fds[@at] is ready, for @revents: add to @signals what it says.
	 * Positive: this was an event; 0: nothing of note; failure: the source
	 * is dead.  NULL where a source has no fds.
	 */
	int (*event)(struct source *source, unsigned int at,
		     struct signals *signals);

	/*
	 * Look without having been told, once a round; may be NULL.  Returns
	 * what event() does.
	 */
	int (*sample)(struct source *source, struct signals *signals);

	/*
	 * One step of what takes the kernel milliseconds, done when there is
	 * nothing better to do.  Positive: a step was made; 0: all is done.
	 * May be NULL.
	 */
	int (*settle)(struct source *source);

	bool needs_fds;		/* unusable without a private file table */
	bool slow_close;	/* closing an fd takes milliseconds */
	bool sampled;		/* it speaks by what it samples: a pass that
				 * was forced for it counts as its event */
	bool level;		/* it tells how much is used, not that somebody
				 * waits */

	/* Reclaimer thread only. */
	int fds[SOURCE_MAX_FDS];
	short fd_events[SOURCE_MAX_FDS];	/* POLL* waited for */
	unsigned int nr_fds;
	short revents;			/* see event() */
	bool was_live;			/* before its last opening */
	uint64_t opened_ms;
	uint64_t retry_ms;		/* unavailable: not before this */
	uint32_t retry_gap_ms;

	/*
	 * Written by the reclaimer thread, read by any: relaxed, except that
	 * @state is released after @reason and @error.
	 */
	enum source_state state;
	const char *reason;	/* live: what is watched; else why not */
	int error;		/* -errno behind @reason, or 0 */
	uint64_t nr_events;
	uint64_t last_event_ms;
	uint64_t nr_purges;	/* passes it had a part in */
	uint64_t nr_found;	/* times it was lost and found again */
};

/*
 * Refuse: sets the reason and returns @error, which is -EOPNOTSUPP where no
 * system call failed and the reason says all.
 */
int source_refuse(struct source *source, const char *reason, int error);

/* Say what a live source watches. */
void source_watches(struct source *source, const char *what);

/* Have @fd polled for @events.  There is room for SOURCE_MAX_FDS. */
void source_add_fd(struct source *source, int fd, short events);

/* The same, unless @fd is -errno: that is returned, with @reason. */
int source_take_fd(struct source *source, int fd, short events,
		   const char *reason) __must_check;

/* Close what was added. */
void source_close_fds(struct source *source);

/*
 * Whether descriptors may be kept open between looks: false where the file
 * table is the application's.
 */
bool source_may_hold_fds(void);

/*
 * Open all that are configured, in their order.  @no_table is NULL, or why
 * this thread has no private file table.  @view is kept for source_refind(),
 * which alone changes it, while nothing is open.
 */
void source_open_all(struct cgroup_view *view, const char *no_table);

/*
 * Find again what was lost.  Once per SOURCE_CHECK_MS of @now_ms it is seen
 * whether the process was moved to another cgroup; then, and where an own
 * cgroup is found that was not visible before, all are closed and opened for
 * the new view.  Those that failed are tried again after SOURCE_RETRY_MIN_MS,
 * twice that, and so on up to SOURCE_RETRY_MAX_MS.  @prefix: see
 * cgroup_find().
 */
#define SOURCE_CHECK_MS		1000u
#define SOURCE_RETRY_MIN_MS	1000u
#define SOURCE_RETRY_MAX_MS	60000u
bool source_refind(const char *prefix, uint64_t now_ms);

/* In a forked child, where the reclaimer and its fds are gone. */
void source_reset_all(void);

/* Fill @set with what is to be polled; at most @size; returns how many. */
unsigned int source_poll_set(struct pollfd *set, unsigned int size);

/*
 * Hand the ready ones of @set, as source_poll_set() filled it, to them; before
 * source_sample_all(), which may change what is polled.
 */
void source_dispatch(const struct pollfd *set, unsigned int nr,
		     struct signals *signals);

/* Have every live source look. */
void source_sample_all(struct signals *signals);

/* Make one slow step of one source; false: all is done. */
bool source_settle(void);

/* A pass was run because of @by_source. */
void source_count_purge(uint32_t by_source);

/* The bit of headroom in signals.by_source; 0 if it is not configured. */
uint32_t source_headroom_bit(void);

/* The @i-th configured source; NULL behind the last.  Context: any thread. */
const struct source *source_at(unsigned int i);

/*
 * The name of bit @i of signals.by_source, NULL behind the last; *@ret_source
 * is NULL where it is not built in.  Context: any thread.
 */
const char *source_name(unsigned int i, const struct source **ret_source);

bool source_is_live(const struct source *source);

/*
 * "NAME: live (what), N events, P passes, last M ms ago, found again F times"
 * or "NAME: unavailable: why", where nothing is said of what is none; the
 * length stored.  Context: any thread.
 */
size_t source_describe(const struct source *source, char *buf, size_t size);

/* One such line for each, those not built in included. */
size_t source_report(char *buf, size_t size);

/* One file and one CONFIG symbol each. */
extern struct source headroom_source;
extern struct source cgroup2_source;
extern struct source cgroup1_source;
extern struct source psi_source;
extern struct source watch_source;
extern struct source app_source;
extern struct source sibling_source;

#endif
