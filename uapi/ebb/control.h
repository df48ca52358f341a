/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Table of options
 *
 * The one place where names, units, ranges, defaults and the meaning of zero
 * stand.  The library's parser, `ebbctl options`, and the documentation's
 * check are made from it.
 *
 * An option is set, the later winning, by the built-in default, the program's
 * own `const char *ebb_conf`, /etc/ebbmalloc.conf (one name=value a line) and
 * the environment, EBB_CONF="name=value,name=value".  While the process runs,
 * what is not EBB_FLAG_START can be set through the file of its name
 * (ebb/stat_page.h).
 *
 * Values: sizes take a suffix K, M, G or T (powers of 1024), times a suffix
 * us, ms or s, on their own they count in the option's unit; what may be a
 * percentage takes a suffix %; switches are on, off, 1 or 0.
 */
#ifndef EBB_CONTROL_H
#define EBB_CONTROL_H

#include <stdint.h>

/* Name of the environment variable, and of the file. */
#define EBB_CONF_ENV		"EBB_CONF"
#define EBB_CONF_FILE		"/etc/ebbmalloc.conf"

/* How a percentage is stored where an option also takes bytes. */
#define EBB_PERCENT_BIT		(INT64_C(1) << 62)
#define EBB_PERCENT(n)		(EBB_PERCENT_BIT | (n))
#define EBB_PERCENT_MAX		1000

/* Longest value of an option of type string, without its final zero byte. */
#define EBB_STRING_MAX		255

/* The kernel grants an unprivileged PSI trigger windows of multiples of 2 s. */
#define EBB_PSI_WINDOW_US	2000000

enum ebb_attr_id {
	EBB_ATTR_RECLAIM,
	EBB_ATTR_THREAD_MIN,
	EBB_ATTR_DECAY_MS,
	EBB_ATTR_LAZY_MS,
	EBB_ATTR_LAZY,
	EBB_ATTR_DIRTY_MIN,
	EBB_ATTR_DIRTY_MAX,
	EBB_ATTR_OVER_PART,
	EBB_ATTR_YOUNG_MS,
	EBB_ATTR_LIMIT,
	EBB_ATTR_HIGH,
	EBB_ATTR_TIGHT,
	EBB_ATTR_LOW,
	EBB_ATTR_FRUGAL,
	EBB_ATTR_DROP,
	EBB_ATTR_DROP_MS,
	EBB_ATTR_MILD_MS,
	EBB_ATTR_TICK_MIN_MS,
	EBB_ATTR_TICK_MAX_MS,
	EBB_ATTR_REFAULT,
	EBB_ATTR_REFAULT_MAX,
	EBB_ATTR_INBAND_MS,
	EBB_ATTR_INBAND_WANT,
	EBB_ATTR_MARGIN_CPU,
	EBB_ATTR_MARGIN_THREAD,
	EBB_ATTR_SIBLINGS,
	EBB_ATTR_AUDIT_MS,
	EBB_ATTR_NOTIFY_MS,
	EBB_ATTR_CHECK,
	EBB_ATTR_VERBOSE,
	EBB_ATTR_LOG,
	EBB_ATTR_INJECT,
	EBB_ATTR_RESERVE,
	EBB_ATTR_PSI_US,
	EBB_ATTR_PSI_SOME,
	EBB_ATTR_PSI_FULL,
	EBB_ATTR_DEBOUNCE_MS,
	EBB_ATTR_BACKEND,
	EBB_ATTR_CONTROL_DIR,
	EBB_ATTR_PROFILE,
	EBB_ATTR_PROFILE_STACK,
	EBB_ATTR_PROFILE_DUMP,
	EBB_ATTR_PROFILE_LEAK,
	EBB_ATTR_PROFILE_SEED,
	EBB_ATTR_GUARD,
	EBB_ATTR_GUARD_EVERY,
	EBB_ATTR_GUARD_SIZE,
	EBB_ATTR_GUARD_SIDE,
	EBB_ATTR_GUARD_QUARANTINE,
	EBB_ATTR_GUARD_RECOVER,
	EBB_ATTR_GUARD_TRAP,
	EBB_ATTR_CONTEXT_CHECK,
	EBB_ATTR_ACCOUNTS,
	EBB_ATTR_TRACK_WRITES,
	EBB_ATTR_COLD_MS,
	EBB_ATTR_COLD_OUT,
	EBB_NR_ATTRS
};

enum ebb_attr_type {
	EBB_TYPE_BOOL,
	EBB_TYPE_MS,
	EBB_TYPE_US,
	EBB_TYPE_COUNT,
	EBB_TYPE_BYTES,
	EBB_TYPE_BYTES_OR_PERCENT,
	EBB_TYPE_STRING,
	EBB_TYPE_CHOICE,	/* one word of @accepts; its index */
};

/* Values of the option backend. */
enum ebb_backend {
	EBB_BACKEND_AUTO,
	EBB_BACKEND_MADVISE,
	EBB_BACKEND_PROCESS,
	EBB_BACKEND_URING,
};

/* Values of the option profile_stack. */
enum ebb_profile_stack {
	EBB_PROFILE_STACK_FP,
	EBB_PROFILE_STACK_UNWIND,
};

/* Values of the option accounts. */
enum ebb_accounts {
	EBB_ACCOUNTS_OFF,
	EBB_ACCOUNTS_LIVE,
	EBB_ACCOUNTS_TOTALS,
};

/* Values of the option guard. */
enum ebb_guard {
	EBB_GUARD_OFF,
	EBB_GUARD_DECOMMITTED,
	EBB_GUARD_SAMPLED,
	EBB_GUARD_ALL,
};

/* Values of the option guard_side. */
enum ebb_guard_side {
	EBB_GUARD_SIDE_AUTO,
	EBB_GUARD_SIDE_RIGHT,
	EBB_GUARD_SIDE_LEFT,
};

/* Values of the option guard_trap. */
enum ebb_guard_trap {
	EBB_GUARD_TRAP_AUTO,
	EBB_GUARD_TRAP_MARKER,
	EBB_GUARD_TRAP_UFFD,
};

/* The value must be a power of two. */
#define EBB_FLAG_POWER2		1u
/* Read once, at start: what is written later is refused. */
#define EBB_FLAG_START		2u

/**
 * struct ebb_attr - One option
 * @name:	as written before the '='
 * @type:	how the text after it is read
 * @flags:	EBB_FLAG_*
 * @unit:	what a bare number counts; empty for switches and strings
 * @min:	smallest value; unused for strings
 * @max:	largest value, inclusive; unused for strings.  Percentages have
 *		the range 0..EBB_PERCENT_MAX instead
 * @def:	built-in value; unused for strings
 * @def_text:	the same as text
 * @accepts:	strings: what is accepted; choices: the words, separated by
 *		", "; else NULL
 * @zero:	what 0 means where that is not obvious; else NULL
 * @since:	release that introduced it
 * @help:	one line
 */
struct ebb_attr {
	const char *name;
	enum ebb_attr_type type;
	uint32_t flags;
	const char *unit;
	int64_t min;
	int64_t max;
	int64_t def;
	const char *def_text;
	const char *accepts;
	const char *zero;
	const char *since;
	const char *help;
};

static const struct ebb_attr ebb_attrs[] = {
	[EBB_ATTR_RECLAIM] = {
		.name = "reclaim", .type = EBB_TYPE_BOOL, .unit = "",
		.min = 0, .max = 1, .def = 1, .def_text = "on",
		.zero = "a plain allocator: no thread, memory is given back by "
			"malloc_trim only",
		.since = "0.1",
		.help = "give free memory back in the background",
	},
	[EBB_ATTR_THREAD_MIN] = {
		.name = "thread_min", .type = EBB_TYPE_BYTES, .unit = "bytes",
		.min = 0, .max = INT64_C(1) << 40,
		.def = INT64_C(16) << 20, .def_text = "16M",
		.zero = "start it at the first free memory",
		.since = "0.1",
		.help = "dirty memory that starts the background thread",
	},
	[EBB_ATTR_DECAY_MS] = {
		.name = "decay_ms", .type = EBB_TYPE_MS, .unit = "ms",
		.min = -1, .max = 3600000, .def = 500, .def_text = "500",
		.zero = "at once; -1: never",
		.since = "0.1",
		.help = "age of free memory to give back (MADV_DONTNEED)",
	},
	[EBB_ATTR_LAZY_MS] = {
		.name = "lazy_ms", .type = EBB_TYPE_MS, .unit = "ms",
		.min = -1, .max = 3600000, .def = 150, .def_text = "150",
		.zero = "at once; -1: never",
		.since = "0.1",
		.help = "age of free memory to make lazy (MADV_FREE)",
	},
	[EBB_ATTR_LAZY] = {
		.name = "lazy", .type = EBB_TYPE_BOOL, .unit = "",
		.min = 0, .max = 1, .def = 1, .def_text = "on",
		.zero = "RSS tells all; the kernel finds nothing to take",
		.since = "0.1",
		.help = "make free memory lazy before it is given back",
	},
	[EBB_ATTR_DIRTY_MIN] = {
		.name = "dirty_min", .type = EBB_TYPE_BYTES_OR_PERCENT,
		.unit = "bytes",
		.min = 0, .max = INT64_C(1) << 40,
		.def = EBB_PERCENT(3), .def_text = "3%",
		.zero = "hurry for the least",
		.since = "0.1",
		.help = "dirty memory, or % of live, that is in no hurry",
	},
	[EBB_ATTR_DIRTY_MAX] = {
		.name = "dirty_max", .type = EBB_TYPE_BYTES_OR_PERCENT,
		.unit = "bytes",
		.min = 0, .max = INT64_C(1) << 40,
		.def = EBB_PERCENT(50), .def_text = "50%",
		.zero = "no bound",
		.since = "0.1",
		.help = "dirty memory, or % of live, purged on crossing",
	},
	[EBB_ATTR_OVER_PART] = {
		.name = "over_part", .type = EBB_TYPE_COUNT, .unit = "times",
		.min = 1, .max = 1024, .def = 8, .def_text = "8",
		.since = "0.1",
		.help = "beyond dirty_max, first what is decay_ms / this old goes",
	},
	[EBB_ATTR_YOUNG_MS] = {
		.name = "young_ms", .type = EBB_TYPE_MS, .unit = "ms",
		.min = 0, .max = 3600000, .def = 100, .def_text = "100",
		.zero = "nothing is too young",
		.since = "0.1",
		.help = "freed so lately, spared by dirty_max in a calm process",
	},
	[EBB_ATTR_LIMIT] = {
		.name = "limit", .type = EBB_TYPE_BYTES_OR_PERCENT,
		.unit = "bytes",
		.min = 0, .max = INT64_C(1) << 50, .def = 0, .def_text = "0",
		.zero = "no limit of our own",
		.since = "0.1",
		.help = "heap size, or % of the cgroup's limit, where malloc fails",
	},
	[EBB_ATTR_HIGH] = {
		.name = "high", .type = EBB_TYPE_BYTES_OR_PERCENT,
		.unit = "bytes",
		.min = 0, .max = INT64_C(1) << 50,
		.def = EBB_PERCENT(90), .def_text = "90%",
		.zero = "none; a cgroup's own memory.high goes before it",
		.since = "0.1",
		.help = "usage, or % of the limit, from where ages are least",
	},
	[EBB_ATTR_TIGHT] = {
		.name = "tight", .type = EBB_TYPE_BYTES_OR_PERCENT,
		.unit = "bytes",
		.min = 0, .max = INT64_C(1) << 50,
		.def = EBB_PERCENT(25), .def_text = "25%",
		.zero = "ages stay as they are",
		.since = "0.1",
		.help = "headroom, or % of the limit, below which ages shrink",
	},
	[EBB_ATTR_LOW] = {
		.name = "low", .type = EBB_TYPE_BYTES_OR_PERCENT,
		.unit = "bytes",
		.min = 0, .max = INT64_C(1) << 50,
		.def = EBB_PERCENT(6), .def_text = "6%",
		.zero = "never for headroom alone",
		.since = "0.1",
		.help = "headroom, or % of the limit, below which all goes",
	},
	[EBB_ATTR_FRUGAL] = {
		.name = "frugal", .type = EBB_TYPE_BYTES_OR_PERCENT,
		.unit = "bytes",
		.min = 0, .max = INT64_C(1) << 50,
		.def = 0, .def_text = "0",
		.zero = "never; 100%: always, without a limit, too",
		.flags = EBB_FLAG_START,
		.since = "0.1",
		.help = "headroom below which objects of 8K to 64K are cut to "
			"measure",
	},
	[EBB_ATTR_DROP] = {
		.name = "drop", .type = EBB_TYPE_BYTES_OR_PERCENT,
		.unit = "bytes",
		.min = 0, .max = INT64_C(1) << 40,
		.def = EBB_PERCENT(25), .def_text = "25%",
		.zero = "any dirty memory beyond dirty_min",
		.since = "0.1",
		.help = "dirty memory, or % of live, that counts as a drop",
	},
	[EBB_ATTR_DROP_MS] = {
		.name = "drop_ms", .type = EBB_TYPE_MS, .unit = "ms",
		.min = 0, .max = 3600000, .def = 500, .def_text = "500",
		.zero = "at once",
		.since = "0.1",
		.help = "decay_ms is at most this after a drop",
	},
	[EBB_ATTR_MILD_MS] = {
		.name = "mild_ms", .type = EBB_TYPE_MS, .unit = "ms",
		.min = 0, .max = 3600000, .def = 20, .def_text = "20",
		.zero = "at once",
		.since = "0.1",
		.help = "decay_ms is at most this under mild pressure",
	},
	[EBB_ATTR_TICK_MIN_MS] = {
		.name = "tick_min_ms", .type = EBB_TYPE_MS, .unit = "ms",
		.min = 1, .max = 60000, .def = 10, .def_text = "10",
		.since = "0.1",
		.help = "time between two passes, at least",
	},
	[EBB_ATTR_TICK_MAX_MS] = {
		.name = "tick_max_ms", .type = EBB_TYPE_MS, .unit = "ms",
		.min = 10, .max = 60000, .def = 1000, .def_text = "1000",
		.since = "0.1",
		.help = "time between two looks while there is dirty memory",
	},
	[EBB_ATTR_REFAULT] = {
		.name = "refault", .type = EBB_TYPE_BYTES, .unit = "bytes",
		.min = 0, .max = INT64_C(1) << 40,
		.def = INT64_C(32) << 20, .def_text = "32M",
		.zero = "ages are never raised",
		.since = "0.1",
		.help = "given back and retaken in 1 s: above, ages are doubled",
	},
	[EBB_ATTR_REFAULT_MAX] = {
		.name = "refault_max", .type = EBB_TYPE_COUNT, .unit = "times",
		.min = 1, .max = 1024, .def = 8, .def_text = "8",
		.since = "0.1",
		.help = "ages are raised so many times at most",
	},
	[EBB_ATTR_INBAND_MS] = {
		.name = "inband_ms", .type = EBB_TYPE_MS, .unit = "ms",
		.min = 0, .max = 1000, .def = 20, .def_text = "20",
		.zero = "a thread near the limit goes on at once",
		.since = "0.1",
		.help = "time a malloc near the limit may spend making room",
	},
	[EBB_ATTR_INBAND_WANT] = {
		.name = "inband_want", .type = EBB_TYPE_BYTES, .unit = "bytes",
		.min = 0, .max = INT64_C(1) << 40,
		.def = INT64_C(1) << 20, .def_text = "1M",
		.zero = "no more than what is missing",
		.since = "0.1",
		.help = "what a malloc near the limit gives back, at least",
	},
	[EBB_ATTR_MARGIN_CPU] = {
		.name = "margin_cpu", .type = EBB_TYPE_BYTES, .unit = "bytes",
		.min = 0, .max = INT64_C(1) << 30,
		.def = INT64_C(256) << 10, .def_text = "256K",
		.since = "0.1",
		.help = "headroom that in-band reclaim leaves for each CPU",
	},
	[EBB_ATTR_MARGIN_THREAD] = {
		.name = "margin_thread", .type = EBB_TYPE_BYTES,
		.unit = "bytes",
		.min = 0, .max = INT64_C(1) << 30,
		.def = INT64_C(64) << 10, .def_text = "64K",
		.since = "0.1",
		.help = "headroom that in-band reclaim leaves for each thread",
	},
	[EBB_ATTR_SIBLINGS] = {
		.name = "siblings", .type = EBB_TYPE_BOOL, .unit = "",
		.min = 0, .max = 1, .def = 1, .def_text = "on",
		.zero = "nobody is asked, and nobody is heard",
		.flags = EBB_FLAG_START,
		.since = "0.1",
		.help = "ask the cgroup's other processes to give memory back",
	},
	[EBB_ATTR_AUDIT_MS] = {
		.name = "audit_ms", .type = EBB_TYPE_MS, .unit = "ms",
		.min = 0, .max = 3600000, .def = 10000, .def_text = "10000",
		.zero = "never",
		.since = "0.1",
		.help = "time between two looks for clean memory that is backed",
	},
	[EBB_ATTR_NOTIFY_MS] = {
		.name = "notify_ms", .type = EBB_TYPE_MS, .unit = "ms",
		.min = 0, .max = 3600000, .def = 1000, .def_text = "1000",
		.zero = "as often as there is pressure",
		.since = "0.1",
		.help = "between two calls of a function that the program "
			"registered, at least",
	},
	[EBB_ATTR_CHECK] = {
		.name = "check", .type = EBB_TYPE_BOOL,
		.flags = EBB_FLAG_START, .unit = "",
		.min = 0, .max = 1, .def = 0, .def_text = "off",
		.since = "0.1",
		.help = "verify every free at once (slow)",
	},
	[EBB_ATTR_VERBOSE] = {
		.name = "verbose", .type = EBB_TYPE_BOOL,
		.flags = EBB_FLAG_START, .unit = "",
		.min = 0, .max = 1, .def = 0, .def_text = "off",
		.since = "0.1",
		.help = "print version, cgroup, limits, signals at start",
	},
	[EBB_ATTR_LOG] = {
		.name = "log", .type = EBB_TYPE_STRING, .unit = "",
		.def_text = "stderr",
		.accepts = "stderr, off, or an absolute path",
		.since = "0.1",
		.help = "where messages go",
	},
	[EBB_ATTR_INJECT] = {
		.name = "inject", .type = EBB_TYPE_STRING,
		.flags = EBB_FLAG_START, .unit = "",
		.def_text = "",
		.accepts = "site:period, in the debug config only",
		.since = "0.1",
		.help = "make every period-th kernel call at a site fail",
	},
	[EBB_ATTR_RESERVE] = {
		.name = "reserve", .type = EBB_TYPE_BYTES,
		.flags = EBB_FLAG_POWER2 | EBB_FLAG_START, .unit = "bytes",
		.min = INT64_C(64) << 20, .max = INT64_C(1) << 40,
		.def = INT64_C(1) << 40, .def_text = "1T",
		.since = "0.1",
		.help = "address space reserved at start (costs no memory)",
	},
	[EBB_ATTR_PSI_US] = {
		.name = "psi_us", .type = EBB_TYPE_US,
		.flags = EBB_FLAG_START, .unit = "us",
		.min = 0, .max = EBB_PSI_WINDOW_US,
		.def = 100000, .def_text = "100000",
		.zero = "no PSI trigger",
		.since = "0.1",
		.help = "memory stall per 2 s window that counts as pressure",
	},
	[EBB_ATTR_PSI_SOME] = {
		.name = "psi_some", .type = EBB_TYPE_COUNT, .unit = "percent",
		.min = 0, .max = 100, .def = 10, .def_text = "10",
		.zero = "never for that alone",
		.since = "0.1",
		.help = "share of time in which some stall that is severe",
	},
	[EBB_ATTR_PSI_FULL] = {
		.name = "psi_full", .type = EBB_TYPE_COUNT, .unit = "percent",
		.min = 0, .max = 100, .def = 5, .def_text = "5",
		.zero = "never for that alone",
		.since = "0.1",
		.help = "share of time in which all stall that is severe",
	},
	[EBB_ATTR_DEBOUNCE_MS] = {
		.name = "debounce_ms", .type = EBB_TYPE_MS, .unit = "ms",
		.min = 0, .max = 60000, .def = 100, .def_text = "100",
		.zero = "each one counts",
		.since = "0.1",
		.help = "time between two hits of memory.max that count",
	},
	[EBB_ATTR_BACKEND] = {
		.name = "backend", .type = EBB_TYPE_CHOICE,
		.flags = EBB_FLAG_START, .unit = "",
		.min = EBB_BACKEND_AUTO, .max = EBB_BACKEND_URING,
		.def = EBB_BACKEND_AUTO, .def_text = "auto",
		.accepts = "auto, madvise, process_madvise, io_uring",
		.since = "0.1",
		.help = "how memory is given back; auto: the cheapest",
	},
	[EBB_ATTR_CONTROL_DIR] = {
		.name = "control_dir", .type = EBB_TYPE_STRING,
		.flags = EBB_FLAG_START, .unit = "",
		.def_text = "auto",
		.accepts = "auto, off, or an absolute path",
		.since = "0.1",
		.help = "where PID/ is made, to observe and steer the process",
	},
	[EBB_ATTR_PROFILE] = {
		.name = "profile", .type = EBB_TYPE_BYTES,
		.flags = EBB_FLAG_START, .unit = "bytes",
		.min = 0, .max = INT64_C(1) << 40, .def = 0, .def_text = "0",
		.zero = "no heap profile, at no cost",
		.since = "0.1",
		.help = "heap profile: mean of the bytes between two samples",
	},
	[EBB_ATTR_PROFILE_STACK] = {
		.name = "profile_stack", .type = EBB_TYPE_CHOICE,
		.flags = EBB_FLAG_START, .unit = "",
		.min = EBB_PROFILE_STACK_FP, .max = EBB_PROFILE_STACK_UNWIND,
		.def = EBB_PROFILE_STACK_FP, .def_text = "fp",
		.accepts = "fp, unwind",
		.since = "0.1",
		.help = "how the profile finds call stacks",
	},
	[EBB_ATTR_PROFILE_DUMP] = {
		.name = "profile_dump", .type = EBB_TYPE_STRING, .unit = "",
		.def_text = "",
		.accepts = "an absolute path, in which %p is the process's "
			   "number",
		.since = "0.1",
		.help = "where the heap profile is written",
	},
	[EBB_ATTR_PROFILE_LEAK] = {
		.name = "profile_leak", .type = EBB_TYPE_BOOL, .unit = "",
		.min = 0, .max = 1, .def = 0, .def_text = "off",
		.since = "0.1",
		.help = "write the heap profile at exit: what lives then leaked",
	},
	[EBB_ATTR_PROFILE_SEED] = {
		.name = "profile_seed", .type = EBB_TYPE_COUNT,
		.flags = EBB_FLAG_START, .unit = "number",
		.min = 0, .max = INT64_C(1) << 32, .def = 0, .def_text = "0",
		.zero = "another one for each process",
		.since = "0.1",
		.help = "seed of the choice of samples, to repeat a run",
	},
	[EBB_ATTR_GUARD] = {
		.name = "guard", .type = EBB_TYPE_CHOICE,
		.flags = EBB_FLAG_START, .unit = "",
		.min = EBB_GUARD_OFF, .max = EBB_GUARD_ALL,
		.def = EBB_GUARD_OFF, .def_text = "off",
		.accepts = "off, decommitted, sampled, all",
		.since = "0.1",
		.help = "which misuse of memory traps, and is reported",
	},
	[EBB_ATTR_GUARD_EVERY] = {
		.name = "guard_every", .type = EBB_TYPE_COUNT,
		.flags = EBB_FLAG_START, .unit = "allocations",
		.min = 1, .max = INT64_C(1) << 30,
		.def = 20000, .def_text = "20000",
		.since = "0.1",
		.help = "one allocation in so many is guarded in sampled mode",
	},
	[EBB_ATTR_GUARD_SIZE] = {
		.name = "guard_size", .type = EBB_TYPE_BYTES,
		.flags = EBB_FLAG_START, .unit = "bytes",
		.min = 0, .max = INT64_C(1) << 40, .def = 0, .def_text = "0",
		.zero = "none for its size alone",
		.since = "0.1",
		.help = "size from which sampled mode guards every object",
	},
	[EBB_ATTR_GUARD_SIDE] = {
		.name = "guard_side", .type = EBB_TYPE_CHOICE,
		.flags = EBB_FLAG_START, .unit = "",
		.min = EBB_GUARD_SIDE_AUTO, .max = EBB_GUARD_SIDE_LEFT,
		.def = EBB_GUARD_SIDE_AUTO, .def_text = "auto",
		.accepts = "auto, right, left",
		.since = "0.1",
		.help = "end of its pages at which a guarded object lies",
	},
	[EBB_ATTR_GUARD_QUARANTINE] = {
		.name = "guard_quarantine", .type = EBB_TYPE_BYTES,
		.flags = EBB_FLAG_START, .unit = "bytes",
		.min = 0, .max = INT64_C(1) << 40, .def = 0, .def_text = "0",
		.zero = "by the mode: 2M sampled, 1G all",
		.since = "0.1",
		.help = "addresses of guarded objects that trap after free",
	},
	[EBB_ATTR_GUARD_RECOVER] = {
		.name = "guard_recover", .type = EBB_TYPE_BOOL, .unit = "",
		.min = 0, .max = 1, .def = 0, .def_text = "off",
		.since = "0.1",
		.help = "go on after a read was reported in sampled mode",
	},
	[EBB_ATTR_GUARD_TRAP] = {
		.name = "guard_trap", .type = EBB_TYPE_CHOICE,
		.flags = EBB_FLAG_START, .unit = "",
		.min = EBB_GUARD_TRAP_AUTO, .max = EBB_GUARD_TRAP_UFFD,
		.def = EBB_GUARD_TRAP_AUTO, .def_text = "auto",
		.accepts = "auto, marker, userfaultfd",
		.since = "0.1",
		.help = "how pages that were given back trap; auto: what there is",
	},
	[EBB_ATTR_CONTEXT_CHECK] = {
		.name = "context_check", .type = EBB_TYPE_BOOL, .unit = "",
		.min = 0, .max = 1, .def = 0, .def_text = "off",
		.since = "0.1",
		.help = "verify what is done with contexts (slow)",
	},
	[EBB_ATTR_ACCOUNTS] = {
		.name = "accounts", .type = EBB_TYPE_CHOICE,
		.flags = EBB_FLAG_START, .unit = "",
		.min = EBB_ACCOUNTS_OFF, .max = EBB_ACCOUNTS_TOTALS,
		.def = EBB_ACCOUNTS_OFF, .def_text = "off",
		.accepts = "off, live, totals",
		.since = "0.1",
		.help = "what is kept of each thread's memory, to the byte",
	},
	[EBB_ATTR_TRACK_WRITES] = {
		.name = "track_writes", .type = EBB_TYPE_MS,
		.flags = EBB_FLAG_START, .unit = "ms",
		.min = 0, .max = 3600000, .def = 0, .def_text = "0",
		.zero = "never, at no cost",
		.since = "0.1",
		.help = "time between two looks at which live memory was written",
	},
	[EBB_ATTR_COLD_MS] = {
		.name = "cold_ms", .type = EBB_TYPE_MS, .unit = "ms",
		.min = 0, .max = 86400000, .def = 60000, .def_text = "60000",
		.zero = "what was not written since the last look",
		.since = "0.1",
		.help = "live memory that was not written for so long is cold",
	},
	[EBB_ATTR_COLD_OUT] = {
		.name = "cold_out", .type = EBB_TYPE_BOOL, .unit = "",
		.min = 0, .max = 1, .def = 0, .def_text = "off",
		.since = "0.1",
		.help = "page cold memory out under pressure, where there is swap",
	},
};

_Static_assert(sizeof(ebb_attrs) / sizeof(ebb_attrs[0]) == EBB_NR_ATTRS,
	       "every option needs its row in ebb_attrs[]");

#endif
