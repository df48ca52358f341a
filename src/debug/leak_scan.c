/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Leak levels of pools: what refers to which buffer
 *
 * What it is: a conservative search.  All other threads are stopped; then each
 * four bytes of memory that the program can write to are the beginning of a word
 * that may be an address, also one into the middle of a buffer, also with
 * something in its upper 16 bits.
 *
 * Roots: each readable mapping that is writable or anonymous, but for the heap's
 * window and what is ours (map_note_private()); pages that were never touched,
 * or whose file ends before them, are left alone.  Of stacks what is below the
 * lowest address in use, and the stacks that glibc keeps of threads that have
 * ended, do not count: where that is sure, which is where an inaccessible page
 * guards the stack's end.  In the heap: live slots and large objects.
 *
 * A buffer that a pool remembers is no root: what only leaked buffers refer to
 * is leaked as well, in circles, too.  All other memory that is live counts, also
 * what has leaked itself.
 *
 * What cannot be found: addresses that are kept otherwise, as by XOR, in files or
 * in the kernel alone (epoll, io_uring).  A buffer of which only such are left is
 * said to have leaked.
 *
 * Context: leak_lock; between world_stop() and world_go() nothing is allocated,
 * and no lock taken.
 */
#include <fcntl.h>

#include "base/atomic.h"
#include "base/log.h"
#include "base/mappings.h"
#include "base/sys.h"
#include "debug/leak.h"
#include "debug/world.h"
#include "heap/heap.h"
#include "heap/medium.h"
#include "os/map.h"

#define TEXT_LEN	(64 * KIB)
#define BATCH_PAGES	512u
#define ADDRESS_MASK	((UINT64_C(1) << 48) - 1)
#define PAGE_HERE	(UINT64_C(3) << 62)	/* present, or swapped out */

struct search {
	uint32_t turn;
	uint32_t work;		/* records to look through; 0: none */
	uint32_t nr_large;
	int pagemap;		/* a descriptor */
	struct world_stack own_stack;
	uintptr_t before_end;	/* of the mapping before, if it is guarding */
	uint64_t pages[BATCH_PAGES];
};

/* Buffers that have no slot, by address; and text of mappings. */
struct room {
	uint32_t large[LEAK_RECORDS_MAX];
	char text[TEXT_LEN];
};

static struct room *room;
static struct search search;

/* === Words ================================================================ */

static void reach(struct leak_record *record)
{
	if (!record || record->state != RECORD_OUT ||
	    record->seen == search.turn)
		return;
	record->seen = search.turn;
	record->next_work = search.work;
	search.work = (uint32_t)(record - leak_area->records);
}

static uintptr_t large_at(uint32_t nth)
{
	return (uintptr_t)leak_area->records[room->large[nth]].buf;
}

/* The last large buffer that begins at or before @at, if @at is inside. */
static struct leak_record *find_large(uintptr_t at)
{
	uint32_t from = 0, to = search.nr_large;
	struct leak_record *record;

	while (from < to) {
		uint32_t mid = from + (to - from) / 2;

		if (large_at(mid) <= at)
			from = mid + 1;
		else
			to = mid;
	}
	if (!from)
		return NULL;
	record = &leak_area->records[room->large[from - 1]];
	return at - (uintptr_t)record->buf < record->bytes ? record : NULL;
}

/* An address in the heap. */
static void reach_address(uintptr_t at)
{
	const struct slab *slab = slab_of((void *)at);
	const struct slab_hot *hot = slab_hot(slab);
	size_t offset = at & (SLAB_SIZE - 1);
	const struct sizeclass *sc;

	if (hot->kind != SLAB_KIND_CLASS) {
		reach(find_large(at));
		return;
	}
	sc = &sizeclasses[hot->class];
	reach(leak_lookup(slab_base(slab) +
			  (size_t)slot_at(sc->reciprocal, offset) * sc->size));
}

/* Plainly read: what it is, nobody knows. */
static __guesses __attribute__((no_sanitize("address")))
void scan_words(uintptr_t start, uintptr_t end)
{
	uintptr_t base = (uintptr_t)range.base;
	size_t used = range.used;

	for (uintptr_t at = ALIGN_UP(start, 4); at + 8 <= end; at += 4) {
		typedef uint64_t __attribute__((aligned(4), may_alias)) word;
		uintptr_t address = *(const word *)at & ADDRESS_MASK;

		if (unlikely(address - base < used))
			reach_address(address);
	}
}

/*
 * Only what is backed; so nothing gets backed by this.  Pages side by side are
 * looked through as one, since a word may lie across their border.
 */
static void scan_pages(uintptr_t start, uintptr_t end)
{
	uintptr_t at = start;	/* from @start to here it is backed */

	while (at < end) {
		uintptr_t page = at >> map_page_shift;
		size_t nr = min((ALIGN_UP(end, map_page_size) >>
				 map_page_shift) - page, (size_t)BATCH_PAGES);
		long got = sys_pread(search.pagemap, search.pages, nr * 8,
				     (int64_t)page * 8);

		if (got < 8)
			break;
		nr = (size_t)got / 8;
		for (size_t i = 0; i < nr; i++) {
			uintptr_t next = (page + i + 1) << map_page_shift;

			if (!(search.pages[i] & PAGE_HERE)) {
				scan_words(start, at);
				start = min(next, end);
			}
			at = min(next, end);
		}
	}
	scan_words(start, at);
}

/* The same without what is ours. */
static void scan_shared(uintptr_t start, uintptr_t end)
{
	while (start < end) {
		uintptr_t stop = end, after = end, from, to;

		for (unsigned int i = 0; map_private(i, &from, &to); i++) {
			if (to <= start || from >= stop)
				continue;
			stop = max(from, start);
			after = to;
		}
		if (start < stop)
			scan_pages(start, stop);
		start = max(after, stop);
	}
}

/* === The heap ============================================================= */

static bool is_ours(const void *at)
{
	const struct leak_record *record = leak_lookup(at);

	/* OUT ones are looked through when they are reached. */
	return record && (record->state == RECORD_OUT ||
			  record->state == RECORD_KEPT);
}

static void scan_slot(const struct slab *slab, const struct sizeclass *sc,
		      unsigned int slot)
{
	uintptr_t at = (uintptr_t)slab_base(slab) + (size_t)slot * sc->size;
	unsigned int pages = slab_pages_of(sc, slot / 64, 1ULL << slot % 64);

	/* Free: by its bit, on a page that is, or in somebody's cache. */
	if (slab->free[slot / 64] >> slot % 64 & 1 ||
	    pages & pages_clean(slab->pages) ||
	    *heap_key_of((void *)at) == heap_key((void *)at) ||
	    is_ours((void *)at))
		return;
	scan_words(at, at + sc->size);
}

static void scan_run(const struct slab *run)
{
	char *base = slab_base(run);

	if (!is_ours(base))
		scan_pages((uintptr_t)base, (uintptr_t)base + run->run_bytes);
}

static __guesses void scan_medium(const struct slab *slab)
{
	for (size_t at = 0; at < SLAB_SIZE; at += BLOCK_SIZE) {
		char *base = slab_base(slab) + at;
		size_t bytes = medium_usable(base);

		if (bytes && !is_ours(base))
			scan_pages((uintptr_t)base, (uintptr_t)base + bytes);
	}
}

static __guesses void scan_heap(void)
{
	size_t nr = load_relaxed(&range.fresh) >> SLAB_SHIFT;

	for (size_t i = 0; i < nr; i++) {
		const struct slab *slab = range.slabs + i;
		const struct slab_hot *hot = hot_at(i);
		const struct sizeclass *sc = &sizeclasses[hot->class];

		if (hot->kind == SLAB_KIND_RUN)
			scan_run(slab);
		if (hot->kind == SLAB_KIND_MEDIUM)
			scan_medium(slab);
		if (hot->kind != SLAB_KIND_CLASS)
			continue;
		for (unsigned int slot = 0; slot < sc->nr_slots; slot++)
			scan_slot(slab, sc, slot);
	}
}

/* === Mappings ============================================================= */

static bool begins_with(const char *text, const char *with)
{
	while (*with && *text == *with) {
		text++;
		with++;
	}
	return !*with;
}

static bool is_device(const struct mapping *map)
{
	return begins_with(map->name, "[vvar") ||
	       begins_with(map->name, "[vsyscall") ||
	       (begins_with(map->name, "/dev/") &&
		!begins_with(map->name, "/dev/shm/") &&
		!begins_with(map->name, "/dev/zero"));
}

static bool is_first_stack(const struct mapping *map)
{
	return begins_with(map->name, "[stack]");
}

static bool lies_in(uintptr_t at, const struct mapping *map)
{
	return at - map->start < map->end - map->start;
}

/* The stack number @nth, this thread's the first; false: there are no more. */
static bool stack_at(unsigned int nth, struct world_stack *stack)
{
	if (nth)
		return world_stack(nth - 1, stack);
	*stack = search.own_stack;
	return true;
}

/*
 * Where what is in use begins of a mapping that is one thread's stack, as glibc
 * makes it, with the thread's block on top, or the first thread's; 0: that is not
 * known.  *@ret_any: some stack pointer is in there.
 */
static uintptr_t lowest_in_use(const struct mapping *map, bool *ret_any)
{
	struct world_stack stack;
	uintptr_t lowest = 0;
	unsigned int nr = 0;

	for (unsigned int i = 0; stack_at(i, &stack); i++) {
		if (!lies_in(stack.lowest, map))
			continue;
		nr++;
		if (is_first_stack(map) || (stack.block > stack.lowest &&
					    lies_in(stack.block, map)))
			lowest = stack.lowest;
	}
	*ret_any = nr;
	return nr == 1 ? lowest : 0;
}

/* Up to where it was the stack of a thread that has ended; 0: of none. */
static __guesses uintptr_t end_of_ended(const struct mapping *map)
{
	for (unsigned int i = 0; i < LEAK_EXITS; i++) {
		uintptr_t at = leak_exits[i].mark;

		/* What another mapping has there now has another word. */
		if (lies_in(at, map) && !(at % sizeof(at)) &&
		    *(const uintptr_t *)at == leak_exit_mark((void *)at))
			return min(leak_exits[i].end, map->end);
	}
	return 0;
}

/* Where it is to be looked through from. */
static uintptr_t first_to_scan(const struct mapping *map)
{
	bool any;
	uintptr_t lowest = lowest_in_use(map, &any);

	if (!any)
		lowest = end_of_ended(map);
	return max(lowest, map->start);
}

static void scan_mapping(const struct mapping *map)
{
	uintptr_t start = map->start, heap = (uintptr_t)range.base;
	bool guarded = search.before_end == start || is_first_stack(map);

	search.before_end = !map->readable && !map->writable ? map->end : 0;
	if (!map->readable || (!map->writable && map->inode) || is_device(map))
		return;
	/* The window, with its tables before it. */
	if (start - (uintptr_t)range.slabs <
	    heap + range.span - (uintptr_t)range.slabs)
		return;
	if (guarded && !map->inode)
		start = first_to_scan(map);
	scan_shared(start, map->end);
}

static int scan_mappings(void)
{
	struct mappings maps;
	struct mapping map;
	int err = mappings_open(&maps, room->text, sizeof(room->text));

	if (err)
		return err;
	while (mappings_next(&maps, &map))
		scan_mapping(&map);
	return mappings_close(&maps);
}

/* === The search =========================================================== */

/* A heap of addresses, the largest on top. */
static void sift_down(uint32_t at, uint32_t nr)
{
	for (;;) {
		uint32_t child = 2 * at + 1, moved = room->large[at];

		if (child >= nr)
			return;
		if (child + 1 < nr && large_at(child) < large_at(child + 1))
			child++;
		if (large_at(at) >= large_at(child))
			return;
		room->large[at] = room->large[child];
		room->large[child] = moved;
		at = child;
	}
}

static void sort_large(void)
{
	uint32_t nr = search.nr_large;

	for (uint32_t at = nr / 2; at-- > 0;)
		sift_down(at, nr);
	while (nr > 1) {
		uint32_t top = room->large[0];

		room->large[0] = room->large[--nr];
		room->large[nr] = top;
		sift_down(0, nr);
	}
}

/* Which slot an address is in does not say which buffer. */
static bool has_no_slot(const struct leak_record *record)
{
	return record->bytes > CLASS_SIZE_MAX ||
	       (range_contains(record->buf) &&
		slab_hot(slab_of(record->buf))->kind != SLAB_KIND_CLASS);
}

static void gather_large(void)
{
	search.nr_large = 0;
	for (uint32_t i = 1; i <= leak_nr_records; i++)
		if (leak_area->records[i].state == RECORD_OUT &&
		    has_no_slot(&leak_area->records[i]))
			room->large[search.nr_large++] = i;
	sort_large();
}

static void scan_reached(void)
{
	while (search.work) {
		struct leak_record *record = &leak_area->records[search.work];
		uintptr_t buf = (uintptr_t)record->buf;

		search.work = record->next_work;
		if (has_no_slot(record))
			scan_pages(buf, buf + record->bytes);
		else
			scan_words(buf, buf + record->bytes);
	}
}

static int make_room(void)
{
	size_t len = ALIGN_UP(sizeof(*room), map_page_size);
	char *at;
	int err;

	if (room)
		return 0;
	err = map_reserve(len, map_page_size, &at);
	if (!err)
		err = map_commit(at, len);
	if (err)
		return err;
	map_note_private(at, len);
	room = (struct room *)at;
	return 0;
}

int leak_scan(uint32_t turn, uintptr_t stack)
{
	int err = make_room();

	if (err)
		return err;
	search.turn = turn;
	search.work = 0;
	search.own_stack.lowest = stack;
	search.own_stack.block = (uintptr_t)&thread;
	search.before_end = 0;
	/* In no window, as all that is opened here: fork takes leak_lock. */
	search.pagemap = sys_open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0);
	if (search.pagemap < 0)
		return search.pagemap;
	gather_large();
	err = world_stop();
	if (!err) {
		err = scan_mappings();
		if (!err)
			scan_heap();
		scan_reached();
		world_go();
	}
	sys_close(search.pagemap);
	return err;
}
