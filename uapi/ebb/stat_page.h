/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The counters page, and what stands beside it
 *
 * What it is: each process keeps a directory for those who observe and steer
 * it: DIR/PID/, where DIR is the first of the places below that it may use.
 * The file EBB_PAGE_FILE in it is a struct ebb_page, an image of the process's
 * counters, options and last decisions.  Everything else there is text made
 * from it.  After a process has died without saying so the page is kept for a
 * while, in EBB_DEAD_DIR.
 *
 * Writing: the process writes the whole page with one pwrite(2), at most a
 * second after a change.  Nobody maps it: a mapped file that somebody truncates
 * kills who touches it.
 *
 * Alive: a process with EBB_FEATURE_HELD holds an exclusive flock(2) on the page
 * as long as it lives, or until it calls execve(2).
 *
 * Reading: read the whole file, then compare head.seq with tail_seq.  Where
 * they differ it was being written: read again.  Trust nothing in it: whoever
 * may write to the directory may have.
 *
 * Versions: an ABI number (ebb/abi.h) only ever adds rows behind the last and
 * members at the end of a row.  The sections in the head say where rows are,
 * how long one is and how many there are, so a reader of another ABI finds
 * those it knows.  No member is ever moved or given another meaning.
 */
#ifndef EBB_STAT_PAGE_H
#define EBB_STAT_PAGE_H

#include <stddef.h>
#include <stdint.h>

/* Places, in the order in which they are tried. */
#define EBB_DIR_RUN		"/run/ebb"
#define EBB_DIR_RUNTIME		"ebb"		/* in $XDG_RUNTIME_DIR */
#define EBB_DIR_SHM		"/dev/shm/ebb-"	/* and the user's number */

#define EBB_PAGE_FILE		"page"
#define EBB_PROFILE_FILE	"heap_profile"
#define EBB_REPORT_FILE		"report"
#define EBB_DEAD_DIR		"dead-"		/* beside PID/; and the user */
#define EBB_ROSTER_DIR		"siblings-"	/* the same */
#define EBB_DEAD_MAX		8		/* pages kept there, per user */

#define EBB_PAGE_MAGIC		"ebbpage"	/* with its final zero byte */

/* Rows of each section in this ABI. */
#define EBB_NR_COUNTERS_MAX	64
#define EBB_NR_HISTOGRAMS	3
#define EBB_NR_BUCKETS		32
#define EBB_BUCKET_LAST		26	/* in metrics, before +Inf: 9 minutes,
					 * 256 GiB */
#define EBB_NR_SIGNALS_MAX	8
#define EBB_NR_BACKENDS_MAX	6
#define EBB_NR_EVENTS		32
#define EBB_NR_VERDICTS		8
#define EBB_NR_CLASSES_MAX	80
#define EBB_NR_THREADS_MAX	64
#define EBB_TEXT_MAX		4096

/* What state the process was in when the page was written. */
enum ebb_page_state {
	EBB_PAGE_INBAND,	/* no thread: written by those that allocate */
	EBB_PAGE_RUNNING,	/* by the background thread */
	EBB_PAGE_EXITED,	/* it ended by itself */
};

/**
 * struct ebb_section - Where the rows of one kind stand
 * @offset:	of the first row, from the start of the page
 * @stride:	bytes from one row to the next
 * @nr:		rows there is room for
 * @used:	rows that mean something, the first ones
 */
struct ebb_section {
	uint32_t offset;
	uint32_t stride;
	uint32_t nr;
	uint32_t used;
};

/**
 * struct ebb_page_head - What the page is, and of which process
 * @magic:	EBB_PAGE_MAGIC
 * @abi:	of the library that wrote it
 * @size:	bytes of the page
 * @seq:	grows with each writing; equal to the one at the end
 * @state:	enum ebb_page_state
 * @pid:	as the process sees it
 * @uid:	effective user when the directory was made
 * @page_size:	bytes of a page of memory
 * @start_ticks: when it began, field 22 of /proc/PID/stat
 * @pid_ns:	inode of /proc/self/ns/pid; 0: unknown
 * @features:	EBB_FEATURE_* of ebb/abi.h
 * @errata:	EBB_ERRATUM_* of ebb/abi.h
 * @time_ms:	when it was written, milliseconds since 1970
 * @walk_ms:	the same, when classes and threads were counted
 * @nr_written:	times it was written
 * @version:	of the library
 * @comm:	name of the process
 * @reclaimer:	"running", or why not
 * @cgroup:	/proc/self/cgroup, as much as fits
 */
struct ebb_page_head {
	char magic[8];
	uint32_t abi;
	uint32_t size;
	uint64_t seq;
	uint32_t state;
	uint32_t pid;
	uint32_t uid;
	uint32_t page_size;
	uint64_t start_ticks;
	uint64_t pid_ns;
	uint64_t features;
	uint64_t errata;
	uint64_t time_ms;
	uint64_t walk_ms;
	uint64_t nr_written;
	char version[32];
	char comm[16];
	char reclaimer[64];
	char cgroup[512];
	struct ebb_section counters;
	struct ebb_section histograms;
	struct ebb_section signals;
	struct ebb_section backends;
	struct ebb_section events;
	struct ebb_section verdicts;
	struct ebb_section classes;
	struct ebb_section threads;
	struct ebb_section text;
};

/* === Counters ============================================================= */

enum ebb_counter {
	EBB_COUNTER_LIVE,
	EBB_COUNTER_CACHED,
	EBB_COUNTER_DIRTY,
	EBB_COUNTER_LAZY,
	EBB_COUNTER_CLEAN,
	EBB_COUNTER_METADATA,
	EBB_COUNTER_LOCKED,
	EBB_COUNTER_MAPPED,
	EBB_COUNTER_LARGE,
	EBB_COUNTER_SLABS,
	EBB_COUNTER_THREADS,
	EBB_COUNTER_STRANDED,
	EBB_COUNTER_PRESSURE,
	EBB_COUNTER_NR_PASSES,
	EBB_COUNTER_NR_FORCED,
	EBB_COUNTER_NR_OVER,
	EBB_COUNTER_NR_WAKES,
	EBB_COUNTER_MADE_LAZY,
	EBB_COUNTER_GIVEN_BACK,
	EBB_COUNTER_REFUSED,
	EBB_COUNTER_RETAKEN,
	EBB_COUNTER_LAZY_REUSED,
	EBB_COUNTER_LAZY_TAKEN,
	EBB_COUNTER_STRAYS,
	EBB_COUNTER_SPLITS,
	EBB_COUNTER_LIMIT,
	EBB_COUNTER_HEADROOM,
	EBB_COUNTER_INBAND_LOOKS,
	EBB_COUNTER_INBAND_NEAR,
	EBB_COUNTER_INBAND_PURGES,
	EBB_COUNTER_INBAND_GIVEN,
	EBB_COUNTER_INBAND_WAITS,
	EBB_COUNTER_INBAND_HELPED,
	EBB_COUNTER_INBAND_WORST,
	EBB_COUNTER_INBAND_REFUSED,
	EBB_COUNTER_PROFILE_LIVE,
	EBB_COUNTER_PROFILE_DROPPED,
	EBB_COUNTER_GUARD_LIVE,
	EBB_COUNTER_GUARD_QUARANTINE,
	EBB_COUNTER_GUARD_TAKEN,
	EBB_COUNTER_GUARD_SKIPPED,
	EBB_COUNTER_GUARD_REPORTS,
	EBB_COUNTER_GUARDED,
	EBB_COUNTER_COLD,
	EBB_COUNTER_WRITTEN,
	EBB_COUNTER_NR_SCANS,
	EBB_COUNTER_SCANNED,
	EBB_COUNTER_SCAN_TIME,
	EBB_COUNTER_PAGED_OUT,
	EBB_COUNTER_SIBLINGS,
	EBB_COUNTER_SIBLINGS_LED,
	EBB_COUNTER_SIBLINGS_ASKED,
	EBB_NR_COUNTERS
};

enum ebb_counter_kind {
	EBB_GAUGE,		/* as it is now */
	EBB_TOTAL,		/* only grows, from the start of the process */
};

/**
 * struct ebb_counter_info - One counter
 * @name:	in `stat', in malloc_info()
 * @unit:	"bytes", "us", or "" for a number of things
 * @kind:	enum ebb_counter_kind
 * @metric:	its name in `metrics'
 * @since:	release that introduced it
 * @help:	one line
 */
struct ebb_counter_info {
	const char *name;
	const char *unit;
	enum ebb_counter_kind kind;
	const char *metric;
	const char *since;
	const char *help;
};

static const struct ebb_counter_info ebb_counters[] = {
	[EBB_COUNTER_LIVE] = { "live", "bytes", EBB_GAUGE,
		"ebb_live_bytes", "0.1",
		"handed to the program, in usable bytes" },
	[EBB_COUNTER_CACHED] = { "cached", "bytes", EBB_GAUGE,
		"ebb_cached_bytes", "0.1",
		"free slots in the caches of threads" },
	[EBB_COUNTER_DIRTY] = { "dirty", "bytes", EBB_GAUGE,
		"ebb_dirty_bytes", "0.1",
		"free, and backed by memory that can be given back" },
	[EBB_COUNTER_LAZY] = { "lazy", "bytes", EBB_GAUGE,
		"ebb_lazy_bytes", "0.1",
		"free, and the kernel may take it when it likes" },
	[EBB_COUNTER_CLEAN] = { "clean", "bytes", EBB_GAUGE,
		"ebb_clean_bytes", "0.1",
		"free, and not backed by memory" },
	[EBB_COUNTER_METADATA] = { "metadata", "bytes", EBB_GAUGE,
		"ebb_metadata_bytes", "0.1",
		"what the allocator keeps for itself" },
	[EBB_COUNTER_LOCKED] = { "locked", "bytes", EBB_GAUGE,
		"ebb_locked_bytes", "0.1",
		"free, but the kernel did not take it at the last try" },
	[EBB_COUNTER_MAPPED] = { "mapped", "bytes", EBB_GAUGE,
		"ebb_mapped_bytes", "0.1",
		"address space in use" },
	[EBB_COUNTER_LARGE] = { "large", "bytes", EBB_GAUGE,
		"ebb_large_bytes", "0.1",
		"of live, in objects larger than 32 KiB" },
	[EBB_COUNTER_SLABS] = { "slabs", "", EBB_GAUGE,
		"ebb_slabs", "0.1",
		"slabs of 64 KiB that serve a size class" },
	[EBB_COUNTER_THREADS] = { "threads", "", EBB_GAUGE,
		"ebb_threads", "0.1",
		"threads with caches" },
	[EBB_COUNTER_STRANDED] = { "stranded", "bytes", EBB_GAUGE,
		"ebb_stranded_bytes", "0.1",
		"free, but on a page with a slot in use, at the last pass" },
	[EBB_COUNTER_PRESSURE] = { "pressure", "", EBB_GAUGE,
		"ebb_pressure", "0.1",
		"pressure not answered yet: 0 none, 1 mild, 2 severe" },
	[EBB_COUNTER_NR_PASSES] = { "nr_passes", "", EBB_TOTAL,
		"ebb_passes_total", "0.1",
		"passes of the background thread" },
	[EBB_COUNTER_NR_FORCED] = { "nr_forced_passes", "", EBB_TOTAL,
		"ebb_forced_passes_total", "0.1",
		"of them, those that took everything, for pressure" },
	[EBB_COUNTER_NR_OVER] = { "nr_over_passes", "", EBB_TOTAL,
		"ebb_over_passes_total", "0.1",
		"of them, those because dirty_max was crossed" },
	[EBB_COUNTER_NR_WAKES] = { "nr_wakes", "", EBB_TOTAL,
		"ebb_wakes_total", "0.1",
		"times a thread that freed memory woke the background thread" },
	[EBB_COUNTER_MADE_LAZY] = { "made_lazy", "bytes", EBB_TOTAL,
		"ebb_made_lazy_bytes_total", "0.1",
		"made lazy (MADV_FREE)" },
	[EBB_COUNTER_GIVEN_BACK] = { "given_back", "bytes", EBB_TOTAL,
		"ebb_given_back_bytes_total", "0.1",
		"given back (MADV_DONTNEED)" },
	[EBB_COUNTER_REFUSED] = { "refused", "bytes", EBB_TOTAL,
		"ebb_refused_bytes_total", "0.1",
		"the kernel did not take" },
	[EBB_COUNTER_RETAKEN] = { "retaken", "bytes", EBB_TOTAL,
		"ebb_retaken_bytes_total", "0.1",
		"given back, and handed out again" },
	[EBB_COUNTER_LAZY_REUSED] = { "lazy_reused", "bytes", EBB_TOTAL,
		"ebb_lazy_reused_bytes_total", "0.1",
		"made lazy, and handed out again" },
	[EBB_COUNTER_LAZY_TAKEN] = { "lazy_taken_by_kernel", "bytes", EBB_TOTAL,
		"ebb_lazy_taken_bytes_total", "0.1",
		"lazy memory that the kernel took, an estimate" },
	[EBB_COUNTER_STRAYS] = { "strays_given_back", "bytes", EBB_TOTAL,
		"ebb_strays_bytes_total", "0.1",
		"should have been clean, was backed, given back again" },
	[EBB_COUNTER_SPLITS] = { "nr_huge_pages_split", "", EBB_TOTAL,
		"ebb_huge_pages_split_total", "0.1",
		"huge pages split, so that a part could be given back" },
	[EBB_COUNTER_LIMIT] = { "limit", "bytes", EBB_GAUGE,
		"ebb_limit_bytes", "0.1",
		"the tightest limit of the cgroups; 0: none" },
	[EBB_COUNTER_HEADROOM] = { "headroom", "bytes", EBB_GAUGE,
		"ebb_headroom_bytes", "0.1",
		"what is left below it; 0 without one" },
	[EBB_COUNTER_INBAND_LOOKS] = { "inband_looks", "", EBB_TOTAL,
		"ebb_inband_looks_total", "0.1",
		"times a thread read the headroom before it took memory" },
	[EBB_COUNTER_INBAND_NEAR] = { "inband_near", "", EBB_TOTAL,
		"ebb_inband_near_total", "0.1",
		"of them, those that found too little" },
	[EBB_COUNTER_INBAND_PURGES] = { "inband_purges", "", EBB_TOTAL,
		"ebb_inband_purges_total", "0.1",
		"passes made by threads that were near the limit" },
	[EBB_COUNTER_INBAND_GIVEN] = { "inband_given_back", "bytes", EBB_TOTAL,
		"ebb_inband_given_back_bytes_total", "0.1",
		"given back by those" },
	[EBB_COUNTER_INBAND_WAITS] = { "inband_waits", "", EBB_TOTAL,
		"ebb_inband_waits_total", "0.1",
		"times a thread near the limit waited for others" },
	[EBB_COUNTER_INBAND_HELPED] = { "inband_helped", "", EBB_TOTAL,
		"ebb_inband_helped_total", "0.1",
		"of those near the limit, those that found room in the end" },
	[EBB_COUNTER_INBAND_WORST] = { "inband_worst_us", "us", EBB_GAUGE,
		"ebb_inband_worst_seconds", "0.1",
		"longest time that one malloc spent making room" },
	[EBB_COUNTER_INBAND_REFUSED] = { "inband_refused", "", EBB_TOTAL,
		"ebb_inband_refused_total", "0.1",
		"requests refused because of the option limit" },
	[EBB_COUNTER_PROFILE_LIVE] = { "profile_live", "", EBB_GAUGE,
		"ebb_profile_live_samples", "0.1",
		"samples of the heap profile that are alive" },
	[EBB_COUNTER_PROFILE_DROPPED] = { "profile_dropped", "", EBB_TOTAL,
		"ebb_profile_dropped_samples_total", "0.1",
		"samples for which the heap profile had no room" },
	[EBB_COUNTER_GUARD_LIVE] = { "guard_live", "bytes", EBB_GAUGE,
		"ebb_guard_live_bytes", "0.1",
		"pages of guarded objects in use" },
	[EBB_COUNTER_GUARD_QUARANTINE] = { "guard_quarantine", "bytes",
		EBB_GAUGE, "ebb_guard_quarantine_bytes", "0.1",
		"addresses of guarded objects that were freed, and trap" },
	[EBB_COUNTER_GUARD_TAKEN] = { "guard_taken", "", EBB_TOTAL,
		"ebb_guard_taken_total", "0.1",
		"objects that were guarded" },
	[EBB_COUNTER_GUARD_SKIPPED] = { "guard_skipped", "", EBB_TOTAL,
		"ebb_guard_skipped_total", "0.1",
		"objects that were to be guarded, and could not be" },
	[EBB_COUNTER_GUARD_REPORTS] = { "guard_reports", "", EBB_TOTAL,
		"ebb_guard_reports_total", "0.1",
		"reports of misuse that guard mode has written" },
	[EBB_COUNTER_GUARDED] = { "guarded", "bytes", EBB_GAUGE,
		"ebb_guarded_bytes", "0.1",
		"given back, and a touch of them traps (guard)" },
	[EBB_COUNTER_COLD] = { "cold", "bytes", EBB_GAUGE,
		"ebb_cold_bytes", "0.1",
		"live pages not written for cold_ms (track_writes)" },
	[EBB_COUNTER_WRITTEN] = { "written", "bytes", EBB_TOTAL,
		"ebb_written_bytes_total", "0.1",
		"live pages found written, at each look (track_writes)" },
	[EBB_COUNTER_NR_SCANS] = { "nr_write_scans", "", EBB_TOTAL,
		"ebb_write_scans_total", "0.1",
		"looks at which pages were written" },
	[EBB_COUNTER_SCANNED] = { "write_scanned", "bytes", EBB_TOTAL,
		"ebb_write_scanned_bytes_total", "0.1",
		"backed memory that they looked at" },
	[EBB_COUNTER_SCAN_TIME] = { "write_scan_us", "us", EBB_TOTAL,
		"ebb_write_scan_seconds_total", "0.1",
		"time that they took" },
	[EBB_COUNTER_PAGED_OUT] = { "paged_out", "bytes", EBB_TOTAL,
		"ebb_paged_out_bytes_total", "0.1",
		"cold memory advised to be paged out (cold_out)" },
	[EBB_COUNTER_SIBLINGS] = { "siblings", "", EBB_GAUGE,
		"ebb_siblings", "0.1",
		"other processes of the cgroup that can be asked for memory" },
	[EBB_COUNTER_SIBLINGS_LED] = { "siblings_led", "", EBB_GAUGE,
		"ebb_siblings_led", "0.1",
		"1: this process passes on to them what the kernel says" },
	[EBB_COUNTER_SIBLINGS_ASKED] = { "siblings_asked", "", EBB_TOTAL,
		"ebb_siblings_asked_total", "0.1",
		"times that they were asked to give memory back" },
};

/* === Histograms =========================================================== */

enum ebb_histogram_id {
	EBB_HISTOGRAM_PASS_US,
	EBB_HISTOGRAM_PASS_BYTES,
	EBB_HISTOGRAM_INBAND_US,
};

/**
 * struct ebb_histogram_info - One histogram
 * @name:	in `histograms'
 * @unit:	"us" or "bytes"; bucket n counts values below 2^(n + @shift) and
 *		not below half of that, the first all below, the last all above
 * @shift:	see @unit
 * @metric:	its name in `metrics'
 * @help:	one line
 */
struct ebb_histogram_info {
	const char *name;
	const char *unit;
	unsigned int shift;
	const char *metric;
	const char *since;
	const char *help;
};

static const struct ebb_histogram_info ebb_histograms[] = {
	[EBB_HISTOGRAM_PASS_US] = { "pass_us", "us", 3,
		"ebb_pass_seconds", "0.1",
		"how long a pass of the background thread took" },
	[EBB_HISTOGRAM_PASS_BYTES] = { "pass_bytes", "bytes", 12,
		"ebb_pass_given_back_bytes", "0.1",
		"what a pass gave back or made lazy" },
	[EBB_HISTOGRAM_INBAND_US] = { "inband_us", "us", 3,
		"ebb_inband_seconds", "0.1",
		"how long a malloc near the limit spent making room" },
};

struct ebb_histogram {
	uint64_t nr;			/* values seen */
	uint64_t sum;
	uint64_t buckets[EBB_NR_BUCKETS];
};

/* === Signals and backends ================================================= */

/**
 * struct ebb_signal - A source of pressure
 * @name:	of the source
 * @what:	live: what is watched; else why not
 * @live:	1 or 0
 * @error:	errno behind @what, or 0
 * @nr_events:	times it told of pressure
 * @nr_purges:	passes it had a part in
 * @nr_found:	times it was lost and found again
 * @last_ms:	last event, milliseconds since 1970; 0: none
 */
struct ebb_signal {
	char name[16];
	char what[112];
	uint32_t live;
	uint32_t error;
	uint64_t nr_events;
	uint64_t nr_purges;
	uint64_t nr_found;
	uint64_t last_ms;
};

/* A way to give memory back: the line of malloc_stats() that tells of it. */
struct ebb_backend_row {
	char line[128];
};

/* === Decisions and verdicts =============================================== */

/**
 * struct ebb_event - A pass of the background thread
 * @time_ms:	when it ended, milliseconds since 1970
 * @nr:		how many passes there had been, this one included
 * @headroom:	before it; UINT64_MAX: no limit
 * @dirty:	free and backed before it
 * @lazy_bytes, @clean_bytes: made lazy, given back by it
 * @took_us:	how long it took
 * @waited_us:	from hearing of the pressure to its beginning
 * @by_source:	who asked, bit = row of the signals; 0: age alone
 * @pressure:	0 none, 1 mild, 2 severe
 * @flags:	EBB_EVENT_*
 */
struct ebb_event {
	uint64_t time_ms;
	uint64_t nr;
	uint64_t headroom;
	uint64_t dirty;
	uint64_t lazy_bytes;
	uint64_t clean_bytes;
	uint32_t took_us;
	uint32_t waited_us;
	uint32_t by_source;
	uint8_t pressure;
	uint8_t flags;
	uint16_t reserved;
};

#define EBB_EVENT_FORCED	1u	/* everything, caches included */
#define EBB_EVENT_OVER		2u	/* dirty_max was crossed */

/* Name of the verdicts that nobody asked for: reports of guard mode. */
#define EBB_VERDICT_REPORT	"(report)"

/**
 * struct ebb_verdict - The answer to something written
 * @nr:		counts from 1; 0: none yet
 * @time_ms:	when, milliseconds since 1970
 * @name:	of the file, or EBB_VERDICT_REPORT
 * @error:	0: accepted; else an errno
 * @text:	the value in force, or why it was refused; the first line of the
 *		report
 */
struct ebb_verdict {
	uint64_t nr;
	uint64_t time_ms;
	char name[24];
	uint32_t error;
	char text[212];
};

/* === Classes and threads ================================================== */

/**
 * struct ebb_class - A size class
 * @size:	bytes of a slot
 * @slabs:	slabs of 64 KiB that serve it
 * @slots:	slots of those
 * @taken:	of them handed out, caches of threads included
 * @clean, @lazy: bytes of its pages that are not backed, that are lazy
 */
struct ebb_class {
	uint32_t size;
	uint32_t slabs;
	uint64_t slots;
	uint64_t taken;
	uint64_t clean;
	uint64_t lazy;
};

/**
 * struct ebb_thread_row - A thread with caches or with something in use
 * @tid:	as the process sees it; 0: none, of threads that have ended
 * @slabs:	it owns
 * @name:	of the thread
 * @taken:	bytes handed out from its slabs, whoever has them now
 * @cached:	of them and of others', in its caches
 * @live:	bytes that it has allocated and nobody has freed
 * @allocated, @freed_self, @by_others, @for_others: its account; what they mean
 *		ebb_thread_stats() of ebb/ebb.h says
 * @rate:	bytes of @allocated per second, between the last two walks
 * @flags:	EBB_ROW_*
 */
struct ebb_thread_row {
	uint32_t tid;
	uint32_t slabs;
	char name[16];
	uint64_t taken;
	uint64_t cached;
	uint64_t live;
	uint64_t allocated;
	uint64_t freed_self;
	uint64_t by_others;
	uint64_t for_others;
	uint64_t rate;
	uint32_t flags;
	uint32_t reserved;
};

#define EBB_ROW_ENDED		1u	/* the thread has; what it had is in use */

/* === The page ============================================================= */

/**
 * struct ebb_page - The whole file, as this ABI has it
 *
 * @text holds the options in force, one NAME=VALUE a line; its section counts
 * bytes.  Events and verdicts are rings: number nr is in row (nr - 1) % rows.
 */
struct ebb_page {
	struct ebb_page_head head;
	uint64_t counters[EBB_NR_COUNTERS_MAX];
	struct ebb_histogram histograms[EBB_NR_HISTOGRAMS];
	struct ebb_signal signals[EBB_NR_SIGNALS_MAX];
	struct ebb_backend_row backends[EBB_NR_BACKENDS_MAX];
	struct ebb_event events[EBB_NR_EVENTS];
	struct ebb_verdict verdicts[EBB_NR_VERDICTS];
	struct ebb_class classes[EBB_NR_CLASSES_MAX];
	struct ebb_thread_row threads[EBB_NR_THREADS_MAX];
	char text[EBB_TEXT_MAX];
	uint64_t tail_seq;
};

/* No holes: what a compiler would fill in would be anybody's memory. */
_Static_assert(sizeof(struct ebb_section) == 16, "ABI");
_Static_assert(sizeof(struct ebb_page_head) ==
		       8 + 2 * 4 + 8 + 4 * 4 + 7 * 8 + 32 + 16 + 64 + 512 +
			       9 * 16, "ABI");
_Static_assert(sizeof(struct ebb_histogram) == 8 * (2 + EBB_NR_BUCKETS), "ABI");
_Static_assert(sizeof(struct ebb_signal) == 16 + 112 + 2 * 4 + 4 * 8, "ABI");
_Static_assert(sizeof(struct ebb_event) == 6 * 8 + 3 * 4 + 4, "ABI");
_Static_assert(sizeof(struct ebb_verdict) == 2 * 8 + 24 + 4 + 212, "ABI");
_Static_assert(sizeof(struct ebb_class) == 2 * 4 + 4 * 8, "ABI");
_Static_assert(sizeof(struct ebb_thread_row) == 2 * 4 + 16 + 8 * 8 + 2 * 4,
	       "ABI");
_Static_assert(sizeof(struct ebb_page) ==
		       sizeof(struct ebb_page_head) +
			       8 * EBB_NR_COUNTERS_MAX +
			       EBB_NR_HISTOGRAMS * sizeof(struct ebb_histogram) +
			       EBB_NR_SIGNALS_MAX * sizeof(struct ebb_signal) +
			       EBB_NR_BACKENDS_MAX * 128 +
			       EBB_NR_EVENTS * sizeof(struct ebb_event) +
			       EBB_NR_VERDICTS * sizeof(struct ebb_verdict) +
			       EBB_NR_CLASSES_MAX * sizeof(struct ebb_class) +
			       EBB_NR_THREADS_MAX *
				       sizeof(struct ebb_thread_row) +
			       EBB_TEXT_MAX + 8, "ABI");
_Static_assert(sizeof(ebb_counters) / sizeof(ebb_counters[0]) ==
		       EBB_NR_COUNTERS, "every counter needs its row");
_Static_assert(EBB_NR_COUNTERS <= EBB_NR_COUNTERS_MAX, "counters: no room");
_Static_assert(sizeof(ebb_histograms) / sizeof(ebb_histograms[0]) ==
		       EBB_NR_HISTOGRAMS, "every histogram needs its row");

/* === Files ================================================================ */

/* What is in the directory beside the options; tools and checks use it. */
struct ebb_file_info {
	const char *name;
	const char *mode;	/* "r", "w" or "rw" */
	const char *since;
	const char *help;
};

static const struct ebb_file_info ebb_files[] = {
	{ EBB_PAGE_FILE, "r", "0.1", "all counters, for programs (stat_page.h)" },
	{ "stat", "r", "0.1", "counters, one NAME VALUE a line" },
	{ "threads", "r", "0.1", "whose memory it is, those with most first" },
	{ "classes", "r", "0.1", "size classes in use" },
	{ "signals", "r", "0.1", "sources of pressure: live, or why not" },
	{ "backends", "r", "0.1", "ways to give memory back: which, or why not" },
	{ "histograms", "r", "0.1", "how long passes took, what they gave back" },
	{ "events", "r", "0.1", "the last passes: who asked, what came of it" },
	{ "metrics", "r", "0.1", "all counters, for Prometheus" },
	{ "written", "r", "0.1", "what live memory was written, and what is cold" },
	{ "trim", "rw", "0.1", "write bytes, or all: give so much back now" },
	{ "dump", "rw", "0.1", "write profile: it goes to heap_profile now" },
	{ EBB_PROFILE_FILE, "r", "0.1", "the heap profile, when dump asked for it" },
	{ EBB_REPORT_FILE, "r", "0.1", "the last report of misuse, with its stacks" },
	{ "error", "r", "0.1", "why the last write was refused" },
};

#endif
