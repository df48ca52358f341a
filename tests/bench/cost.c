/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Cost: of giving back, of looking, of being awake
 *
 * cost [--what=trim|scan|wake] [--mb=1024] [--preload=LIB] ...
 *
 * trim: objects of --object bytes fill the heap.  In the order of their
 * addresses, runs of them are freed, each covering 4 to 64 KiB of whole pages
 * (log-uniform), with one object left alive between two runs, until --mb MiB
 * of whole pages are free.  Then the allocator is told to give everything back
 * (malloc_trim() or what it has instead), while a second thread runs.  Times
 * are CPU times of the one that gives back: it waits in the kernel for the
 * other CPU with its own running, and a busy machine disturbs them less.
 *
 * The control: --mb MiB of plain mapped memory with ranges of the same
 * lengths and distances as the heap's, all touched, given to the kernel by
 * madvise, one by one, and by process_madvise, 512 at once; the best counts.
 *
 * The background thread would be faster than the bench at freeing; run this
 * with EBB_CONF=reclaim=off, and for jemalloc with no decay, as scripts/bench
 * does.  free_before_trim_bytes tells what was given back before.
 *
 * scan: --mb MiB of live objects of 64 B to 1 KB in which no page is free.
 * A pass over it with nothing changed (idle), and one after a slot was freed
 * in each 64 KiB of address space (published).
 *
 * wake: a process that has given back --mb MiB; how often its background
 * thread wakes in --seconds of light load, and of none.
 */
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include "bench/frame.h"
#include "bench/holes.h"
#include "bench/load.h"

#define BATCH		512
#define SLAB_SHIFT	16
#define SCAN_LOW	6		/* 64 B: no page is empty for one less */
#define SCAN_HIGH	10		/* 1 KiB */

static const char *what = "trim";
static unsigned long mb = 1024, object_size = 1000, seconds = 10, seed = 1,
	passes = 5, spin = 1, settle_ms = 5000;

static struct knob knobs[] = {
	{ "what", NULL, 0, 0, &what, "trim, scan or wake" },
	{ "mb", &mb, 1, 1ul << 20, NULL, "MiB given back, or scanned" },
	{ "object", &object_size, 16, 4000, NULL, "trim: bytes of an object" },
	{ "passes", &passes, 1, 1000, NULL, "repetitions of what can be" },
	{ "seconds", &seconds, 1, 3600, NULL, "wake: of each state" },
	{ "settle-ms", &settle_ms, 0, 600000, NULL,
	  "wake: before each state is looked at" },
	{ "spin", &spin, 0, 1, NULL, "a second thread runs all the time" },
	{ "seed", &seed, 0, 1ul << 30, NULL, "of sizes and choices" },
	{ NULL, NULL, 0, 0, NULL, NULL },
};

/* === What every allocator calls differently ============================== */

static const char *trim_by(void)
{
	int (*mallctl)(const char *, void *, size_t *, void *, size_t);
	void (*release)(void);
	void (*collect)(bool);
	void *found;

	if ((found = dlsym(RTLD_DEFAULT, "mallctl"))) {
		memcpy(&mallctl, &found, sizeof(found));
		mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
		/* 4096: MALLCTL_ARENAS_ALL */
		mallctl("arena.4096.purge", NULL, NULL, NULL, 0);
		return "arena.all.purge";
	}
	found = dlsym(RTLD_DEFAULT, "MallocExtension_ReleaseFreeMemory");
	if (found) {
		memcpy(&release, &found, sizeof(found));
		release();
		return "ReleaseFreeMemory";
	}
	if ((found = dlsym(RTLD_DEFAULT, "mi_collect"))) {
		memcpy(&collect, &found, sizeof(found));
		collect(true);
		return "mi_collect";
	}
	malloc_trim(0);
	return "malloc_trim";
}

/* === A second thread, and who uses the CPU =============================== */

static void *spinner(void *arg)
{
	(void)arg;
	for (uint64_t i = 0;; i++)
		(void)hide_size(i);
	return NULL;
}

static void start_spinner(void)
{
	pthread_t thread;

	if (spin && pthread_create(&thread, NULL, spinner, NULL))
		die("a second thread: %s", strerror(errno));
}

struct stopwatch {
	uint64_t wall;
	uint64_t cpu;
};

static struct stopwatch stopwatch(void)
{
	return (struct stopwatch){ now_ns(),
				   clock_ns(CLOCK_THREAD_CPUTIME_ID) };
}

static double us_since(struct stopwatch begin, double *ret_cpu)
{
	struct stopwatch end = stopwatch();

	*ret_cpu = (double)(end.cpu - begin.cpu) / 1e3;
	return (double)(end.wall - begin.wall) / 1e3;
}

/* === trim: the heap ====================================================== */

static struct holes holes;

static void trim(void)
{
	size_t before, after;
	struct stopwatch begin;
	double wall, cpu;
	const char *by;

	holes_fill(&holes, mb * MIB, object_size);
	holes_free(&holes, mb * MIB, seed);
	start_spinner();
	before = rss_bytes();
	begin = stopwatch();
	by = trim_by();
	wall = us_since(begin, &cpu);
	after = rss_bytes();
	answer("{\"kind\": \"sample\", \"scenario\": \"cost\", \"what\": "
	       "\"trim\", \"by\": \"%s\", \"free_bytes\": %zu, \"ranges\": "
	       "%zu, \"fell_bytes\": %zd, \"rss_before\": %zu, \"wall_us\": "
	       "%.0f, \"cpu_us\": %.0f}", by, holes.bytes, holes.nr,
	       (ssize_t)(before - after), before, wall, cpu);
}

/* === trim: the control =================================================== */

/* The same ranges in memory of our own, long gaps made short. */
static char *copy_layout(size_t *ret_len)
{
	size_t len = 0, i;
	char *area;

	for (i = 0; i < holes.nr; i++) {
		size_t gap = !i ? 0 : (size_t)(holes.ranges[i].start -
			     holes.ranges[i - 1].start) - holes.ranges[i - 1].len;

		len += (gap > GAP_MOST ? GAP_MOST : gap) + holes.ranges[i].len;
	}
	area = map_pages(len);
	madvise(area, len, MADV_NOHUGEPAGE);
	*ret_len = len;
	return area;
}

static void place_ranges(char *area)
{
	char *old_end = NULL, *at = area;

	for (size_t i = 0; i < holes.nr; i++) {
		char *start = holes.ranges[i].start;
		size_t gap = i ? (size_t)(start - old_end) : 0;

		at += gap > GAP_MOST ? GAP_MOST : gap;
		old_end = start + holes.ranges[i].len;
		holes.ranges[i].start = at;
		at += holes.ranges[i].len;
	}
}

static bool give_singly(void)
{
	for (size_t i = 0; i < holes.nr; i++)
		if (madvise(holes.ranges[i].start, holes.ranges[i].len, MADV_DONTNEED))
			return false;
	return true;
}

static int own_pidfd(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	return fd;
}

static bool give_vectored(void)
{
	struct iovec vec[BATCH];

	for (size_t i = 0; i < holes.nr; i += BATCH) {
		size_t nr = holes.nr - i < BATCH ? holes.nr - i : BATCH;
		size_t bytes = 0;

		for (size_t j = 0; j < nr; j++) {
			vec[j].iov_base = holes.ranges[i + j].start;
			vec[j].iov_len = holes.ranges[i + j].len;
			bytes += holes.ranges[i + j].len;
		}
		if (syscall(SYS_process_madvise, own_pidfd(), vec, nr,
			    MADV_DONTNEED, 0) != (long)bytes)
			return false;
	}
	return true;
}

/* Median of CPU time, or 0 where the kernel does not do it. */
static double time_control(bool (*give)(void), char *area, size_t len)
{
	double cpu[16];
	size_t nr = passes < 16 ? passes : 16;

	for (size_t i = 0; i < nr; i++) {
		struct stopwatch begin;

		for (size_t at = 0; at < len; at += page_size())
			area[at] = 1;
		begin = stopwatch();
		if (!give())
			return 0;
		us_since(begin, &cpu[i]);
	}
	return median(cpu, nr);
}

static void control(void)
{
	size_t len;
	char *area = copy_layout(&len);
	double singly, vectored;

	place_ranges(area);
	singly = time_control(give_singly, area, len);
	vectored = time_control(give_vectored, area, len);
	answer("{\"kind\": \"sample\", \"scenario\": \"cost\", \"what\": "
	       "\"control\", \"free_bytes\": %zu, \"ranges\": %zu, "
	       "\"madvise_us\": %.0f, \"process_madvise_us\": %.0f, "
	       "\"best_us\": %.0f}", holes.bytes, holes.nr, singly,
	       vectored, vectored > 0 && vectored < singly ? vectored :
	       singly);
}

/* === scan ================================================================ */

/* One object in each 64 KiB: freed, and others made in their place later. */
static size_t *pick_one_a_slab(const struct load *load, size_t *ret_nr)
{
	size_t nr_bits = (size_t)1 << 32;	/* of 47 - 16 address bits */
	unsigned char *seen = map_pages(nr_bits / 8);
	size_t *picked = map_pages(load->nr * sizeof(*picked));
	size_t nr = 0;

	for (size_t i = 0; i < load->nr; i++) {
		size_t slab = (uintptr_t)load->list[i].p >> SLAB_SHIFT;

		if (seen[slab / 8] & 1 << slab % 8)
			continue;
		seen[slab / 8] |= (unsigned char)(1 << slab % 8);
		picked[nr++] = i;
	}
	munmap(seen, nr_bits / 8);
	*ret_nr = nr;
	return picked;
}

static double one_pass(double *ret_cpu)
{
	struct stopwatch begin = stopwatch();

	trim_by();
	return us_since(begin, ret_cpu);
}

static double pass_cost(struct load *load, const size_t *picked, size_t nr)
{
	double cpu[64];
	size_t n = passes < 64 ? passes : 64;

	for (size_t i = 0; i < n; i++) {
		load_replace(load, picked, nr);
		one_pass(&cpu[i]);
	}
	return median(cpu, n) / (double)mb;
}

/* What the background thread spends on a heap that is published to. */
static void background_cost(struct load *load, const size_t *picked, size_t nr)
{
	pid_t tid = background_thread(getpid());
	uint64_t until = now_ns() + seconds * 1000000000ull, cpu, wakeups;

	cpu = thread_cpu_ns(getpid(), tid);
	wakeups = thread_wakeups(getpid(), tid);
	while (now_ns() < until) {
		load_replace(load, picked, nr);
		sleep_ms(20);
	}
	cpu = thread_cpu_ns(getpid(), tid) - cpu;
	wakeups = thread_wakeups(getpid(), tid) - wakeups;
	answer("{\"kind\": \"sample\", \"scenario\": \"cost\", \"what\": "
	       "\"background\", \"thread\": %s, \"cpu_ms_per_s\": %.3f, "
	       "\"wakeups_per_s\": %.1f, \"us_per_mib_per_wakeup\": %.3f}",
	       tid ? "true" : "false", (double)cpu / 1e6 / (double)seconds,
	       (double)wakeups / (double)seconds, wakeups ? (double)cpu / 1e3 /
	       (double)wakeups / (double)mb : 0);
}

static void scan(void)
{
	struct load load;
	size_t nr, *picked;
	double published, idle;

	/* Some dirty memory first, so that there is a background thread. */
	load_init(&load, mb * MIB, SCAN_LOW, SCAN_HIGH);
	load_seed(&load, seed);
	load_grow(&load, mb * MIB / 2);
	load_cull(&load, 100);
	sleep_ms(300);
	load_grow(&load, mb * MIB);
	picked = pick_one_a_slab(&load, &nr);
	trim_by();
	published = pass_cost(&load, picked, nr);
	idle = pass_cost(&load, picked, 0);
	answer("{\"kind\": \"sample\", \"scenario\": \"cost\", \"what\": "
	       "\"scan\", \"heap_mib\": %lu, \"slabs_published\": %zu, "
	       "\"published_us_per_mib\": %.3f, \"idle_us_per_mib\": %.3f}",
	       mb, nr, published, idle);
	background_cost(&load, picked, nr);
	load_check(&load);
}

/* === wake ================================================================ */

static void light_load(struct load *load, uint64_t until)
{
	/* Read once: each turn ends a little below what it may have. */
	size_t live = load->bytes;

	while (now_ns() < until) {
		load_churn(load, 20 * KIB, live);
		sleep_ms(10);
	}
}

/* Nothing here may allocate: what it frees would wake the thread. */
static void count_wakeups(pid_t tid, struct load *load, const char *state)
{
	uint64_t wakeups = thread_wakeups(getpid(), tid);
	uint64_t cpu = thread_cpu_ns(getpid(), tid);
	uint64_t until = now_ns() + seconds * 1000000000ull;

	if (load)
		light_load(load, until);
	else
		sleep_ms((unsigned int)(seconds * 1000));
	answer("{\"kind\": \"sample\", \"scenario\": \"cost\", \"what\": "
	       "\"wake\", \"state\": \"%s\", \"thread\": %s, "
	       "\"wakeups_per_s\": %.2f, \"cpu_us_per_s\": %.1f}", state,
	       tid ? "true" : "false", (double)(thread_wakeups(getpid(), tid) -
	       wakeups) / (double)seconds, (double)(thread_cpu_ns(getpid(),
	       tid) - cpu) / 1e3 / (double)seconds);
}

static void wake(void)
{
	struct load load;
	pid_t tid;

	load_init(&load, mb * MIB, 4, 15);
	load_seed(&load, seed);
	load_grow(&load, mb * MIB);
	load_cull(&load, 10);
	light_load(&load, now_ns() + settle_ms * 1000000);
	tid = background_thread(getpid());
	count_wakeups(tid, &load, "calm");
	sleep_ms((unsigned int)settle_ms);
	count_wakeups(tid, NULL, "idle");
}

/* === The worker, and the controller ====================================== */

static int worker(void)
{
	char line[64];

	while (next_command(line, sizeof(line))) {
		if (!strcmp(line, "trim"))
			trim();
		else if (!strcmp(line, "control"))
			control();
		else if (!strcmp(line, "scan"))
			scan();
		else if (!strcmp(line, "wake"))
			wake();
		else
			answer_info();
		answer("done");
	}
	return 0;
}

/* Pass on all it says until it is done; false: it died. */
static bool order(struct worker *w, const char *command, char *ret_last)
{
	char *line;

	worker_tell(w, command);
	while ((line = worker_hear(w)) && strcmp(line, "done")) {
		puts(line);
		fflush(stdout);
		strcpy(ret_last, line);
	}
	return line;
}

static void report_trim(struct worker *w)
{
	static char trimmed[LINE_SIZE], raw[LINE_SIZE];
	double fell, us, best;

	if (!order(w, "trim", trimmed) || !order(w, "control", raw))
		return;
	fell = number_in(trimmed, "fell_bytes", 0);
	us = number_in(trimmed, "cpu_us", 0);
	best = number_in(raw, "best_us", 0);
	emit("result", "\"what\": \"trim\", \"trim_us\": %.0f, \"kernel_us\": "
	     "%.0f, \"cost_per_kernel\": %.3f, \"given_back_percent\": %.1f, "
	     "\"us_per_mib\": %.2f", us, best, best > 0 ? us / best : 0,
	     fell * 100 / number_in(trimmed, "free_bytes", 1),
	     fell > 0 ? us / (fell / MIB) : 0);
}

int main(int argc, char **argv)
{
	static char last[LINE_SIZE];
	struct worker w = { 0 };

	(void)argc;
	frame.scenario = "cost";
	if (frame_begin("cost", knobs, argv))
		return worker();
	if (strcmp(what, "trim") && strcmp(what, "scan") &&
	    strcmp(what, "wake"))
		die("--what=%s: expected trim, scan or wake", what);
	frame_warm(mb * MIB * 5 / 2);
	worker_start(&w, "worker", NULL, NULL);
	if (!strcmp(what, "trim"))
		report_trim(&w);
	else
		order(&w, what, last);
	order(&w, "info", last);
	worker_end(&w, false);
	if (strcmp(w.ending, "ended well"))
		emit("result", "\"what\": \"%s\", \"ending\": \"%s\"", what,
		     w.ending);
	return 0;
}
