/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Density: tenants of one cgroup whose peaks alternate
 *
 * density [--tenants=4] [--peak-mb=64] [--rounds=2] [--preload=LIB] ...
 *
 * Each tenant is a process with --threads long-lived threads.  On its turn
 * they build objects of 16 B to 32 KB, log-uniform, until W = --peak-mb of
 * requested bytes are alive, replace --churn-percent of that without passing
 * W, and free all but one object in a hundred, chosen at random.  The tenant
 * then rests while the next one peaks, which begins at once; with --overlap=0
 * it begins when --idle-ms are over.  Rounds are --idle-ms apart.  What
 * survives a round is kept, and counted, in the next.
 *
 * A limit is survived if in --repeat of --repeat trials no tenant dies and
 * every byte of every survivor is what was written.  The smallest such limit
 * is found by bisection down to --step-percent of W.
 *
 * --limit-kb=N tries only that limit.
 */
#include "bench/crew.h"
#include "bench/frame.h"
#include "bench/load.h"

#define MOST_TENANTS	32

static unsigned long tenants = 4, peak_mb = 64, rounds = 2, threads = 2,
	churn_percent = 100, idle_ms = 200, overlap = 1, repeat = 3,
	step_percent = 2, most_percent = 800, limit_kb, seed = 1;

static struct knob knobs[] = {
	{ "tenants", &tenants, 1, MOST_TENANTS, NULL, "processes" },
	{ "peak-mb", &peak_mb, 1, 65536, NULL, "W: live bytes at a peak" },
	{ "rounds", &rounds, 1, 1000, NULL, "turns of each tenant" },
	{ "threads", &threads, 1, CREW_MAX, NULL, "of each tenant" },
	{ "churn-percent", &churn_percent, 0, 10000, NULL,
	  "of W, replaced at the peak" },
	{ "idle-ms", &idle_ms, 0, 60000, NULL, "rest after a peak" },
	{ "overlap", &overlap, 0, 1, NULL,
	  "1: the next peak begins at once, 0: after the rest" },
	{ "repeat", &repeat, 1, 100, NULL, "trials that must all succeed" },
	{ "step-percent", &step_percent, 1, 100, NULL,
	  "of W, the precision" },
	{ "most-percent", &most_percent, 100, 10000, NULL,
	  "of W, the largest limit tried" },
	{ "limit-kb", &limit_kb, 0, 1ul << 40, NULL,
	  "try this limit only; 0: bisect" },
	{ "seed", &seed, 0, 1ul << 30, NULL, "of sizes and choices" },
	{ NULL, NULL, 0, 0, NULL, NULL },
};

/* === A tenant =========================================================== */

static size_t share(void)
{
	return peak_mb * MIB / threads;
}

static void build(unsigned int number)
{
	load_grow(&loads[number], share());
}

static void churn(unsigned int number)
{
	load_churn(&loads[number], share() / 100 * churn_percent, share());
}

static void cull(unsigned int number)
{
	load_cull(&loads[number], 100);
}

static void check(unsigned int number)
{
	load_check(&loads[number]);
}

/* All threads are at their peak before the first one goes on. */
static void one_turn(void)
{
	size_t live = 0, left = 0;

	crew_do(build);
	for (unsigned int i = 0; i < threads; i++)
		live += loads[i].bytes;
	crew_do(churn);
	crew_do(cull);
	for (unsigned int i = 0; i < threads; i++)
		left += loads[i].bytes;
	answer("{\"peak_live_bytes\": %zu, \"left_bytes\": %zu}", live, left);
}

static int tenant(void)
{
	char line[64];

	for (unsigned int i = 0; i < threads; i++)
		load_init(&loads[i], share(), 4, 15);
	crew_start((unsigned int)threads);
	answer("ready");
	while (next_command(line, sizeof(line))) {
		if (!strncmp(line, "seed ", 5)) {
			for (unsigned int i = 0; i < threads; i++)
				load_seed(&loads[i], seed * 1000 +
					  strtoul(line + 5, NULL, 10) * 100 +
					  i);
			answer("seeded");
		} else if (!strcmp(line, "turn")) {
			one_turn();
		} else if (!strcmp(line, "check")) {
			crew_do(check);
			answer("good");
		} else {
			answer_info();
		}
	}
	return 0;
}

/* === The controller ===================================================== */

struct trial {
	size_t limit;
	bool survived;
	unsigned int died;		/* which tenant, from 1 */
	unsigned int died_round;	/* from 1; 0 before the first */
	double live;			/* most live bytes at a peak, seen */
	double seconds;
	char ending[80];
};

static struct worker crew[MOST_TENANTS];
static char *last_info[MOST_TENANTS];
static unsigned int nr_trials;

/* A tenant died: which, when, how. */
static bool note_death(struct trial *trial, unsigned int i, unsigned int round)
{
	/* Its pipe is closed a little before its status can be had. */
	worker_end(&crew[i], false);
	trial->died = i + 1;
	trial->died_round = round;
	strcpy(trial->ending, crew[i].ending);
	return false;
}

static bool start_tenants(struct trial *trial)
{
	char line[64];

	for (unsigned int i = 0; i < tenants; i++)
		worker_start(&crew[i], "tenant", NULL, NULL);
	for (unsigned int i = 0; i < tenants; i++) {
		snprintf(line, sizeof(line), "seed %u", nr_trials * 64 + i);
		if (!worker_hear(&crew[i]) || !worker_ask(&crew[i], line))
			return note_death(trial, i, 0);
	}
	return true;
}

static bool one_peak(struct trial *trial, unsigned int i, unsigned int round)
{
	char *line = worker_ask(&crew[i], "turn");
	double live;

	if (!line)
		return note_death(trial, i, round);
	live = number_in(line, "peak_live_bytes", 0);
	if (live > trial->live)
		trial->live = live;
	if (!overlap)
		sleep_ms((unsigned int)idle_ms);
	return true;
}

/* The OOM killer may have taken one that nobody was listening to. */
static bool all_good(struct trial *trial)
{
	for (unsigned int i = 0; i < tenants; i++) {
		char *line = worker_ask(&crew[i], "check");

		if (!line || strcmp(line, "good"))
			return note_death(trial, i, (unsigned int)rounds);
	}
	for (unsigned int i = 0; i < tenants; i++) {
		char *line = worker_ask(&crew[i], "info");

		if (!line)
			return note_death(trial, i, (unsigned int)rounds);
		free(last_info[i]);
		last_info[i] = strdup(line);
	}
	return !limit_oom_kills();
}

static bool run_rounds(struct trial *trial)
{
	if (!start_tenants(trial))
		return false;
	for (unsigned int round = 1; round <= rounds; round++) {
		for (unsigned int i = 0; i < tenants; i++)
			if (!one_peak(trial, i, round))
				return false;
		if (overlap)
			sleep_ms((unsigned int)idle_ms);
	}
	return all_good(trial);
}

static bool try_limit(size_t limit)
{
	struct trial trial = { .limit = limit, .ending = "ended well" };
	uint64_t begin = now_ns();

	limit_begin();
	limit_set(limit);
	nr_trials++;
	trial.survived = run_rounds(&trial);
	for (unsigned int i = 0; i < tenants; i++)
		worker_end(&crew[i], true);
	limit_end();
	trial.seconds = (double)(now_ns() - begin) / 1e9;
	emit("trial", "\"limit_bytes\": %zu, \"survived\": %s, "
	     "\"died_tenant\": %u, \"died_round\": %u, \"ending\": \"%s\", "
	     "\"peak_live_bytes\": %.0f, \"seconds\": %.2f", limit,
	     trial.survived ? "true" : "false", trial.died, trial.died_round,
	     trial.ending, trial.live, trial.seconds);
	say("%.2f x W: %s (%.1f s)", (double)limit / MIB / (double)peak_mb,
	    trial.ending, trial.seconds);
	return trial.survived;
}

/* How many trials in a row succeed, at most --repeat. */
static unsigned int survives(size_t limit)
{
	unsigned int nr = 0;

	while (nr < repeat && try_limit(limit))
		nr++;
	return nr;
}

/* The smallest limit that is survived, in steps; 0: none up to the largest. */
static unsigned long bisect(size_t step)
{
	unsigned long low = 50 / step_percent, high = 150 / step_percent;
	unsigned long most = most_percent / step_percent;

	if (high > most)
		high = most;
	/* Up in strides, since most of what fails fails at once. */
	while (survives(high * step) < repeat) {
		low = high;
		if (high == most)
			return 0;
		high += high / 3 + 1;
		if (high > most)
			high = most;
	}
	while (high - low > 1) {
		unsigned long middle = low + (high - low) / 2;

		if (survives(middle * step) == repeat)
			high = middle;
		else
			low = middle;
	}
	return high;
}

static void report_bisection(void)
{
	size_t step = peak_mb * MIB / 100 * step_percent;
	unsigned long found = bisect(step);

	if (found)
		emit("result", "\"w_bytes\": %lu, \"limit_bytes\": %zu, "
		     "\"limit_per_w\": %.3f, \"trials\": %u",
		     peak_mb * MIB, found * step, (double)(found *
		     step_percent) / 100, nr_trials);
	else
		emit("result", "\"w_bytes\": %lu, \"limit_bytes\": null, "
		     "\"limit_per_w\": null, \"trials\": %u, \"ending\": "
		     "\"dies even at %.1f x W\"", peak_mb * MIB, nr_trials,
		     (double)most_percent / 100);
}

static void report_limit(void)
{
	unsigned int good = 0;

	for (unsigned int i = 0; i < repeat; i++)
		good += try_limit(limit_kb * KIB);
	emit("result", "\"w_bytes\": %lu, \"limit_bytes\": %zu, "
	     "\"survived\": %u, \"of\": %lu", peak_mb * MIB, limit_kb * KIB,
	     good, repeat);
}

int main(int argc, char **argv)
{
	(void)argc;
	if (frame_begin("density", knobs, argv))
		return tenant();
	frame_warm(tenants * peak_mb * MIB * 3 / 2);
	if (limit_kb)
		report_limit();
	else
		report_bisection();
	for (unsigned int i = 0; i < tenants; i++)
		if (last_info[i])
			puts(last_info[i]);
	return 0;
}
