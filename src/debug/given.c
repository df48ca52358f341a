/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - What a touch of memory that was given back is about
 */
#include "base/err.h"
#include "base/log.h"
#include "debug/given.h"
#include "debug/trap.h"
#include "heap/heap.h"
#include "heap/misuse.h"
#include "heap/slab.h"
#include "os/guard_mark.h"
#include "os/map.h"

#define RETRIES		4u	/* of one instruction at one address */
#define DETAIL_MAX	96

#define __own_tls	__thread __attribute__((tls_model("initial-exec")))

/* The last fault that was tried again, and how often. */
static __own_tls uintptr_t tried_addr, tried_pc;
static __own_tls unsigned int nr_tried;

/* Words of the report that is being made. */
static __own_tls char detail[DETAIL_MAX];

static bool may_retry(const struct trap_fault *fault)
{
	if (fault->addr != tried_addr || fault->pc != tried_pc) {
		tried_addr = fault->addr;
		tried_pc = fault->pc;
		nr_tried = 0;
	}
	if (nr_tried++ < RETRIES)
		return true;
	nr_tried = 0;
	return false;
}

static enum trap_verdict explain_present(const struct trap_fault *fault)
{
	char *addr = (char *)fault->addr;

	if (!guard_mark_covers(addr))
		return TRAP_FOREIGN;
	/* However often the program gives it back. */
	if (guard_mark_resolve(addr))
		return TRAP_RETRY;
	return may_retry(fault) ? TRAP_RETRY : TRAP_FOREIGN;
}

/* Slots are followed by what is too short for one more. */
static void describe_slot(const struct trap_fault *fault,
			  struct report *report)
{
	const char *addr = (const char *)fault->addr;
	const struct slab_hot *hot = slab_hot(slab_of(addr));
	const struct sizeclass *sc = &sizeclasses[hot->class];
	size_t offset = (uintptr_t)addr & (SLAB_SIZE - 1);
	unsigned int slot = min(slot_at(sc->reciprocal, offset),
				sc->nr_slots - 1u);

	report->object = (uintptr_t)addr - offset + (size_t)slot * sc->size;
	report->size = sc->size;
	/* free() looks at a word of what it is given first. */
	if (report_is_own(fault->pc) &&
	    report->addr == (uintptr_t)heap_key_of((void *)report->object)) {
		report->kind = REPORT_DOUBLE_FREE;
		report->call = "free";
		report->ptr = report->addr = report->object;
	}
}

static void describe_place(const struct trap_fault *fault,
			   struct report *report)
{
	const char *addr = (const char *)fault->addr;
	const struct slab *run;

	if (load_acquire(&slab_hot(slab_of(addr))->kind) == SLAB_KIND_CLASS) {
		describe_slot(fault, report);
		return;
	}
	run = misuse_run_around(addr);
	if (!run)
		return;
	/* It is in use: what traps is behind it. */
	report->kind = REPORT_OVERFLOW;
	report->object = (uintptr_t)slab_base(run);
	report->size = load_relaxed(&run->run_bytes);
}

static enum trap_verdict explain(const struct trap_fault *fault,
				 struct report *report)
{
	const char *addr = (const char *)fault->addr;
	uint64_t ms;
	enum guard_why why = guard_mark_why(addr, &ms);

	if (why == GUARD_NOT)
		return explain_present(fault);
	/* Beyond it there are no descriptors, and nothing was handed out. */
	if (!range_contains(addr))
		return TRAP_FOREIGN;
	report->kind = REPORT_USE_AFTER_FREE;
	describe_place(fault, report);
	if (why == GUARD_GIVEN)
		fmt_line(detail, sizeof(detail), "%sgiven back %llu ms ago",
			 report->object ? "" : "in a free part of the heap, ",
			 (unsigned long long)ms);
	else
		fmt_line(detail, sizeof(detail), "memory that was never "
			 "handed out");
	report->detail = detail;
	return TRAP_REPORT;
}

static const struct trap_source source = { .explain = explain };

__startup void given_start(void)
{
	if (!load_relaxed(&guard_marks_on))
		return;
	stack_init(false);
	report_init();
	trap_add(&source);
	if (trap_start())
		log_line("guard: no handler, touches are not reported");
}
