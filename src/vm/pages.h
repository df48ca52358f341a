/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The page word: what is behind each page of a slab
 *
 * What it is: slab->pages.  The low 16 bits say which pages are clean (given
 * back, or never touched; they read as zero), the next 16 which are lazy
 * (MADV_FREE), the next which were seen free by a sweep (idle).  Bit 48 says
 * that pages may trap (os/guard_mark.h).
 *
 * Of a slab that serves a class heap/slab.h says who changes it.  Of runs the
 * clean and lazy bits count where vm/run.h says so, and are nobody's but those
 * who have the run; a sweep that comes late may set idle bits of anything.
 */
#ifndef EBB_VM_PAGES_H
#define EBB_VM_PAGES_H

#include "base/bits.h"
#include "os/map.h"
#include "vm/range.h"

#define PAGES_CLEAN	0
#define PAGES_LAZY	16
#define PAGES_IDLE	32
#define PAGES_GUARDED	(1ULL << 48)
#define PAGES_MASK	0xffffULL
#define PAGES_ALL(mask) ((uint64_t)(mask) << PAGES_CLEAN | \
			 (uint64_t)(mask) << PAGES_LAZY | \
			 (uint64_t)(mask) << PAGES_IDLE)

/* The clean and lazy bits of all pages: set ones are holes. */
#define PAGES_HOLES	(PAGES_MASK << PAGES_CLEAN | PAGES_MASK << PAGES_LAZY)

/* Pages that read as zero, and lazy ones, as masks. */
static inline unsigned int pages_clean(uint64_t word)
{
	return (unsigned int)(word >> PAGES_CLEAN & PAGES_MASK);
}

static inline unsigned int pages_lazy(uint64_t word)
{
	return (unsigned int)(word >> PAGES_LAZY & PAGES_MASK) &
	       ~pages_clean(word);
}

/* Bytes of the pages of the mask @pages. */
static inline size_t pages_bytes(unsigned int pages)
{
	return (size_t)bits_count(pages) << map_page_shift;
}

/* Pages of a slab. */
static inline unsigned int slab_nr_pages(void)
{
	return (unsigned int)(SLAB_SIZE >> map_page_shift);
}

/* They as a mask. */
static inline unsigned int slab_all_pages(void)
{
	return (unsigned int)bits_range(0, slab_nr_pages());
}

/* The clean and lazy bits of @slab, of a run that is or was @state. */
static inline uint64_t run_page_word(const struct slab *slab,
				     enum run_state state)
{
	switch (state) {
	case RUN_PART:
		return load_relaxed(&slab->pages) & PAGES_HOLES;
	case RUN_LAZY:
		return (uint64_t)slab_all_pages() << PAGES_LAZY;
	case RUN_CLEAN:
		return (uint64_t)slab_all_pages() << PAGES_CLEAN;
	default:
		return 0;
	}
}

/* Bytes of @slab that are not clean, the same. */
static inline size_t run_backed_bytes(const struct slab *slab,
				      enum run_state state)
{
	return SLAB_SIZE - pages_bytes(pages_clean(run_page_word(slab, state)));
}

/*
 * What the run @first of @nr slabs is by its page words, when it is free: clean,
 * part or dirty.  *@ret_backed: bytes that are not clean.
 */
enum run_state run_state_by_words(const struct slab *first, size_t nr,
				  size_t *ret_backed);

/* Pages of its last slab that a run uses, if it is for @bytes, not 0. */
static inline unsigned int run_pages_used(size_t bytes)
{
	return (unsigned int)(((bytes - 1) & (SLAB_SIZE - 1)) >>
			      map_page_shift) + 1;
}

/* They as a mask. */
static inline unsigned int run_last_pages(size_t bytes)
{
	return (unsigned int)bits_range(0, run_pages_used(bytes));
}

/*
 * Of the first @bytes, not 0, of the run @first, which is or was @state: those
 * of pages that are clean, and that are lazy.
 */
void run_count_holes(const struct slab *first, size_t bytes,
		     enum run_state state, size_t *ret_clean,
		     size_t *ret_lazy);

#endif
