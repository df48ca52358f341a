/* SPDX-License-Identifier: MIT */
/*
 * ebbctl compare - One run of the command
 *
 * The tool is a subreaper: what the command leaves behind becomes its child,
 * so that it is found without a cgroup, too, and its CPU time is known when
 * it has been killed.
 *
 * States of a run, each function going on to the next:
 *	waiting		launch_child(): the child, not yet in its cgroup
 *	running		watch(): until the command itself has ended, its time
 *			is over, or the comparison is interrupted
 *	clearing	clear_away(): until no process of it is left
 */
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include "compare.h"
#include "launch.h"

#define GRACE_S		0.2	/* for children that are about to end */
#define KILL_WAIT_S	60.0	/* much memory takes long to take down */
#define KILL_WAIT_MS	5

struct course {
	struct compare *cmp;
	struct contender *contender;
	struct trial *trial;
	struct run_cgroup cg;
	struct sampler sampler;
	pid_t pid;
	bool running;		/* the command itself */
	double begun;
	uint64_t peak_rss;
};

bool trial_is_good(const struct trial *trial)
{
	return !trial->timed_out && WIFEXITED(trial->wait_status) &&
	       !WEXITSTATUS(trial->wait_status) &&
	       (!trial->oom_kills || trial->oom_kills == UNKNOWN);
}

/* === Waiting ============================================================== */

static double seconds_of(struct timeval time)
{
	return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

/* Take note of all children that have ended. */
static void reap(struct course *course)
{
	struct rusage used;
	uint64_t peak;
	int status;
	pid_t pid;

	while ((pid = wait4(-1, &status, WNOHANG, &used)) > 0) {
		if (pids_have(&course->cmp->except, pid))
			continue;
		course->trial->cpu += seconds_of(used.ru_utime) +
				      seconds_of(used.ru_stime);
		peak = (uint64_t)used.ru_maxrss * 1024;
		if (peak > course->peak_rss)
			course->peak_rss = peak;
		if (pid != course->pid)
			continue;
		course->trial->wall = launch_clock() - course->begun;
		course->trial->wait_status = status;
		course->running = false;
	}
}

/* Wait for @ms, or until the command ends or somebody interrupts. */
static void wait_a_while(struct course *course, unsigned int ms)
{
	double until = launch_clock() + ms / 1e3, left;
	struct timespec ts;
	int sig;

	while (course->running && !course->cmp->interrupted) {
		left = until - launch_clock();
		if (left < 0)
			return;
		ts.tv_sec = (time_t)left;
		ts.tv_nsec = (long)((left - (double)ts.tv_sec) * 1e9);
		sig = sigtimedwait(&course->cmp->waited, NULL, &ts);
		if (sig == SIGCHLD)
			reap(course);
		else if (sig > 0)
			course->cmp->interrupted = sig;
	}
}

static void watch(struct course *course, double seconds)
{
	double now;

	while (course->running && !course->cmp->interrupted) {
		now = launch_clock();
		if (seconds > 0 && now - course->begun > seconds) {
			course->trial->timed_out = true;
			return;
		}
		wait_a_while(course, sampler_take(&course->sampler, now));
	}
}

/* === Clearing away ======================================================== */

static void kill_all(const struct pids *pids)
{
	for (unsigned int i = 0; i < pids->nr; i++)
		kill(pids->pid[i], SIGKILL);
}

/* Wait for what is left, and kill it; false if that does not help. */
static bool clear_away(struct course *course)
{
	struct timespec wait = { .tv_nsec = KILL_WAIT_MS * 1000000L };
	struct pids *pids = &course->sampler.pids;
	double since = launch_clock(), passed;
	bool hurry = course->cmp->interrupted || course->trial->timed_out;

	for (;;) {
		reap(course);
		sampler_find(&course->sampler);
		if (!pids->nr && !course->running)
			return true;
		passed = launch_clock() - since;
		if (passed > KILL_WAIT_S)
			break;
		if (hurry || passed > GRACE_S) {
			if (!hurry && !course->trial->nr_left)
				course->trial->nr_left = pids->nr;
			kill_all(pids);
		}
		nanosleep(&wait, NULL);
	}
	message("%u processes of the command cannot be killed, e.g. %d",
		pids->nr, pids->nr ? (int)pids->pid[0] : (int)course->pid);
	return false;
}

/* === The run ============================================================== */

static void limits_for(const struct compare *cmp, const struct bounds *bounds,
		       struct limits *ret)
{
	*ret = cmp->limits;
	ret->memory = bounds->memory;
	if (ret->memory == LIMIT_NONE)
		ret->swap = LIMIT_NONE;
	else if (cmp->high_percent)
		ret->high = ret->memory / 100 * cmp->high_percent;
}

/* Start the command and see it through; false after a message. */
static bool run_course(struct course *course, double seconds)
{
	const struct compare *cmp = course->cmp;
	const char *library = course->contender->allocator.library;
	struct launch launch = {
		.command = cmp->command,
		.library = *library ? library : NULL,
		.fds = { cmp->null, cmp->show ? 2 : cmp->null,
			 cmp->show ? 2 : cmp->null },
		.tied = true,
		.mask = &cmp->mask,
	};
	int gate;
	bool in;

	course->pid = launch_child(&launch, &gate);
	if (course->pid < 0)
		return false;
	course->running = true;
	course->sampler.command = course->pid;
	in = !cmp->in_cgroup || cgroup_enter(&course->cg, course->pid);
	course->begun = launch_clock();
	sampler_begin(&course->sampler, course->begun);
	in = launch_open(gate, in);
	watch(course, seconds);
	return clear_away(course) && in;
}

static void take_results(struct course *course)
{
	const struct sampler *sampler = &course->sampler;
	struct trial *trial = course->trial;
	struct usage usage = {
		.peak = UNKNOWN, .limit_hits = UNKNOWN,
		.high_hits = UNKNOWN, .oom_kills = UNKNOWN,
	};

	if (course->cmp->in_cgroup)
		cgroup_read(&course->cg, &usage);
	trial->peak = usage.peak;
	if (usage.peak == UNKNOWN) {
		trial->peak = course->peak_rss;
		course->cmp->peak_is_rss = true;
	}
	trial->limit_hits = usage.limit_hits;
	trial->high_hits = usage.high_hits;
	trial->oom_kills = usage.oom_kills;
	trial->mean = sampler_mean(sampler);
	trial->end = sampler_end(sampler, sampler->since + trial->wall);
	trial->nr_with = sampler->nr_with;
	trial->nr_without = sampler->nr_without;
	if (*sampler->found)
		memcpy(course->contender->found, sampler->found, SAMPLE_NAME);
	if (*sampler->without)
		memcpy(course->contender->without, sampler->without,
		       SAMPLE_NAME);
}

bool trial_run(struct compare *cmp, struct contender *contender,
	       const struct bounds *bounds, struct trial *ret)
{
	static struct course course;
	struct limits limits;
	bool ran;

	memset(&course, 0, sizeof(course));
	memset(ret, 0, sizeof(*ret));
	course.cmp = cmp;
	course.contender = contender;
	course.trial = ret;
	course.sampler.except = &cmp->except;
	course.sampler.library = contender->allocator.library;
	limits_for(cmp, bounds, &limits);
	if (cmp->in_cgroup && !cgroup_make(&course.cg, &limits)) {
		message("%s", course.cg.why);
		return false;
	}
	if (cmp->in_cgroup)
		course.sampler.cg = &course.cg;
	ran = run_course(&course, bounds->seconds);
	take_results(&course);
	if (cmp->in_cgroup && cgroup_remove(&course.cg))
		return false;
	return ran && !cmp->interrupted;
}
