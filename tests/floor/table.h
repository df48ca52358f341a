/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - Table of live blocks, and the page floor
 *
 * What it is: which blocks a program owns now, written down by somebody who
 * sees its calls, independent of any allocator.  From it follows the *floor*:
 * the pages that must stay resident whatever the allocator does, since a
 * block that is alive touches them.
 *
 * Locking: one spin lock for each of the shards, held by short sections that
 * neither allocate nor block.  floor_busy() tells a signal handler that it
 * interrupted one of them; it must then not come in.
 *
 * Memory comes from mmap, never from malloc.
 */
#ifndef EBB_TESTS_FLOOR_TABLE_H
#define EBB_TESTS_FLOOR_TABLE_H

#include <stdbool.h>
#include <stddef.h>

struct floor_block {
	char *start;
	size_t len;
};

struct floor_numbers {
	size_t floor_bytes;	/* distinct pages touched by live blocks */
	size_t live_bytes;
	size_t blocks;
	size_t own_bytes;	/* what the table itself occupies */
};

/* A block of @len bytes at @start is alive; no two may share a start. */
void floor_add(void *start, size_t len);

/* It is not any more.  *@ret_len, if wanted: how long.  False: it never was. */
bool floor_remove(void *start, size_t *ret_len);

/* Whether the calling thread is inside one of these functions. */
bool floor_busy(void);

/*
 * A copy of all that is alive, sorted by address, in memory of its own that
 * floor_unlist() gives back.  NULL if there is no memory for it.
 */
struct floor_block *floor_list(size_t *ret_nr);
void floor_unlist(struct floor_block *list, size_t nr);

void floor_sort(struct floor_block *list, size_t nr);

/* Bytes of the distinct pages that the sorted @list touches. */
size_t floor_pages_bytes(const struct floor_block *list, size_t nr);

int floor_measure(struct floor_numbers *ret_numbers);

/* In a forked child: no other thread is left that could hold a lock. */
void floor_reset_locks(void);

#endif
