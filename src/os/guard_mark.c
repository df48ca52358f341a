/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Guard marks: pages given back trap until they are handed out
 */
#include <sys/mman.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/param.h"
#include "base/sys.h"
#include "os/guard_mark.h"
#include "os/map.h"

/*
 * A page's word: marks.present, or that it may trap since its advice was
 * refused, or when it was given back.  Words begin as zero, which stands for
 * what holds of a page that was never handed out: with markers it is present.
 */
#define REFUSED		2u
#define FIRST_STAMP	3u

__startup_data bool guard_marks_on;

static const struct guard_trap *trap;	/* set once, before guard_marks_on */
static struct {
	char *base;
	size_t len;
	uint32_t *words;
	uint64_t start_ms;
	uint32_t present;	/* 0 for markers, 1 where missing pages trap */
} marks;				/* set once */

static struct guard_counters counters;	/* atomic */

/* Why there are none; set before anybody asks, and where they are lost. */
static const char *why_not = "not tried yet";
static int why_error;

/* === Starting ========================================================== */

/* In the order of the option's words, from marker on. */
static const struct guard_trap *const traps[] = {
	IS_ENABLED(CONFIG_GUARD_MARKER) ? &guard_trap_marker : NULL,
	IS_ENABLED(CONFIG_GUARD_UFFD) ? &guard_trap_uffd : NULL,
};

static bool is_wanted(void)
{
	return param_int(EBB_ATTR_GUARD) == EBB_GUARD_DECOMMITTED ||
	       param_int(EBB_ATTR_GUARD) == EBB_GUARD_ALL;
}

static bool make_table(char *base, size_t len)
{
	size_t size = (len >> map_page_shift) * sizeof(*marks.words);
	long at = sys_mmap(NULL, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);

	if (sys_is_err(at)) {
		why_not = "no address space for its table";
		why_error = (int)at;
		return false;
	}
	/* A huge page of it would describe a gigabyte of the heap. */
	map_no_huge((char *)at, size);
	marks.words = (uint32_t *)at;
	marks.base = base;
	marks.len = len;
	marks.start_ms = clock_coarse_ms();
	return true;
}

static bool try_trap(const struct guard_trap *candidate)
{
	const char *reason = NULL;
	int err = candidate->open(marks.base, marks.len, &reason);

	if (err) {
		why_not = reason ?: "the kernel refuses";
		why_error = err;
		return false;
	}
	trap = candidate;
	marks.present = candidate->missing;
	return true;
}

__startup void guard_mark_start(char *base, size_t len, const char *refused)
{
	int64_t wanted = param_int(EBB_ATTR_GUARD_TRAP);

	if (!is_wanted())
		return;
	if (refused) {
		why_not = refused;
		return;
	}
	if (!make_table(base, len))
		return;
	for (unsigned int i = 0; i < ARRAY_SIZE(traps) && !trap; i++) {
		if (wanted != EBB_GUARD_TRAP_AUTO && wanted != i + 1)
			continue;
		if (!traps[i])
			why_not = "not built in";
		else
			try_trap(traps[i]);
	}
	if (!trap) {
		sys_munmap((char *)marks.words,
			   (len >> map_page_shift) * sizeof(*marks.words));
		return;
	}
	store_relaxed(&guard_marks_on, true);
}

/* Nothing traps any more, for good. */
static void lose(const char *reason, int err)
{
	why_error = err;
	store_relaxed(&why_not, reason);
	store_relaxed(&guard_marks_on, false);
}

/* === Words ============================================================= */

static size_t page_of(const char *addr)
{
	return (size_t)(addr - marks.base) >> map_page_shift;
}

static bool word_traps(uint32_t word)
{
	return word != marks.present;
}

static uint32_t stamp_now(void)
{
	uint64_t ms = clock_coarse_ms() - marks.start_ms + FIRST_STAMP;

	return max((uint32_t)ms, FIRST_STAMP);
}

static void set_words(const struct advise_range *part, uint32_t stamp)
{
	size_t first = page_of(part->start);
	size_t end = first + (part->len >> map_page_shift);
	uint64_t new = 0;

	for (size_t page = first; page < end; page++) {
		/* What an audit gives back once more has been for longer. */
		if (load_relaxed(&marks.words[page]) >= FIRST_STAMP)
			continue;
		store_relaxed(&marks.words[page], stamp);
		new++;
	}
	add_relaxed(&counters.marked, new << map_page_shift);
}

/* Of pages [@first, @end), whose traps are gone. */
static void clear_words(size_t first, size_t end)
{
	uint64_t nr = 0;

	for (size_t page = first; page < end; page++)
		/* Pairs with guard_mark_hand_out(): the trap is gone first. */
		nr += xchg_acq_rel(&marks.words[page], marks.present) >=
		      FIRST_STAMP;
	sub_relaxed(&counters.marked, nr << map_page_shift);
}

/* === Giving back and handing out ======================================= */

enum advise_kind guard_mark_advice(void)
{
	return trap->advice;
}

void guard_mark_give(const struct advise_range *ranges, size_t nr)
{
	uint32_t stamp = stamp_now();

	/* Invariant: (1), so this comes before the advice. */
	for (size_t i = 0; i < nr; i++)
		set_words(&ranges[i], stamp);
}

static void set_refused(const struct advise_range *part)
{
	size_t first = page_of(part->start);
	size_t end = first + (part->len >> map_page_shift);

	for (size_t page = first; page < end; page++)
		store_relaxed(&marks.words[page], REFUSED);
	sub_relaxed(&counters.marked, part->len);
}

void guard_mark_gave(const struct advise_range *ranges, size_t nr,
		     const bool *ok, uint64_t ns)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < nr; i++) {
		if (ok[i])
			bytes += ranges[i].len;
		else
			set_refused(&ranges[i]);
	}
	add_relaxed(&counters.given, bytes);
	add_relaxed(&counters.give_ns, ns);
}

static void remove_trap(size_t first, size_t end)
{
	char *start = marks.base + (first << map_page_shift);
	size_t len = (end - first) << map_page_shift;
	uint64_t before = clock_ns();
	int err = trap->remove(start, len);

	if (err == -EBADF) {
		lose("the program closed its descriptor", err);
		return;
	}
	if (err < 0)
		ebb_bug("guard: the trap at %p stays: %s", (void *)start,
			err_name(err));
	add_relaxed(&counters.handed, len);
	add_relaxed(&counters.hand_ns, clock_ns() - before);
	add_relaxed(&counters.hand_calls, 1);
}

void guard_mark_hand_out(char *start, size_t len)
{
	size_t page = page_of(start);
	size_t end = page + (len >> map_page_shift);

	while (page < end) {
		size_t first = page;

		/*
		 * Pairs with clear_words(): whoever finds the word cleared by
		 * another may touch the page.
		 */
		while (page < end &&
		       word_traps(load_acquire(&marks.words[page])))
			page++;
		if (first == page) {
			page++;
			continue;
		}
		remove_trap(first, page);
		clear_words(first, page);
	}
}

/* === What is known ===================================================== */

bool guard_missing_traps(void)
{
	return load_relaxed(&guard_marks_on) && trap->missing;
}

bool guard_mark_covers(const void *addr)
{
	return load_relaxed(&guard_marks_on) &&
	       (size_t)((const char *)addr - marks.base) < marks.len;
}

enum guard_why guard_mark_why(const void *addr, uint64_t *ret_ms)
{
	uint32_t word;

	*ret_ms = 0;
	if (!guard_mark_covers(addr))
		return GUARD_NOT;
	word = load_acquire(&marks.words[page_of(addr)]);
	if (!word_traps(word))
		return GUARD_NOT;
	if (word < FIRST_STAMP)
		return GUARD_FRESH;
	*ret_ms = (uint32_t)(stamp_now() - word);
	return GUARD_GIVEN;
}

bool guard_mark_resolve(char *addr)
{
	uint64_t ms;

	if (!guard_mark_covers(addr) || !trap->missing ||
	    guard_mark_why(addr, &ms) != GUARD_NOT)
		return false;
	addr = (char *)ALIGN_DOWN((uintptr_t)addr, map_page_size);
	return trap->remove(addr, map_page_size) > 0;
}

void guard_mark_count(struct guard_counters *ret)
{
	ret->marked = load_relaxed(&counters.marked);
	ret->given = load_relaxed(&counters.given);
	ret->give_ns = load_relaxed(&counters.give_ns);
	ret->handed = load_relaxed(&counters.handed);
	ret->hand_ns = load_relaxed(&counters.hand_ns);
	ret->hand_calls = load_relaxed(&counters.hand_calls);
}

static uint64_t per_page(uint64_t ns, uint64_t bytes)
{
	return bytes ? ns / max(bytes >> map_page_shift, (uint64_t)1) : 0;
}

size_t guard_mark_describe(char *buf, size_t size)
{
	struct guard_counters now;
	const char *reason = load_relaxed(&why_not);

	if (!is_wanted())
		return 0;
	if (!load_relaxed(&guard_marks_on)) {
		if (trap)
			return fmt_line(buf, size, "guard: lost: %s", reason);
		if (why_error)
			return fmt_line(buf, size, "guard: unavailable: %s "
					"(%s)", reason, err_name(why_error));
		return fmt_line(buf, size, "guard: unavailable: %s", reason);
	}
	guard_mark_count(&now);
	return fmt_line(buf, size, "guard: %s, %llu KiB trap; a page: set in "
			"%llu ns, gone in %llu ns, %llu calls", trap->name,
			(unsigned long long)now.marked / KIB,
			(unsigned long long)per_page(now.give_ns, now.given),
			(unsigned long long)per_page(now.hand_ns, now.handed),
			(unsigned long long)now.hand_calls);
}

void guard_mark_postfork_child(void)
{
	if (!load_relaxed(&guard_marks_on))
		return;
	trap->forget();
	if (trap->missing)
		lose("a userfaultfd is not inherited by a fork", 0);
}
