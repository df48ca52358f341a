/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Heaps: what belongs to one thread
 */
#include "base/err.h"
#include "base/param.h"
#include "base/sys.h"
#include "heap/bypass.h"
#include "heap/drain.h"
#include "heap/heap.h"
#include "heap/magazine.h"
#include "heap/medium.h"
#include "heap/orphan.h"
#include "heap/run_cache.h"
#include "heap/stranger.h"
#include "os/map.h"
#include "vm/run.h"

#define FULL_SEARCH	4	/* FULL slabs looked at before a fresh one */

__thread struct tcb tcb __attribute__((tls_model("initial-exec"))) = {
	.heap = EMPTY_HEAP,
};
__thread struct thread thread __attribute__((tls_model("initial-exec")));

__startup_data bool heap_checked;
__startup_data bool heap_watched;
__startup_data bool heap_for_all;
__startup_data bool heap_sized;
__startup_data bool heap_noted;
#if IS_ENABLED(CONFIG_PROFILE)
__startup_data bool heap_profiled;
#endif
#if HEAP_MARKS
__startup_data bool heap_marked;
#endif

/* A place for the tops of the empty heap's magazines to point past. */
static void *no_slot[1];

#define EMPTY_MAGAZINE	{ no_slot + 1, no_slot + 1 }

struct heap_front empty_front = {
	.holes = EMPTY_MAGAZINE,
	.outbox = EMPTY_MAGAZINE,
	.strangers = EMPTY_MAGAZINE,
	.looking = EMPTY_MAGAZINE,
	.magazines = { [0 ... NR_CLASSES - 1] = EMPTY_MAGAZINE },
	.avail = AVAIL_CLOSED,
};

struct heap orphan_heap;

/*
 * Offset in struct heap of the magazine for (size - 1) / 16.  A constant, so
 * that it is no process's own memory.
 */
#define SIZES(class, above, upto)					\
	[(above) >> CLASS_STEP_SHIFT ...				\
	 ((upto) >> CLASS_STEP_SHIFT) - 1] = HEAP_BIN_OFFSET(class)
#define LINEAR(class)							\
	SIZES(class, (class) * 16, ((class) + 1) * 16)
#define EIGHTH(doubling, j)						\
	SIZES((doubling) * 8 + (j), (8 + (j)) << ((doubling) + 3),	\
	      (9 + (j)) << ((doubling) + 3))
#define DOUBLING(d)							\
	EIGHTH(d, 0), EIGHTH(d, 1), EIGHTH(d, 2), EIGHTH(d, 3),		\
	EIGHTH(d, 4), EIGHTH(d, 5), EIGHTH(d, 6), EIGHTH(d, 7)

const uint16_t bin_of_size[CLASS_SIZE_MAX >> CLASS_STEP_SHIFT] = {
	LINEAR(0), LINEAR(1), LINEAR(2), LINEAR(3),
	LINEAR(4), LINEAR(5), LINEAR(6), LINEAR(7),
	DOUBLING(1), DOUBLING(2), DOUBLING(3), DOUBLING(4),
	DOUBLING(5), DOUBLING(6), DOUBLING(7), DOUBLING(8),
};

size_t heap_usable_for(size_t align, size_t size)
{
	int class = sizeclass_for(align, size);

	if (class >= 0)
		return sizeclasses[class].size;
	/* Or a large one, as it goes, which is no smaller. */
	if (medium_fits(align, size) && param_int(EBB_ATTR_FRUGAL))
		return medium_size(size);
	return ALIGN_UP(max(size, (size_t)1), map_page_size);
}

static void make_lists(struct bin_lists *lists)
{
	list_init(&lists->full);
	for (unsigned int i = 0; i < NR_FULLNESS; i++)
		list_init(&lists->partial[i]);
}

struct bin_lists *heap_lists(struct heap *heap, unsigned int class)
{
	if (unlikely(!heap->bins[class].has_lists)) {
		make_lists(&heap->lists[class]);
		heap->bins[class].has_lists = 1;
	}
	return &heap->lists[class];
}

/* Stores only what is not zero already: most of it never was anything else. */
void heap_init_bins(struct heap *heap)
{
	heap->holes.top = heap->holes.end = no_slot + 1;
	heap->strangers = heap->holes;
	heap->looking = heap->holes;
	heap->aside = NULL;
	for (unsigned int class = 0; class < NR_CLASSES; class++) {
		struct bin *bin = &heap->bins[class];

		if (bin->current)
			bin->current = NULL;
		if (load_relaxed(&bin->nr_slabs))
			store_relaxed(&bin->nr_slabs, 0);
		if (bin->has_lists)
			make_lists(&heap->lists[class]);
	}
}

struct heap *heap_get(void)
{
	struct heap *heap = tcb_heap();

	if (likely(heap))
		return heap;
	if (thread.state != THREAD_NEW || heap_checked)
		return NULL;
	if (!load_acquire(&heap_for_all) && sys_gettid() != sys_getpid())
		return NULL;
	return drain_open_heap();
}

/* Which list a slab with @count of @nr_slots free belongs on. */
static unsigned int fullness(int count, unsigned int nr_slots)
{
	unsigned int nr = count > 0 ? (unsigned int)count : 0;

	/* The last list is where wholly free ones are looked for. */
	if (nr == nr_slots)
		return NR_FULLNESS - 1;
	return min(nr * NR_FULLNESS / (nr_slots + 1), NR_FULLNESS - 1);
}

void heap_list_slab(struct heap *heap, struct slab *slab,
		    enum slab_state state)
{
	struct bin_lists *lists = heap_lists(heap, slab_hot(slab)->class);
	int count = ctl_count(load_relaxed(&slab->ctl));

	if (state == SLAB_FULL)
		list_add(&slab->link, &lists->full);
	else
		list_add(&slab->link,
			 &lists->partial[fullness(count, slab->nr_slots)]);
}

bool heap_retire(struct heap *heap, struct slab *slab)
{
	struct bin *bin = &heap->bins[slab_hot(slab)->class];
	enum run_state state;
	size_t backed;

	if (!slab_retire(slab))
		return false;
	stranger_forget(slab);
	/* Only now: until then a bypass might have used a page. */
	state = run_state_by_words(slab, 1, &backed);
	list_del(&slab->link);
	sub_relaxed(&bin->nr_slabs, 1);
	heap->delta.dirty -= (int64_t)backed;
	run_cache_free(heap, slab, 1, state);
	return true;
}

/* A popped slab: on the list it belongs on now, or retired. */
static void relist(struct heap *heap, struct slab *slab, bool keep_one)
{
	struct bin *bin = &heap->bins[slab_hot(slab)->class];

	list_del(&slab->link);
	if (!slab_try_state(slab, SLAB_QUEUED, SLAB_LISTED))
		ebb_bug("slab %zu on the stack in state %d", slab_index(slab),
			ctl_state(load_relaxed(&slab->ctl)));
	heap_list_slab(heap, slab, SLAB_LISTED);
	if (slab_is_wholly_free(slab) && !(keep_one &&
					   load_relaxed(&bin->nr_slabs) == 1))
		(void)heap_retire(heap, slab);
}

/* A popped slab is listed or retired, unless it is another's by now. */
static void take_in(struct heap *heap, struct slab *slab, bool keep_one)
{
	if (slab_hot(slab)->owner == heap)
		relist(heap, slab, keep_one);
	else	/* meant for the heap this one was before */
		slab_avail_push(slab);
}

/* All popped ones from @slab on. */
static void take_in_all(struct heap *heap, struct slab *slab, bool keep_one)
{
	while (slab) {
		struct slab *next = slab->avail_next;

		take_in(heap, slab, keep_one);
		slab = next;
	}
}

static void take_in_aside(struct heap *heap, bool keep_one)
{
	struct slab *slab = heap->aside;

	heap->aside = NULL;
	take_in_all(heap, slab, keep_one);
}

static void pop_avail(struct heap *heap, bool keep_one)
{
	take_in_aside(heap, keep_one);
	if (load_relaxed(&heap->avail))
		/* Pairs with slab_avail_push(). */
		take_in_all(heap, xchg_acquire(&heap->avail, NULL), keep_one);
}

void heap_pop_avail(struct heap *heap)
{
	pop_avail(heap, true);
}

/* The same, but what is of @class and wholly free is set aside. */
static void pop_for(struct heap *heap, unsigned int class)
{
	struct slab *slab, *next, *kept = NULL, **end = &kept;

	if (!load_relaxed(&heap->avail))
		return;
	/* Pairs with slab_avail_push(). */
	for (slab = xchg_acquire(&heap->avail, NULL); slab; slab = next) {
		next = slab->avail_next;
		if (slab_hot(slab)->owner == heap &&
		    slab_hot(slab)->class == class &&
		    slab_is_wholly_free(slab)) {
			*end = slab;
			end = &slab->avail_next;
		} else {
			take_in(heap, slab, true);
		}
	}
	if (!kept)
		return;
	if (!heap_has_aside(heap, class))
		take_in_aside(heap, true);
	*end = heap->aside;
	heap->aside = kept;
}

/* One that was set aside, if they are of @class. */
static struct slab *take_aside(struct heap *heap, unsigned int class)
{
	struct slab *slab = heap->aside;

	if (!heap_has_aside(heap, class))
		return NULL;
	heap->aside = slab->avail_next;
	list_del(&slab->link);
	if (!slab_try_state(slab, SLAB_QUEUED, SLAB_ACTIVE))
		ebb_bug("slab %zu set aside in state %d", slab_index(slab),
			ctl_state(load_relaxed(&slab->ctl)));
	return slab;
}

static struct slab *take_partial(struct bin_lists *lists)
{
	for (unsigned int i = 0; i < NR_FULLNESS; i++) {
		struct slab *slab, *tmp;

		list_for_each_entry_safe(slab, tmp, &lists->partial[i], link) {
			/* One that just became QUEUED waits on the stack. */
			if (!slab_try_state(slab, SLAB_LISTED, SLAB_ACTIVE))
				continue;
			list_del(&slab->link);
			return slab;
		}
	}
	return NULL;
}

/* A FULL slab that has a few free slots, too few to have been queued. */
static struct slab *take_full(struct bin_lists *lists)
{
	struct slab *slab, *tmp;
	int left = FULL_SEARCH;

	list_for_each_entry_safe(slab, tmp, &lists->full, link) {
		if (!left--)
			break;
		list_del(&slab->link);
		/* The count alone may tell of what somebody has claimed. */
		if (slab_has_bits(slab) &&
		    slab_try_state(slab, SLAB_FULL, SLAB_ACTIVE))
			return slab;
		list_add_tail(&slab->link, &lists->full);
	}
	return NULL;
}

static struct slab *take_fresh(struct heap *heap, unsigned int class)
{
	enum run_state was;
	struct slab *slab = NULL;

	if (heap_may_back(SLAB_SIZE))
		slab = run_cache_alloc(heap, SLAB_SIZE, 1, &was);
	if (!slab)
		return NULL;
	/* First: from then on the reclaimer may give back, and count. */
	heap->delta.dirty += (int64_t)run_backed_bytes(slab, was);
	slab_init(slab, class, heap, was);
	return slab;
}

/* Classes that memory was taken for since they were last shared. */
static uint64_t wanted[CLASS_SET_WORDS];

void heap_note_wanted(unsigned int class)
{
	uint64_t bit = 1ULL << class % 64;

	/* A page less for who has nobody to share with. */
	if (load_relaxed(&account.nr_heaps) < 2)
		return;
	if (!(load_relaxed(&wanted[class / 64]) & bit))
		or_relaxed(&wanted[class / 64], bit);
}

void heap_take_wanted(struct class_set *ret_set)
{
	for (unsigned int i = 0; i < CLASS_SET_WORDS; i++)
		ret_set->words[i] = xchg_acquire(&wanted[i], 0);
}

struct slab *heap_next_slab(struct heap *heap, unsigned int class)
{
	struct bin *bin = &heap->bins[class];
	struct slab *slab = NULL;
	struct bin_lists *lists;

	pop_for(heap, class);
	lists = heap_lists_made(heap, class);
	if (lists)
		slab = take_partial(lists) ?: take_aside(heap, class) ?:
		       take_full(lists);
	if (!slab) {
		if (!load_relaxed(&bin->nr_slabs))
			slab = bypass_take_over(heap, class);
		if (!slab)
			slab = orphan_adopt(heap, class);
		if (!slab) {
			take_in_aside(heap, true);
			heap_note_wanted(class);
			slab = take_fresh(heap, class);
		}
		if (slab)
			add_relaxed(&bin->nr_slabs, 1);
	}
	if (slab)
		slab->scan_word = 0;
	bin->current = slab;
	return slab;
}

bool heap_adopt(struct heap *heap, unsigned int class)
{
	struct bin *bin = &heap->bins[class];
	struct slab *slab;

	ebb_assert(!bin->current);
	slab = orphan_adopt(heap, class);
	if (!slab)
		return false;
	add_relaxed(&bin->nr_slabs, 1);
	slab->scan_word = 0;
	bin->current = slab;
	return true;
}

static void reap_list(struct heap *heap, struct list_head *list)
{
	struct slab *slab, *tmp;

	list_for_each_entry_safe(slab, tmp, list, link)
		if (slab_is_wholly_free(slab))
			(void)heap_retire(heap, slab);
}

void heap_reap(struct heap *heap)
{
	pop_avail(heap, false);
	for (unsigned int class = 0; class < NR_CLASSES; class++) {
		struct bin_lists *lists = heap_lists_made(heap, class);
		struct bin *bin = &heap->bins[class];

		if (bin->current && slab_is_wholly_free(bin->current) &&
		    heap_retire(heap, bin->current))
			bin->current = NULL;
		/* Earlier ones are on the stack when they get wholly free. */
		if (lists)
			reap_list(heap, &lists->partial[NR_FULLNESS - 1]);
	}
	account_tell(&heap->delta);
}

/* What is on @list becomes the orphans'; orphan_lock is held.  False: nothing. */
static bool orphan_list(struct bin *bin, struct list_head *list)
{
	bool any = !list_empty(list);

	while (!list_empty(list)) {
		struct slab *slab = list_first(list, struct slab, link);

		list_del(&slab->link);
		sub_relaxed(&bin->nr_slabs, 1);
		orphan_take(slab);
	}
	return any;
}

static bool orphan_partial(struct bin *bin, struct bin_lists *lists)
{
	bool any = false;

	for (unsigned int i = 0; i < NR_FULLNESS; i++)
		any |= orphan_list(bin, &lists->partial[i]);
	return any;
}

static void orphan_class(struct heap *heap, unsigned int class)
{
	struct bin_lists *lists = heap_lists_made(heap, class);
	struct bin *bin = &heap->bins[class];
	struct slab *slab = bin->current;

	if (!slab && !lists)
		return;
	bin->current = NULL;
	lock_take(&orphan_lock);
	if (slab && slab_try_state(slab, SLAB_ACTIVE, SLAB_LISTED))
		orphan_take(slab);
	if (lists) {
		orphan_partial(bin, lists);
		orphan_list(bin, &lists->full);
	}
	lock_release(&orphan_lock);
	bin->nr_slabs = 0;
}

/*
 * What is on its way to our stack when we close it ends on the orphans', and
 * is theirs by then, since the owner is changed whatever the state.
 */
static void orphan_slabs(struct heap *heap)
{
	/* Pairs with slab_avail_push(). */
	take_in_all(heap, xchg_acquire(&heap->avail, AVAIL_CLOSED), false);
	for (unsigned int class = 0; class < NR_CLASSES; class++)
		orphan_class(heap, class);
}

static bool share_class(struct heap *heap, unsigned int class)
{
	struct bin_lists *lists = heap_lists_made(heap, class);
	bool shared;

	/*
	 * Its holder may be stopped, and only memory is lost without.  Not for
	 * all classes at once: who adopts meanwhile does not wait.
	 */
	if (!lists || !lock_try_for(&orphan_lock, 0))
		return false;
	shared = orphan_partial(&heap->bins[class], lists);
	lock_release(&orphan_lock);
	return shared;
}

/*
 * What is on its way to our stack ends on the orphans': take_in() sees whose it
 * is.  None is set aside: heap_reap() took those in.
 */
bool heap_share(struct heap *heap, const struct class_set *set)
{
	bool shared = false;

	ebb_assert(!heap->aside);
	for (unsigned int class = 0; class < NR_CLASSES; class++)
		if (set->words[class / 64] >> class % 64 & 1)
			shared |= share_class(heap, class);
	return shared;
}

void heap_close(struct heap *heap)
{
	heap_reap(heap);
	orphan_slabs(heap);
	account_tell(&heap->delta);
}
