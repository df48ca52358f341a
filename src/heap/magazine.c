/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Magazines: filling and emptying a thread's caches
 */
#include <string.h>

#include "base/err.h"
#include "base/trace.h"
#include "heap/bypass.h"
#include "heap/gather.h"
#include "heap/magazine.h"
#include "heap/medium.h"
#include "heap/outbox.h"
#include "heap/run_cache.h"
#include "heap/sample.h"
#include "heap/stranger.h"
#include "os/guard_mark.h"
#include "os/map.h"

#define REFILL_GROUPS	16u	/* words a refill takes slots from at most */
#define GROWN_MOST	(4 * MIB)	/* room of all: none passes cache_soft */
#define BURST_MOST	(15 * MIB)	/* of all threads': none passes cache_max */
#define BURSTS_MIN	15u	/* until one does: chance has them 1 in 2^15 */
#define BOUNDED_SEARCH	8	/* slabs looked at where none may be backed */
#define SETTLE_GAP	8u	/* refills between two looks for strangers */
#define SMALL_CAP	64u	/* slots of a magazine in the small store */

struct refill_group {
	uint64_t mask;
	unsigned int word;
};

/* Offset in the big store where @class's magazine begins, in places. */
static size_t big_offset(unsigned int class)
{
	size_t offset = 0;

	for (unsigned int c = 0; c < class; c++)
		offset += STORE_LEN(sizeclasses[c].cache_burst);
	return offset;
}

size_t magazine_heap_size(void)
{
	return sizeof(struct heap) + big_offset(NR_CLASSES) * sizeof(void *);
}

static void set_store(struct heap *heap, unsigned int class, void **store,
		      unsigned int cap)
{
	struct bin *bin = &heap->bins[class];

	/* New heaps are zero: what need not be written is not backed. */
	if (store[0])
		store[0] = NULL;
	bin->bottom = store + 1;
	bin->cap = (uint16_t)cap;
	heap->magazines[class].top = bin->bottom;
	heap->magazines[class].end = bin->bottom + cap;
}

/*
 * Without a place: both empty and full, so that its first use is a slow one.
 * Who looks at it meanwhile finds pointers into this heap at any time.
 */
static void set_none(struct heap *heap, unsigned int class)
{
	struct magazine *mag = &heap->magazines[class];
	struct bin *bin = &heap->bins[class];

	bin->bottom = mag->top = mag->end = heap->small_store + 1;
	bin->cap = 0;
	bin->nr_shared = 0;
}

/*
 * A place for @cap slots.  Small magazines lie side by side in the order they
 * are asked for, so that a thread that uses many classes a little has a page
 * or two of them; what a larger one leaves is not used again.
 */
static void **new_store(struct heap *heap, unsigned int class,
			unsigned int cap)
{
	uint32_t used = heap->small_used;
	uint32_t need = used + STORE_LEN(cap);

	if (cap > SMALL_CAP || need > SMALL_PLACES) {
		heap->grown = true;
		return heap->big_store + big_offset(class);
	}
	heap->small_used = need;
	if ((uintptr_t)(heap->small_store + need) - (uintptr_t)heap >
	    ALIGN_UP(offsetof(struct heap, small_store), map_page_size))
		heap->grown = true;
	return heap->small_store + used;
}

static unsigned int start_cap(const struct sizeclass *sc)
{
	return min(CACHE_START, (unsigned int)sc->cache_soft);
}

/* The magazine of @class gets a place, with its first use. */
static void begin(struct heap *heap, unsigned int class, enum bin_use use)
{
	unsigned int cap = start_cap(&sizeclasses[class]);

	heap->bins[class].last_use = use;
	set_store(heap, class, new_store(heap, class, cap), cap);
}

/* None has a place. */
static void forget_stores(struct heap *heap)
{
	if (heap->grown_bytes)
		heap_count_room(heap, -(int64_t)heap->grown_bytes);
	store_relaxed(&heap->burst_bytes, 0);
	heap->small_used = 1;
}

void magazine_init(struct heap *heap)
{
	/* Where it was a thread's that fork() cut off inside the allocator. */
	forget_stores(heap);
	heap->runs.nr = heap->runs.bytes = 0;
	medium_init(heap);
	for (unsigned int class = 0; class < NR_CLASSES; class++)
		set_none(heap, class);
	if (heap_marked)
		sample_open(heap);
}

/*
 * Whether, @turn for turn, so much was refilled and so much flushed that each
 * time it took more than one of these.
 */
static bool comes_in_bursts(struct bin *bin, bool turn)
{
	if (!turn) {
		bin->streak = 1;
		return false;
	}
	bin->bursts = bin->streak ? bin->bursts + 1 : 0;
	bin->streak = 0;
	if (bin->bursts < BURSTS_MIN)
		return false;
	bin->bursts = 0;
	return true;
}

static unsigned int burst_cap(const struct bin *bin, const struct sizeclass *sc)
{
	uint64_t cached = load_relaxed(&account.cached);
	uint64_t room = cached < BURST_MOST ? BURST_MOST - cached : 0;
	unsigned int more = min(bin->cap, (unsigned int)(room / sc->size));

	return min(bin->cap + more, (unsigned int)sc->cache_burst);
}

/*
 * What a magazine may grow to: beyond cache_soft only where what was flushed is
 * wanted back, or what was refilled comes back, since there a larger one saves
 * both ways; and as long as all of them together stay below GROWN_MOST.  Beyond
 * cache_max where bursts of both take turns, which random lifetimes hardly do;
 * a heap keeps that for a while only (heap/drain.c).
 */
static unsigned int next_cap(struct heap *heap, struct bin *bin,
			     const struct sizeclass *sc, enum bin_use use)
{
	bool turn = bin->last_use != use;
	bool bursts = comes_in_bursts(bin, turn);
	unsigned int most = turn ? sc->cache_max : sc->cache_soft;
	unsigned int cap = min(bin->cap * 2u, most);

	bin->last_use = use;
	if (bin->cap >= sc->cache_max)
		return bursts ? burst_cap(bin, sc) : bin->cap;
	if (cap > sc->cache_soft && heap->grown_bytes - heap->burst_bytes +
				    (size_t)(cap - bin->cap) * sc->size >
				    GROWN_MOST)
		cap = sc->cache_soft;
	return max(cap, bin->cap);
}

/* Enlarge the magazine if it may be, keeping the content. */
static void grow(struct heap *heap, unsigned int class, enum bin_use use)
{
	const struct sizeclass *sc = &sizeclasses[class];
	struct bin *bin = &heap->bins[class];
	struct magazine *mag = &heap->magazines[class];
	void **old = bin->bottom;
	size_t held = (size_t)(mag->top - old);
	unsigned int was = bin->cap, cap = next_cap(heap, bin, sc, use);

	if (cap == was)
		return;
	set_store(heap, class, new_store(heap, class, cap), cap);
	if (bin->bottom != old)
		memcpy(bin->bottom, old, held * sizeof(*old));
	mag->top = bin->bottom + held;
	heap_count_room(heap, (int64_t)(cap - was) * sc->size);
	if (cap > sc->cache_max)
		store_relaxed(&heap->burst_bytes, heap->burst_bytes +
						  (cap - was) * sc->size);
	/* What it takes in from now on is not told. */
	run_look();
}

/* Claim up to @want free slots of @word that touch no page of @avoid. */
static uint64_t claim_word(struct slab *slab, const struct sizeclass *sc,
			   unsigned int word, unsigned int want,
			   unsigned int avoid)
{
	uint64_t mask = load_relaxed(&slab->free[word]);

	if (!mask)
		return 0;
	if (avoid)
		mask = slab_dirty_slots(slab, sc, word, avoid);
	if (bits_count(mask) > want)
		mask = bits_lowest_n(mask, want);
	return mask ? slab_claim(slab, word, mask) : 0;
}

/* Claim up to @want slots, from the word where the last refill stopped on. */
static unsigned int claim_slots(struct slab *slab, const struct sizeclass *sc,
				unsigned int want, unsigned int avoid,
				struct refill_group *groups,
				unsigned int *ret_nr_groups)
{
	unsigned int nr = 0, nr_groups = 0;
	unsigned int word = slab->scan_word;

	for (; word < sc->nr_words && nr < want && nr_groups < REFILL_GROUPS;
	     word++) {
		uint64_t got = claim_word(slab, sc, word, want - nr, avoid);

		if (!got)
			continue;
		groups[nr_groups++] = (struct refill_group){ got, word };
		nr += bits_count(got);
		if (nr == want)
			break;
	}
	slab->scan_word = (uint16_t)(word < sc->nr_words ? word : 0);
	*ret_nr_groups = nr_groups;
	return nr;
}

/*
 * Bring the account up to date for claimed @mask: pages that were clean are
 * backed from now on.  Returns which of them were clean.
 */
static unsigned int touch_pages(struct heap *heap, struct slab *slab,
				unsigned int pages)
{
	uint64_t was = slab_touch(slab, pages);
	unsigned int clean;
	int64_t bytes;

	if (likely(!was))
		return 0;
	clean = pages_clean(was);
	if (clean)
		heap_note_wanted(slab_hot(slab)->class);
	bytes = (int64_t)pages_bytes(clean);
	heap->delta.dirty += bytes;
	heap->delta.fresh += bytes;
	heap->delta.lazy += (int64_t)pages_bytes(pages_lazy(was));
	if (load_relaxed(&slab->given))
		heap->delta.retaken += bytes;
	return clean;
}

/* Slots of @group, each known to be zero or not, below @place. */
static void **expand_marked(struct heap *heap, struct slab *slab,
			    const struct sizeclass *sc,
			    struct refill_group group, void **place)
{
	char *base = slab_base(slab) + (size_t)group.word * 64 * sc->size;

	/* All at once, before it is done slot by slot. */
	if (unlikely(load_relaxed(&slab->pages) & PAGES_GUARDED))
		slab_hand_out(slab, slab_pages_of(sc, group.word, group.mask));
	for (uint64_t mask = group.mask; mask; mask &= mask - 1) {
		unsigned int bit = bit_lowest(mask);
		uintptr_t slot = (uintptr_t)base + (size_t)bit * sc->size;
		unsigned int pages = slab_pages_of(sc, group.word, 1ULL << bit);

		if (touch_pages(heap, slab, pages) == pages)
			slot |= MAGAZINE_ZERO;
		*--place = (void *)slot;
	}
	return place;
}

/* Store the slots of @group at places @place - 1, @place - 2, ... */
static void **expand(struct heap *heap, struct slab *slab,
		     const struct sizeclass *sc, struct refill_group group,
		     void **place)
{
	char *base = slab_base(slab) + (size_t)group.word * 64 * sc->size;
	uint64_t left = group.mask;

	/* What is claimed cannot become clean: none is zero if none was before. */
	if (sc->size > ZERO_SIZE_MIN && pages_clean(load_relaxed(&slab->pages)))
		return expand_marked(heap, slab, sc, group, place);
	/* Mostly there is nothing to note: none is clean, lazy or idle. */
	if (load_relaxed(&slab->pages))
		touch_pages(heap, slab,
			    slab_pages_of(sc, group.word, group.mask));
	/* Most masks are few runs of bits: then a slot costs an addition. */
	while (left) {
		uint64_t run = bits_take_run(&left);
		char *slot = base + (size_t)bit_lowest(run) * sc->size;
		char *last = base + (size_t)bit_highest(run) * sc->size;

		for (; slot <= last; slot += sc->size)
			*--place = slot;
	}
	return place;
}

/*
 * Once more frees could take the fast path, perhaps.  Whether there are
 * strangers is a look at each slot, so not at each refill.
 */
static void try_settle(struct heap *heap, struct slab *slab)
{
	struct slab_hot *hot = slab_hot(slab);

	if (load_relaxed(&hot->bin) == BIN_HOLES ||
	    heap->settle_turn++ % SETTLE_GAP == 0)
		stranger_settle(slab, hot);
}

static unsigned int refill_from(struct heap *heap, struct slab *slab,
				unsigned int class, unsigned int want)
{
	const struct sizeclass *sc = &sizeclasses[class];
	struct refill_group groups[REFILL_GROUPS];
	struct magazine *mag = &heap->magazines[class];
	unsigned int nr_groups, nr = 0;
	unsigned int clean = pages_clean(load_relaxed(&slab->pages));
	bool bounded = clean && !heap_may_back(SLAB_SIZE);
	void **place;

	if (clean && (bounded || clean != slab_all_pages()))
		nr = claim_slots(slab, sc, want, clean, groups, &nr_groups);
	else if (slab->scan_word)
		nr = claim_slots(slab, sc, want, 0, groups, &nr_groups);
	if (!nr && !bounded) {
		/* What decides that there is nothing is a scan of all of it. */
		slab->scan_word = 0;
		nr = claim_slots(slab, sc, want, 0, groups, &nr_groups);
	}
	if (!nr)
		return 0;
	/* The owner's slab cannot be retired by another: this succeeds. */
	if (!slab_debit(slab, nr, ctl_gen(load_relaxed(&slab->ctl))))
		ebb_bug("refill: slab %zu retired under its owner",
			slab_index(slab));
	store_relaxed(&slab->refill_tick, load_relaxed(&slab_tick));
	place = mag->top + nr;
	mag->top = place;
	for (unsigned int i = 0; i < nr_groups; i++) {
		stranger_took_own(slab, groups[i].word, groups[i].mask);
		place = expand(heap, slab, sc, groups[i], place);
	}
	if (unlikely(!stranger_none(slab_hot(slab))))
		try_settle(heap, slab);
	heap->own.taken += (uint64_t)nr * sc->size;
	heap->delta.dirty -= (int64_t)nr * sc->size;
	heap->delta.handed += (int64_t)nr * sc->size;
	TRACE2(refill, sc->size, nr);
	return nr;
}

/* The current slab @slab goes behind all others that have free slots. */
static void put_aside(struct heap *heap, struct slab *slab, unsigned int class)
{
	if (!slab_try_state(slab, SLAB_ACTIVE, SLAB_LISTED))
		return;
	list_add_tail(&slab->link,
		      &heap_lists(heap, class)->partial[NR_FULLNESS - 1]);
	heap->bins[class].current = NULL;
}

/* A class that this thread hardly uses, and that others may use as well. */
static bool may_share(const struct bin *bin, unsigned int class)
{
	return !bin->nr_slabs && bin->nr_shared < sizeclasses[class].share_max &&
	       load_relaxed(&account.nr_heaps) > 1 &&
	       !load_relaxed(&account.backed_max);
}

/* A few slots of the spare slab, which is nobody's; false: there are none. */
static bool refill_shared(struct heap *heap, unsigned int class)
{
	const struct sizeclass *sc = &sizeclasses[class];
	struct magazine *mag = &heap->magazines[class];
	struct refill_group group;
	struct slab *slab;
	unsigned int nr;

	slab = bypass_share(class, &group.word, &group.mask);
	if (!slab)
		return false;
	if (!stranger_note(slab, group.word, group.mask, heap->charge)) {
		slab_publish(slab, group.word, group.mask, PUBLISH_QUIET);
		return false;
	}
	nr = bits_count(group.mask);
	heap->own.taken += (uint64_t)nr * sc->size;
	mag->top += nr;
	expand(heap, slab, sc, group, mag->top);
	heap->delta.dirty -= (int64_t)nr * sc->size;
	heap->delta.handed += (int64_t)nr * sc->size;
	heap->bins[class].nr_shared += (uint8_t)nr;
	if (unlikely(heap_marked))
		sample_refilled(heap, class, nr);
	TRACE2(refill, sc->size, nr);
	heap_tell(heap);
	return true;
}

bool magazine_refill(struct heap *heap, unsigned int class)
{
	struct bin *bin = &heap->bins[class];
	int bounded_left = BOUNDED_SEARCH, adopts_left = BOUNDED_SEARCH;
	unsigned int want, got = 0;

	if (bin->cap) {
		if (may_share(bin, class) && refill_shared(heap, class))
			return true;
		grow(heap, class, BIN_REFILLED);
		want = max(bin->cap / 2u, 1u);
	} else {
		begin(heap, class, BIN_REFILLED);
		if (may_share(bin, class) && refill_shared(heap, class))
			return true;
		want = min(bin->cap, sizeclasses[class].cache_soft / 2u);
	}
	/*
	 * More than one slab's only of those that cost nothing to take.  What
	 * an own one has free may not be backed: another own one's perhaps is,
	 * or an orphan's.
	 */
	while (!got || (got < want && heap_has_aside(heap, class))) {
		struct slab *slab = bin->current;
		unsigned int nr;
		uint64_t seen;

		if (!slab)
			slab = heap_next_slab(heap, class);
		if (!slab)
			break;
		seen = load_acquire(&slab->ctl);
		nr = ctl_count(seen) < 1 && !slab_has_bits(slab) ? 0 :
		     refill_from(heap, slab, class, want - got);
		got += nr;
		if (!nr && !heap_may_back(SLAB_SIZE) && slab_has_bits(slab)) {
			put_aside(heap, slab, class);
			if (bounded_left)
				bounded_left--;
			else if (!adopts_left-- || !heap_adopt(heap, class))
				break;
		} else if (!nr && slab_make_full(slab, seen)) {
			list_add(&slab->link, &heap_lists(heap, class)->full);
			bin->current = NULL;
		}
	}
	if (unlikely(heap_marked) && got)
		sample_refilled(heap, class, got);
	heap_tell(heap);
	return got;
}

/* The @nr places from @first on, which are in no magazine any more. */
static void publish_places(struct heap *heap, unsigned int class,
			   void *const *first, size_t nr)
{
	int64_t bytes = gather_publish(first, nr, NULL);

	TRACE2(flush, sizeclasses[class].size, nr);
	heap->delta.dirty += bytes;
	heap->delta.handed -= bytes;
	heap->own.returned += (uint64_t)bytes;
}

/*
 * The @nr oldest slots leave, half of what there is room for at most.  They are
 * moved beyond the end and the magazine made shorter before any bit is set: from
 * then on they are not ours.
 */
static void flush_oldest(struct heap *heap, unsigned int class, size_t nr)
{
	struct magazine *mag = &heap->magazines[class];
	void **bottom = heap->bins[class].bottom, **spare = mag->end;
	size_t held = (size_t)(mag->top - bottom);

	memcpy(spare, bottom, nr * sizeof(*spare));
	memmove(bottom, bottom + nr, (held - nr) * sizeof(*spare));
	mag->top -= nr;
	if (unlikely(heap_marked))
		sample_flushed(heap, class, nr);
	barrier();
	publish_places(heap, class, spare, nr);
}

static size_t flushable(const struct bin *bin)
{
	return max(bin->cap / 2u, 1u);
}

void magazine_flush_half(struct heap *heap, unsigned int class)
{
	struct bin *bin = &heap->bins[class];
	unsigned int cap = bin->cap;

	if (cap)
		grow(heap, class, BIN_FLUSHED);
	else
		begin(heap, class, BIN_FLUSHED);
	if (bin->cap > cap)
		return;
	flush_oldest(heap, class, flushable(bin));
	if (unlikely(heap_marked) && !heap_profiled)
		sample_by_time(heap);
	heap_tell(heap);
}

/* The magazine of @class, which does not hold more, is one of @cap slots again. */
static void shrink(struct heap *heap, unsigned int class, unsigned int cap)
{
	const struct sizeclass *sc = &sizeclasses[class];
	struct bin *bin = &heap->bins[class];
	unsigned int was = bin->cap, plain = max(cap, (unsigned int)sc->cache_max);

	if (was <= cap)
		return;
	bin->cap = (uint16_t)cap;
	heap->magazines[class].end = bin->bottom + cap;
	heap_count_room(heap, -(int64_t)(was - cap) * sc->size);
	if (was > plain)
		store_relaxed(&heap->burst_bytes, heap->burst_bytes -
						  (was - plain) * sc->size);
}

void magazine_trim(struct heap *heap, size_t keep)
{
	for (unsigned int class = 0; class < NR_CLASSES; class++) {
		const struct sizeclass *sc = &sizeclasses[class];
		struct bin *bin = &heap->bins[class];
		struct magazine *mag = &heap->magazines[class];
		size_t nr_keep = keep / sc->size;
		size_t held = (size_t)(mag->top - bin->bottom);

		for (size_t nr; held > nr_keep; held -= nr) {
			nr = min(held - nr_keep, flushable(bin));
			flush_oldest(heap, class, nr);
		}
		shrink(heap, class, max((unsigned int)nr_keep * 2,
					start_cap(sc)));
	}
	account_tell(&heap->delta);
}

void magazine_flush_all(struct heap *heap)
{
	for (unsigned int class = 0; class < NR_CLASSES; class++) {
		struct bin *bin = &heap->bins[class];
		void **first = bin->bottom;
		size_t held = (size_t)(heap->magazines[class].top - first);

		if (unlikely(heap_marked))
			sample_flushed(heap, class, held);
		set_none(heap, class);
		barrier();
		if (held)
			publish_places(heap, class, first, held);
	}
	outbox_flush(heap);
	run_cache_trim(heap, 0);
	medium_trim(heap, 0);
	forget_stores(heap);
	account_tell(&heap->delta);
}

/* Of [@start, @end) of a heap the whole pages; where it must not be they stay. */
static void discard(const void *start, const void *end)
{
	uintptr_t first = ALIGN_UP((uintptr_t)start, map_page_size);
	uintptr_t last = ALIGN_DOWN((uintptr_t)end, map_page_size);

	if (first < last && !guard_missing_traps())
		map_discard((char *)first, last - first);
}

/* set_store() writes the sentinel anew, so what reads as zero will do. */
void magazine_discard(struct heap *heap)
{
	if (!heap->grown)
		return;
	heap->grown = false;
	discard(heap->small_store, heap->lists);
	discard(heap->big_store, (char *)heap + magazine_heap_size());
}

__guesses const void *const *magazine_guess(const struct heap *heap,
					    unsigned int class, size_t *ret_nr)
{
	void **top = load_guess(&heap->magazines[class].top);
	void **bottom = load_guess(&heap->bins[class].bottom);

	/* They may be of two places; but both are within the heap. */
	*ret_nr = min((size_t)(top - bottom),
		      (size_t)load_guess(&heap->bins[class].cap));
	return (const void *const *)bottom;
}

__guesses size_t magazine_bytes(const struct heap *heap)
{
	size_t bytes = 0, nr;

	for (unsigned int class = 0; class < NR_CLASSES; class++) {
		(void)magazine_guess(heap, class, &nr);
		bytes += nr * sizeclasses[class].size;
	}
	return bytes;
}

__guesses size_t magazine_store_bytes(const struct heap *heap)
{
	size_t bytes = offsetof(struct heap, small_store) +
		       load_guess(&heap->small_used) * sizeof(void *);

	for (unsigned int class = 0; class < NR_CLASSES; class++) {
		size_t cap = load_guess(&heap->bins[class].cap);

		if (cap > SMALL_CAP)
			bytes += STORE_LEN(cap) * sizeof(void *);
		if (heap->bins[class].has_lists)
			bytes += sizeof(struct bin_lists);
	}
	return bytes;
}
