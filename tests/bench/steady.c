/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Steady: the price of a limit that is nearly full
 *
 * steady [--limit-mb=256] [--fill-percent=90] [--seconds=3] [--preload=LIB] ...
 *
 * Threads replace random objects of 16 B to 64 KB (log-uniform), all the time,
 * so that the live bytes stay the same.  Each --repeat of the trial is a pair,
 * in turns first without and then with the limit: operations per second,
 * after --settle-ms.
 *
 * --fill-percent of the limit are the requested bytes that are alive plus what
 * the cgroup is charged before the first object exists.  The rest of the limit
 * is for what the allocator rounds up, keeps, and loses.  With --own=1 instead
 * the live bytes are --limit-mb less what the percentage leaves, and the limit
 * is such that what the cgroup was charged at most without one is the share:
 * each allocator then has the limit it needs, and only pays for being near it.
 *
 * --zram-mb=N turns on N MB of compressed swap for the time of the run.  That
 * is the whole machine's swap: only for a machine of one's own.
 */
#include <sys/mman.h>
#include "bench/crew.h"
#include "bench/frame.h"
#include "bench/load.h"
#include "bench/swap.h"

#define MOST_REPEAT	32
#define OP_BYTES	(64 * KIB)

static unsigned long limit_mb = 256, fill_percent = 90, seconds = 3,
	settle_ms = 1500, threads = 2, repeat = 3, zram_mb, seed = 1, live_kb, own;

static struct knob knobs[] = {
	{ "limit-mb", &limit_mb, 8, 1ul << 20, NULL, "the limit" },
	{ "fill-percent", &fill_percent, 1, 100, NULL,
	  "of the limit, alive" },
	{ "seconds", &seconds, 1, 3600, NULL, "of each trial" },
	{ "settle-ms", &settle_ms, 0, 60000, NULL, "churn before it counts" },
	{ "threads", &threads, 1, CREW_MAX, NULL, "that churn" },
	{ "repeat", &repeat, 1, MOST_REPEAT, NULL, "pairs of trials" },
	{ "zram-mb", &zram_mb, 0, 1ul << 20, NULL,
	  "compressed swap for the whole machine; 0: none" },
	{ "live-kb", &live_kb, 0, 1ul << 40, NULL,
	  "alive, instead of a share of the limit; 0: the share" },
	{ "own", &own, 0, 1, NULL,
	  "1: the limit follows from the allocator's own usage" },
	{ "seed", &seed, 0, 1ul << 30, NULL, "of sizes and choices" },
	{ NULL, NULL, 0, 0, NULL, NULL },
};

/* === The worker ========================================================= */

static uint64_t until;

static size_t share(void)
{
	return live_kb * KIB / threads;
}

static void prepare(unsigned int number)
{
	struct load *load = &loads[number];

	/* On average an object has a few KB; twice as many fit the list. */
	load_init(load, limit_mb * MIB / threads, 4, 16);
	load_back(load, limit_mb * MIB / threads / (2 * KIB));
	load_seed(load, seed * 100 + number);
}

static void build(unsigned int number)
{
	load_grow(&loads[number], share());
}

static void churn(unsigned int number)
{
	while (now_ns() < until)
		load_churn(&loads[number], OP_BYTES, share());
}

static uint64_t made(void)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < threads; i++)
		sum += loads[i].made;
	return sum;
}

static void run_for(uint64_t ns)
{
	until = now_ns() + ns;
	crew_do(churn);
}

static void run(void)
{
	uint64_t begin, before, cpu;
	double ops;

	crew_do(build);
	run_for(settle_ms * 1000000);
	begin = now_ns();
	before = made();
	cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	run_for(seconds * 1000000000);
	cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	ops = (double)(made() - before) * 1e9;
	answer("{\"ops\": %.0f, \"cpu_ops\": %.0f, \"rss\": %zu}",
	       ops / (double)(now_ns() - begin), ops / (double)cpu,
	       rss_bytes());
}

static int worker(void)
{
	char line[64];

	crew_start((unsigned int)threads);
	crew_do(prepare);
	answer("ready");
	while (next_command(line, sizeof(line)))
		if (!strcmp(line, "run"))
			run();
		else
			answer_info();
	return 0;
}

/* === The controller ===================================================== */

/* Most that was charged in the last trial without a limit. */
static size_t most_used;

/* Operations per second, and per second of CPU time. */
struct speed {
	double ops;
	double cpu_ops;
};

/* 0: it died, *ret_ending tells how. */
static struct speed try_one(size_t limit, bool last, char *ret_ending)
{
	struct speed speed = { 0, 0 };
	struct worker w = { 0 };
	double rss = 0;
	char *line;

	limit_begin();
	if (limit)
		limit_set(limit);
	worker_start(&w, "worker", NULL, NULL);
	line = worker_hear(&w) ? worker_ask(&w, "run") : NULL;
	if (line) {
		speed.ops = number_in(line, "ops", 0);
		speed.cpu_ops = number_in(line, "cpu_ops", 0);
		rss = number_in(line, "rss", 0);
	}
	line = line ? worker_ask(&w, "info") : NULL;
	if (line && last)
		puts(line);
	worker_end(&w, false);
	emit("trial", "\"limit_bytes\": %zu, \"ops\": %.0f, \"cpu_ops\": "
	     "%.0f, \"rss_bytes\": %.0f, \"ending\": \"%s\"", limit,
	     speed.ops, speed.cpu_ops, rss, w.ending);
	say("limit %zu MiB: %.0f op/s, rss %.0f MiB, usage at most %zu MiB, %s",
	    limit / MIB, speed.ops, rss / MIB, limit_peak() / MIB, w.ending);
	if (!limit)
		most_used = limit_peak();
	if (!line)
		strcpy(ret_ending, w.ending);
	limit_end();
	return line ? speed : (struct speed){ 0, 0 };
}

static double free_ops[MOST_REPEAT], limited_ops[MOST_REPEAT];
static double free_cpu[MOST_REPEAT], limited_cpu[MOST_REPEAT];

static void report(size_t limit, size_t deaths, const char *ending)
{
	double without = median(free_ops, repeat);
	double without_cpu = median(free_cpu, repeat);
	double with = deaths ? 0 : median(limited_ops, repeat);
	double with_cpu = deaths ? 0 : median(limited_cpu, repeat);

	emit("result", "\"own\": %lu, \"limit_bytes\": %zu, \"live_bytes\": "
	     "%lu, \"free_ops\": %.0f, \"limited_ops\": %.0f, \"kept\": "
	     "%.3f, \"kept_cpu\": %.3f, \"deaths\": %zu, \"of\": %lu, "
	     "\"zram_bytes\": %lu, \"ending\": \"%s\"", own, limit,
	     live_kb * KIB, without, with, without > 0 ? with / without : 0,
	     without_cpu > 0 ? with_cpu / without_cpu : 0, deaths, repeat,
	     zram_mb * MIB, ending);
}

int main(int argc, char **argv)
{
	char ending[80] = "ended well";
	size_t deaths = 0, limit;

	(void)argc;
	if (frame_begin("steady", knobs, argv))
		return worker();
	limit = limit_mb * MIB;
	frame_warm(limit * 2);
	if (!live_kb)
		live_kb = (limit / 100 * fill_percent - worker_base()) / KIB;
	if (zram_mb)
		swap_begin(zram_mb * MIB);
	for (size_t i = 0; i < repeat; i++) {
		struct speed speed = try_one(0, false, ending);

		free_ops[i] = speed.ops;
		free_cpu[i] = speed.cpu_ops;
		if (own)
			limit = most_used / fill_percent * 100;
		speed = try_one(limit, i == repeat - 1, ending);
		limited_ops[i] = speed.ops;
		limited_cpu[i] = speed.cpu_ops;
		deaths += speed.ops <= 0;
	}
	report(limit, deaths, ending);
	return 0;
}
