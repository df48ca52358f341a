/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - What live memory is written, and what is cold
 */
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/param.h"
#include "base/small_file.h"
#include "base/sys.h"
#include "heap/heap.h"
#include "heap/slab.h"
#include "os/map.h"
#include "os/track.h"
#include "reclaim/reclaimer.h"
#include "reclaim/written.h"
#include "vm/run.h"

#define NR_REGIONS	256u
#define NR_OWNERS	64u
#define OUT_MOST	(64 * MIB)	/* advised in one scan */
#define OUT_CALL	(2 * MIB)	/* and in one call, which holds mmap_lock */

/* Ages that live memory is sorted into, from the first that is not less. */
static const uint32_t age_bounds[] = { 0, 1000, 10000, 60000, 600000 };
#define NR_AGES		ARRAY_SIZE(age_bounds)

struct part {
	uint64_t live;		/* bytes that are backed */
	uint64_t written;	/* in the last interval */
	uint64_t aged;		/* not written for cold_ms */
};

struct owner {
	struct heap *heap;	/* NULL: unused; heaps are never unmapped */
	struct part part;
};

/* What one scan found.  Other objects are the class behind the last. */
struct found {
	uint64_t ages[NR_AGES];
	struct part classes[NR_CLASSES + 1];
	struct owner owners[NR_OWNERS];
	struct part all;
	uint64_t backed;	/* bytes, free ones as well */
};

static struct found found, last;	/* the thread's; read by others */
static struct written_stats stats;	/* stored by the thread alone */

static uint32_t *stamps;		/* ms since start_ms, of each page */
static uint64_t start_ms, next_ms;
static const char *why_not = "the reclaimer has not run yet";
static int why_error;
static bool tracking, tried, pressed_since;

/* === What a page is ==================================================== */

/* Going over the slabs as the regions come, by address. */
struct walk {
	size_t index;		/* the slab looked at */
	size_t end;		/* of what it describes, in slabs */
	enum slab_kind kind;
	unsigned int class;
	uint32_t live;		/* of a slab: pages with a slot in use */
	size_t run_bytes;	/* of a large object */
	struct part *owner;	/* NULL: no thread's, or there is no room */
	uint32_t now;		/* ms since start_ms */
	uint32_t cold_ms;
};

static struct part *part_of(struct heap *heap)
{
	size_t at = (uintptr_t)heap >> SLAB_SHIFT;

	for (unsigned int i = 0; heap && i < NR_OWNERS; i++) {
		struct owner *owner = &found.owners[(at + i) % NR_OWNERS];

		if (!owner->heap)
			owner->heap = heap;
		if (owner->heap == heap)
			return &owner->part;
	}
	return NULL;
}

static void look_at(struct walk *walk, size_t index)
{
	struct slab *slab = range.slabs + index;
	const struct slab_hot *hot = hot_at(index);

	walk->index = index;
	walk->end = index + 1;
	walk->kind = load_acquire(&hot->kind);
	walk->owner = NULL;
	if (slab_kind_has_slots(walk->kind)) {
		walk->class = load_relaxed(&hot->class);
		walk->owner = part_of(load_relaxed(&hot->owner));
		walk->live = slab_all_pages() &
			     ~slab_free_pages(slab,
					      &sizeclasses[walk->class]);
	} else if (walk->kind == SLAB_KIND_RUN) {
		walk->class = NR_CLASSES;
		walk->run_bytes = load_relaxed(&slab->run_bytes);
		walk->end = index + max(load_relaxed(&slab->run_len), 1u);
	}
}

/* Whether the page at @offset of the window is live. */
static bool page_is_live(struct walk *walk, size_t offset)
{
	size_t index = offset >> SLAB_SHIFT;

	while (index >= walk->end)
		look_at(walk, walk->end);
	if (slab_kind_has_slots(walk->kind))
		return walk->live >> ((offset & (SLAB_SIZE - 1)) >>
				      map_page_shift) & 1;
	return walk->kind == SLAB_KIND_RUN &&
	       offset - (walk->index << SLAB_SHIFT) < walk->run_bytes;
}

/* === Summing up ======================================================== */

static void add_to(struct part *part, bool written, bool aged)
{
	part->live += map_page_size;
	if (written)
		part->written += map_page_size;
	if (aged)
		part->aged += map_page_size;
}

static unsigned int age_of(uint32_t ms)
{
	unsigned int i = NR_AGES - 1;

	while (ms < age_bounds[i])
		i--;
	return i;
}

/* Returns whether it is cold. */
static bool add_page(const struct walk *walk, uint32_t age_ms, bool written)
{
	bool aged = !written && age_ms >= walk->cold_ms;

	found.ages[age_of(age_ms)] += map_page_size;
	add_to(&found.classes[walk->class], written, aged);
	add_to(&found.all, written, aged);
	if (walk->owner)
		add_to(walk->owner, written, aged);
	return aged;
}

static void count(uint64_t *counter, uint64_t more)
{
	store_relaxed(counter, *counter + more);
}

/* === Cold memory ======================================================= */

static struct {
	bool on;		/* in this scan */
	char *start;
	size_t len;
	uint64_t sum;
} out;

static bool has_swap(void)
{
	char text[512];
	const char *heading;

	if (small_file_read("/proc/swaps", text, sizeof(text)) < 0)
		return false;
	heading = strchr(text, '\n');
	return heading && heading[1];
}

static void out_flush(void)
{
	if (out.len && !sys_madvise(out.start, out.len, MADV_PAGEOUT)) {
		out.sum += out.len;
		count(&stats.out_bytes, out.len);
	}
	out.len = 0;
}

static void out_add(char *page)
{
	if (!out.on || out.sum + out.len >= OUT_MOST)
		return;
	if (out.len && (out.start + out.len != page || out.len >= OUT_CALL))
		out_flush();
	if (!out.len)
		out.start = page;
	out.len += map_page_size;
}

/* === A scan ============================================================ */

static void add_region(struct walk *walk, const struct track_region *region)
{
	bool written = region->categories & TRACK_WRITTEN;

	for (uint64_t at = region->start; at < region->end;
	     at += map_page_size) {
		size_t offset = (size_t)(at - (uintptr_t)range.base);
		uint32_t *stamp = &stamps[offset >> map_page_shift];

		if (written)
			*stamp = walk->now;
		if (page_is_live(walk, offset) &&
		    add_page(walk, walk->now - *stamp, written))
			out_add(range.base + offset);
	}
	found.backed += region->end - region->start;
}

static int scan_all(uint32_t now)
{
	struct track_region regions[NR_REGIONS];
	uint64_t at = (uintptr_t)range.base;
	uint64_t end = at + load_relaxed(&range.fresh);
	struct walk walk = {
		.now = now,
		.cold_ms = (uint32_t)param_int(EBB_ATTR_COLD_MS),
	};
	int nr;

	while ((nr = track_scan(&at, end, regions, NR_REGIONS)) > 0)
		for (int i = 0; i < nr; i++)
			add_region(&walk, &regions[i]);
	return nr;
}

static void give_up(const char *reason, int err)
{
	track_close();
	why_error = err;
	store_relaxed(&why_not, reason);
	store_relaxed(&tracking, false);
	store_relaxed(&stats.cold_bytes, 0);
}

static void scan(uint64_t now_ms, bool pressed)
{
	uint64_t before = clock_us();
	bool first = !stats.nr_scans;
	int err;

	found = (struct found){ 0 };
	out.on = pressed && param_int(EBB_ATTR_COLD_OUT) && has_swap();
	out.sum = 0;
	err = scan_all((uint32_t)(now_ms - start_ms));
	out_flush();
	if (err) {
		give_up("PAGEMAP_SCAN failed", err);
		return;
	}
	last = found;
	count(&stats.nr_scans, 1);
	count(&stats.scanned_bytes, found.backed);
	count(&stats.scan_us, clock_us() - before);
	/* Before the first nothing was protected: all seems to be written. */
	if (!first)
		count(&stats.written_bytes, found.all.written);
	store_relaxed(&stats.cold_bytes, found.all.aged);
}

/* === The reclaimer's errand ============================================ */

static bool make_table(void)
{
	size_t size = (range.reserved >> map_page_shift) * sizeof(*stamps);
	long at = sys_mmap(NULL, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);

	if (sys_is_err(at)) {
		give_up("no address space for its table", (int)at);
		return false;
	}
	map_no_huge((char *)at, size);
	stamps = (uint32_t *)at;
	return true;
}

static void try_to_track(bool own_table)
{
	const char *reason = NULL;
	int err;

	tried = true;
	if (!own_table) {
		give_up("the thread has no file table of its own", 0);
		return;
	}
	if (range.pieces) {
		give_up("the address space is limited (RLIMIT_AS)", 0);
		return;
	}
	if (!stamps && !make_table())
		return;
	err = track_open(range.base, range.reserved, &reason);
	if (err) {
		give_up(reason ?: "the kernel refuses", err);
		return;
	}
	start_ms = clock_ms();
	next_ms = start_ms;
	store_relaxed(&tracking, true);
}

static uint32_t written_errand(bool own_table, bool pressed)
{
	uint64_t interval = (uint64_t)param_int(EBB_ATTR_TRACK_WRITES);
	uint64_t now_ms = clock_ms();

	if (!tried)
		try_to_track(own_table);
	if (!tracking)
		return RECLAIMER_NO_VISIT;
	/* It is heard once, and answered by the next look. */
	pressed_since |= pressed;
	if (now_ms >= next_ms) {
		scan(now_ms, pressed_since);
		pressed_since = false;
		next_ms = now_ms + interval;
	}
	return (uint32_t)(next_ms - now_ms);
}

void written_init(void)
{
	if (param_int(EBB_ATTR_TRACK_WRITES))
		reclaimer_errand = written_errand;
}

void written_postfork_child(void)
{
	/* The descriptors are in the parent's table only. */
	tried = false;
	if (load_relaxed(&tracking))
		why_not = "the reclaimer has not run yet";
	store_relaxed(&tracking, false);
	stats = (struct written_stats){ 0 };
	last = (struct found){ 0 };
}

/* === Showing =========================================================== */

void written_stats(struct written_stats *ret_stats)
{
	ret_stats->cold_bytes = load_relaxed(&stats.cold_bytes);
	ret_stats->written_bytes = load_relaxed(&stats.written_bytes);
	ret_stats->nr_scans = load_relaxed(&stats.nr_scans);
	ret_stats->scanned_bytes = load_relaxed(&stats.scanned_bytes);
	ret_stats->scan_us = load_relaxed(&stats.scan_us);
	ret_stats->out_bytes = load_relaxed(&stats.out_bytes);
}

size_t written_describe(char *buf, size_t size)
{
	struct written_stats now;
	uint64_t mib;

	if (!param_int(EBB_ATTR_TRACK_WRITES))
		return 0;
	if (!load_relaxed(&tracking)) {
		if (why_error)
			return fmt_line(buf, size, "writes: unavailable: %s "
					"(%s)", load_relaxed(&why_not),
					err_name(why_error));
		return fmt_line(buf, size, "writes: unavailable: %s",
				load_relaxed(&why_not));
	}
	written_stats(&now);
	mib = max(now.scanned_bytes / MIB, (uint64_t)1);
	return fmt_line(buf, size, "writes: %llu scans, %llu us for each GiB, "
			"%llu KiB cold", (unsigned long long)now.nr_scans,
			(unsigned long long)(now.scan_us * 1024 / mib),
			(unsigned long long)now.cold_bytes / KIB);
}

struct text {
	char *buf;
	size_t size, len;
};

static void put_row(struct text *text, const char *what, uint64_t key,
		    const struct part *part)
{
	text->len += fmt_line(text->buf + text->len, text->size - text->len,
			      "%s %llu %llu %llu %llu\n", what,
			      (unsigned long long)key,
			      (unsigned long long)part->live,
			      (unsigned long long)part->written,
			      (unsigned long long)part->aged);
}

static void put_classes(struct text *text)
{
	for (unsigned int i = 0; i <= NR_CLASSES; i++)
		if (last.classes[i].live)
			put_row(text, "class", i < NR_CLASSES ?
				sizeclasses[i].size : 0, &last.classes[i]);
}

static void put_owners(struct text *text)
{
	for (unsigned int i = 0; i < NR_OWNERS; i++) {
		struct heap *heap = load_relaxed(&last.owners[i].heap);

		if (heap)
			put_row(text, "thread", (uint64_t)load_relaxed(
					&heap->tid), &last.owners[i].part);
	}
}

__guesses size_t written_report(char *buf, size_t size)
{
	struct text text = { buf, size, 0 };

	text.len = written_describe(buf, size);
	if (!text.len)
		text.len = fmt_line(buf, size, "writes: off (track_writes)");
	text.len += fmt_line(buf + text.len, size - text.len,
			     "\n# kind key live written cold\n");
	if (!load_relaxed(&tracking))
		return text.len;
	put_row(&text, "all", 0, &last.all);
	for (unsigned int i = 0; i < NR_AGES; i++)
		text.len += fmt_line(buf + text.len, size - text.len,
				     "age %u %llu\n", age_bounds[i],
				     (unsigned long long)last.ages[i]);
	put_classes(&text);
	put_owners(&text);
	return text.len;
}
