/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Arenas: which chunk an object gets
 */
#include "base/err.h"
#include "base/lock.h"
#include "heap/arena.h"
#include "heap/heap.h"
#include "heap/medium.h"
#include "heap/slab.h"
#include "vm/run.h"

#define NR_ARENAS	8u
#define NR_BINS		64u	/* by longest stretch; the last: or more */
#define LOOK_MOST	32u	/* chunks, where alignment or a bound refuses */
#define CLAIM_TRIES	8u	/* the reclaimer takes pages, too */

/* Chunks by their longest stretch of a view. */
struct index {
	uint64_t filled;	/* bins that are not empty; others guess */
	struct list_head bins[NR_BINS];
};

struct arena {
	bool has_lists;		/* set for good */
	struct slab *changed;	/* atomic: stack of chunks with more free */
	struct index views[NR_VIEWS];
	struct list_head whole;	/* chunks that are wholly free, instead of in a
				 * bin of VIEW_FREE */
} __attribute__((aligned(64)));

static struct arena arenas[NR_ARENAS];

/* Beside them: who has no chunk has no page of all the lists. */
static struct {
	struct lock lock;
} __attribute__((aligned(64))) locks[NR_ARENAS] = {
	[0 ... NR_ARENAS - 1] = { LOCK_INIT(3) },
};

static uint32_t next_arena;	/* atomic: of threads by turns */

static struct lock *lock_of(const struct arena *arena)
{
	return &locks[arena - arenas].lock;
}

/* === Its lists ============================================================ */

/* Of each view a chunk has a link, and lengths: the first slab's, the second's. */
static struct list_head *node_of(struct slab *chunk, enum view view)
{
	return &chunk[view].link;
}

static struct slab *chunk_at(struct list_head *node, enum view view)
{
	return list_entry(node, struct slab, link) - view;
}

static uint16_t *known_of(struct slab *chunk, enum view view)
{
	return &slab_hot(chunk + view)->known;
}

/* Put @chunk where those are listed of which @length blocks are free at most. */
static void list_chunk(struct arena *arena, struct slab *chunk, enum view view,
		       unsigned int length)
{
	struct index *index = &arena->views[view];
	struct list_head *node = node_of(chunk, view);
	unsigned int bin = min(length, NR_BINS) - 1;

	chunk[view].listed = (uint16_t)length;
	list_init(node);
	if (!length)
		return;
	if (length == CHUNK_BLOCKS && view == VIEW_FREE) {
		list_add(node, &arena->whole);
		return;
	}
	/* What is wholly free is kept so, if something else will do. */
	if (length == CHUNK_BLOCKS)
		list_add_tail(node, &index->bins[bin]);
	else
		list_add(node, &index->bins[bin]);
	store_relaxed(&index->filled, index->filled | 1ULL << bin);
}

static void unlist_chunk(struct arena *arena, struct slab *chunk,
			 enum view view)
{
	struct index *index = &arena->views[view];
	unsigned int bin = min((unsigned int)chunk[view].listed, NR_BINS) - 1;

	list_del(node_of(chunk, view));
	if (bin < NR_BINS && list_empty(&index->bins[bin]))
		store_relaxed(&index->filled, index->filled & ~(1ULL << bin));
}

static void relist(struct arena *arena, struct slab *chunk, enum view view,
		   unsigned int length)
{
	if (length == chunk[view].listed)
		return;
	unlist_chunk(arena, chunk, view);
	list_chunk(arena, chunk, view, length);
}

/* A stretch of @length is free; false: as much was known. */
static bool raise_known(uint16_t *known, unsigned int length)
{
	uint16_t before = load_seq_cst(known);

	while (before < length)
		if (cas_acq_rel(known, &before, (uint16_t)length))
			return true;
	return false;
}

/*
 * Somebody looks now how long the longest is: who frees meanwhile says so.
 * Returns what was known, for who does not look at all of it then.
 */
static unsigned int forget_known(struct slab *chunk, enum view view)
{
	/* Pairs with raise_known(): it published before it looked here. */
	return xchg_seq_cst(known_of(chunk, view), 0);
}

/* All of @chunk was looked at, or nobody knows of it. */
static void survey(struct slab *chunk)
{
	for (int view = 0; view < NR_VIEWS; view++) {
		(void)forget_known(chunk, (enum view)view);
		(void)raise_known(known_of(chunk, (enum view)view),
				  chunk_longest(chunk, (enum view)view));
	}
}

/* A chunk that no list has. */
static void enlist(struct arena *arena, struct slab *chunk)
{
	survey(chunk);
	for (int view = 0; view < NR_VIEWS; view++)
		list_chunk(arena, chunk, (enum view)view,
			   load_relaxed(known_of(chunk, (enum view)view)));
}

static void unlist_views(struct arena *arena, struct slab *chunk)
{
	for (int view = 0; view < NR_VIEWS; view++)
		unlist_chunk(arena, chunk, (enum view)view);
}

static void relist_views(struct arena *arena, struct slab *chunk)
{
	for (int view = 0; view < NR_VIEWS; view++)
		/* Pairs with push_changed(). */
		relist(arena, chunk, (enum view)view,
		       load_seq_cst(known_of(chunk, (enum view)view)));
}

/* What is known of @chunk, or what it is listed by, is too much or too little. */
static void list_anew(struct arena *arena, struct slab *chunk)
{
	survey(chunk);
	relist_views(arena, chunk);
}

static void push_changed(struct slab *chunk)
{
	/* Else it may be given up, and be something else, at any moment. */
	ebb_assert(load_relaxed(&chunk_meta(chunk)->nr_pins));
	/*
	 * Pairs with take_changed(): what is known is raised before we look, and
	 * it looks there after it cleared this; one of the two sees the other's.
	 */
	if (load_seq_cst(&chunk_meta(chunk)->changed) ||
	    xchg_seq_cst(&chunk_meta(chunk)->changed, 1))
		return;
	(void)slab_stack_push(&arenas[chunk_meta(chunk)->arena].changed, chunk);
}

bool arena_tell(const struct stretch *stretch)
{
	unsigned int length = 0;
	bool news = false;

	for (int view = 0; view < NR_VIEWS; view++) {
		length = stretch_around(stretch, (enum view)view);
		news |= raise_known(known_of(stretch->chunk, (enum view)view),
				    length);
	}
	if (news)
		push_changed(stretch->chunk);
	return length == CHUNK_BLOCKS;
}

void arena_tell_beside(const struct stretch *stretch)
{
	struct stretch before = { stretch->chunk, stretch->at, 0 };
	struct stretch behind = {
		stretch->chunk, stretch->at + stretch->nr, 0,
	};

	(void)arena_tell(&before);
	(void)arena_tell(&behind);
}

static void take_changed(struct arena *arena)
{
	struct slab *chunk, *next;

	if (!load_relaxed(&arena->changed))
		return;
	/* Pairs with push_changed(). */
	for (chunk = xchg_acquire(&arena->changed, NULL); chunk; chunk = next) {
		next = chunk->avail_next;
		xchg_seq_cst(&chunk_meta(chunk)->changed, 0);
		relist_views(arena, chunk);
	}
}

static bool make_chunk(struct arena *arena)
{
	enum run_state was;
	struct slab *chunk = run_alloc(CHUNK_SLABS, CHUNK_SLABS, &was);

	if (!chunk)
		return false;
	chunk_init(chunk, (unsigned int)(arena - arenas), was);
	enlist(arena, chunk);
	return true;
}

/* With the arena's lock held. */
static bool give_up(struct arena *arena, struct slab *chunk)
{
	/* Pairs with chunk_unpin(): who pushed the chunk did so before. */
	if (load_acquire(&chunk_meta(chunk)->nr_pins) ||
	    load_relaxed(&chunk_meta(chunk)->changed))
		return false;
	/* First: a run that is free is anybody's. */
	unlist_views(arena, chunk);
	if (chunk_free(chunk))
		return true;
	enlist(arena, chunk);
	return false;
}

/* === Taking =============================================================== */

/*
 * Of the chunks that seem to have @need the first that does.  Who takes of one
 * does not list it anew: then it has less than it is listed for, which shows
 * here.
 */
static void choose_listed(struct arena *arena, enum view view,
			  const struct need *need, struct choice *best)
{
	struct index *index = &arena->views[view];
	unsigned int left = LOOK_MOST;

	for (uint64_t bins = index->filled & ~0ULL << (need->nr - 1); bins;
	     bins &= bins - 1) {
		struct list_head *bin = &index->bins[bit_lowest(bins)];
		struct list_head *node, *next;

		for (node = bin->next; node != bin; node = next) {
			struct slab *chunk = chunk_at(node, view);
			unsigned int known, length;

			next = node->next;
			known = forget_known(chunk, view);
			length = chunk_look_at(chunk, view, need, best);
			(void)raise_known(known_of(chunk, view),
					  best->at.nr ? known : length);
			if (best->at.nr || !--left)
				return;
			/* Not only less: who freed what was seen need not tell. */
			relist(arena, chunk, view, length);
		}
	}
}

static void choose(struct arena *arena, enum view view,
		   const struct need *need, struct choice *best)
{
	struct list_head *node;

	choose_listed(arena, view, need, best);
	if (view == VIEW_BACKED)
		return;
	for (node = arena->whole.next; !best->at.nr && node != &arena->whole;
	     node = node->next)
		chunk_look_at(chunk_at(node, view), view, need, best);
}

/* Take @need out of @arena, whose lock is held, as it is. */
static bool take_listed(struct arena *arena, enum view view,
			const struct need *need, struct stretch *ret_stretch)
{
	for (unsigned int i = 0; i < CLAIM_TRIES; i++) {
		struct choice best = { 0 };

		choose(arena, view, need, &best);
		if (!best.at.nr)
			return false;
		if (!stretch_claim(best.at)) {
			/* Who freed meanwhile took ours for used ones. */
			list_anew(arena, best.at.chunk);
			continue;
		}
		chunk_pin(best.at.chunk);
		/* Wholly free it is no more. */
		if (best.at.chunk[VIEW_FREE].listed == CHUNK_BLOCKS)
			list_anew(arena, best.at.chunk);
		*ret_stretch = best.at;
		return true;
	}
	return false;
}

static void make_lists(struct arena *arena)
{
	for (int view = 0; view < NR_VIEWS; view++) {
		/* Another thread may look, see may_have(). */
		store_relaxed(&arena->views[view].filled, 0);
		for (unsigned int i = 0; i < NR_BINS; i++)
			list_init(&arena->views[view].bins[i]);
	}
	list_init(&arena->whole);
	/* Who goes by it takes the lock before it looks. */
	store_relaxed(&arena->has_lists, true);
}

static bool take_from(struct arena *arena, enum view view,
		      const struct need *need, struct stretch *ret_stretch)
{
	if (!arena->has_lists)
		make_lists(arena);
	take_changed(arena);
	return take_listed(arena, view, need, ret_stretch);
}

/* Another arena seems to have it, or does not know. */
static bool may_have(const struct arena *arena, enum view view,
		     const struct need *need)
{
	return load_relaxed(&arena->views[view].filled) >> (need->nr - 1) ||
	       load_relaxed(&arena->changed);
}

/* The same, from another arena whose lock is free. */
static bool take_elsewhere(const struct arena *mine, enum view view,
			   const struct need *need, struct stretch *ret_stretch)
{
	for (unsigned int i = 0; i < NR_ARENAS; i++) {
		struct arena *arena = &arenas[i];
		bool found;

		if (arena == mine || !may_have(arena, view, need) ||
		    !lock_try(lock_of(arena)))
			continue;
		found = take_from(arena, view, need, ret_stretch);
		lock_release(lock_of(arena));
		if (found)
			return true;
	}
	return false;
}

static struct arena *arena_of(struct heap *heap)
{
	if (!heap)
		return &arenas[0];
	if (!heap->arena)
		heap->arena = (uint8_t)(add_relaxed(&next_arena, 1) %
					NR_ARENAS + 1);
	return &arenas[heap->arena - 1];
}

/*
 * What is backed costs nobody anything, whosever it is; a page fault costs more
 * than the other thread's cache lines.
 */
bool arena_take(struct heap *heap, const struct need *need,
		struct stretch *ret_stretch)
{
	struct arena *arena = arena_of(heap);
	bool found;

	for (int view = 0; view < NR_VIEWS; view++) {
		lock_take(lock_of(arena));
		found = take_from(arena, (enum view)view, need, ret_stretch);
		lock_release(lock_of(arena));
		if (found || take_elsewhere(arena, (enum view)view, need,
					    ret_stretch))
			return true;
	}
	if (!heap_may_back((uint64_t)need->nr << BLOCK_SHIFT))
		return false;
	lock_take(lock_of(arena));
	found = make_chunk(arena) &&
		take_listed(arena, VIEW_FREE, need, ret_stretch);
	lock_release(lock_of(arena));
	return found;
}

/* Have the blocks behind @stretch, @nr of them, claimed if they are free. */
bool arena_claim_behind(const struct stretch *stretch, unsigned int nr)
{
	struct stretch more = {
		stretch->chunk, stretch->at + stretch->nr, nr,
	};
	struct arena *arena = &arenas[chunk_meta(stretch->chunk)->arena];
	bool got;

	if (more.at + nr > CHUNK_BLOCKS || lock_holds_any() ||
	    !stretch_is_free(more) || !heap_may_back(stretch_missing(more)))
		return false;
	lock_take(lock_of(arena));
	got = stretch_claim(more);
	if (!got)
		list_anew(arena, more.chunk);
	lock_release(lock_of(arena));
	return got;
}

void arena_claimed(struct slab *slab)
{
	chunk_pin(chunk_of_slab(slab));
}

/* The blocks @left of @slab are free. */
static void tell_blocks(struct slab *slab, uint64_t left)
{
	struct slab *chunk = chunk_of_slab(slab);
	unsigned int first = (unsigned int)(slab - chunk) * SLAB_BLOCKS;

	while (left) {
		uint64_t run = bits_take_run(&left);
		struct stretch stretch = {
			chunk, first + bit_lowest(run), bits_count(run),
		};

		(void)arena_tell(&stretch);
	}
}

void arena_settled(struct slab *slab, unsigned int pages)
{
	tell_blocks(slab, chunk_blocks_of(pages));
	chunk_unpin(chunk_of_slab(slab));
}

/* What is claimed keeps the chunk from being given up, so it may be pinned. */
void arena_put_back(struct slab *slab, uint64_t mask)
{
	chunk_pin(chunk_of_slab(slab));
	slab_unclaim(slab, 0, mask);
	tell_blocks(slab, mask);
	chunk_unpin(chunk_of_slab(slab));
}

/* === The rest of its life ================================================= */

static void reap(struct arena *arena, bool all)
{
	struct list_head *node, *next;
	bool keep = !all;

	take_changed(arena);
	for (node = arena->whole.next; node != &arena->whole; node = next) {
		next = node->next;
		if (!keep)
			(void)give_up(arena, chunk_at(node, VIEW_FREE));
		keep = false;
	}
}

void arena_reap(bool all)
{
	for (unsigned int i = 0; i < NR_ARENAS; i++) {
		struct arena *arena = &arenas[i];

		/* Its holder may be stopped: a purge goes on without. */
		if (!load_relaxed(&arena->has_lists) ||
		    !lock_try_for(lock_of(arena), LOCK_PATIENCE_MS))
			continue;
		reap(arena, all);
		lock_release(lock_of(arena));
	}
}

void arena_trim(unsigned int number)
{
	struct arena *arena = &arenas[number];

	/* Below a handler what it takes to free a run may be held. */
	if (lock_holds_any() || !lock_try(lock_of(arena)))
		return;
	if (arena->has_lists)
		reap(arena, false);
	lock_release(lock_of(arena));
}

/* === Fork ================================================================= */

static bool taken[NR_ARENAS];	/* of the forking thread */

bool arena_holds_lock(void)
{
	for (unsigned int i = 0; i < NR_ARENAS; i++)
		if (lock_is_mine(&locks[i].lock))
			return true;
	return false;
}

void arena_prefork(bool may_wait)
{
	for (unsigned int i = 0; i < NR_ARENAS; i++)
		taken[i] = lock_take_for_fork(&locks[i].lock, may_wait);
}

void arena_postfork(void)
{
	for (unsigned int i = NR_ARENAS; i-- > 0;)
		if (taken[i])
			lock_release(&locks[i].lock);
}

/*
 * Nobody else runs, and what vanished threads were about to free is lost.  They
 * may have published and not added, or not unpinned, or not pushed: bits and
 * marks are counted.
 */
static void take_over(struct arena *arena, struct slab *chunk)
{
	chunk_recount(chunk);
	enlist(arena, chunk);
}

/* Who was making it, or giving it up, may be gone: what is left of it is lost. */
static bool is_chunk(const struct slab *first)
{
	for (unsigned int i = 0; i < CHUNK_SLABS; i++)
		if (slab_hot(first + i)->kind != SLAB_KIND_MEDIUM)
			return false;
	return true;
}

void arena_postfork_child(void)
{
	size_t nr = load_relaxed(&range.fresh) >> SLAB_SHIFT;
	bool mine[NR_ARENAS];

	/* What this thread holds it is changing, below the handler that forks. */
	for (unsigned int i = 0; i < NR_ARENAS; i++) {
		mine[i] = !taken[i] && lock_is_mine(&locks[i].lock);
		if (mine[i])
			continue;
		/* Of somebody who is not here. */
		if (!taken[i])
			lock_reset(&locks[i].lock);
		if (!arenas[i].has_lists)
			continue;
		make_lists(&arenas[i]);
		arenas[i].changed = NULL;
	}
	for (size_t i = 0; i < nr; i++) {
		struct slab *chunk = chunk_of_slab(range.slabs + i);

		if (hot_at(i)->kind != SLAB_KIND_MEDIUM)
			continue;
		i = slab_index(chunk) + CHUNK_SLABS - 1;
		if (is_chunk(chunk) && !mine[chunk_meta(chunk)->arena])
			take_over(&arenas[chunk_meta(chunk)->arena], chunk);
	}
}
