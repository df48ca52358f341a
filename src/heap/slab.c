/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Slabs of one size class: the free bits and the slab word
 */
#include "base/err.h"
#include "heap/heap.h"
#include "heap/slab.h"
#include "heap/stranger.h"
#include "os/guard_mark.h"

uint32_t slab_tick;

static struct slab *dirty_queue;

void slab_dirty_push(struct slab *slab)
{
	struct slab *head;

	/*
	 * Pairs with slab_dirty_seen(): the bits are set before we look, and
	 * the reclaimer looks at them after it cleared this; one of the two
	 * sees the other's.
	 */
	if (load_seq_cst(&slab->dirty_queued) ||
	    xchg_seq_cst(&slab->dirty_queued, 1))
		return;
	head = load_relaxed(&dirty_queue);
	do
		slab->dirty_next = head;
	/* Pairs with slab_dirty_pop_all(). */
	while (!cas_acq_rel(&dirty_queue, &head, slab));
}

void slab_hand_out(struct slab *slab, unsigned int pages)
{
	uint64_t left = pages;

	while (left) {
		uint64_t span = bits_take_run(&left);

		guard_hand_out(slab_base(slab) +
			       ((size_t)bit_lowest(span) << map_page_shift),
			       pages_bytes((unsigned int)span));
	}
}

/* The words of @slab: all slots are free.  Returns its generation from now on. */
static uint64_t init_words(struct slab *slab, unsigned int class,
			   enum run_state was)
{
	const struct sizeclass *sc = &sizeclasses[class];
	unsigned int left = sc->nr_slots;

	slab->nr_slots = sc->nr_slots;
	slab->given = was == RUN_PART;
	store_relaxed(&slab->pages, run_page_word(slab, was) |
		      (load_relaxed(&guard_marks_on) ? PAGES_GUARDED : 0));
	for (unsigned int word = 0; word < sc->nr_words; word++) {
		store_relaxed(&slab->free[word], bits_range(0, left));
		left -= min(left, 64u);
	}
	store_relaxed(&slab_hot(slab)->class, (uint8_t)class);
	return ctl_gen(load_relaxed(&slab->ctl)) + 1;
}

/* Its class and kind are known. */
static void init_ctl(struct slab *slab, uint64_t gen)
{
	/* Pairs with slab_take_one(): the class first, then the generation. */
	store_release(&slab->ctl,
		      ctl_make(slab->nr_slots, SLAB_ACTIVE, gen));
}

/* Free and backed from the start: the reclaimer has to know. */
static void init_done(struct slab *slab, enum run_state was)
{
	if (was != RUN_CLEAN)
		slab_dirty_push(slab);
}

void slab_init(struct slab *slab, unsigned int class, struct heap *owner,
	       enum run_state was)
{
	struct slab_hot *hot = slab_hot(slab);
	uint64_t gen = init_words(slab, class, was);

	slab->scan_word = 0;
	list_init(&slab->link);
	slab->charges = NULL;
	store_relaxed(&hot->charge, owner->charge);
	/* With a profile all frees go the slow way: heap/sample.h. */
	store_relaxed(&hot->bin, heap_profiled ? BIN_HOLES :
				 charge_counts_frees ? BIN_STRANGERS :
				 HEAP_BIN_OFFSET(class));
	/* Pairs with step_slabs() and the like, which go over the table. */
	store_release(&hot->kind, SLAB_KIND_CLASS);
	init_ctl(slab, gen);
	store_release(&hot->owner, owner);
	init_done(slab, was);
}

void slab_init_blocks(struct slab *slab, enum run_state was)
{
	uint64_t gen = init_words(slab, CLASS_BLOCKS, was);

	store_relaxed(&slab_hot(slab)->bin, BIN_HOLES);
	/* As in slab_init(). */
	store_release(&slab_hot(slab)->kind, SLAB_KIND_MEDIUM);
	init_ctl(slab, gen);
	init_done(slab, was);
}

void slab_drop_blocks(struct slab *slab)
{
	uint64_t ctl = load_acquire(&slab->ctl);

	/* Pairs with slab_unclaim() of a claim that came too late. */
	while (!cas_acq_rel(&slab->ctl, &ctl,
			    ctl_make(0, SLAB_NONE, ctl_gen(ctl))))
		;
	store_relaxed(&slab_hot(slab)->kind, SLAB_KIND_NONE);
}

bool slab_dirty_pending(void)
{
	return load_relaxed(&dirty_queue);
}

struct slab *slab_dirty_pop_all(void)
{
	/* Pairs with slab_dirty_push(). */
	return xchg_acquire(&dirty_queue, NULL);
}

bool slab_stack_push(struct slab **stack, struct slab *slab)
{
	struct slab *head = load_relaxed(stack);

	do {
		if (head == AVAIL_CLOSED)
			return false;
		slab->avail_next = head;
	/* Pairs with heap_pop_avail(), take_changed(). */
	} while (!cas_acq_rel(stack, &head, slab));
	return true;
}

void slab_avail_push(struct slab *slab)
{
	struct heap *owner = load_relaxed(&slab_hot(slab)->owner);

	if (!slab_stack_push(&owner->avail, slab))
		(void)slab_stack_push(&orphan_heap.avail, slab);
}

/* Invariant: the orphans' stack is never closed, so no slab is lost above. */

static bool wants_queue(enum slab_state state, int count, int nr_slots)
{
	if (state == SLAB_FULL)
		return count >= max(nr_slots / 8, 1);
	return state == SLAB_LISTED && count == nr_slots;
}

/* Add @nr to the count; the last access, unless the slab gets QUEUED. */
static void slab_credit(struct slab *slab, unsigned int nr)
{
	int nr_slots = slab->nr_slots;
	uint64_t old = load_relaxed(&slab->ctl);
	uint64_t new;
	bool queue;

	do {
		int count = ctl_count(old) + (int)nr;
		enum slab_state state = ctl_state(old);

		queue = wants_queue(state, count, nr_slots);
		new = ctl_make(count, queue ? SLAB_QUEUED : state,
			       ctl_gen(old));
	/* Pairs with slab_retire(): our bits are set before we are counted. */
	} while (!cas_acq_rel(&slab->ctl, &old, new));
	if (queue)
		slab_avail_push(slab);
}

uint64_t slab_publish(struct slab *slab, unsigned int word, uint64_t mask,
		      enum publish_flags flags)
{
	/* Pairs with slab_claim(). */
	uint64_t twice = or_seq_cst(&slab->free[word], mask) & mask;

	if (!(flags & PUBLISH_QUIET))
		slab_dirty_push(slab);
	slab_credit(slab, bits_count_few(mask & ~twice));
	return twice;
}

void slab_unclaim(struct slab *slab, unsigned int word, uint64_t mask)
{
	/* Pairs with slab_claim(). */
	or_seq_cst(&slab->free[word], mask);
	/* A sweep that came by meanwhile saw no free page and forgot it. */
	slab_dirty_push(slab);
	/* They were never subtracted; a slab left FULL meanwhile hears of it. */
	slab_credit(slab, 0);
}

bool slab_debit(struct slab *slab, unsigned int nr, uint64_t gen)
{
	uint64_t old = load_acquire(&slab->ctl);
	uint64_t new;

	do {
		if (ctl_gen(old) != gen || ctl_state(old) == SLAB_NONE)
			return false;
		new = ctl_make(ctl_count(old) - (int)nr, ctl_state(old), gen);
	} while (!cas_acq_rel(&slab->ctl, &old, new));
	return true;
}

/* The account of one slot taken on @pages, without a heap to keep it. */
static bool touch_for_one(struct slab *slab, unsigned int pages)
{
	uint64_t was = slab_touch(slab, pages);
	unsigned int clean = pages_clean(was);

	if (!was)
		return false;
	add_relaxed(&account.slots_dirty, (int64_t)pages_bytes(clean));
	account_take((int64_t)pages_bytes(clean),
		     (int64_t)pages_bytes(pages_lazy(was)));
	return clean == pages;
}

/* Free slots of @word, of those on clean pages only what may be backed. */
static uint64_t takeable(const struct slab *slab, const struct sizeclass *sc,
			 unsigned int word)
{
	unsigned int clean = pages_clean(load_relaxed(&slab->pages));
	uint64_t slots = load_relaxed(&slab->free[word]);

	if (slots && clean && unlikely(!heap_may_back(map_page_size)))
		slots = slab_dirty_slots(slab, sc, word, clean);
	return slots;
}

static void *take_from_word(struct slab *slab, unsigned int class,
			    unsigned int word, uint64_t gen, bool *ret_zero)
{
	const struct sizeclass *sc = &sizeclasses[class];
	uint64_t seen, got;

	while ((seen = takeable(slab, sc, word))) {
		got = slab_claim(slab, word, seen & -seen);
		if (!got)
			continue;
		if (!slab_debit(slab, 1, gen)) {
			slab_unclaim(slab, word, got);
			return NULL;
		}
		*ret_zero = touch_for_one(slab, slab_pages_of(sc, word, got));
		return slab_base(slab) +
		       (size_t)(word * 64 + bit_lowest(got)) * sc->size;
	}
	return NULL;
}

void *slab_take_one(struct slab *slab, unsigned int class, bool *ret_zero)
{
	/* Pairs with slab_init(). */
	uint64_t ctl = load_acquire(&slab->ctl);

	if (ctl_state(ctl) == SLAB_NONE ||
	    load_relaxed(&slab_hot(slab)->class) != class)
		return NULL;
	for (unsigned int word = 0; word < sizeclasses[class].nr_words; word++) {
		void *ptr = take_from_word(slab, class, word, ctl_gen(ctl),
					   ret_zero);

		if (ptr)
			return ptr;
	}
	return NULL;
}

/* Of @slots those of whole groups of @nr neighbours, a power of two up to 8. */
static uint64_t whole_groups(uint64_t slots, unsigned int nr)
{
	const uint64_t group = (1ULL << nr) - 1;
	uint64_t first = slots;

	for (unsigned int i = 1; i < nr; i *= 2)
		first &= first >> i;
	/* Those that begin at a multiple of @nr; then all bits of each. */
	return (first & ~0ULL / group) * group;
}

/* What of a word slab_take_group() looks for, the best first. */
enum group_kind {
	GROUP_BACKED,
	GROUP_ANY,
	GROUP_PART,
	NR_GROUP_KINDS
};

static uint64_t find_group(const struct slab *slab, const struct sizeclass *sc,
			   unsigned int word, enum group_kind kind)
{
	uint64_t slots = load_relaxed(&slab->free[word]);

	if (slots && kind == GROUP_BACKED)
		slots = slab_dirty_slots(slab, sc, word, pages_clean(
						load_relaxed(&slab->pages)));
	if (kind != GROUP_PART)
		slots = whole_groups(slots, sc->share);
	return bits_lowest_n(slots, sc->share);
}

static uint64_t claim_group(struct slab *slab, const struct sizeclass *sc,
			    enum group_kind kind, unsigned int *ret_word)
{
	for (unsigned int word = 0; word < sc->nr_words; word++) {
		uint64_t slots, got;

		while ((slots = find_group(slab, sc, word, kind))) {
			got = slab_claim(slab, word, slots);
			*ret_word = word;
			if (got)
				return got;
		}
	}
	return 0;
}

uint64_t slab_take_group(struct slab *slab, unsigned int class,
			 unsigned int *ret_word)
{
	/* Pairs with slab_init(), as in slab_take_one(). */
	uint64_t ctl = load_acquire(&slab->ctl);
	unsigned int clean = pages_clean(load_relaxed(&slab->pages));
	uint64_t got = 0;

	if (ctl_state(ctl) == SLAB_NONE ||
	    load_relaxed(&slab_hot(slab)->class) != class)
		return 0;
	for (int kind = clean == slab_all_pages() ? GROUP_ANY : GROUP_BACKED;
	     !got && kind < NR_GROUP_KINDS; kind++)
		got = claim_group(slab, &sizeclasses[class],
				  (enum group_kind)kind, ret_word);
	if (!got)
		return 0;
	if (!slab_debit(slab, bits_count(got), ctl_gen(ctl))) {
		slab_unclaim(slab, *ret_word, got);
		return 0;
	}
	store_relaxed(&slab->refill_tick, load_relaxed(&slab_tick));
	return got;
}

bool slab_make_full(struct slab *slab, uint64_t seen)
{
	/* Pairs with slab_credit(): fails if anything was told since. */
	if (!cas_acq_rel(&slab->ctl, &seen,
			 ctl_make(ctl_count(seen), SLAB_FULL, ctl_gen(seen))))
		return false;
	/*
	 * Or the same was told: what a sweep had claimed, and not subtracted,
	 * when @seen was read, is back.  Nobody would queue it, so look again.
	 */
	return !slab_has_bits(slab) ||
	       !slab_try_state(slab, SLAB_FULL, SLAB_ACTIVE);
}

bool slab_try_state(struct slab *slab, enum slab_state from,
		    enum slab_state to)
{
	uint64_t old = load_relaxed(&slab->ctl);

	do
		if (ctl_state(old) != from)
			return false;
	/* Pairs with slab_credit(). */
	while (!cas_acq_rel(&slab->ctl, &old,
			    ctl_make(ctl_count(old), to, ctl_gen(old))));
	return true;
}

/* Put back the bits of words [0, @nr_words) after a retire that failed. */
static void retire_rollback(struct slab *slab, const uint64_t *got,
			    unsigned int nr_words)
{
	for (unsigned int word = 0; word < nr_words; word++)
		if (got[word])
			or_seq_cst(&slab->free[word], got[word]);
	/* As in slab_unclaim(). */
	slab_dirty_push(slab);
}

bool slab_retire(struct slab *slab)
{
	struct slab_hot *hot = slab_hot(slab);
	const struct sizeclass *sc = &sizeclasses[hot->class];
	uint64_t ctl = load_acquire(&slab->ctl);
	uint64_t got[SLAB_WORDS];
	unsigned int total = 0;

	if (ctl_count(ctl) != slab->nr_slots || ctl_state(ctl) == SLAB_QUEUED)
		return false;
	for (unsigned int word = 0; word < sc->nr_words; word++) {
		got[word] = slab_claim(slab, word, ~0ULL);
		total += bits_count(got[word]);
	}
	/* Pairs with slab_credit() and slab_debit(). */
	if (total != slab->nr_slots ||
	    !cas_acq_rel(&slab->ctl, &ctl,
			 ctl_make(0, SLAB_NONE, ctl_gen(ctl)))) {
		retire_rollback(slab, got, sc->nr_words);
		return false;
	}
	store_relaxed(&hot->owner, NULL);
	store_relaxed(&hot->kind, SLAB_KIND_NONE);
	return true;
}

unsigned int slab_count_bits(const struct slab *slab)
{
	/* It may become another class's meanwhile: then this is but a number. */
	unsigned int class = load_relaxed(&slab_hot(slab)->class);
	unsigned int nr_words = sizeclasses[class].nr_words;
	unsigned int nr = 0;

	for (unsigned int word = 0; word < nr_words; word++)
		nr += bits_count(load_relaxed(&slab->free[word]));
	return nr;
}

int slab_recount(struct slab *slab)
{
	uint64_t ctl = load_relaxed(&slab->ctl);
	int count = (int)slab_count_bits(slab);

	/* What is right already is not written: its page would be copied. */
	if (ctl_count(ctl) != count)
		store_relaxed(&slab->ctl, ctl_make(count, ctl_state(ctl),
						   ctl_gen(ctl)));
	return count;
}

/* The last slot owns the rest of the slab, so that no page is nobody's. */
static size_t slot_end(const struct sizeclass *sc, unsigned int slot)
{
	return slot + 1u == sc->nr_slots ? SLAB_SIZE :
					   (size_t)(slot + 1) * sc->size;
}

/* Pages from the first byte of slot @first to the last one of @last. */
static unsigned int pages_spanned(const struct sizeclass *sc,
				  unsigned int first, unsigned int last)
{
	size_t start = (size_t)first * sc->size;
	size_t end = slot_end(sc, last);

	return (2u << ((end - 1) >> map_page_shift)) -
	       (1u << (start >> map_page_shift));
}

unsigned int slab_pages_of(const struct sizeclass *sc, unsigned int word,
			   uint64_t mask)
{
	uint64_t run = mask >> bit_lowest(mask);
	unsigned int pages = 0;

	if (!(run & (run + 1)))
		return pages_spanned(sc, word * 64 + bit_lowest(mask),
				     word * 64 + bit_highest(mask));
	for (; mask; mask &= mask - 1) {
		unsigned int slot = word * 64 + bit_lowest(mask);

		pages |= pages_spanned(sc, slot, slot);
	}
	return pages;
}

void slab_slots_on_page(const struct sizeclass *sc, unsigned int page,
			unsigned int *ret_first, unsigned int *ret_end)
{
	size_t start = (size_t)page << map_page_shift;
	size_t last = start + map_page_size - 1;
	unsigned int nr_slots = sc->nr_slots;

	*ret_first = min(slot_at(sc->reciprocal, start), nr_slots - 1);
	*ret_end = min(slot_at(sc->reciprocal, last), nr_slots - 1) + 1;
}

uint64_t slab_dirty_slots(const struct slab *slab, const struct sizeclass *sc,
			  unsigned int word, unsigned int clean)
{
	uint64_t slots = load_relaxed(&slab->free[word]);

	clean &= pages_spanned(sc, word * 64,
			       min(word * 64 + 63, sc->nr_slots - 1u));
	while (clean && slots) {
		unsigned int first, end;

		slab_slots_on_page(sc, bit_lowest(clean), &first, &end);
		clean &= clean - 1;
		first = min(max(first, word * 64), word * 64 + 64) - word * 64;
		end = min(max(end, word * 64), word * 64 + 64) - word * 64;
		slots &= ~bits_range(first, end);
	}
	return slots;
}

/* The bits as they are now, and how many are set. */
static unsigned int read_bits(const struct slab *slab,
			      const struct sizeclass *sc, uint64_t *ret_bits)
{
	unsigned int nr = 0;

	for (unsigned int word = 0; word < sc->nr_words; word++) {
		ret_bits[word] = load_relaxed(&slab->free[word]);
		nr += bits_count(ret_bits[word]);
	}
	return nr;
}

/* Pages of which every slot is free, by @bits, of which @nr_free are set. */
static unsigned int free_pages(const uint64_t *bits, unsigned int nr_free,
			       const struct sizeclass *sc)
{
	unsigned int nr_pages = slab_nr_pages();
	size_t tail = SLAB_SIZE - (size_t)sc->nr_slots * sc->size;
	unsigned int pages = 0;

	/* Most slabs of a busy heap: their free slots do not fill a page. */
	if (nr_free * (size_t)sc->size + tail < map_page_size)
		return 0;
	if (nr_free == sc->nr_slots)
		return slab_all_pages();
	for (unsigned int page = 0; page < nr_pages; page++) {
		unsigned int first, end, word;
		bool all = true;

		slab_slots_on_page(sc, page, &first, &end);
		for (word = first / 64; all && word <= (end - 1) / 64; word++) {
			unsigned int low = max(first, word * 64) - word * 64;
			unsigned int high = min(end, word * 64 + 64) - word * 64;
			uint64_t need = bits_range(low, high);

			all = (bits[word] & need) == need;
		}
		if (all)
			pages |= 1u << page;
	}
	return pages;
}

unsigned int slab_free_pages(const struct slab *slab,
			     const struct sizeclass *sc)
{
	uint64_t bits[SLAB_WORDS];
	unsigned int nr_free = read_bits(slab, sc, bits);

	return free_pages(bits, nr_free, sc);
}

void slab_read(const struct slab *slab, struct slab_parts *ret_parts)
{
	/* It may become another class's meanwhile: then these are but numbers. */
	unsigned int class = load_relaxed(&slab_hot(slab)->class);
	const struct sizeclass *sc = &sizeclasses[class];
	uint64_t state = load_relaxed(&slab->pages);
	unsigned int nr_free = read_bits(slab, sc, ret_parts->bits);
	unsigned int pages = free_pages(ret_parts->bits, nr_free, sc);

	nr_free = min(nr_free, (unsigned int)sc->nr_slots);
	ret_parts->sc = sc;
	ret_parts->taken = (uint64_t)(sc->nr_slots - nr_free) * sc->size;
	ret_parts->clean = pages_bytes(pages & pages_clean(state));
	ret_parts->lazy = pages_bytes(pages & pages_lazy(state));
	ret_parts->dirty = pages_bytes(pages) - ret_parts->clean -
			   ret_parts->lazy;
}
