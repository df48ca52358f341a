/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Reports of misuse
 */
#include <link.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/extent.h"
#include "base/log.h"
#include "base/small_file.h"
#include "base/sys.h"
#include "debug/report.h"
#include "debug/symbol.h"
#include "heap/heap.h"
#include "heap/misuse.h"

#define FRAME_MAX	320u
#define OWN_MOST	4u	/* of the library's frames at the top */

const char *const report_names[REPORT_NR_KINDS] = {
	[REPORT_OVERFLOW]	= "overflow",
	[REPORT_UNDERFLOW]	= "underflow",
	[REPORT_USE_AFTER_FREE]	= "use after free",
	[REPORT_DOUBLE_FREE]	= "double free",
	[REPORT_INVALID_FREE]	= "invalid pointer",
	[REPORT_INTERIOR_FREE]	= "interior pointer",
	[REPORT_WRONG_SIZE]	= "wrong size",
	[REPORT_LEAK]		= "leaked buffer",
	[REPORT_DOUBLE_RETURN]	= "double return",
	[REPORT_FOREIGN_RETURN]	= "not this pool's buffer",
	[REPORT_USE_AFTER_RETURN] = "use after return",
};

__startup_data void (*report_shown)(void);

/* Where this library is; 0: it is part of the program itself. */
static struct extent own;		/* set once, at start */

/*
 * Who writes a report: its thread's block, NULL: nobody.  What follows is that
 * thread's.  No struct lock: who dies with it held, dies.
 */
static __startup_data struct tcb *writer;
static char text[REPORT_MAX];
static size_t text_len;

/* @last is changed between two odd and even numbers. */
static struct report_last last;
static uint32_t last_seq;

/* === Text ================================================================= */

/* A line with the prefix of all lines; what does not fit is left out. */
static void __printf_(1, 2) put_line(const char *fmt, ...)
{
	size_t start = text_len;
	va_list ap;

	text_len += fmt_line(text + text_len, REPORT_MAX - text_len - 1,
			     "ebbmalloc[%d]: ", sys_getpid());
	va_start(ap, fmt);
	text_len += fmt_vline(text + text_len, REPORT_MAX - text_len - 1, fmt,
			      ap);
	va_end(ap);
	/* Names of files and threads may be hostile. */
	for (size_t i = start; i < text_len; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			text[i] = '?';
	if (text_len < REPORT_MAX - 1)
		text[text_len++] = '\n';
}

/*
 * The @nr frames of @event.  But for the first one of a fault an address is
 * where a call returns to.
 */
static void put_stack(const struct report_event *event, bool first_is_exact)
{
	static char words[FRAME_MAX];

	for (unsigned int i = 0; i < event->nr_pcs; i++) {
		uintptr_t pc = event->pcs[i];

		symbol_describe(pc, i || !first_is_exact, words,
				sizeof(words));
		put_line("    #%u %p%s", i, (void *)pc, words);
	}
}

static void put_event(const char *verb, const struct report_event *event,
		      uint64_t now_ms)
{
	char comm[COMM_SIZE];

	if (!event->tid)
		return;
	small_file_comm(event->tid, comm);
	if (now_ms)
		put_line("  %s by thread %d (%s), %llu ms before", verb,
			 event->tid, comm[0] ? comm : "gone",
			 (unsigned long long)(now_ms - event->ms));
	else
		put_line("  %s by thread %d (%s)", verb, event->tid, comm);
	put_stack(event, !now_ms && event->ms);
}

/* How the byte lies to the object. */
static void describe_place(const struct report *report, char *buf, size_t size)
{
	uintptr_t addr = report->addr, object = report->object;
	uintptr_t end = object + report->size;
	const char *relation = "into the ";
	size_t distance = addr - object, len = 0;

	if (!object) {
		fmt_line(buf, size, "%s", report->detail ?: "not in this heap");
		return;
	}
	if (addr < object) {
		relation = "before the ";
		distance = object - addr;
	} else if (addr >= end && report->size) {
		relation = "after the ";
		distance = addr - end + 1;
	}
	if (distance)
		len = fmt_line(buf, size, "%zu byte%s %s", distance,
			       distance == 1 ? "" : "s", relation);
	fmt_line(buf + len, size - len, "object of %zu byte%s at %p%s%s",
		 report->size, report->size == 1 ? "" : "s", (void *)object,
		 report->detail ? ", " : "", report->detail ?: "");
}

/* === One at a time ======================================================== */

static bool begin(void)
{
	struct tcb *nobody = NULL;

	/* Pairs with end(). */
	while (!cas_acq_rel(&writer, &nobody, &tcb)) {
		if (nobody == &tcb)
			return false;
		nobody = NULL;
		cpu_relax();
	}
	text_len = 0;
	symbol_begin();
	return true;
}

static void end(void)
{
	/* Pairs with begin(). */
	store_release(&writer, NULL);
}

/* @head is the first line; the sequence is odd meanwhile. */
static void note_last(const char *head)
{
	/* Pairs with report_read_last(). */
	xchg_seq_cst(&last_seq, load_relaxed(&last_seq) + 1);
	last.nr++;
	last.time_ms = clock_realtime_ms();
	fmt_line(last.head, sizeof(last.head), "%s", head);
	/* Pairs with report_read_last(). */
	xchg_seq_cst(&last_seq, load_relaxed(&last_seq) + 1);
}

__guesses bool report_read_last(struct report_last *ret_last)
{
	/* Pairs with note_last(). */
	uint32_t seq = load_seq_cst(&last_seq);

	if (seq & 1)
		return false;
	*ret_last = last;
	fence_seq_cst();
	return load_seq_cst(&last_seq) == seq;
}

/* Whether another thread is at the text. */
static bool is_being_written(void)
{
	/* Pairs with begin(). */
	const struct tcb *now = load_seq_cst(&writer);

	return now && now != &tcb;
}

__guesses size_t report_read_text(uint64_t nr, char buf[REPORT_MAX])
{
	size_t len;

	if (is_being_written())
		return 0;
	len = min(text_len, (size_t)REPORT_MAX);
	memcpy(buf, text, len);
	fence_seq_cst();
	/* A writer that came and went has made another the last. */
	return is_being_written() || load_relaxed(&last.nr) != nr ? 0 : len;
}

static void finish(void)
{
	put_line("  end of report %llu", (unsigned long long)last.nr);
	log_last_words(text, text_len);
	if (report_shown)
		report_shown();
}

bool report_tell(const struct report *report)
{
	static char head[REPORT_HEAD_MAX], place[REPORT_HEAD_MAX];
	/* 0 would mean that it is not known. */
	uint64_t now_ms = max(clock_ms(), (uint64_t)1);
	bool pooled = report->kind >= REPORT_LEAK;

	if (!begin())
		return false;
	describe_place(report, place, sizeof(place));
	fmt_line(head, sizeof(head), "%s(%p): %s: %s", report->call,
		 (void *)report->ptr, report_names[report->kind], place);
	note_last(head);
	put_line("%s", head);
	put_event("use", &report->use, 0);
	put_event(pooled ? "taken" : "allocated", &report->alloc, now_ms);
	put_event("touched", &report->touch, now_ms);
	put_event(pooled ? "returned" : "freed", &report->free, now_ms);
	finish();
	end();
	return true;
}

void report_die(const struct report *report)
{
	(void)report_tell(report);
	abort();
}

bool report_is_own(uintptr_t pc)
{
	return extent_has(&own, pc);
}

/* Without what is the library's own, if that is known, at its top. */
static void copy_stack(struct report_event *event, const uintptr_t *pcs,
		       unsigned int nr)
{
	unsigned int skip = 0;

	while (skip + 1 < nr && report_is_own(pcs[skip]))
		skip++;
	event->tid = sys_gettid();
	event->nr_pcs = min(nr - skip, REPORT_FRAMES);
	for (unsigned int i = 0; i < event->nr_pcs; i++)
		event->pcs[i] = pcs[skip + i];
}

void report_here(struct report_event *event, const struct stack_frame *frame)
{
	uintptr_t pcs[STACK_MAX];

	event->ms = 0;
	copy_stack(event, pcs,
		   stack_take_top(frame, pcs, REPORT_FRAMES + OWN_MOST));
}

void report_at(struct report_event *event, uintptr_t pc, uintptr_t sp,
	       uintptr_t fp)
{
	uintptr_t pcs[STACK_MAX];

	/* Not 0: the first address is where it happened. */
	event->ms = 1;
	copy_stack(event, pcs, stack_take_at(pc, sp, fp, pcs));
}

/* A flush may have found it: the library keeps no frame pointers there. */
static void here_unwound(struct report_event *event,
			 const struct stack_frame *frame)
{
	uintptr_t pcs[STACK_MAX];

	event->ms = 0;
	copy_stack(event, pcs, stack_unwind(stack_pc(frame), pcs,
					    REPORT_FRAMES + OWN_MOST));
}

void report_die_line(const char *line)
{
	struct report_event use;

	if (begin()) {
		here_unwound(&use, __builtin_frame_address(0));
		note_last(line);
		put_line("%s", line);
		put_event("use", &use, 0);
		finish();
		end();
	}
	abort();
}

/*
 * dl_iterate_phdr callback: the object that this is in, if it is not the first,
 * which is the program.
 */
static int find_own(struct dl_phdr_info *info, size_t size, void *nr)
{
	struct extent all = extent_of(info);
	bool first = !(*(unsigned int *)nr)++;

	(void)size;
	if (!extent_has(&all, (uintptr_t)report_init) || first)
		return 0;
	own = all;
	return 1;
}

void report_postfork_child(void)
{
	if (load_relaxed(&writer))
		store_relaxed(&writer, NULL);
}

void report_know_own(void)
{
	unsigned int nr = 0;

	dl_iterate_phdr(find_own, &nr);
}

void report_init(void)
{
	report_know_own();
	misuse_told = report_die_line;
}
