/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Reserving, taking into use and renewing address space
 */
#ifndef EBB_OS_MAP_H
#define EBB_OS_MAP_H

#include "base/compiler.h"

/* The OS page: set once by map_init(); 4, 16 or 64 KiB. */
extern size_t map_page_size;
extern unsigned int map_page_shift;

/* What an entry of the page table's second level maps: 512 pages of 4 KiB. */
static inline size_t map_huge_size(void)
{
	return map_page_size / sizeof(uint64_t) * map_page_size;
}

/* Look at the machine: page size, huge pages. */
void map_init(void);

/*
 * Reserve @len bytes of address space aligned to @align: PROT_NONE, neither
 * backed nor charged.  Returns 0 or -errno.
 */
int map_reserve(size_t len, size_t align, char **ret_addr) __must_check;

/* Reserve exactly [@addr, @addr + @len); -EEXIST where something is there. */
int map_reserve_at(char *addr, size_t len) __must_check;

/* Make reserved space readable and writable; it reads as zero. */
int map_commit(char *addr, size_t len) __must_check;

/*
 * Replace [@addr, @addr + @len) by a new mapping that reads as zero and can
 * merge with its neighbours: the way back from a displaced range.
 */
int map_renew(char *addr, size_t len) __must_check;

/*
 * Back to reserved: given back and, where the kernel charges commitments
 * (vm.overcommit_memory=2), not charged any more.
 */
int map_uncommit(char *addr, size_t len) __must_check;

/* Give back pages of our own; they read as zero, unless it is refused. */
void map_discard(char *addr, size_t len);

/* No huge pages in [@addr, @addr + @len) any more. */
void map_no_huge(char *addr, size_t len);

/* Bytes of address space left under RLIMIT_AS; SIZE_MAX: no limit. */
size_t map_space_left(void);

/* Whether the kernel counts commitments strictly (overcommit_memory=2). */
bool map_strict_commit(void);

/*
 * Memory of our own that holds addresses of objects without keeping them: who
 * searches for what refers to an object leaves it out.  Not too often: there is
 * room for MAP_PRIVATE_MAX.  Context: any; what was noted stays.
 */
#define MAP_PRIVATE_MAX		16u
void map_note_private(const void *start, size_t len);

/* The @nth of them; false: there are no more. */
bool map_private(unsigned int nth, uintptr_t *ret_start, uintptr_t *ret_end);

/*
 * Move the pages of [@from, @from + @len) to @to, leaving @from mapped and
 * empty.  Before Linux 6.17 mremap moves no range that is more than one mapping
 * (and at which places one ends, nobody tells), so it is done in parts.
 * Returns 0 or -errno: then all is at @from as before, but @to may be unmapped.
 */
int map_move(char *from, char *to, size_t len) __must_check;

/* Whether that has a chance; else nothing would be gained by unmapping @to. */
bool map_may_move(char *from, size_t len);

#endif
