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

/* The mask of all pages of a slab. */
static inline unsigned int slab_all_pages(void)
{
	return (unsigned int)bits_range(0, 1u << (SLAB_SHIFT -
						  map_page_shift));
}

#endif
