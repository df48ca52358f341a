/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Large objects: runs of slabs handed to the user
 */
#include "acct/account.h"
#include "heap/large.h"
#include "heap/misuse.h"
#include "os/map.h"
#include "vm/run.h"

#define DISPLACED_MAX	1024	/* of the 65530 mappings a process may have */

/* Set for good when the kernel refused to move pages. */
static bool move_refused;

static size_t slabs_for(size_t size)
{
	return ALIGN_UP(size, SLAB_SIZE) >> SLAB_SHIFT;
}

void *large_alloc(size_t size, size_t align, bool *ret_zero)
{
	size_t bytes = ALIGN_UP(max(size, (size_t)1), map_page_size);
	struct slab *run = run_alloc(slabs_for(bytes),
				     max(align, SLAB_SIZE) >> SLAB_SHIFT,
				     ret_zero);

	if (!run)
		return NULL;
	run->run_bytes = bytes;
	add_relaxed(&account.large_bytes, bytes);
	store_release(&slab_hot(run)->kind, SLAB_KIND_RUN);
	return slab_base(run);
}

void large_free(void *ptr, const char *call)
{
	struct slab *run = slab_of(ptr);
	uint8_t kind = SLAB_KIND_RUN;

	if ((uintptr_t)ptr & (SLAB_SIZE - 1))
		misuse_die(MISUSE_INTERIOR, call, ptr, NULL);
	/* Of two frees at once one wins, the other is the double one. */
	if (!cas_acq_rel(&slab_hot(run)->kind, &kind, SLAB_KIND_NONE))
		misuse_die_pointer(call, ptr);
	sub_relaxed(&account.large_bytes, run->run_bytes);
	run_free(run, run->run_len, false);
	account_look(run_dirty_bytes());
}

bool large_resize(void *ptr, size_t size)
{
	struct slab *run = slab_of(ptr);
	size_t bytes = ALIGN_UP(size, map_page_size);

	if (!run_resize(run, run->run_len, slabs_for(bytes)))
		return false;
	add_relaxed(&account.large_bytes, bytes - run->run_bytes);
	run->run_bytes = bytes;
	return true;
}

void *large_move(void *ptr, size_t size)
{
	struct slab *from = slab_of(ptr), *to;
	/* All of the run: beyond run_bytes may be what was there before. */
	size_t len = (size_t)from->run_len << SLAB_SHIFT;
	bool zero;
	void *moved;

	if (!IS_ENABLED(CONFIG_MREMAP) || len < LARGE_MOVE_MIN ||
	    load_relaxed(&move_refused) || range.pieces ||
	    load_relaxed(&run_counters.nr_displaced) >= DISPLACED_MAX)
		return NULL;
	moved = large_alloc(size, SLAB_SIZE, &zero);
	if (!moved)
		return NULL;
	if (map_move(ptr, moved, len)) {
		/*
		 * The kernel may have unmapped the target before it failed,
		 * and it may be somebody else's by now: it is never touched
		 * again, and this is not tried again.
		 */
		store_relaxed(&move_refused, true);
		return NULL;
	}
	to = slab_of(moved);
	to->displaced = 1;
	add_relaxed(&run_counters.nr_displaced, 1);
	store_relaxed(&slab_hot(from)->kind, SLAB_KIND_NONE);
	sub_relaxed(&account.large_bytes, from->run_bytes);
	run_free(from, from->run_len, true);
	return moved;
}
