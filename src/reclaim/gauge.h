/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Gauges: usage below limits, level by level
 *
 * Model: a gauge is one usage file and up to two limits of it, at one visible
 * level of the cgroup path:
 *	v1	memory.usage_in_bytes below memory.limit_in_bytes,
 *		memory.memsw.usage_in_bytes below memory.memsw.limit_in_bytes
 *	v2	memory.current below memory.high and memory.max
 * and headroom is the least of (limit - usage) over all gauges.  File cache
 * that the kernel can drop is room, too, but memory.stat, which tells how
 * much there is, takes twice as long to read: it is for where room is short.
 *
 * Limits are read anew each time, since an admin may change them at run time.
 * Usage moves in steps of 256 KiB per CPU.
 *
 * A set either keeps its files open, which needs a file table of one's own,
 * or opens, reads and closes at each look, about 5 us a file.
 */
#ifndef EBB_RECLAIM_GAUGE_H
#define EBB_RECLAIM_GAUGE_H

#include "reclaim/cgroup.h"

#define GAUGE_MAX	(2 * CGROUP_MAX_LEVELS)
#define GAUGE_TEXT	4096

struct gauge {
	const struct gauge_files *files;
	unsigned int level;
	int usage_fd;			/* -1: opened at each look */
	int limit_fd[2];
};

/* One user at a time: the caller excludes others. */
struct gauge_set {
	const struct cgroup_view *view;
	bool hold;			/* files are kept open */
	unsigned int nr;
	struct gauge gauges[GAUGE_MAX];
	int min_fd;			/* memory.min of the own level, or -1 */
	char text[GAUGE_TEXT];
};

struct gauge_reading {
	uint64_t limit;		/* of the tightest; CGROUP_NO_LIMIT: none */
	uint64_t room;		/* below it */
	unsigned int tightest;	/* index of that gauge */
	bool soft;		/* it is a memory.high: crossing does not kill */
};

/*
 * Find the gauges of @view, which must stay as it is.  0; or -errno, where
 * there is none: -ENOENT if no level has the files.
 */
int gauge_open(struct gauge_set *set, const struct cgroup_view *view,
	       bool hold) __must_check;
void gauge_close(struct gauge_set *set);

/* Read all; -errno where none can be read any more. */
int gauge_read(struct gauge_set *set, struct gauge_reading *ret_reading)
	__must_check;

/* The same of one, the tightest of a reading before. */
int gauge_read_one(struct gauge_set *set, unsigned int index,
		   struct gauge_reading *ret_reading) __must_check;

/*
 * Bytes of file cache at the level of gauge @index that the kernel can drop at
 * once, as of now: what is remembered of it would be room twice as soon as the
 * kernel has dropped it.
 */
uint64_t gauge_droppable(struct gauge_set *set, unsigned int index);

/*
 * Add the limits' files to @notes_fd (cgroup_notes_open()); how many of them
 * it will tell of.
 */
unsigned int gauge_tell(const struct gauge_set *set, int notes_fd);

/* Whether memory.min protects the own level. */
bool gauge_protected(struct gauge_set *set);

#endif
