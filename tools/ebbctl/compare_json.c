/* SPDX-License-Identifier: MIT */
/*
 * ebbctl compare - The result as JSON
 *
 * Sizes are bytes, times seconds; null is what could not be known.  LIMIT_NONE
 * and UNKNOWN are the same number, and both are null.
 */
#include <math.h>
#include <sys/wait.h>
#include "compare.h"

static const char *const figure_keys[] = {
	[FIGURE_WALL]	= "wall",
	[FIGURE_CPU]	= "cpu",
	[FIGURE_PEAK]	= "peak",
	[FIGURE_MEAN]	= "mean",
	[FIGURE_END]	= "end",
};
_Static_assert(ARRAY_SIZE(figure_keys) == NR_FIGURES, "a key for each");

static void put_figure(const struct compare *cmp, unsigned int nr,
		       enum figure figure, struct json *json)
{
	struct spread spread;

	figure_spread(&cmp->contender[nr], figure, &spread);
	json_open(json, figure_keys[figure], '{');
	json_real(json, "median", spread.median);
	json_real(json, "smallest", spread.least);
	json_real(json, "largest", spread.most);
	json_real(json, "ratio", figure_ratio(cmp, nr, figure));
	json_close(json, '}');
}

static void put_trial(const struct trial *trial, struct json *json)
{
	int status = trial->wait_status;

	json_open(json, NULL, '{');
	json_bool(json, "good", trial_is_good(trial));
	json_number(json, "exit_status", WIFEXITED(status) ?
		    (uint64_t)WEXITSTATUS(status) : UNKNOWN);
	json_number(json, "signal", WIFSIGNALED(status) ?
		    (uint64_t)WTERMSIG(status) : UNKNOWN);
	json_bool(json, "timed_out", trial->timed_out);
	json_real(json, "wall", trial->wall);
	json_real(json, "cpu", trial->cpu);
	json_number(json, "peak", trial->peak);
	json_number(json, "mean", trial->mean);
	json_number(json, "end", trial->end);
	json_number(json, "limit_hits", trial->limit_hits);
	json_number(json, "high_hits", trial->high_hits);
	json_number(json, "oom_kills", trial->oom_kills);
	json_number(json, "programs_with_library", trial->nr_with);
	json_number(json, "programs_without_library", trial->nr_without);
	json_number(json, "killed_at_end", trial->nr_left);
	json_close(json, '}');
}

static void put_search(const struct search *search, double ratio,
		       struct json *json)
{
	if (search->state == SEARCH_NOT) {
		json_text(json, "find_limit", NULL);
		return;
	}
	json_open(json, "find_limit", '{');
	json_number(json, "least", search->state == SEARCH_FOUND ?
		    search->least : UNKNOWN);
	json_real(json, "ratio", ratio);
	json_number(json, "highest_in_vain", search->state == SEARCH_NONE ?
		    search->highest : UNKNOWN);
	json_number(json, "runs", search->nr_runs);
	json_number(json, "too_slow", search->nr_slow);
	json_close(json, '}');
}

static void put_contender(const struct compare *cmp, unsigned int nr,
			  struct json *json)
{
	const struct contender *contender = &cmp->contender[nr];
	const char *library = contender->allocator.library;
	struct tally tally;

	contender_tally(contender, &tally);
	json_open(json, NULL, '{');
	json_text(json, "name", contender->allocator.name);
	json_text(json, "library", *library ? library : NULL);
	json_text(json, "found", *contender->found ? contender->found : NULL);
	if (!*library || (!tally.nr_with && !tally.nr_without))
		json_text(json, "loaded", NULL);
	else
		json_bool(json, "loaded", tally.nr_with);
	json_number(json, "good_runs", tally.good);
	json_number(json, "limit_hits", tally.limit_hits);
	json_number(json, "oom_kills", cmp->in_cgroup ? tally.oom_kills :
		    UNKNOWN);
	for (int i = 0; i < NR_FIGURES; i++)
		put_figure(cmp, nr, (enum figure)i, json);
	put_search(&contender->search, search_ratio(cmp, nr), json);
	json_open(json, "runs", '[');
	for (unsigned int i = 0; i < contender->nr_trials; i++)
		put_trial(&contender->trials[i], json);
	json_close(json, ']');
	json_close(json, '}');
}

void compare_json(const struct compare *cmp, FILE *out)
{
	struct json json = { .out = out };

	json_open(&json, NULL, '{');
	json_open(&json, "command", '[');
	for (char **arg = cmp->command; *arg; arg++)
		json_text(&json, NULL, *arg);
	json_close(&json, ']');
	json_number(&json, "runs", cmp->nr_runs);
	json_number(&json, "sample_ms", SAMPLE_MS);
	json_number(&json, "cgroup_version", cmp->in_cgroup ?
		    (uint64_t)cmp->cgroup_version : UNKNOWN);
	json_text(&json, "no_cgroup", cmp->in_cgroup ? NULL : cmp->why);
	json_text(&json, "peak_is", cmp->peak_is_rss ? "rss" : "cgroup");
	json_number(&json, "memory_limit", cmp->limits.memory);
	json_number(&json, "memory_high", cmp->limits.high);
	json_number(&json, "high_percent", cmp->high_percent ?
		    cmp->high_percent : UNKNOWN);
	json_number(&json, "swap_limit", cmp->limits.memory == LIMIT_NONE &&
		    !cmp->find_limit ? UNKNOWN : cmp->limits.swap);
	json_number(&json, "resolution", cmp->step ? cmp->step : UNKNOWN);
	json_open(&json, "allocators", '[');
	for (unsigned int i = 0; i < cmp->nr; i++)
		put_contender(cmp, i, &json);
	json_close(&json, ']');
	json_close(&json, '}');
	fputc('\n', out);
}
