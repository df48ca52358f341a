/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The guard pool: pages between guards, and what is known of them
 */
#include <sys/mman.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/err.h"
#include "base/sys.h"
#include "debug/guard_pool.h"
#include "os/map.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#define MADV_GUARD_REMOVE	103
#endif

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED	24	/* Linux 5.18 */
#endif

#define LEN_MIN		(64 * MIB)
#define GROW_LEN	(2 * MIB)	/* of the pool, and of records */
#define NR_ORDERS	40u
#define NR_EXPOSED	64u

/*
 * Objects with mappings of their own: two each, of the 65530 that a process may
 * have.  The others are the program's, and those by which the heap grows.
 */
#define NR_MAPPED_MAX	16384u

struct lock guard_lock = LOCK_INIT(4);
struct guard_pool guard_pool;

/* Lists of records by number; 0 ends them. */
struct object_list {
	uint32_t first, last;
};

static struct object_list free_spans[NR_ORDERS];	/* guard_lock */
static struct object_list quarantine;			/* guard_lock */
static size_t quarantine_bytes, quarantine_max;		/* guard_lock */
static uint32_t deferred;	/* stack of what was freed without the lock */

/* By page of the pool: number of the span's record. */
static uint32_t *numbers;
static struct guard_object *objects;	/* [0] is nobody's */
static uint32_t nr_objects = 1;		/* guard_lock */
static size_t ready;		/* of the pool, taken into use; guard_lock */
static size_t objects_ready, numbers_ready;	/* bytes; guard_lock */
static size_t objects_len;	/* set once */

/* Pages that were opened for reads after a report. */
static uintptr_t exposed[NR_EXPOSED];
static uint32_t nr_exposed;

static bool markers;		/* pages are closed by them; ends for good */
static bool had_markers;	/* some may still be */
static uint32_t nr_mapped;	/* atomic: objects opened without them */

/* === Pages ================================================================ */

static int install(char *at, size_t len)
{
	return sys_madvise(at, len, MADV_GUARD_INSTALL);
}

/*
 * Take pool space into use: with markers it is one readable mapping, full of
 * them; else it stays PROT_NONE.
 */
static int prepare(char *at, size_t len)
{
	int err = 0;

	/* It may be readable from a try that failed half way. */
	if (!load_relaxed(&markers))
		return had_markers ? sys_mprotect(at, len, PROT_NONE) : 0;
	err = map_commit(at, len);
	if (!err)
		err = install(at, len);
	if (!err)
		return 0;
	/* Before Linux 6.13, or mlockall(): by mappings from here on. */
	store_relaxed(&markers, false);
	return sys_mprotect(at, len, PROT_NONE);
}

static void release_mapping(struct guard_object *object)
{
	if (object->mapped)
		sub_relaxed(&nr_mapped, 1);
	object->mapped = false;
}

/* The object gets mappings of its own; false: there are too many. */
static bool take_mapping(struct guard_object *object)
{
	object->mapped = true;
	if (add_relaxed(&nr_mapped, 1) < NR_MAPPED_MAX)
		return true;
	release_mapping(object);
	return false;
}

int guard_pool_open(struct guard_object *object)
{
	bool by_mapping = !load_relaxed(&markers);
	int err = 0;

	if (by_mapping && !take_mapping(object))
		return -ENOMEM;
	if (had_markers)
		err = sys_madvise(object->pages, object->len,
				  MADV_GUARD_REMOVE);
	if (by_mapping && !err)
		err = map_commit(object->pages, object->len);
	if (err)
		release_mapping(object);
	return err;
}

/* Else it would be kept, with what was written to it, below mlockall(). */
static int discard(char *at, size_t len)
{
	int err = sys_madvise(at, len, MADV_DONTNEED);

	return err ? sys_madvise(at, len, MADV_DONTNEED_LOCKED) : 0;
}

void guard_pool_close(struct guard_object *object)
{
	int err;

	if (load_relaxed(&markers)) {
		if (!install(object->pages, object->len))
			return;
		/* It would have to be opened in another way from here on. */
		store_relaxed(&markers, false);
	}
	if (discard(object->pages, object->len))
		err = map_uncommit(object->pages, object->len);
	else
		err = sys_mprotect(object->pages, object->len, PROT_NONE);
	if (err)
		store_relaxed(&object->spoiled, true);
	else
		release_mapping(object);
}

bool guard_pool_is_exposed(uintptr_t addr)
{
	for (unsigned int i = 0; i < NR_EXPOSED; i++)
		if (load_relaxed(&exposed[i]) == ALIGN_DOWN(addr, map_page_size))
			return true;
	return false;
}

/* === Records ============================================================== */

static struct guard_object *object_at(uint32_t number)
{
	return number ? &objects[number] : NULL;
}

static uint32_t number_of(const struct guard_object *object)
{
	return (uint32_t)(object - objects);
}

struct guard_object *guard_pool_find(uintptr_t addr)
{
	size_t offset = addr - (uintptr_t)guard_pool.base;

	/* Pairs with carve(); the first page is in no span. */
	if (offset >= load_acquire(&guard_pool.used) || offset < map_page_size)
		return NULL;
	return object_at(load_relaxed(&numbers[offset >> map_page_shift]));
}

size_t guard_pool_span_len(const struct guard_object *object)
{
	return map_page_size << object->order;
}

static void append(struct object_list *list, struct guard_object *object)
{
	object->next = 0;
	if (list->last)
		object_at(list->last)->next = number_of(object);
	else
		list->first = number_of(object);
	list->last = number_of(object);
}

static struct guard_object *pop(struct object_list *list)
{
	struct guard_object *object = object_at(list->first);

	if (!object)
		return NULL;
	list->first = object->next;
	if (!list->first)
		list->last = 0;
	return object;
}

/* Have [@at, @at + @need) of a table in use, in steps; *@ready is what is. */
static bool extend(char *at, size_t *ret_ready, size_t need, size_t len)
{
	size_t want = min(ALIGN_UP(need, GROW_LEN), len);

	if (need <= *ret_ready)
		return true;
	if (need > len || map_commit(at + *ret_ready, want - *ret_ready))
		return false;
	*ret_ready = want;
	return true;
}

static size_t nr_pages(size_t len)
{
	return len >> map_page_shift;
}

/* A new span of @order. */
static struct guard_object *carve(unsigned int order)
{
	size_t len = map_page_size << order, used = guard_pool.used;
	size_t end = used + len;
	uint32_t number = nr_objects;
	size_t want;

	if (end > guard_pool.len ||
	    !extend((char *)objects, &objects_ready,
		    (number + 1) * sizeof(*objects), objects_len) ||
	    !extend((char *)numbers, &numbers_ready,
		    nr_pages(end) * sizeof(*numbers),
		    nr_pages(guard_pool.len) * sizeof(*numbers)))
		return NULL;
	if (end > ready) {
		want = min(ALIGN_UP(end, GROW_LEN), guard_pool.len);
		if (prepare(guard_pool.base + ready, want - ready))
			return NULL;
		ready = want;
	}
	objects[number].span = guard_pool.base + used;
	objects[number].order = (uint8_t)order;
	for (size_t page = nr_pages(used); page < nr_pages(end); page++)
		numbers[page] = number;
	nr_objects = number + 1;
	/* Pairs with guard_pool_find(). */
	store_release(&guard_pool.used, end);
	return &objects[number];
}

/* === Free spans and the quarantine ======================================== */

static void enter_quarantine(struct guard_object *object)
{
	append(&quarantine, object);
	quarantine_bytes += object->len;
	while (quarantine_bytes > quarantine_max) {
		struct guard_object *oldest = pop(&quarantine);

		if (!oldest)
			break;
		quarantine_bytes -= oldest->len;
		store_relaxed(&oldest->state, GUARD_FREE);
		if (!load_relaxed(&oldest->spoiled))
			append(&free_spans[oldest->order], oldest);
	}
}

static void take_deferred(void)
{
	/* Pairs with defer(). */
	uint32_t number = xchg_acquire(&deferred, 0);

	while (number) {
		struct guard_object *object = object_at(number);

		number = object->next;
		enter_quarantine(object);
	}
}

static void defer(struct guard_object *object)
{
	uint32_t top = load_relaxed(&deferred);

	do
		object->next = top;
	while (!cas_acq_rel(&deferred, &top, number_of(object)));
}

/* One that was not opened for who was reported; NULL: there is none. */
static struct guard_object *pop_usable(struct object_list *list)
{
	struct guard_object *object;

	do
		object = pop(list);
	while (object && load_relaxed(&object->spoiled));
	return object;
}

/* False: this is a handler, above something that may hold it. */
static bool lock(void)
{
	if (lock_holds_any())
		return false;
	lock_take(&guard_lock);
	if (unlikely(load_relaxed(&deferred)))
		take_deferred();
	return true;
}

struct guard_object *guard_pool_take(size_t len)
{
	unsigned int order = bit_highest(nr_pages(len)) + 1;
	struct guard_object *object;

	if (order >= NR_ORDERS || !lock())
		return NULL;
	object = pop_usable(&free_spans[order]) ?: carve(order);
	if (object)
		store_relaxed(&object->state, GUARD_TAKEN);
	lock_release(&guard_lock);
	return object;
}

void guard_pool_give(struct guard_object *object)
{
	store_relaxed(&object->state, GUARD_QUARANTINE);
	if (!lock()) {
		defer(object);
		return;
	}
	enter_quarantine(object);
	lock_release(&guard_lock);
}

void guard_pool_put_back(struct guard_object *object)
{
	store_relaxed(&object->state, GUARD_FREE);
	/* Else its addresses are lost; nothing was behind them. */
	if (!lock())
		return;
	append(&free_spans[object->order], object);
	lock_release(&guard_lock);
}

/*
 * Whether @page is closed and stays so unless a lock is held: else its owner is
 * about to open or to close it.
 */
static bool is_settled(const struct guard_object *object, const char *page)
{
	switch (load_relaxed(&object->state)) {
	case GUARD_FREE:
	case GUARD_QUARANTINE:
		return true;
	case GUARD_LIVE:
		return (size_t)(page - object->pages) >= object->len;
	default:
		return false;
	}
}

static bool expose(struct guard_object *object, char *page)
{
	uint32_t place = add_relaxed(&nr_exposed, 1);

	if (place >= NR_EXPOSED)
		return false;
	store_relaxed(&object->spoiled, true);
	store_relaxed(&exposed[place], (uintptr_t)page);
	/* First: with the marker gone it may be read, but not written. */
	if (sys_mprotect(page, map_page_size, PROT_READ))
		return false;
	return !had_markers ||
	       !sys_madvise(page, map_page_size, MADV_GUARD_REMOVE);
}

bool guard_pool_expose(uintptr_t addr)
{
	char *page = (char *)ALIGN_DOWN(addr, map_page_size);
	struct guard_object *object = guard_pool_find(addr);
	bool done = true;

	/* With the lock nobody takes the span meanwhile. */
	if (!object || !lock())
		return false;
	if (is_settled(object, page))
		done = expose(object, page);
	lock_release(&guard_lock);
	return done;
}

void guard_pool_stats(struct guard_pool_stats *ret_stats)
{
	ret_stats->quarantine = load_relaxed(&quarantine_bytes);
	ret_stats->meta = load_relaxed(&nr_objects) * sizeof(*objects) +
			  nr_pages(load_relaxed(&guard_pool.used)) *
			  sizeof(*numbers);
}

/* === Beginning ============================================================ */

/* Whether this kernel has markers: tried on a page that is wanted closed. */
static bool try_markers(char *page)
{
	bool works = !map_commit(page, map_page_size) &&
		     !install(page, map_page_size);

	if (!works)
		(void)sys_mprotect(page, map_page_size, PROT_NONE);
	return works;
}

/* What the tables of a pool of @len need. */
static int reserve(size_t len)
{
	char *at;
	int err;

	objects_len = ALIGN_UP((nr_pages(len) / 2 + 1) * sizeof(*objects),
			       map_page_size);
	err = map_reserve(objects_len + len + nr_pages(len) * sizeof(*numbers),
			  map_page_size, &at);
	if (err)
		return err;
	guard_pool.base = at;
	objects = (struct guard_object *)(at + len);
	numbers = (uint32_t *)(at + len + objects_len);
	guard_pool.len = len;
	return 0;
}

int guard_pool_init(size_t len, size_t max)
{
	size_t left = map_space_left();
	int err;

	/* A limit is the program's to use up. */
	if (left != SIZE_MAX)
		len = min(len, max(ALIGN_DOWN(left / 8, map_page_size),
				   LEN_MIN));
	err = reserve(len);
	while (err && len > LEN_MIN)
		err = reserve(len /= 2);
	if (err)
		return err;
	quarantine_max = max;
	/* The first page is the guard before the first span. */
	markers = had_markers = try_markers(guard_pool.base);
	guard_pool.used = ready = map_page_size;
	return 0;
}
