/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Speed programs: options, threads, the clock, the result
 */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/mman.h>
#include "bench/speed/speed.h"

#define WARM_SHARE	8
#define MOST_KNOBS	16

struct stamp {
	uint64_t wall;
	uint64_t cpu;			/* of the whole process */
};

struct worker {
	pthread_t thread;
	unsigned int number;
	struct stamp begin;
	struct stamp end;
};

unsigned long speed_threads;
static unsigned long operations, work = 100;
static const struct program *program;
static struct knob knobs[MOST_KNOBS];
static struct worker workers[THREADS_MAX];
static pthread_barrier_t together;

void die(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s: ", program->name);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

void speed_no_memory(size_t size)
{
	fprintf(stderr, "%s: no memory for %zu bytes\n", program->name, size);
	_exit(EXIT_NO_MEMORY);
}

void speed_corrupt(const void *p)
{
	fprintf(stderr, "%s: the object at %p is not what was written\n",
		program->name, p);
	_exit(EXIT_CORRUPT);
}

void *table_map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("a table of %zu bytes: %s", bytes, strerror(errno));
	return p;
}

/* === Options ============================================================ */

static void usage(void)
{
	printf("usage: %s [--NAME=VALUE ...]\nan operation is %s\n",
	       program->name, program->operation);
	for (const struct knob *knob = knobs; knob->name; knob++) {
		printf("  --%-11s %s (", knob->name, knob->help);
		for (unsigned long i = 0; knob->words && knob->words[i]; i++)
			printf("%s, ", knob->words[i]);
		if (knob->words)
			printf("default %s)\n", knob->words[*knob->value]);
		else
			printf("%lu..%lu, default %lu)\n", knob->min,
			       knob->max, *knob->value);
	}
}

static void set_word(const struct knob *knob, const char *text)
{
	char all[128] = "";

	for (unsigned long i = 0; knob->words[i]; i++) {
		if (!strcmp(knob->words[i], text)) {
			*knob->value = i;
			return;
		}
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s",
			 i ? ", " : "", knob->words[i]);
	}
	die("--%s=%s: expected one of %s", knob->name, text, all);
}

static void set_number(const struct knob *knob, const char *text)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || end == text || *end || *text == '-' ||
	    value < knob->min || value > knob->max)
		die("--%s=%s: expected %lu..%lu", knob->name, text, knob->min,
		    knob->max);
	*knob->value = value;
}

static void set_option(const char *arg)
{
	size_t len = strcspn(arg, "=");

	if (!strcmp(arg, "--help")) {
		usage();
		exit(0);
	}
	for (const struct knob *knob = knobs; knob->name; knob++) {
		if (strncmp(arg, "--", 2) || strlen(knob->name) != len - 2 ||
		    strncmp(arg + 2, knob->name, len - 2))
			continue;
		if (!arg[len])
			die("%s wants a value: %s=VALUE", arg, arg);
		if (knob->words)
			set_word(knob, arg + len + 1);
		else
			set_number(knob, arg + len + 1);
		return;
	}
	die("%s: no such option (--help)", arg);
}

static void read_options(char **argv)
{
	unsigned long least = program->threads_min ? program->threads_min : 1;
	struct knob common[] = {
		{ "threads", &speed_threads, least, THREADS_MAX, NULL,
		  "that work at the same time" },
		{ "operations", &operations, 1, 1ul << 40, NULL,
		  "of each thread" },
		{ "work", &work, 1, 1000, NULL, "percent of these" },
	};
	size_t nr = 0;

	speed_threads = least;
	operations = program->operations;
	for (size_t i = 0; i < ARRAY_LEN(common); i++)
		knobs[nr++] = common[i];
	for (struct knob *knob = program->knobs; knob->name; knob++)
		knobs[nr++] = *knob;
	if (nr >= MOST_KNOBS)
		die("more than %d options", MOST_KNOBS - 1);
	while (*++argv)
		set_option(*argv);
	operations = operations * work / 100;
	if (!operations)
		operations = 1;
}

/* === Work =============================================================== */

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static struct stamp stamp(void)
{
	return (struct stamp){ clock_ns(CLOCK_MONOTONIC),
			       clock_ns(CLOCK_PROCESS_CPUTIME_ID) };
}

static void *run_worker(void *arg)
{
	struct worker *worker = arg;

	program->body(worker->number, operations / WARM_SHARE + 1);
	pthread_barrier_wait(&together);
	worker->begin = stamp();
	program->body(worker->number, operations);
	worker->end = stamp();
	/* Nobody's exit is within the time of another one's work. */
	pthread_barrier_wait(&together);
	return NULL;
}

static void run_all(void)
{
	int err;

	pthread_barrier_init(&together, NULL, (unsigned int)speed_threads);
	if (speed_threads == 1) {
		run_worker(&workers[0]);
		return;
	}
	for (unsigned int i = 0; i < speed_threads; i++) {
		workers[i].number = i;
		err = pthread_create(&workers[i].thread, NULL, run_worker,
				     &workers[i]);
		if (err)
			die("thread %u: %s", i, strerror(err));
	}
	for (unsigned int i = 0; i < speed_threads; i++)
		pthread_join(workers[i].thread, NULL);
}

/* From the first one's begin to the last one's end. */
static struct stamp duration(void)
{
	struct stamp begin = workers[0].begin, end = workers[0].end;

	for (unsigned int i = 1; i < speed_threads; i++) {
		if (workers[i].begin.wall < begin.wall)
			begin = workers[i].begin;
		if (workers[i].end.wall > end.wall)
			end = workers[i].end;
	}
	return (struct stamp){ end.wall - begin.wall, end.cpu - begin.cpu };
}

int speed_main(const struct program *chosen, char **argv)
{
	struct stamp took;
	size_t peak;

	program = chosen;
	read_options(argv);
	if (program->prepare)
		program->prepare();
	run_all();
	took = duration();
	peak = status_bytes("\nVmHWM:");
	if (program->finish)
		program->finish();
	printf("{\"kind\": \"result\", \"scenario\": \"%s\", \"threads\": %lu, "
	       "\"seconds\": %.6f, \"cpu_seconds\": %.6f, \"operations\": "
	       "%lu, \"peak_rss_kb\": %zu}\n", program->name, speed_threads,
	       (double)took.wall / 1e9, (double)took.cpu / 1e9,
	       operations * speed_threads, peak / KIB);
	return fflush(stdout) ? 1 : 0;
}
