/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - What all scenarios have in common
 *
 * What it is: a scenario is one program in two parts.  The *controller* reads
 * the options, makes a memory cgroup, starts *workers* in it (the same program
 * again, with the allocator preloaded), tells them what to do, and judges.
 * It allocates nothing near the limit and stays outside the group.  A worker
 * takes commands, a line each, on stdin, and answers each by a line on stdout.
 *
 * All that is measured is printed as JSON, an object on each line, with the
 * member "kind": "result", "trial", "sample" or "info" (a worker's
 * malloc_info() at its end).
 *
 * Whatever ends the controller takes workers and cgroup with it.
 */
#ifndef EBB_BENCH_FRAME_H
#define EBB_BENCH_FRAME_H

#include <sys/types.h>
#include "cgroup.h"

#define LINE_SIZE	65536
/* Exit status of a worker. */
#define EXIT_NO_MEMORY	10
#define EXIT_CORRUPT	11

/* A parameter: --name=VALUE; of @value or @text one is not NULL. */
struct knob {
	const char *name;
	unsigned long *value;
	unsigned long min;
	unsigned long max;
	const char **text;
	const char *help;
};

extern struct frame {
	const char *scenario;
	struct group group;
	/* Parameters that every scenario has. */
	const char *preload;		/* "": what the controller has */
	unsigned long high;		/* memory.high in % of the limit */
	unsigned long container;	/* workers run confined */
	unsigned long patience;		/* seconds for an answer */
	unsigned long verbose;
} frame;

/*
 * Read options, of which @knobs, ended by a NULL name, are the scenario's
 * own.  A worker gets the values the controller has.  True in a worker.
 */
bool frame_begin(const char *scenario, struct knob *knobs, char **argv);

/* Touch @bytes once, since memory the machine never used costs far more. */
void frame_warm(size_t bytes);

void die(const char *format, ...)
	__attribute__((noreturn, format(printf, 1, 2)));

/* On stderr, with --verbose=1. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Print one line of JSON: common members, then what @format makes. */
void emit(const char *kind, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* === The cgroup ========================================================= */

/* Fresh, without a limit.  No cgroup can be made: exit status 4. */
void limit_begin(void);
void limit_set(size_t bytes);
void limit_end(void);
uint64_t limit_oom_kills(void);
size_t limit_usage(void);
size_t limit_peak(void);		/* 0 where the kernel does not tell */

/* === Workers ============================================================ */

struct worker {
	pid_t pid;			/* 0: none */
	int to;
	int from;
	bool late;			/* no answer in time */
	size_t buffered;
	char buffer[LINE_SIZE];
	char ending[80];		/* how it ended, in words */
};

/*
 * Start this program again as the worker @role.  @preload: instead of
 * frame.preload, or NULL.  @env: one more NAME=VALUE, or NULL.
 */
void worker_start(struct worker *worker, const char *role,
		  const char *preload, const char *env);

void worker_tell(struct worker *worker, const char *line);

/* The next line without its end; NULL: it has died, or is late. */
char *worker_hear(struct worker *worker);

/* Both. */
char *worker_ask(struct worker *worker, const char *line);

/* Wait for it, SIGKILL first if @kill; worker->ending tells how it ended. */
void worker_end(struct worker *worker, bool kill);

/*
 * What the cgroup is charged for the worker "worker" before its first object
 * exists, by its usage.
 */
size_t worker_base(void);

/* The number after "name": in @line, or @otherwise. */
double number_in(const char *line, const char *name, double otherwise);

/* In the worker: the role, the next command (false: end), an answer. */
const char *worker_role(void);
bool next_command(char *line, size_t size);
void answer(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* In the worker, as an answer: malloc_info() as a line of kind "info". */
void answer_info(void);

/* === Time =============================================================== */

static inline uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static inline uint64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

/* Sort @values and return the one that @percent % are not above. */
double percentile(double *values, size_t nr, double percent);
double median(double *values, size_t nr);

/* The background thread of whatever allocator is at work; 0: none. */
pid_t background_thread(pid_t pid);

/* Nanoseconds on a CPU of a thread of @pid; the kernel updates by ticks
 * while it runs, exactly when it stops. */
uint64_t thread_cpu_ns(pid_t pid, pid_t tid);
uint64_t thread_wakeups(pid_t pid, pid_t tid);

#endif
