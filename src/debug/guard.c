/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Guard mode: objects with pages of their own
 */
#include <string.h>

#include "acct/account.h"
#include "base/atomic.h"
#include "base/bits.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/param.h"
#include "debug/guard.h"
#include "debug/trap.h"
#include "heap/charge.h"
#include "heap/heap.h"
#include "heap/sample.h"
#include "os/map.h"

#define CANARY		0xeb
#define CANARY_WORD	0xebebebebebebebebULL
#define ALIGN_LEAST	16u	/* but for what has no room for such a thing */
#define ALIGN_SMALL	8u
#define LIVE_MAX	MIB		/* of pages, of objects by chance */
#define POOL_SAMPLED	(16 * GIB)
#define POOL_ALL	(256 * GIB)
#define QUARANTINE_SAMPLED	(2 * MIB)
#define QUARANTINE_ALL	GIB
#define RETRIES_MAX	1000u

__startup_data uint8_t guard_mode;

static uint64_t live_bytes, beside_bytes, nr_taken, nr_skipped;

/* === Canaries ============================================================= */

static void fill(char *from, char *to)
{
	memset(from, CANARY, (size_t)(to - from));
}

/* The first byte in [@from, @to) that is not as it was; NULL: all are. */
static char *find_damage(char *from, char *to)
{
	uint64_t word;

	while (from < to) {
		if (to - from >= (ptrdiff_t)sizeof(word)) {
			memcpy(&word, from, sizeof(word));
			if (word == CANARY_WORD) {
				from += sizeof(word);
				continue;
			}
		}
		if ((unsigned char)*from != CANARY)
			return from;
		from++;
	}
	return NULL;
}

static char *end_of(const struct guard_object *object)
{
	return (char *)object->start + object->size;
}

static void fill_rest(const struct guard_object *object)
{
	fill(object->pages, (char *)object->start);
	fill(end_of(object), object->pages + object->len);
}

/* === Reports ============================================================== */

static void describe_object(struct report *report,
			    const struct guard_object *object)
{
	report->object = object->start;
	report->size = object->size;
	report->alloc = object->alloc;
	if (load_relaxed(&object->state) >= GUARD_FREEING ||
	    load_relaxed(&object->state) == GUARD_FREE)
		report->free = object->free;
}

/* What the fault or the damage at report->addr is, by where it lies. */
static void classify(struct report *report, const struct guard_object *object)
{
	uint32_t state = load_relaxed(&object->state);

	describe_object(report, object);
	if (report->addr < object->start)
		report->kind = REPORT_UNDERFLOW;
	else if (report->addr >= object->start + max(object->size, (size_t)1))
		report->kind = REPORT_OVERFLOW;
	else
		report->kind = REPORT_USE_AFTER_FREE;
	/* Beside what was freed: most likely by somebody who still uses it. */
	if (state != GUARD_LIVE && state != GUARD_TAKEN)
		report->kind = REPORT_USE_AFTER_FREE;
}

static void check_canary(const struct guard_object *object, const char *call,
			 const struct stack_frame *frame)
{
	struct report report = {
		.call = call,
		.ptr = object->start,
		.detail = "which was written, as free found",
	};
	/* What lies behind it is more often the culprit. */
	char *damage = find_damage(end_of(object),
				   object->pages + object->len);

	if (!damage)
		damage = find_damage(object->pages, (char *)object->start);
	if (likely(!damage))
		return;
	report.addr = (uintptr_t)damage;
	report.kind = damage < (char *)object->start ? REPORT_UNDERFLOW :
						       REPORT_OVERFLOW;
	report.object = object->start;
	report.size = object->size;
	report.alloc = object->alloc;
	report_here(&report.use, frame);
	report_die(&report);
}

/* @ptr is no object in use: @object is that of its span, or NULL. */
static void __attribute__((__noreturn__, __cold__))
die_pointer(void *ptr, const struct guard_object *object, const char *call,
	    const struct stack_frame *frame)
{
	struct report report = {
		.kind = REPORT_INVALID_FREE,
		.call = call,
		.ptr = (uintptr_t)ptr,
		.addr = (uintptr_t)ptr,
	};

	if (object && object->start) {
		describe_object(&report, object);
		if ((uintptr_t)ptr == object->start)
			report.kind = REPORT_DOUBLE_FREE;
		else if ((uintptr_t)ptr - object->start < object->size)
			report.kind = REPORT_INTERIOR_FREE;
	}
	report_here(&report.use, frame);
	report_die(&report);
}

/* === Faults =============================================================== */

/* Distance from @addr to the object; SIZE_MAX: there is, or was, none. */
static size_t distance(const struct guard_object *object, uintptr_t addr)
{
	uintptr_t end;

	if (!object || !object->start)
		return SIZE_MAX;
	end = object->start + object->size;
	if (addr < object->start)
		return object->start - addr;
	return addr < end ? 0 : addr - end + 1;
}

static bool is_live(const struct guard_object *object)
{
	return object && load_relaxed(&object->state) == GUARD_LIVE;
}

/*
 * Whose neighbourhood a closed page is that is no object's own: the nearest
 * object in use before or behind it, else the nearest that was.
 */
static const struct guard_object *
nearest(const struct guard_object *here, uintptr_t addr)
{
	uintptr_t span = (uintptr_t)here->span;
	const struct guard_object *around[] = {
		here, guard_pool_find(span - 1),
		guard_pool_find(span + guard_pool_span_len(here)),
	};
	const struct guard_object *best = NULL;

	for (unsigned int i = 0; i < ARRAY_SIZE(around); i++) {
		size_t far = distance(around[i], addr);

		if (far == SIZE_MAX || (is_live(best) && !is_live(around[i])))
			continue;
		if (!best || (is_live(around[i]) && !is_live(best)) ||
		    far < distance(best, addr))
			best = around[i];
	}
	return best;
}

/*
 * A page that is open by now was closed when it was touched.  If it faults
 * again and again it is not we who closed it.
 */
static enum trap_verdict retry(uintptr_t addr)
{
	static uintptr_t last_addr;
	static uint32_t nr;

	if (xchg_acq_rel(&last_addr, addr) != addr)
		store_relaxed(&nr, 0);
	return add_relaxed(&nr, 1) < RETRIES_MAX ? TRAP_RETRY : TRAP_FOREIGN;
}

static enum trap_verdict explain(const struct trap_fault *fault,
				 struct report *report)
{
	const struct guard_object *object = guard_pool_find(fault->addr);
	size_t offset;

	if (!object)
		return TRAP_FOREIGN;
	offset = fault->addr - (uintptr_t)object->pages;
	/* Another thread's report opened it meanwhile. */
	if (!fault->write && load_relaxed(&object->spoiled) &&
	    guard_pool_is_exposed(fault->addr))
		return retry(fault->addr);
	if (offset < object->len) {
		uint32_t state = load_acquire(&object->state);

		if (state == GUARD_LIVE || state == GUARD_TAKEN)
			return retry(fault->addr);
	} else {
		object = nearest(object, fault->addr);
	}
	if (!object)
		return TRAP_FOREIGN;
	classify(report, object);
	return TRAP_REPORT;
}

/* Only where others go on unguarded as well, and nothing was changed. */
static bool resume(const struct trap_fault *fault)
{
	return guard_mode == EBB_GUARD_SAMPLED && !fault->write &&
	       param_int(EBB_ATTR_GUARD_RECOVER) &&
	       guard_pool_expose(fault->addr);
}

/* === Allocation =========================================================== */

bool guard_wants(size_t size)
{
	size_t least = (size_t)param_int(EBB_ATTR_GUARD_SIZE);

	return guard_mode == EBB_GUARD_ALL || (least && size >= least);
}

/* Of one in sampled mode whether there is still room for it. */
static bool may_live(size_t size, size_t len)
{
	return guard_wants(size) || load_relaxed(&live_bytes) + len <= LIVE_MAX;
}

static bool on_the_left(const struct guard_object *object)
{
	switch (param_int(EBB_ATTR_GUARD_SIDE)) {
	case EBB_GUARD_SIDE_RIGHT:
		return false;
	case EBB_GUARD_SIDE_LEFT:
		return true;
	default:
		/* Any bits that change from one use of a span to the next. */
		return guard_mode == EBB_GUARD_SAMPLED &&
		       (clock_ns() >> 6 ^ (uintptr_t)object >> 5) & 1;
	}
}

/* What malloc() promises at least, beside the @align that was asked for. */
static size_t least_align(size_t align, size_t size)
{
	return max(align, (size_t)(size > ALIGN_SMALL ? ALIGN_LEAST :
							ALIGN_SMALL));
}

/* Where in its span the object lies, of @size bytes, and on which pages. */
static void place(struct guard_object *object, size_t align, size_t size)
{
	size_t whole = ALIGN_UP(max(size, (size_t)1), min(align,
					(size_t)ALIGN_LEAST));
	uintptr_t span = (uintptr_t)object->span;
	uintptr_t end = span + guard_pool_span_len(object) - map_page_size;

	if (on_the_left(object))
		object->start = ALIGN_UP(span, align);
	else
		object->start = ALIGN_DOWN(end - whole, align);
	object->size = size;
	object->pages = (char *)ALIGN_DOWN(object->start, map_page_size);
	object->len = ALIGN_UP(object->start + whole, map_page_size) -
		      (uintptr_t)object->pages;
}

/* The same account as a large object's; false: the option limit forbids it. */
static bool account_for(struct guard_object *object)
{
	struct account_delta nothing = { 0 };

	add_relaxed(&zone_first->counters.large, object->size);
	if (!heap_may_back(0)) {
		sub_relaxed(&zone_first->counters.large, object->size);
		return false;
	}
	account_take((int64_t)object->len, 0);
	/* Where all objects are guarded nobody else looks at the time. */
	account_tell(&nothing);
	add_relaxed(&live_bytes, object->len);
	add_relaxed(&beside_bytes, object->len - object->size);
	object->charge = (uint16_t)charge_self();
	charge_add(object->charge, object->size);
	return true;
}

static void account_end(const struct guard_object *object)
{
	sub_relaxed(&zone_first->counters.large, object->size);
	sub_relaxed(&live_bytes, object->len);
	sub_relaxed(&beside_bytes, object->len - object->size);
	charge_sub(object->charge, object->size);
}

static void *skip(struct guard_object *object)
{
	if (object)
		guard_pool_put_back(object);
	add_relaxed(&nr_skipped, 1);
	return NULL;
}

void *guard_alloc(size_t align, size_t size, const struct stack_frame *frame)
{
	size_t most, len = ALIGN_UP(max(size, (size_t)1), map_page_size);
	struct guard_object *object;

	align = least_align(align, size);
	most = len + (align > map_page_size ? align : 0);
	if (size > PTRDIFF_MAX / 4 || align > PTRDIFF_MAX / 4 ||
	    !may_live(size, len))
		return skip(NULL);
	object = guard_pool_take(most);
	if (!object)
		return skip(NULL);
	place(object, align, size);
	if (!account_for(object))
		return skip(object);
	if (guard_pool_open(object)) {
		account_end(object);
		return skip(object);
	}
	fill_rest(object);
	report_here(&object->alloc, frame);
	object->alloc.ms = clock_ms();
	add_relaxed(&nr_taken, 1);
	/* Pairs with explain() and find_live(). */
	store_release(&object->state, GUARD_LIVE);
	return (void *)object->start;
}

/* === Freeing ============================================================== */

/* The object in use that begins at @ptr; dies if there is none. */
static struct guard_object *find_live(void *ptr, const char *call,
				      const struct stack_frame *frame)
{
	struct guard_object *object = guard_pool_find((uintptr_t)ptr);

	/* Pairs with guard_alloc(). */
	if (!object || load_acquire(&object->state) != GUARD_LIVE ||
	    object->start != (uintptr_t)ptr)
		die_pointer(ptr, object, call, frame);
	return object;
}

size_t guard_usable(void *ptr, const char *call,
		    const struct stack_frame *frame)
{
	return find_live(ptr, call, frame)->size;
}

void guard_check_size(void *ptr, size_t size, const char *call,
		      const struct stack_frame *frame)
{
	const struct guard_object *object = find_live(ptr, call, frame);
	struct report report = {
		.kind = REPORT_WRONG_SIZE,
		.call = call,
		.ptr = (uintptr_t)ptr,
		.addr = (uintptr_t)ptr,
	};
	char detail[48];

	if (likely(size == object->size))
		return;
	fmt_line(detail, sizeof(detail), "sized free of %zu", size);
	report.detail = detail;
	describe_object(&report, object);
	report_here(&report.use, frame);
	report_die(&report);
}

void guard_free(void *ptr, const char *call, const struct stack_frame *frame)
{
	struct guard_object *object = find_live(ptr, call, frame);
	uint32_t live = GUARD_LIVE;

	/* Of two that free it at once one goes on. */
	if (!cas_acq_rel(&object->state, &live, GUARD_FREEING))
		die_pointer(ptr, object, call, frame);
	check_canary(object, call, frame);
	report_here(&object->free, frame);
	object->free.ms = clock_ms();
	account_end(object);
	guard_pool_close(object);
	guard_pool_give(object);
}

/* === Beginning ============================================================ */

void guard_stats(struct guard_stats *ret_stats)
{
	struct guard_pool_stats pool;
	struct report_last last;

	guard_pool_stats(&pool);
	ret_stats->live = load_relaxed(&live_bytes);
	ret_stats->beside = load_relaxed(&beside_bytes);
	ret_stats->quarantine = pool.quarantine;
	ret_stats->taken = load_relaxed(&nr_taken);
	ret_stats->skipped = load_relaxed(&nr_skipped);
	ret_stats->reports = report_read_last(&last) ? last.nr : 0;
}

uint64_t guard_bytes(void)
{
	struct guard_pool_stats pool;

	guard_pool_stats(&pool);
	return pool.meta;
}

static const struct trap_source source = {
	.explain = explain,
	.resume = resume,
};

__startup void guard_init(void)
{
	int64_t mode = param_int(EBB_ATTR_GUARD);
	bool all = mode == EBB_GUARD_ALL;
	size_t quarantine = (size_t)param_int(EBB_ATTR_GUARD_QUARANTINE);
	int err;

	if (mode != EBB_GUARD_SAMPLED && !all)
		return;
	if (heap_profiled) {
		log_line("guard: off, since there is a profile");
		return;
	}
	if (!quarantine)
		quarantine = all ? QUARANTINE_ALL : QUARANTINE_SAMPLED;
	err = guard_pool_init(all ? POOL_ALL : POOL_SAMPLED, quarantine);
	if (err) {
		log_line("guard: off, no address space: %s", err_name(err));
		return;
	}
	guard_mode = (uint8_t)mode;
	if (!all)
		sample_init_count((uint64_t)param_int(EBB_ATTR_GUARD_EVERY));
}

void guard_start(void)
{
	int err;

	stack_init(true);
	report_init();
	trap_add(&source);
	err = trap_start();
	if (err)
		log_line("guard: no traps: %s", err_name(err));
}
