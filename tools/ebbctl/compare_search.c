/* SPDX-License-Identifier: MIT */
/*
 * ebbctl compare - The smallest limit that survives
 *
 * Model: limits are whole steps, the same for all, so that the results can be
 * compared: 1/128 of the highest peak of all runs, at least 1 MiB.  A limit
 * is survived if as many runs as were asked for succeed, one after the other,
 * in their time.  From the peak, up by doubling and down by halving; the
 * result is survived, and one step less was not.
 */
#include <unistd.h>
#include "compare.h"

#define STEPS		128
#define TIMES_SLOWER	10	/* than the slowest run, and then too slow */
#define SLACK_S		10

enum verdict { DIES, SURVIVES, STOPPED };

/* === Bounds =============================================================== */

/* No limit tried is higher. */
static uint64_t highest_limit(const struct compare *cmp)
{
	uint64_t ram = (uint64_t)sysconf(_SC_PHYS_PAGES) *
		       (uint64_t)sysconf(_SC_PAGESIZE);

	return cmp->limits.memory < ram ? cmp->limits.memory : ram;
}

/* How long a run may take; bounded, as near the limit a program may crawl. */
static double longest_run(const struct compare *cmp,
			  const struct contender *contender)
{
	double slowest = 0;

	if (cmp->seconds)
		return cmp->seconds;
	for (unsigned int i = 0; i < contender->nr_trials; i++)
		if (contender->trials[i].wall > slowest)
			slowest = contender->trials[i].wall;
	return slowest * TIMES_SLOWER + SLACK_S;
}

static uint64_t highest_peak(const struct contender *contender)
{
	uint64_t peak = 0;

	for (unsigned int i = 0; i < contender->nr_trials; i++)
		if (contender->trials[i].peak > peak)
			peak = contender->trials[i].peak;
	return peak;
}

static void choose_step(struct compare *cmp)
{
	uint64_t peak = 0, one;

	for (unsigned int i = 0; i < cmp->nr; i++) {
		one = highest_peak(&cmp->contender[i]);
		peak = one > peak ? one : peak;
	}
	cmp->step = (peak / STEPS + MIB - 1) / MIB * MIB;
	if (cmp->step < MIB)
		cmp->step = MIB;
}

/* === Search =============================================================== */

/* Whether the command survives a limit of @steps, each time. */
static enum verdict try_limit(struct compare *cmp, struct contender *contender,
			      uint64_t steps)
{
	struct bounds bounds = {
		.memory = steps * cmp->step,
		.seconds = longest_run(cmp, contender),
	};
	struct search *search = &contender->search;
	char text[SIZE_TEXT];
	struct trial trial;

	for (unsigned int i = 0; i < cmp->nr_runs; i++) {
		compare_progress(cmp, "%s with %s, run %u",
				 contender->allocator.name,
				 size_exact((int64_t)bounds.memory, text),
				 i + 1);
		if (!trial_run(cmp, contender, &bounds, &trial))
			return STOPPED;
		search->nr_runs++;
		search->nr_slow += trial.timed_out;
		if (!trial_is_good(&trial))
			return DIES;
	}
	return SURVIVES;
}

/*
 * The first limit that is survived, in *@high, and one that is not, in *@low.
 * DIES if there is none up to the highest.
 */
static enum verdict search_up(struct compare *cmp, struct contender *contender,
			      uint64_t *low, uint64_t *high)
{
	uint64_t most = highest_limit(cmp) / cmp->step;
	enum verdict verdict;

	most = most ? most : 1;
	*low = 0;
	*high = highest_peak(contender) / cmp->step + 1;
	for (;;) {
		if (*high > most)
			*high = most;
		verdict = try_limit(cmp, contender, *high);
		if (verdict != DIES || *high == most)
			return verdict;
		*low = *high;
		*high *= 2;
	}
}

static bool search_one(struct compare *cmp, struct contender *contender)
{
	struct search *search = &contender->search;
	uint64_t low, high, middle;
	enum verdict verdict;

	verdict = search_up(cmp, contender, &low, &high);
	search->highest = high * cmp->step;
	search->state = SEARCH_NONE;
	if (verdict != SURVIVES)
		return verdict == DIES;
	while (high - low > 1) {
		middle = low + (high - low) / 2;
		verdict = try_limit(cmp, contender, middle);
		if (verdict == STOPPED)
			return false;
		if (verdict == SURVIVES)
			high = middle;
		else
			low = middle;
	}
	search->state = SEARCH_FOUND;
	search->least = high * cmp->step;
	return true;
}

/* More memory may help, or none of the runs so far was without it. */
static bool is_worth_it(const struct contender *contender)
{
	struct tally tally;

	contender_tally(contender, &tally);
	return tally.good || tally.oom_kills;
}

bool compare_search(struct compare *cmp)
{
	choose_step(cmp);
	for (unsigned int i = 0; i < cmp->nr; i++)
		if (is_worth_it(&cmp->contender[i]) &&
		    !search_one(cmp, &cmp->contender[i]))
			return false;
	return true;
}
