/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Replay of a trace of malloc calls
 *
 * LD_PRELOAD=LIB replay --trace=FILE [--work=100] [--repeat=0] [--window=4096]
 *
 * What it is: the calls that trace/recorder.so wrote down, done again by as
 * many threads, in the order of trace/plan.h.  The trace is checked and made
 * into steps first; only the steps are on the clock.
 *
 * What a program does with its memory is not in a trace.  Here each object,
 * when it comes, has a byte written in each line of its first 4 KiB and in each
 * page of the rest (what realloc adds, likewise), and its first bytes tell its
 * place; when it goes, they must still do so (exit status 11).
 *
 * The trace is repeated so often that the work is some tenths of a second, by
 * a guess that depends on the trace alone; --repeat=N says how often instead.
 * --work=PERCENT is of that; if less than one trace is left, it is the first
 * part of it.  What is alive at the end is freed after each repetition, off the
 * clock.
 *
 * The peak is that of the process less the steps, which are all resident.
 *
 * --look=1 only checks the trace and tells what is in it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "bench/trace/plan.h"

#define EXIT_NO_MEMORY	10
#define EXIT_CORRUPT	11
#define WORK_NS		500000000ull	/* aimed at, by the plan's guess */
#define STACK_BYTES	(256 * 1024)
#define SPINS		200
#define TAG		0x9e3779b97f4a7c15ull

static const char *trace_path = "";
static unsigned long work = 100, repeat, window = 4096, look;

static struct plan plan;

/* How far a thread is, for those that wait for it. */
static struct progress {
	_Alignas(64) uint32_t posts;
	uint32_t nr_waiting;
} *progress;

static uint32_t nr_running;		/* threads other than the main one */

/* === Waiting ============================================================= */

static void futex_wait(uint32_t *word, uint32_t value)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* Either sees who waits, or is seen by it.  Pairs with wait_for(). */
static void post(struct progress *own)
{
	__atomic_store_n(&own->posts, own->posts + 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&own->nr_waiting, __ATOMIC_SEQ_CST))
		futex_wake(&own->posts);
}

static bool has_come(const struct progress *other, uint32_t nr)
{
	return __atomic_load_n(&other->posts, __ATOMIC_ACQUIRE) >= nr;
}

/* Turns of an empty loop first: on another CPU it may be a matter of them. */
static void wait_for(struct progress *other, uint32_t nr)
{
	uint32_t seen;

	for (int i = 0; i < SPINS; i++) {
		if (has_come(other, nr))
			return;
		__asm__ volatile("" ::: "memory");
	}
	__atomic_fetch_add(&other->nr_waiting, 1, __ATOMIC_SEQ_CST);
	while ((seen = __atomic_load_n(&other->posts, __ATOMIC_SEQ_CST)) < nr)
		futex_wait(&other->posts, seen);
	__atomic_fetch_sub(&other->nr_waiting, 1, __ATOMIC_RELAXED);
}

/* === Objects ============================================================= */

static void no_memory(const struct step *step)
{
	stop(EXIT_NO_MEMORY, "malloc and the like returned NULL for %llu bytes",
	     (unsigned long long)step->size);
}

static void corrupt(const struct place *place, const char *what)
{
	stop(EXIT_CORRUPT, "an object of %zu bytes at %p: %s", place->size,
	     (void *)place->p, what);
}

static uint64_t tag_of(const struct place *place)
{
	return (uint64_t)(place - plan.places + 1) * TAG;
}

static void tag(const struct place *place)
{
	uint64_t value = tag_of(place);

	if (place->size >= sizeof(value))
		memcpy(place->p, &value, sizeof(value));
	else if (place->size)
		*place->p = (char)(value >> 56);
}

static void check_tag(const struct place *place)
{
	uint64_t expected = tag_of(place), value = expected;

	if (place->size >= sizeof(value))
		memcpy(&value, place->p, sizeof(value));
	else if (place->size && *place->p != (char)(value >> 56))
		value = 0;
	if (__builtin_expect(value != expected, 0))
		corrupt(place, "not as it was left");
}

/* From the byte @from on, which is 0 or what there was before. */
static void touch(const struct place *place, size_t from)
{
	volatile char *p = place->p;
	size_t size = place->size, at;

	for (at = from; at < size && at < TOUCH_PAGE; at += TOUCH_LINE)
		p[at] = 1;
	for (; at < size; at += TOUCH_PAGE)
		p[at] = 1;
}

static void came(struct place *place, const struct step *step, char *p)
{
	if (__builtin_expect(!p && step->size, 0))
		no_memory(step);
	place->p = p;
	place->size = step->size;
	touch(place, 0);
	tag(place);
}

static void check_zero(const struct place *place)
{
	if (place->size && *place->p)
		corrupt(place, "calloc'ed, but not zero");
}

static void do_calloc(struct place *place, const struct step *step)
{
	char *p = calloc(1, step->size);

	if (p && step->size)
		check_zero(&(struct place){ p, step->size });
	came(place, step, p);
}

/* The tag goes with it, as far as it fits. */
static void do_realloc(struct place *place, const struct step *step)
{
	size_t old = place->size;
	char *p;

	check_tag(place);
	p = realloc(place->p, step->size);
	if (!p && step->size)
		no_memory(step);
	place->p = p;
	place->size = old < step->size ? old : step->size;
	if (old >= sizeof(uint64_t) && place->size >= sizeof(uint64_t))
		check_tag(place);
	place->size = step->size;
	if (old < step->size)
		touch(place, old);
	tag(place);
}

static void do_free(struct place *place)
{
	check_tag(place);
	free(place->p);
	place->p = NULL;
	place->size = 0;
}

/* === Threads ============================================================= */

static pthread_attr_t small_and_detached;

static void *run_thread(void *arg);

static void start_thread(uint32_t number)
{
	pthread_t thread;
	int err;

	__atomic_fetch_add(&nr_running, 1, __ATOMIC_RELAXED);
	err = pthread_create(&thread, &small_and_detached, run_thread,
			     (void *)(uintptr_t)number);
	if (err)
		stop(1, "thread %u: %s", number, strerror(err));
}

static void do_step(const struct step *step, struct progress *own)
{
	struct place *place = plan.places + step->place;

	switch (step->kind) {
	case TRACE_MALLOC:
		came(place, step, malloc(step->size));
		break;
	case TRACE_FREE:
		do_free(place);
		break;
	case TRACE_REALLOC:
		do_realloc(place, step);
		break;
	case TRACE_CALLOC:
		do_calloc(place, step);
		break;
	case TRACE_MEMALIGN:
		came(place, step, memalign((size_t)1 << step->shift,
					   step->size));
		break;
	case TRACE_THREAD:
		start_thread(step->who);
		break;
	case STEP_POST:
		post(own);
		break;
	case STEP_WAIT:
		wait_for(progress + step->who, (uint32_t)step->size);
		break;
	}
}

static void do_steps(uint32_t number)
{
	struct progress *own = progress + number;
	const struct step *end = plan.end[number];

	for (const struct step *s = plan.begin[number]; s < end; s++)
		do_step(s, own);
}

static void *run_thread(void *arg)
{
	do_steps((uint32_t)(uintptr_t)arg);
	if (!__atomic_sub_fetch(&nr_running, 1, __ATOMIC_ACQ_REL))
		futex_wake(&nr_running);
	return NULL;
}

static void wait_for_all(void)
{
	uint32_t nr;

	while ((nr = __atomic_load_n(&nr_running, __ATOMIC_ACQUIRE)))
		futex_wait(&nr_running, nr);
}

/* === One repetition, and all ============================================= */

struct spent {
	double wall;
	double cpu;
};

static double seconds(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void replay_once(struct spent *spent)
{
	double wall = seconds(CLOCK_MONOTONIC);
	double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);

	for (uint32_t i = 1; i < plan.nr_threads; i++)
		if (plan.unmade[i])
			start_thread(i);
	do_steps(0);
	wait_for_all();
	spent->wall += seconds(CLOCK_MONOTONIC) - wall;
	spent->cpu += seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
}

/* All objects are as they were left.  Nobody else runs. */
static void begin_again(void)
{
	for (uint32_t i = 0; i < plan.nr_places; i++)
		if (plan.places[i].p)
			do_free(plan.places + i);
	for (uint32_t i = 0; i < plan.nr_threads; i++)
		progress[i].posts = 0;
}

/* The peak so far is that of reading the trace. */
static void forget_peak(void)
{
	int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "5", 1) != 1)
		stop(4, "/proc/self/clear_refs: %s: the peak cannot be told",
		     strerror(errno));
	close(fd);
}

static unsigned long peak_kb(void)
{
	char text[4096];
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	const char *at;

	text[len < 0 ? 0 : len] = '\0';
	at = strstr(text, "VmHWM:");
	if (!at)
		stop(4, "/proc/self/status has no VmHWM");
	close(fd);
	return strtoul(at + strlen("VmHWM:"), NULL, 10);
}

static void replay_all(uint64_t repeats, uint64_t nr)
{
	struct spent spent = { 0 };
	unsigned long own = plan.own_bytes / 1024, peak = 0;

	forget_peak();
	for (uint64_t i = 0; i < repeats; i++) {
		replay_once(&spent);
		peak = peak_kb();
		begin_again();
	}
	printf("{\"kind\": \"result\", \"scenario\": \"replay\", \"threads\": "
	       "%u, \"seconds\": %.6f, \"cpu_seconds\": %.6f, \"operations\": "
	       "%llu, \"peak_rss_kb\": %lu, \"repeats\": %llu, \"records\": "
	       "%llu, \"waits\": %llu, \"steps_kb\": %lu}\n", plan.nr_threads,
	       spent.wall, spent.cpu,
	       (unsigned long long)(plan.nr_operations * repeats),
	       peak > own ? peak - own : 0, (unsigned long long)repeats,
	       (unsigned long long)nr, (unsigned long long)plan.nr_waits, own);
}

static void prepare_threads(void)
{
	size_t bytes = (plan.nr_threads + 1) * sizeof(*progress);

	plan.own_bytes += (bytes + TOUCH_PAGE - 1) / TOUCH_PAGE * TOUCH_PAGE;
	progress = own_memory(bytes, true);
	if (pthread_attr_init(&small_and_detached) ||
	    pthread_attr_setstacksize(&small_and_detached, STACK_BYTES) ||
	    pthread_attr_setdetachstate(&small_and_detached,
					PTHREAD_CREATE_DETACHED))
		stop(1, "attributes of threads");
}

/* A number that is wrong must not have the machine swap, or kill. */
static void check_memory(const struct trace *trace)
{
	uint64_t most = (uint64_t)sysconf(_SC_PHYS_PAGES) *
			(uint64_t)sysconf(_SC_PAGESIZE) / 2;

	if (trace->live_peak > most)
		stop(4, "%s: up to %llu bytes alive at once: expected at most "
		     "%llu, half of this machine's memory", trace_path,
		     (unsigned long long)trace->live_peak,
		     (unsigned long long)most);
}

static void replay(struct trace *trace)
{
	uint64_t repeats = repeat, nr;

	check_memory(trace);
	plan_make(&plan, trace, trace->nr, window);
	if (!repeats)
		repeats = (WORK_NS + plan.cost_ns / 2) / plan.cost_ns;
	nr = trace->nr;
	if (repeats * work >= 100)
		repeats = repeats * work / 100;
	else {
		nr = (repeats ? repeats : 1) * nr * work / 100;
		repeats = 1;
	}
	if (nr < trace->nr) {
		plan_forget(&plan);
		plan_make(&plan, trace, nr ? nr : 1, window);
	}
	trace_close(trace);
	prepare_threads();
	replay_all(repeats, nr);
}

static void tell(const struct trace *t)
{
	const uint64_t *k = t->kinds;

	printf("{\"kind\": \"info\", \"scenario\": \"replay\", \"records\": "
	       "%llu, \"threads\": %u, \"malloc\": %llu, \"calloc\": %llu, "
	       "\"memalign\": %llu, \"realloc\": %llu, \"free\": %llu, "
	       "\"foreign\": %llu, \"left\": %llu, \"live_peak\": %llu, "
	       "\"dropped\": %llu}\n", (unsigned long long)t->nr,
	       t->header->nr_threads, (unsigned long long)k[TRACE_MALLOC],
	       (unsigned long long)k[TRACE_CALLOC],
	       (unsigned long long)k[TRACE_MEMALIGN],
	       (unsigned long long)k[TRACE_REALLOC],
	       (unsigned long long)k[TRACE_FREE],
	       (unsigned long long)t->nr_foreign,
	       (unsigned long long)t->nr_left,
	       (unsigned long long)t->live_peak,
	       (unsigned long long)t->header->nr_dropped);
}

/* === Options ============================================================= */

static const struct option {
	const char *name;
	unsigned long *value;
	unsigned long min;
	unsigned long max;
} options[] = {
	{ "work", &work, 1, 1000 },
	{ "repeat", &repeat, 0, 1000000 },
	{ "window", &window, 0, 1ul << 28 },
	{ "look", &look, 0, 1 },
};

static void set_option(const struct option *option, const char *text)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || *text < '0' || *text > '9' || *end ||
	    value < option->min || value > option->max)
		stop(1, "--%s=%s: expected %lu..%lu", option->name, text,
		     option->min, option->max);
	*option->value = value;
}

static void read_option(const char *arg)
{
	size_t len = strcspn(arg, "=");

	if (!strncmp(arg, "--trace=", 8)) {
		trace_path = arg + 8;
		return;
	}
	for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++) {
		const struct option *option = options + i;

		if (!strncmp(arg, "--", 2) && arg[len] &&
		    strlen(option->name) == len - 2 &&
		    !strncmp(arg + 2, option->name, len - 2)) {
			set_option(option, arg + len + 1);
			return;
		}
	}
	stop(1, "%s: expected --trace=FILE, --work=PERCENT, --repeat=N, "
	     "--window=RECORDS or --look=1", arg);
}

int main(int argc, char **argv)
{
	struct trace trace;

	for (int i = 1; i < argc; i++)
		read_option(argv[i]);
	if (!*trace_path)
		stop(1, "--trace=FILE is missing");
	trace_open(&trace, trace_path);
	if (look)
		tell(&trace);
	else
		replay(&trace);
	return 0;
}
