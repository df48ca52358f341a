/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The heap profile: samples that live, and where they came from
 *
 * What it is: two tables in memory of our own.  A *site* is a call stack
 * together with a size; a *sample* is an object in use and its site.  Which
 * objects become samples is decided by heap/sample.h.
 *
 * Model: sites only come, and count what was allocated there.  What lives is
 * counted when it is asked for, over the samples, so it is exact for them at
 * any time, also in a forked child.  Both tables are of fixed size; what finds
 * no place is counted as dropped, which malloc_stats() shows.
 *
 * Invariants:
 * (1) A sample is in the table from before its object is handed out until its
 *     free() began, so no two samples have one address.
 * (2) slab.nr_samples is not less than the number of samples that begin in the
 *     slab: where it is 0 free() need not look.
 *
 * Locking: the tables have none, so that handlers may come by at any
 * instruction: places are taken, published and emptied by one atomic each.
 * write_lock (4) is taken by who writes a profile, alone.
 *
 * Fork: the child has a copy.  A place that a vanished thread was about to fill
 * stays taken.
 */
#ifndef EBB_DEBUG_PROFILE_H
#define EBB_DEBUG_PROFILE_H

#include "debug/stack.h"

/* What profile_forget() found, for profile_restore(). */
struct profile_sample {
	uint32_t site;		/* 0: it is no sample */
};

struct profile_stats {
	uint64_t nr_live;	/* samples in the table */
	uint64_t nr_dropped;	/* that found no place */
};

/*
 * Make the tables and begin: the option profile is not 0.  Context: the one
 * that initialises; range_init() is done.
 */
void profile_init(void);

/* What takes locks and memory.  Context: a constructor. */
void profile_start(void);

#if IS_ENABLED(CONFIG_PROFILE)

/* @ptr of @bytes, just allocated by who @frame returns to, is a sample. */
void profile_take(void *ptr, size_t bytes, const struct stack_frame *frame);

/*
 * @ptr is about to be freed, or to change size.  Returns what it was, so that
 * it can be restored if that came to nothing.
 * Context: anywhere; @ptr is not free yet.
 */
struct profile_sample profile_forget(const void *ptr);

void profile_restore(const void *ptr, struct profile_sample sample);

#else

static inline void profile_take(void *ptr, size_t bytes,
				const struct stack_frame *frame)
{
	(void)ptr;
	(void)bytes;
	(void)frame;
}

static inline struct profile_sample profile_forget(const void *ptr)
{
	(void)ptr;
	return (struct profile_sample){ 0 };
}

static inline void profile_restore(const void *ptr,
				   struct profile_sample sample)
{
	(void)ptr;
	(void)sample;
}

#endif

/*
 * Write all to @fd, a file, as text in the format heap_v2, which pprof reads, with
 * /proc/self/maps.  The numbers are those of the samples; pprof computes from
 * the mean, given in the first line, what they stand for.  Returns 0, -ENODATA
 * where there is no profile, -EDEADLK below a handler that interrupted another
 * writer, or what write(2) said.
 * Context: no lock of a lower rank is held.
 */
int profile_write(int fd) __must_check;

/*
 * The same to a new file, or one of the user's own that is made empty, at the
 * path in option profile_dump.  Errors also of open(2); -EPERM: what is there
 * is no plain file of this user's alone; -EACCES: the program has privileges;
 * -EDEADLK below a handler that interrupted the allocator.
 */
int profile_dump(void) __must_check;

/* What the tables have taken at most. */
uint64_t profile_bytes(void);

void profile_stats(struct profile_stats *ret_stats);

/* Frees write_lock: its holder may not be in the child. */
void profile_postfork_child(void);

/* --- Between profile.c and profile_write.c --- */

struct profile_site {
	uint64_t hash;
	uint64_t size;		/* of each object */
	uint64_t nr_allocated;	/* samples so far (atomic) */
	uint32_t nr_live;	/* write_lock: as counted for a writer */
	uint32_t nr_pcs;
	uintptr_t pcs[STACK_MAX];
};

/* Count what lives, into @nr_live of each site.  Context: write_lock held. */
void profile_count_live(void);

/* The @index-th site, from 1 on; NULL: there are no more. */
struct profile_site *profile_site_at(uint32_t index);

#endif
