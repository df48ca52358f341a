/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Latency: from a limit that draws near to memory given back
 *
 * latency [--mb=64] [--limit-mb=256] [--rounds=50] [--preload=LIB] ...
 *
 * One worker, the holder, has --mb MiB of scattered free pages in holes of 4
 * to 64 KiB (holes.h) as soon as they are freed; another, the pusher, touches
 * memory of the same cgroup until usage is --to-percent of the limit.  The
 * clock starts when it passes --near-percent and stops when nine tenths of
 * the free pages are back, seen by reading the cgroup's usage; if that takes
 * longer than --wait-ms, they did not come back.  An allocator that gives back
 * without being asked has less to do by then: still_there_mib tells how much of
 * those nine tenths was not back when the push began.
 *
 * Beside the time on the clock, which on a busy machine is not the
 * allocator's own: the time on a CPU of the holder's background thread, from
 * the freeing to the end of the round.
 *
 * All the while --threads threads of the holder allocate and free small
 * batches.  Every millisecond each asks how long it was *blocked*: time that
 * passed, less time on a CPU (CLOCK_THREAD_CPUTIME_ID), less time runnable but
 * not run (schedstat), and nothing unless it gave up its CPU of its own accord
 * (getrusage).  That resolves about 20 us.  It counts locks of ours and of
 * libc's, and waiting in the kernel, as for the lock of the address space: it
 * cannot tell them apart.  What a hypervisor steals is not counted.
 */
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include "bench/frame.h"
#include "bench/holes.h"

#define MOST_ROUNDS	10000
#define MOST_THREADS	16
#define SLICE_NS	1000000
#define BATCH		64
#define RESOLUTION_US	20

static unsigned long mb = 64, limit_mb = 256, rounds = 50, threads = 1,
	near_percent = 87, to_percent = 95, wait_ms = 1000, object_size = 1000,
	seed = 1, block_us;

static struct knob knobs[] = {
	{ "mb", &mb, 1, 65536, NULL, "MiB of scattered free pages" },
	{ "limit-mb", &limit_mb, 8, 1ul << 20, NULL, "the limit" },
	{ "rounds", &rounds, 1, MOST_ROUNDS, NULL, "repetitions" },
	{ "threads", &threads, 0, MOST_THREADS, NULL,
	  "that allocate meanwhile" },
	{ "near-percent", &near_percent, 1, 99, NULL,
	  "of the limit, where the clock starts" },
	{ "to-percent", &to_percent, 2, 100, NULL,
	  "of the limit, how far usage is pushed" },
	{ "wait-ms", &wait_ms, 1, 60000, NULL, "until a round is given up" },
	{ "object", &object_size, 16, 4000, NULL, "bytes of an object" },
	{ "block-us", &block_us, 0, 900000, NULL,
	  "threads sleep as long in each 16th slice: is it seen?" },
	{ "seed", &seed, 0, 1ul << 30, NULL, "of the holes" },
	{ NULL, NULL, 0, 0, NULL, NULL },
};

/* === Blocked time of threads that allocate =============================== */

static const double bin_us[] = { 50, 100, 200, 500, 1000, 2000, 5000, 10000 };

#define NR_BINS	(sizeof(bin_us) / sizeof(bin_us[0]) + 1)

/* Of one thread; written by it alone, read when it has ended. */
struct blocked {
	pthread_t thread;
	uint64_t bins[NR_BINS];		/* [0] also: not blocked at all */
	uint64_t slices;
	uint64_t bypassed;		/* slices that could not be judged */
	double most_us;
};

struct slice {
	uint64_t wall;
	uint64_t cpu;
	uint64_t waited;
	long gave_up;
};

static struct blocked blocked[MOST_THREADS];
static bool stop;

/* The second number of schedstat: runnable, but not running, in ns. */
static bool read_waited(int fd, uint64_t *ret)
{
	char buf[96], *end;
	ssize_t len = pread(fd, buf, sizeof(buf) - 1, 0);

	if (len <= 0)
		return false;
	buf[len] = '\0';
	strtoull(buf, &end, 10);
	*ret = strtoull(end, NULL, 10);
	return true;
}

static bool look(int fd, struct slice *ret)
{
	struct rusage usage;

	if (getrusage(RUSAGE_THREAD, &usage) || !read_waited(fd, &ret->waited))
		return false;
	ret->gave_up = usage.ru_nvcsw;
	ret->cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	ret->wall = now_ns();
	return true;
}

static void judge(struct blocked *b, const struct slice *from,
		  const struct slice *to)
{
	double us = ((double)(to->wall - from->wall) -
		     (double)(to->cpu - from->cpu) -
		     (double)(to->waited - from->waited)) / 1e3;
	unsigned int bin = 0;

	b->slices++;
	if (to->gave_up == from->gave_up || us < RESOLUTION_US) {
		b->bins[0]++;
		return;
	}
	if (us > b->most_us)
		b->most_us = us;
	while (bin < NR_BINS - 1 && us >= bin_us[bin])
		bin++;
	b->bins[bin]++;
}

static void one_batch(struct rng *rng)
{
	void *p[BATCH];

	for (int i = 0; i < BATCH; i++) {
		p[i] = malloc(rng_size(rng, 4, 10));
		if (!p[i])
			_exit(EXIT_NO_MEMORY);
		*(char *)p[i] = 1;
	}
	for (int i = 0; i < BATCH; i++)
		free(p[i]);
}

static void *allocate(void *arg)
{
	int fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
	struct timespec pause = { 0, (long)block_us * 1000 };
	struct blocked *b = arg;
	struct slice from, to;
	struct rng rng;

	rng_seed(&rng, (uint64_t)(b - blocked));
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		bool known = look(fd, &from);

		do
			one_batch(&rng);
		while (now_ns() < from.wall + SLICE_NS && known);
		if (block_us && b->slices % 16 == 0)
			nanosleep(&pause, NULL);
		if (known && look(fd, &to))
			judge(b, &from, &to);
		else
			b->bypassed++;
	}
	if (fd >= 0)
		close(fd);
	return NULL;
}

/* === The holder ========================================================= */

static void answer_blocked(void)
{
	struct blocked sum = { 0 };

	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (unsigned long i = 0; i < threads; i++) {
		struct blocked *b = &blocked[i];

		pthread_join(b->thread, NULL);
		for (unsigned int j = 0; j < NR_BINS; j++)
			sum.bins[j] += b->bins[j];
		sum.slices += b->slices;
		sum.bypassed += b->bypassed;
		if (b->most_us > sum.most_us)
			sum.most_us = b->most_us;
	}
	answer("{\"kind\": \"sample\", \"scenario\": \"latency\", \"what\": "
	       "\"blocked\", \"slices\": %llu, \"unknown\": %llu, "
	       "\"blocked_most_us\": %.0f, \"under_50us\": %llu, "
	       "\"under_100us\": %llu, \"under_200us\": %llu, "
	       "\"under_500us\": %llu, \"under_1ms\": %llu, \"under_2ms\": "
	       "%llu, \"under_5ms\": %llu, \"under_10ms\": %llu, \"more\": "
	       "%llu}", (unsigned long long)sum.slices,
	       (unsigned long long)sum.bypassed, sum.most_us,
	       (unsigned long long)sum.bins[0],
	       (unsigned long long)sum.bins[1],
	       (unsigned long long)sum.bins[2],
	       (unsigned long long)sum.bins[3],
	       (unsigned long long)sum.bins[4],
	       (unsigned long long)sum.bins[5],
	       (unsigned long long)sum.bins[6],
	       (unsigned long long)sum.bins[7],
	       (unsigned long long)sum.bins[8]);
}

static void start_threads(void)
{
	for (unsigned long i = 0; i < threads; i++)
		if (pthread_create(&blocked[i].thread, NULL, allocate,
				   &blocked[i]))
			die("a thread: %s", strerror(errno));
}

static int holder(void)
{
	struct holes holes = { 0 };
	char line[64];

	start_threads();
	answer("ready");
	while (next_command(line, sizeof(line))) {
		if (!strcmp(line, "fill")) {
			if (holes.blocks)
				holes_end(&holes);
			holes_fill(&holes, mb * MIB, object_size);
			answer("filled");
		} else if (!strcmp(line, "free")) {
			holes_free(&holes, mb * MIB, seed++);
			answer("{\"free_bytes\": %zu, \"ranges\": %zu}",
			       holes.bytes, holes.nr);
		} else if (!strcmp(line, "blocked")) {
			answer_blocked();
		} else {
			answer_info();
		}
	}
	return 0;
}

/* === The pusher ========================================================= */

/* "push NEAR ALL": touch ALL bytes; when the first NEAR were, take the time. */
static void push(const char *line)
{
	static char *pushed;
	static size_t pushed_len;
	size_t near = 0, all = 0;
	uint64_t passed = 0;

	if (pushed)
		munmap(pushed, pushed_len);
	pushed = NULL;
	sscanf(line, "push %zu %zu", &near, &all);
	if (all) {
		pushed = map_pages(all);
		pushed_len = all;
		madvise(pushed, all, MADV_NOHUGEPAGE);
	}
	for (size_t at = 0; at < all; at += page_size()) {
		if (!passed && at >= near)
			passed = now_ns();
		pushed[at] = 1;
	}
	answer("{\"passed\": %llu, \"end\": %llu}",
	       (unsigned long long)passed, (unsigned long long)now_ns());
}

static int pusher(void)
{
	char line[64];

	answer("ready");
	while (next_command(line, sizeof(line)))
		push(line);
	return 0;
}

/* === The controller ===================================================== */

static struct worker hold, pusher_worker;
static double latency_ms[MOST_ROUNDS], cpu_ms[MOST_ROUNDS];
static double left_mib[MOST_ROUNDS];
static unsigned long nr_back, nr_rounds;
static double sum_ranges;

static bool died(struct worker *worker, const char *which)
{
	worker_end(worker, false);
	emit("result", "\"rounds\": %lu, \"ending\": \"%s: %s\"", nr_rounds,
	     which, worker->ending);
	return false;
}

/* Wait until usage is down to @target; the time, or 0. */
static uint64_t wait_for_fall(size_t target)
{
	uint64_t give_up = now_ns() + wait_ms * 1000000;

	while (limit_usage() > target) {
		struct timespec pause = { 0, 100000 };

		if (now_ns() > give_up)
			return 0;
		nanosleep(&pause, NULL);
	}
	return now_ns();
}

static size_t percent_of_limit(unsigned long percent)
{
	return limit_mb * MIB / 100 * percent;
}

/* Push usage up from @usage, see it come down by what makes @target of it. */
static bool push_and_see(size_t usage, size_t target)
{
	size_t all = percent_of_limit(to_percent) - usage, near = 0;
	uint64_t passed, back;
	char text[96], *line;

	if (percent_of_limit(near_percent) > usage)
		near = percent_of_limit(near_percent) - usage;
	snprintf(text, sizeof(text), "push %zu %zu", near, all);
	line = worker_ask(&pusher_worker, text);
	if (!line)
		return died(&pusher_worker, "pusher");
	passed = (uint64_t)number_in(line, "passed", 0);
	back = wait_for_fall(target + all);
	if (back)
		latency_ms[nr_back++] = (double)(back - passed) / 1e6;
	left_mib[nr_rounds] = ((double)usage - (double)target) / MIB;
	return true;
}

static bool one_round(void)
{
	size_t full, usage, target;
	uint64_t cpu;
	char *line;
	pid_t tid;

	if (!worker_ask(&pusher_worker, "push 0 0"))
		return died(&pusher_worker, "pusher");
	line = worker_ask(&hold, "fill");
	full = limit_usage();
	line = line ? worker_ask(&hold, "free") : NULL;
	if (!line)
		return died(&hold, "holder");
	target = full - (size_t)(number_in(line, "free_bytes", 0) * 0.9);
	sum_ranges += number_in(line, "ranges", 0);
	tid = background_thread(hold.pid);
	cpu = tid ? thread_cpu_ns(hold.pid, tid) : 0;
	usage = limit_usage();
	if (usage >= percent_of_limit(to_percent))
		die("--limit-mb=%lu: usage is %zu MiB already", limit_mb,
		    usage / MIB);
	if (!push_and_see(usage, target))
		return false;
	/* It writes down what it has done, and its time is exact. */
	sleep_ms(30);
	tid = background_thread(hold.pid);
	cpu_ms[nr_rounds++] = tid ? (double)(thread_cpu_ns(hold.pid, tid) -
					     cpu) / 1e6 : 0;
	return true;
}

static void report(void)
{
	emit("result", "\"rounds\": %lu, \"came_back_percent\": %.1f, "
	     "\"p50_ms\": %.2f, \"p99_ms\": %.2f, \"cpu_p50_ms\": %.2f, "
	     "\"cpu_p99_ms\": %.2f, \"ranges\": %.0f, \"free_bytes\": %lu, "
	     "\"still_there_mib\": %.1f",
	     nr_rounds, (double)nr_back * 100 / (double)nr_rounds,
	     percentile(latency_ms, nr_back, 50),
	     percentile(latency_ms, nr_back, 99),
	     percentile(cpu_ms, nr_rounds, 50),
	     percentile(cpu_ms, nr_rounds, 99),
	     sum_ranges / (double)nr_rounds, mb * MIB,
	     median(left_mib, nr_rounds));
}

static void finish_holder(void)
{
	char *line = worker_ask(&hold, "blocked");

	if (line)
		puts(line);
	line = worker_ask(&hold, "info");
	if (line)
		puts(line);
}

int main(int argc, char **argv)
{
	bool good = true;

	(void)argc;
	if (frame_begin("latency", knobs, argv))
		return !strcmp(worker_role(), "holder") ? holder() : pusher();
	if (near_percent >= to_percent)
		die("--near-percent=%lu: expected less than --to-percent=%lu",
		    near_percent, to_percent);
	frame_warm(limit_mb * MIB * 3 / 2);
	limit_begin();
	limit_set(limit_mb * MIB);
	worker_start(&hold, "holder", NULL, NULL);
	worker_start(&pusher_worker, "pusher", NULL, NULL);
	if (!worker_hear(&hold) || !worker_hear(&pusher_worker))
		die("a worker did not start");
	while (good && nr_rounds < rounds)
		good = one_round();
	if (good) {
		report();
		finish_holder();
	}
	worker_end(&hold, true);
	worker_end(&pusher_worker, true);
	limit_end();
	return 0;
}
