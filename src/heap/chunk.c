/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Chunks: slabs side by side that are cut into blocks
 */
#include "acct/account.h"
#include "base/err.h"
#include "heap/chunk.h"
#include "heap/heap.h"
#include "heap/misuse.h"
#include "heap/slab.h"
#include "vm/run.h"

/* === Blocks =============================================================== */

uint64_t chunk_blocks_of(unsigned int pages)
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

unsigned int chunk_pages_of(uint64_t blocks)
{
	return slab_pages_of(&sizeclasses[CLASS_BLOCKS], 0, blocks);
}

/* The bits of all slabs of a chunk, as they were. */
struct bits {
	uint64_t word[CHUNK_SLABS];
};

/* What of the free blocks @word of @slab is in @view. */
static uint64_t in_view(const struct slab *slab, enum view view, uint64_t word)
{
	unsigned int clean;

	if (!word || view == VIEW_FREE)
		return word;
	clean = pages_clean(load_relaxed(&slab->pages));
	return clean ? word & ~chunk_blocks_of(clean) : word;
}

/* First loads alone: none waits for another, so they miss the cache at once. */
static void read_bits(const struct slab *chunk, enum view view,
		      struct bits *ret_bits)
{
	/* Pairs with slab_publish(), for who forgot what was known before. */
	for (unsigned int i = 0; i < CHUNK_SLABS; i++)
		ret_bits->word[i] = load_seq_cst(&chunk[i].free[0]);
	for (unsigned int i = 0; i < CHUNK_SLABS; i++)
		ret_bits->word[i] = in_view(chunk + i, view, ret_bits->word[i]);
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

/*
 * Two who free neighbours at once publish before they look here: one of them
 * sees both.
 */
static uint64_t look_at_word(const struct slab *slab, enum view view)
{
	/* Pairs with slab_publish(). */
	return in_view(slab, view, load_seq_cst(&slab->free[0]));
}

/* Where the blocks of @view before @at begin, and where those from @at on end. */
static unsigned int begin_of(const struct slab *chunk, enum view view,
			     unsigned int at)
{
	while (at) {
		unsigned int word = (at - 1) / SLAB_BLOCKS;
		unsigned int first = word * (unsigned int)SLAB_BLOCKS;
		uint64_t out = ~look_at_word(chunk + word, view) &
			       bits_range(0, at - first);

		if (out)
			return first + bit_highest(out) + 1;
		at = first;
	}
	return 0;
}

static unsigned int end_of(const struct slab *chunk, enum view view,
			   unsigned int at)
{
	while (at < CHUNK_BLOCKS) {
		unsigned int word = at / SLAB_BLOCKS;
		uint64_t out = ~look_at_word(chunk + word, view) >>
			       at % SLAB_BLOCKS;

		if (out)
			return at + bit_lowest(out);
		at = (word + 1) * (unsigned int)SLAB_BLOCKS;
	}
	return CHUNK_BLOCKS;
}

/* The bits of @stretch in its first slab, which is taken off it. */
uint64_t stretch_take_part(struct stretch *stretch, struct slab **ret_slab)
{
	unsigned int first = stretch->at % SLAB_BLOCKS;
	unsigned int nr = min(stretch->nr, (unsigned int)SLAB_BLOCKS - first);

	*ret_slab = stretch->chunk + stretch->at / SLAB_BLOCKS;
	stretch->at += nr;
	stretch->nr -= nr;
	return bits_range(first, first + nr);
}

/* Bytes of pages of @stretch that are clean. */
size_t stretch_missing(struct stretch stretch)
{
	size_t bytes = 0;

	while (stretch.nr) {
		struct slab *slab;
		uint64_t mask = stretch_take_part(&stretch, &slab);

		bytes += pages_bytes(pages_clean(load_relaxed(&slab->pages)) &
				     chunk_pages_of(mask));
	}
	return bytes;
}

/* === Marks ================================================================ */

static uint64_t bit_of(unsigned int block)
{
	return 1ULL << block % SLAB_BLOCKS;
}

/* Of the account of the object that begins at @block. */
uint16_t *chunk_charge_at(struct slab *chunk, unsigned int block)
{
	struct slab *slab = chunk + block / SLAB_BLOCKS;
	unsigned int nth = block % SLAB_BLOCKS / MEDIUM_BLOCKS_MIN;

	if (nth < ARRAY_SIZE(slab->medium.charges))
		return &slab->medium.charges[nth];
	return &slab->upper_charges[nth - ARRAY_SIZE(slab->medium.charges)];
}

void stretch_set_end(const struct stretch *stretch)
{
	unsigned int last = stretch->at + stretch->nr - 1;

	or_relaxed(&stretch->chunk[last / SLAB_BLOCKS].medium.ends,
		   bit_of(last));
}

void stretch_clear_end(const struct stretch *stretch)
{
	unsigned int last = stretch->at + stretch->nr - 1;

	and_relaxed(&stretch->chunk[last / SLAB_BLOCKS].medium.ends,
		    ~bit_of(last));
}

/* @stretch is an object, whose end is marked. */
void stretch_mark_start(const struct stretch *stretch)
{
	or_release(&stretch->chunk[stretch->at / SLAB_BLOCKS].medium.starts,
		   bit_of(stretch->at));
}

/* Whether it was one until now. */
bool chunk_unmark(struct slab *chunk, unsigned int block)
{
	return and_acq_rel(&chunk[block / SLAB_BLOCKS].medium.starts,
			   ~bit_of(block)) & bit_of(block);
}

bool chunk_is_start(const struct slab *chunk, unsigned int block)
{
	return load_acquire(&chunk[block / SLAB_BLOCKS].medium.starts) &
	       bit_of(block);
}

/* Blocks of the object that begins at @block. */
unsigned int chunk_length_at(const struct slab *chunk, unsigned int block)
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

/* === Stretches ============================================================ */

unsigned int chunk_longest(const struct slab *chunk, enum view view)
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

/* Blocks of the stretch of @view that @stretch, which is free, is part of. */
unsigned int stretch_around(const struct stretch *stretch, enum view view)
{
	return end_of(stretch->chunk, view, stretch->at + stretch->nr) -
	       begin_of(stretch->chunk, view, stretch->at);
}

static bool is_better(const struct choice *one, const struct choice *other)
{
	if (!other->at.nr || one->missing != other->missing)
		return !other->at.nr || one->missing < other->missing;
	return one->around < other->around;
}

/*
 * The best place of @chunk; returns how long the longest of @view is, unless it
 * has found one that cannot be better.
 */
unsigned int chunk_look_at(struct slab *chunk, enum view view,
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
			choice.missing = stretch_missing(choice.at);
		if (choice.missing && !heap_may_back(choice.missing))
			continue;
		if (is_better(&choice, best))
			*best = choice;
		if (best->around == need->nr && !best->missing)
			break;
	}
	return most;
}

/* Whether it seems to be, without a lock. */
bool stretch_is_free(struct stretch stretch)
{
	while (stretch.nr) {
		struct slab *slab;
		uint64_t mask = stretch_take_part(&stretch, &slab);

		if (mask & ~load_relaxed(&slab->free[0]))
			return false;
	}
	return true;
}

/* Claim @stretch, or nothing: false, if the reclaimer was there first. */
bool stretch_claim(struct stretch stretch)
{
	struct stretch left = stretch;

	while (left.nr) {
		struct slab *slab;
		uint64_t mask = stretch_take_part(&left, &slab);
		uint64_t got = slab_claim(slab, 0, mask);
		struct stretch back = stretch;

		if (got == mask)
			continue;
		if (got)
			slab_unclaim(slab, 0, got);
		back.nr -= left.nr + bits_count(mask);
		while (back.nr) {
			mask = stretch_take_part(&back, &slab);
			slab_unclaim(slab, 0, mask);
		}
		return false;
	}
	/* Its generation is the arena's to change. */
	while (stretch.nr) {
		struct slab *slab;
		uint64_t mask = stretch_take_part(&stretch, &slab);

		if (!slab_debit(slab, bits_count(mask),
				ctl_gen(load_relaxed(&slab->ctl))))
			ebb_bug("blocks of slab %zu, which is none",
				slab_index(slab));
	}
	return true;
}

/* The blocks of @stretch are free from now on. */
void stretch_publish(struct stretch stretch, const char *call)
{
	struct stretch left = stretch;

	while (left.nr) {
		struct slab *slab;
		uint64_t mask = stretch_take_part(&left, &slab);

		if (slab_publish(slab, 0, mask, 0))
			misuse_die(MISUSE_DOUBLE_FREE, call,
				   stretch_address(&stretch), NULL);
	}
}

/* === Its life ============================================================= */

static void make_slab(struct slab *slab, enum run_state was)
{
	slab->medium.starts = 0;
	slab->medium.ends = 0;
	/* First: from then on the reclaimer may give back, and count. */
	add_relaxed(&account.slots_dirty,
		    (int64_t)run_backed_bytes(slab, was));
	slab_init_blocks(slab, was);
}

void chunk_init(struct slab *chunk, unsigned int arena, enum run_state was)
{
	chunk_meta(chunk)->nr_pins = 0;
	chunk_meta(chunk)->changed = 0;
	chunk_meta(chunk)->arena = (uint16_t)arena;
	for (unsigned int i = 0; i < CHUNK_SLABS; i++)
		make_slab(chunk + i, was);
}

/* All blocks of @chunk, or none. */
static bool claim_all(struct slab *chunk)
{
	uint64_t got[CHUNK_SLABS] = { 0 };
	bool all = true;

	for (unsigned int i = 0; all && i < CHUNK_SLABS; i++) {
		if (slab_is_wholly_free(chunk + i))
			got[i] = slab_claim(chunk + i, 0, ~0ULL);
		all = !~got[i];
	}
	/*
	 * Who claimed after the caller had looked pinned before it published what
	 * we have claimed now.  Pairs with slab_publish() and chunk_unpin().
	 */
	if (load_acquire(&chunk_meta(chunk)->nr_pins) ||
	    load_relaxed(&chunk_meta(chunk)->changed))
		all = false;
	for (unsigned int i = 0; !all && i < CHUNK_SLABS; i++)
		if (got[i])
			slab_unclaim(chunk + i, 0, got[i]);
	return all;
}

bool chunk_free(struct slab *chunk)
{
	enum run_state state;
	size_t backed;

	if (!claim_all(chunk))
		return false;
	for (unsigned int i = 0; i < CHUNK_SLABS; i++) {
		slab_drop_blocks(chunk + i);
		/* For who looks what a free run served before: no object. */
		chunk[i].run_bytes = 0;
	}
	state = run_state_by_words(chunk, CHUNK_SLABS, &backed);
	account_dirty(-(int64_t)backed);
	run_free(chunk, CHUNK_SLABS, state);
	return true;
}

void chunk_recount(struct slab *chunk)
{
	uint32_t nr = 0;

	for (unsigned int i = 0; i < CHUNK_SLABS; i++) {
		(void)slab_recount(chunk + i);
		nr += bits_count(chunk[i].medium.ends);
	}
	chunk_meta(chunk)->nr_pins = nr;
	chunk_meta(chunk)->changed = 0;
}
