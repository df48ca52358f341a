/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Medium objects: neighbouring blocks of 1 KiB
 */
#include "acct/account.h"
#include "base/err.h"
#include "base/lock.h"
#include "heap/charge.h"
#include "heap/heap.h"
#include "heap/medium.h"
#include "heap/misuse.h"
#include "heap/slab.h"
#include "vm/run.h"

#define NR_ARENAS	8u
#define NR_BINS		64u	/* by longest extent; the last: or more */
#define LOOK_MOST	32u	/* chunks, where alignment or a bound refuses */
#define CLAIM_TRIES	8u	/* the reclaimer takes pages, too */

/* Which blocks of a chunk are looked at. */
enum view {
	VIEW_BACKED,	/* free ones on pages that are not clean */
	VIEW_FREE,	/* all free ones */
	NR_VIEWS
};

/* Chunks by their longest extent of a view. */
struct index {
	uint64_t filled;	/* bins that are not empty; others guess */
	struct list_head bins[NR_BINS];
};

struct arena {
	struct lock lock;
	uint16_t number;
	bool has_lists;		/* set for good */
	struct slab *changed;	/* atomic: stack of chunks with more free */
	struct index views[NR_VIEWS];
	struct list_head whole;	/* chunks that are wholly free, instead of in a
				 * bin of VIEW_FREE */
} __attribute__((aligned(64)));

static struct arena arenas[NR_ARENAS] = {
	[0 ... NR_ARENAS - 1] = { .lock = LOCK_INIT(3) },
};

static uint32_t next_arena;	/* atomic: of threads by turns */

/* Blocks [@at, @at + @nr) of @chunk. */
struct extent {
	struct slab *chunk;
	unsigned int at;
	unsigned int nr;
};

/* What an object needs. */
struct need {
	unsigned int nr;	/* blocks */
	unsigned int align;	/* blocks, a power of two */
};

/* === Blocks =============================================================== */

/* The blocks of the clean pages @pages. */
static uint64_t blocks_of(unsigned int pages)
{
	unsigned int per_page = 1u << (map_page_shift - BLOCK_SHIFT);
	uint64_t left = pages, blocks = 0;

	while (left) {
		uint64_t run = bits_take_run(&left);

		blocks |= bits_range(bit_lowest(run) * per_page,
				     (bit_highest(run) + 1) * per_page);
	}
	return blocks;
}

/* The bits of all slabs of a chunk, as they were. */
struct bits {
	uint64_t word[CHUNK_SLABS];
};

/* First loads alone: none waits for another, so they miss the cache at once. */
static void read_bits(const struct slab *chunk, enum view view,
		      struct bits *ret_bits)
{
	unsigned int clean[CHUNK_SLABS], any = 0;

	for (unsigned int i = 0; i < CHUNK_SLABS; i++)
		ret_bits->word[i] = load_relaxed(&chunk[i].free[0]);
	if (view == VIEW_FREE)
		return;
	for (unsigned int i = 0; i < CHUNK_SLABS; i++)
		any |= clean[i] = pages_clean(load_relaxed(&chunk[i].pages));
	for (unsigned int i = 0; any && i < CHUNK_SLABS; i++)
		if (clean[i])
			ret_bits->word[i] &= ~blocks_of(clean[i]);
}

/* The first block from @at on that is set, or, with @flip, that is not. */
static inline unsigned int find_block(const struct bits *bits, unsigned int at,
				      uint64_t flip)
{
	while (at < CHUNK_BLOCKS) {
		uint64_t word = (bits->word[at / SLAB_BLOCKS] ^ flip) >>
				at % SLAB_BLOCKS;

		if (word)
			return at + bit_lowest(word);
		at = ALIGN_DOWN(at, (unsigned int)SLAB_BLOCKS) + SLAB_BLOCKS;
	}
	return CHUNK_BLOCKS;
}

/* Both CHUNK_BLOCKS if there is none. */
static unsigned int next_in(const struct bits *bits, unsigned int at)
{
	return find_block(bits, at, 0);
}

static unsigned int next_out(const struct bits *bits, unsigned int at)
{
	return find_block(bits, at, ~0ULL);
}

/* Where those before @at that are set begin. */
static unsigned int begin_in(const struct bits *bits, unsigned int at)
{
	while (at) {
		unsigned int word = (at - 1) / SLAB_BLOCKS;
		unsigned int first = word * (unsigned int)SLAB_BLOCKS;
		uint64_t out = ~bits->word[word] & bits_range(0, at - first);

		if (out)
			return first + bit_highest(out) + 1;
		at = first;
	}
	return 0;
}

/* The bits of @extent in its first slab, which is taken off it. */
static uint64_t take_part(struct extent *extent, struct slab **ret_slab)
{
	unsigned int first = extent->at % SLAB_BLOCKS;
	unsigned int nr = min(extent->nr, (unsigned int)SLAB_BLOCKS - first);

	*ret_slab = extent->chunk + extent->at / SLAB_BLOCKS;
	extent->at += nr;
	extent->nr -= nr;
	return bits_range(first, first + nr);
}

static const struct sizeclass *block_class(void)
{
	return &sizeclasses[CLASS_BLOCKS];
}

/* Bytes of pages of @extent that are clean. */
static size_t missing_bytes(struct extent extent)
{
	size_t bytes = 0;

	while (extent.nr) {
		struct slab *slab;
		uint64_t mask = take_part(&extent, &slab);

		bytes += pages_bytes(pages_clean(load_relaxed(&slab->pages)) &
				     slab_pages_of(block_class(), 0, mask));
	}
	return bytes;
}

static struct slab *chunk_of(const void *ptr)
{
	return range.slabs + ALIGN_DOWN(slab_index(slab_of(ptr)),
					(size_t)CHUNK_SLABS);
}

static unsigned int block_of(const struct slab *chunk, const void *ptr)
{
	return (unsigned int)(((const char *)ptr - slab_base(chunk)) >>
			      BLOCK_SHIFT);
}

static char *address_of(const struct extent *extent)
{
	return slab_base(extent->chunk) + ((size_t)extent->at << BLOCK_SHIFT);
}

/* === Marks ================================================================ */

static uint64_t bit_of(unsigned int block)
{
	return 1ULL << block % SLAB_BLOCKS;
}

/* Of the account of the object that begins at @block. */
static uint16_t *charge_at_block(struct slab *chunk, unsigned int block)
{
	return &chunk[block / SLAB_BLOCKS].medium.charge[
			block % SLAB_BLOCKS / MEDIUM_BLOCKS_MIN];
}

static void set_end(const struct extent *extent)
{
	unsigned int last = extent->at + extent->nr - 1;

	or_relaxed(&extent->chunk[last / SLAB_BLOCKS].medium.ends,
		   bit_of(last));
}

static void clear_end(const struct extent *extent)
{
	unsigned int last = extent->at + extent->nr - 1;

	and_relaxed(&extent->chunk[last / SLAB_BLOCKS].medium.ends,
		    ~bit_of(last));
}

/* @extent is an object. */
static void mark(const struct extent *extent)
{
	set_end(extent);
	or_release(&extent->chunk[extent->at / SLAB_BLOCKS].medium.starts,
		   bit_of(extent->at));
}

/* Whether it was one until now. */
static bool unmark_start(struct slab *chunk, unsigned int block)
{
	return and_acq_rel(&chunk[block / SLAB_BLOCKS].medium.starts,
			   ~bit_of(block)) & bit_of(block);
}

static bool is_start(const struct slab *chunk, unsigned int block)
{
	return load_acquire(&chunk[block / SLAB_BLOCKS].medium.starts) &
	       bit_of(block);
}

/* Blocks of the object that begins at @block. */
static unsigned int length_at(const struct slab *chunk, unsigned int block)
{
	unsigned int at = block % SLAB_BLOCKS;
	const struct slab *slab = chunk + block / SLAB_BLOCKS;
	uint64_t ends = load_relaxed(&slab->medium.ends) >> at;

	if (ends)
		return bit_lowest(ends) + 1;
	/* It is no longer than a slab. */
	ends = load_relaxed(&slab[1].medium.ends);
	return (unsigned int)SLAB_BLOCKS - at + bit_lowest(ends) + 1;
}

/* === Accounts ============================================================= */

/* What became of blocks that an object got, or let go of. */
struct change {
	int64_t bytes;		/* handed out; below zero: freed */
	int64_t clean;		/* of pages that were, now to be backed */
	int64_t lazy;
	int64_t retaken;
};

static void tell(struct heap *heap, const struct change *change)
{
	if (heap) {
		heap->delta.dirty += change->clean - change->bytes;
		heap->delta.handed += change->bytes;
		heap->delta.fresh += change->clean;
		heap->delta.lazy += change->lazy;
		heap->delta.retaken += change->retaken;
		heap_tell(heap);
		return;
	}
	add_relaxed(&account.slots_dirty, change->clean - change->bytes);
	add_relaxed(&account.slots_handed, change->bytes);
	add_relaxed(&account.retaken, (uint64_t)change->retaken);
	if (change->clean || change->lazy)
		account_take(change->clean, change->lazy);
	account_look(run_dirty_bytes());
}

/* @extent is an object's from now on: whether all of it reads as zero. */
static bool touch(struct heap *heap, struct extent extent)
{
	struct change change = { .bytes = (int64_t)extent.nr << BLOCK_SHIFT };
	bool zero = true;

	while (extent.nr) {
		struct slab *slab;
		uint64_t mask = take_part(&extent, &slab);
		unsigned int pages = slab_pages_of(block_class(), 0, mask);
		uint64_t was = slab_touch(slab, pages);
		int64_t clean = (int64_t)pages_bytes(pages_clean(was));

		zero &= pages_clean(was) == pages;
		change.clean += clean;
		change.lazy += (int64_t)pages_bytes(pages_lazy(was));
		if (load_relaxed(&slab->given))
			change.retaken += clean;
	}
	tell(heap, &change);
	return zero;
}

/* === Chunks =============================================================== */

/* Of each view a chunk has a link and the length of its longest extent. */
static struct list_head *node_of(struct slab *chunk, enum view view)
{
	return &chunk[view].link;
}

static struct slab *chunk_at(struct list_head *node, enum view view)
{
	return list_entry(node, struct slab, link) - view;
}

/* Where chunks are listed of which the longest is @most. */
static void list_chunk(struct arena *arena, struct slab *chunk, enum view view,
		       unsigned int most)
{
	struct index *index = &arena->views[view];
	struct list_head *node = node_of(chunk, view);
	unsigned int bin = min(most, NR_BINS) - 1;

	store_relaxed(&chunk[view].most, (uint16_t)most);
	list_init(node);
	if (!most)
		return;
	if (most == CHUNK_BLOCKS && view == VIEW_FREE) {
		list_add(node, &arena->whole);
		return;
	}
	/* What is wholly free is kept so, if something else will do. */
	if (most == CHUNK_BLOCKS)
		list_add_tail(node, &index->bins[bin]);
	else
		list_add(node, &index->bins[bin]);
	store_relaxed(&index->filled, index->filled | 1ULL << bin);
}

static void unlist_chunk(struct arena *arena, struct slab *chunk,
			 enum view view)
{
	struct index *index = &arena->views[view];
	unsigned int bin = min((unsigned int)chunk[view].most, NR_BINS) - 1;

	list_del(node_of(chunk, view));
	if (bin < NR_BINS && list_empty(&index->bins[bin]))
		store_relaxed(&index->filled, index->filled & ~(1ULL << bin));
}

static unsigned int longest(const struct slab *chunk, enum view view)
{
	unsigned int most = 0, end;
	struct bits bits;

	read_bits(chunk, view, &bits);
	for (unsigned int at = next_in(&bits, 0); at < CHUNK_BLOCKS;
	     at = next_in(&bits, end)) {
		end = next_out(&bits, at);
		most = max(most, end - at);
	}
	return most;
}

static void list_views(struct arena *arena, struct slab *chunk)
{
	for (int view = 0; view < NR_VIEWS; view++)
		list_chunk(arena, chunk, (enum view)view,
			   longest(chunk, (enum view)view));
}

static void unlist_views(struct arena *arena, struct slab *chunk)
{
	for (int view = 0; view < NR_VIEWS; view++)
		unlist_chunk(arena, chunk, (enum view)view);
}

static void relist(struct arena *arena, struct slab *chunk)
{
	unlist_views(arena, chunk);
	list_views(arena, chunk);
}

/* More of @chunk is free, which the caller pins. */
static void tell_arena(struct slab *chunk)
{
	/* Else it may be given up, and be something else, at any moment. */
	ebb_assert(load_relaxed(&chunk->chunk.nr_pins));
	/*
	 * Pairs with take_changed(): the bits are set before we look, and it
	 * looks at them after it cleared this; one of the two sees the other's.
	 */
	if (load_seq_cst(&chunk->chunk.changed) ||
	    xchg_seq_cst(&chunk->chunk.changed, 1))
		return;
	(void)slab_stack_push(&arenas[chunk->chunk.arena].changed, chunk);
}

static void pin(struct slab *chunk)
{
	add_relaxed(&chunk->chunk.nr_pins, 1);
}

static void unpin(struct slab *chunk)
{
	/* Pairs with give_up(): the chunk is not looked at after this. */
	sub_release(&chunk->chunk.nr_pins, 1);
}

static void take_changed(struct arena *arena)
{
	struct slab *chunk, *next;

	if (!load_relaxed(&arena->changed))
		return;
	/* Pairs with tell_arena(). */
	for (chunk = xchg_acquire(&arena->changed, NULL); chunk; chunk = next) {
		next = chunk->avail_next;
		xchg_seq_cst(&chunk->chunk.changed, 0);
		relist(arena, chunk);
	}
}

static void make_slab(struct slab *slab, enum run_state was)
{
	slab->medium.starts = 0;
	slab->medium.ends = 0;
	/* First: from then on the reclaimer may give back, and count. */
	add_relaxed(&account.slots_dirty,
		    (int64_t)run_backed_bytes(slab, was));
	slab_init_blocks(slab, was);
}

/* With the arena's lock held. */
static struct slab *make_chunk(struct arena *arena)
{
	enum run_state was;
	struct slab *chunk = run_alloc(CHUNK_SLABS, CHUNK_SLABS, &was);

	if (!chunk)
		return NULL;
	chunk->chunk.nr_pins = 0;
	chunk->chunk.changed = 0;
	chunk->chunk.arena = arena->number;
	for (unsigned int i = 0; i < CHUNK_SLABS; i++)
		make_slab(chunk + i, was);
	list_views(arena, chunk);
	return chunk;
}

/* All blocks of @chunk, or none. */
static bool claim_chunk(struct slab *chunk)
{
	uint64_t got[CHUNK_SLABS] = { 0 };
	bool all = true;

	for (unsigned int i = 0; all && i < CHUNK_SLABS; i++) {
		if (slab_is_wholly_free(chunk + i))
			got[i] = slab_claim(chunk + i, 0, ~0ULL);
		all = !~got[i];
	}
	for (unsigned int i = 0; !all && i < CHUNK_SLABS; i++)
		if (got[i])
			slab_unclaim(chunk + i, 0, got[i]);
	return all;
}

/* All of @chunk is claimed: it is a run, and free. */
static void free_chunk(struct slab *chunk)
{
	enum run_state state;
	size_t backed;

	for (unsigned int i = 0; i < CHUNK_SLABS; i++)
		slab_drop_blocks(chunk + i);
	state = run_state_by_words(chunk, CHUNK_SLABS, &backed);
	sub_relaxed(&account.slots_dirty, (int64_t)backed);
	chunk->run_bytes = 0;
	run_free(chunk, CHUNK_SLABS, state);
}

/* With the arena's lock held. */
static bool give_up(struct arena *arena, struct slab *chunk)
{
	/* Pairs with unpin(): who pushed the chunk did so before. */
	if (load_acquire(&chunk->chunk.nr_pins) ||
	    load_relaxed(&chunk->chunk.changed) || !claim_chunk(chunk))
		return false;
	unlist_views(arena, chunk);
	free_chunk(chunk);
	return true;
}

/* === Extents ============================================================== */

/* The best place for @need so far. */
struct choice {
	struct extent at;
	unsigned int around;	/* blocks of the free extent it is in */
	size_t missing;		/* bytes that would have to be backed */
};

static bool is_better(const struct choice *one, const struct choice *other)
{
	if (!other->at.nr || one->missing != other->missing)
		return !other->at.nr || one->missing < other->missing;
	return one->around < other->around;
}

/* The best place of @chunk; returns how long the longest of @view is. */
static unsigned int look_at(struct slab *chunk, enum view view,
			    const struct need *need, struct choice *best)
{
	unsigned int most = 0, end;
	struct bits bits;

	read_bits(chunk, view, &bits);
	for (unsigned int at = next_in(&bits, 0); at < CHUNK_BLOCKS;
	     at = next_in(&bits, end)) {
		struct choice choice = { .at = { chunk, 0, need->nr } };

		end = next_out(&bits, at);
		most = max(most, end - at);
		choice.at.at = ALIGN_UP(at, need->align);
		choice.around = end - at;
		if (choice.at.at + need->nr > end)
			continue;
		if (view == VIEW_FREE)
			choice.missing = missing_bytes(choice.at);
		if (choice.missing && !heap_may_back(choice.missing))
			continue;
		if (is_better(&choice, best))
			*best = choice;
	}
	return most;
}

/* Claim @extent, or nothing: false, if the reclaimer was there first. */
static bool claim(struct extent extent)
{
	struct extent left = extent;

	while (left.nr) {
		struct slab *slab;
		uint64_t mask = take_part(&left, &slab);
		uint64_t got = slab_claim(slab, 0, mask);
		struct extent back = extent;

		if (got == mask)
			continue;
		if (got)
			slab_unclaim(slab, 0, got);
		back.nr -= left.nr + bits_count(mask);
		while (back.nr) {
			mask = take_part(&back, &slab);
			slab_unclaim(slab, 0, mask);
		}
		return false;
	}
	/* Its generation is the arena's to change. */
	while (extent.nr) {
		struct slab *slab;
		uint64_t mask = take_part(&extent, &slab);

		if (!slab_debit(slab, bits_count(mask),
				ctl_gen(load_relaxed(&slab->ctl))))
			ebb_bug("blocks of slab %zu, which is none",
				slab_index(slab));
	}
	return true;
}

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
			unsigned int most = look_at(chunk, view, need, best);

			next = node->next;
			if (best->at.nr || !--left)
				return;
			if (most < chunk[view].most) {
				unlist_chunk(arena, chunk, view);
				list_chunk(arena, chunk, view, most);
			}
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
		look_at(chunk_at(node, view), view, need, best);
}

/* Take @need out of @arena, whose lock is held, as it is. */
static bool take_listed(struct arena *arena, enum view view,
			const struct need *need, struct extent *ret_extent)
{
	for (unsigned int i = 0; i < CLAIM_TRIES; i++) {
		struct choice best = { 0 };

		choose(arena, view, need, &best);
		if (!best.at.nr)
			return false;
		if (!claim(best.at))
			continue;
		pin(best.at.chunk);
		/* Wholly free it is no more. */
		if (best.at.chunk[VIEW_FREE].most == CHUNK_BLOCKS)
			relist(arena, best.at.chunk);
		*ret_extent = best.at;
		return true;
	}
	return false;
}

static void make_lists(struct arena *arena)
{
	for (int view = 0; view < NR_VIEWS; view++)
		for (unsigned int i = 0; i < NR_BINS; i++)
			list_init(&arena->views[view].bins[i]);
	list_init(&arena->whole);
	arena->number = (uint16_t)(arena - arenas);
	/* Who goes by it takes the lock before it looks. */
	store_relaxed(&arena->has_lists, true);
}

static bool take_from(struct arena *arena, enum view view,
		      const struct need *need, struct extent *ret_extent)
{
	if (!arena->has_lists)
		make_lists(arena);
	take_changed(arena);
	return take_listed(arena, view, need, ret_extent);
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
			   const struct need *need, struct extent *ret_extent)
{
	for (unsigned int i = 0; i < NR_ARENAS; i++) {
		struct arena *arena = &arenas[i];
		bool found;

		if (arena == mine || !may_have(arena, view, need) ||
		    !lock_try(&arena->lock))
			continue;
		found = take_from(arena, view, need, ret_extent);
		lock_release(&arena->lock);
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
static bool take(struct arena *arena, const struct need *need,
		 struct extent *ret_extent)
{
	bool found;

	for (int view = 0; view < NR_VIEWS; view++) {
		lock_take(&arena->lock);
		found = take_from(arena, (enum view)view, need, ret_extent);
		lock_release(&arena->lock);
		if (found || take_elsewhere(arena, (enum view)view, need,
					    ret_extent))
			return true;
	}
	if (!heap_may_back((uint64_t)need->nr << BLOCK_SHIFT))
		return false;
	lock_take(&arena->lock);
	found = make_chunk(arena) &&
		take_listed(arena, VIEW_FREE, need, ret_extent);
	lock_release(&arena->lock);
	return found;
}

/* === Objects ============================================================== */

void *medium_alloc(struct heap *heap, size_t size, size_t align,
		   bool *ret_zero)
{
	struct need need = {
		.nr = (unsigned int)(medium_size(size) >> BLOCK_SHIFT),
		.align = (unsigned int)(max(align, BLOCK_SIZE) >> BLOCK_SHIFT),
	};
	struct extent extent;

	if (lock_holds_any() || !take(arena_of(heap), &need, &extent))
		return NULL;
	*ret_zero = touch(heap, extent);
	*charge_at_block(extent.chunk, extent.at) =
		heap_charge(heap, (size_t)extent.nr << BLOCK_SHIFT);
	mark(&extent);
	return address_of(&extent);
}

size_t medium_usable(const void *ptr)
{
	const struct slab *chunk = chunk_of(ptr);
	unsigned int block = block_of(chunk, ptr);

	if ((uintptr_t)ptr & (BLOCK_SIZE - 1) || !is_start(chunk, block))
		return 0;
	return (size_t)length_at(chunk, block) << BLOCK_SHIFT;
}

/* The blocks of @extent are free from now on. */
static void publish(struct extent extent, const char *call)
{
	struct extent left = extent;

	while (left.nr) {
		struct slab *slab;
		uint64_t mask = take_part(&left, &slab);

		if (slab_publish(slab, 0, mask, 0))
			misuse_die(MISUSE_DOUBLE_FREE, call,
				   address_of(&extent), NULL);
	}
}

/* Whether @extent, which is free, is part of a longer one than is known of. */
static bool is_news(const struct extent *extent, enum view view)
{
	unsigned int most = load_relaxed(&extent->chunk[view].most);
	struct bits bits;

	if (extent->nr > most)
		return true;
	read_bits(extent->chunk, view, &bits);
	return next_out(&bits, extent->at + extent->nr) -
	       begin_in(&bits, extent->at) > most;
}

static void let_go(struct heap *heap, const struct extent *extent,
		   unsigned int id, const char *call)
{
	struct change change = {
		.bytes = -((int64_t)extent->nr << BLOCK_SHIFT),
	};

	publish(*extent, call);
	if (is_news(extent, VIEW_BACKED) || is_news(extent, VIEW_FREE))
		tell_arena(extent->chunk);
	heap_discharge(heap, id, (size_t)extent->nr << BLOCK_SHIFT);
	tell(heap, &change);
}

void medium_free(struct heap *heap, void *ptr, const char *call)
{
	struct extent extent = { .chunk = chunk_of(ptr) };
	unsigned int id;

	extent.at = block_of(extent.chunk, ptr);
	if ((uintptr_t)ptr & (BLOCK_SIZE - 1))
		misuse_die_pointer(call, ptr);
	id = *charge_at_block(extent.chunk, extent.at);
	/* Of two frees at once one clears the mark, the other is too many. */
	if (!unmark_start(extent.chunk, extent.at))
		misuse_die_pointer(call, ptr);
	extent.nr = length_at(extent.chunk, extent.at);
	clear_end(&extent);
	let_go(heap, &extent, id, call);
	unpin(extent.chunk);
}

/* Have the blocks behind @extent, @nr of them, claimed if they are free. */
static bool claim_behind(const struct extent *extent, unsigned int nr)
{
	struct extent more = {
		extent->chunk, extent->at + extent->nr, nr,
	};
	struct arena *arena = &arenas[extent->chunk->chunk.arena];
	bool got;

	if (more.at + nr > CHUNK_BLOCKS || lock_holds_any())
		return false;
	lock_take(&arena->lock);
	got = heap_may_back(missing_bytes(more)) && claim(more);
	lock_release(&arena->lock);
	return got;
}

bool medium_resize(struct heap *heap, void *ptr, size_t size)
{
	struct extent extent = { .chunk = chunk_of(ptr) }, rest;
	unsigned int want = (unsigned int)(medium_size(size) >> BLOCK_SHIFT);
	unsigned int id;

	if (size > MEDIUM_MAX)
		return false;
	extent.at = block_of(extent.chunk, ptr);
	extent.nr = length_at(extent.chunk, extent.at);
	id = *charge_at_block(extent.chunk, extent.at);
	if (want == extent.nr)
		return true;
	if (want > extent.nr && !claim_behind(&extent, want - extent.nr))
		return false;
	clear_end(&extent);
	rest = extent;
	extent.nr = want;
	set_end(&extent);
	if (want > rest.nr) {
		rest.at += rest.nr;
		rest.nr = extent.at + want - rest.at;
		(void)touch(heap, rest);
		/* It keeps its account, whoever resizes it. */
		charge_add(id, (size_t)rest.nr << BLOCK_SHIFT);
	} else {
		rest.nr -= want;
		rest.at += want;
		let_go(heap, &rest, id, "realloc");
	}
	return true;
}

void *medium_around(const void *ptr)
{
	struct slab *chunk = chunk_of(ptr);
	unsigned int block = block_of(chunk, ptr);

	for (unsigned int at = block + 1; at-- > 0;)
		if (is_start(chunk, at))
			return block - at < length_at(chunk, at) ?
			       slab_base(chunk) + ((size_t)at << BLOCK_SHIFT) :
			       NULL;
	return NULL;
}

void medium_claimed(struct slab *slab)
{
	pin(chunk_of(slab_base(slab)));
}

void medium_settled(struct slab *slab)
{
	struct slab *chunk = chunk_of(slab_base(slab));

	tell_arena(chunk);
	unpin(chunk);
}

/* === The rest of an arena's life ========================================== */

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

void medium_reap(bool all)
{
	for (unsigned int i = 0; i < NR_ARENAS; i++) {
		struct arena *arena = &arenas[i];

		/* Its holder may be stopped: a purge goes on without. */
		if (!load_relaxed(&arena->has_lists) ||
		    !lock_try_for(&arena->lock, LOCK_PATIENCE_MS))
			continue;
		reap(arena, all);
		lock_release(&arena->lock);
	}
}

/* === Fork ================================================================= */

static bool taken[NR_ARENAS];	/* of the forking thread */

bool medium_holds_lock(void)
{
	for (unsigned int i = 0; i < NR_ARENAS; i++)
		if (lock_is_mine(&arenas[i].lock))
			return true;
	return false;
}

void medium_prefork(bool may_wait)
{
	for (unsigned int i = 0; i < NR_ARENAS; i++)
		taken[i] = lock_take_for_fork(&arenas[i].lock, may_wait);
}

void medium_postfork(void)
{
	for (unsigned int i = NR_ARENAS; i-- > 0;)
		if (taken[i])
			lock_release(&arenas[i].lock);
}

/*
 * Nobody else runs, and what vanished threads were about to free is lost.  They
 * may have published and not added, or not unpinned, or not pushed: bits and
 * marks are counted.
 */
static void take_over(struct arena *arena, struct slab *chunk)
{
	uint32_t nr = 0;

	for (unsigned int i = 0; i < CHUNK_SLABS; i++) {
		(void)slab_recount(chunk + i);
		nr += bits_count(chunk[i].medium.starts);
	}
	chunk->chunk.nr_pins = nr;
	chunk->chunk.changed = 0;
	list_views(arena, chunk);
}

void medium_postfork_child(void)
{
	size_t nr = load_relaxed(&range.fresh) >> SLAB_SHIFT;

	/* What is not ours is being changed by who forks, below its handler. */
	for (unsigned int i = 0; i < NR_ARENAS; i++) {
		if (!taken[i] || !arenas[i].has_lists)
			continue;
		make_lists(&arenas[i]);
		for (int view = 0; view < NR_VIEWS; view++)
			arenas[i].views[view].filled = 0;
		arenas[i].changed = NULL;
	}
	for (size_t i = 0; i < nr; i++) {
		struct slab *chunk = range.slabs + i;

		if (hot_at(i)->kind != SLAB_KIND_MEDIUM)
			continue;
		i += CHUNK_SLABS - 1;
		if (taken[chunk->chunk.arena])
			take_over(&arenas[chunk->chunk.arena], chunk);
	}
}
