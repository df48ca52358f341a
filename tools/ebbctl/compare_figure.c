/* SPDX-License-Identifier: MIT */
/*
 * ebbctl compare - Figures from the runs
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include "compare.h"

/* What could not be known is NAN. */
static double value_of(const struct trial *trial, enum figure figure)
{
	uint64_t bytes = UNKNOWN;

	switch (figure) {
	case FIGURE_WALL:
		return trial->wall;
	case FIGURE_CPU:
		return trial->cpu;
	case FIGURE_PEAK:
		bytes = trial->peak;
		break;
	case FIGURE_MEAN:
		bytes = trial->mean;
		break;
	case FIGURE_END:
		bytes = trial->end;
		break;
	case NR_FIGURES:
		break;
	}
	return bytes == UNKNOWN ? NAN : (double)bytes;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Sorts @values; the mean of the middle two where they are even. */
static double median_of(double *values, unsigned int nr)
{
	qsort(values, nr, sizeof(*values), compare_doubles);
	return (values[(nr - 1) / 2] + values[nr / 2]) / 2;
}

void figure_spread(const struct contender *contender, enum figure figure,
		   struct spread *ret)
{
	double values[RUNS_MOST], value;
	const struct trial *trial;
	unsigned int nr = 0;

	for (unsigned int i = 0; i < contender->nr_trials; i++) {
		trial = &contender->trials[i];
		value = value_of(trial, figure);
		if (trial_is_good(trial) && !isnan(value))
			values[nr++] = value;
	}
	*ret = (struct spread){ NAN, NAN, NAN };
	if (!nr)
		return;
	ret->median = median_of(values, nr);
	ret->least = values[0];
	ret->most = values[nr - 1];
}

double figure_ratio(const struct compare *cmp, unsigned int nr,
		    enum figure figure)
{
	struct spread one, present;

	figure_spread(&cmp->contender[0], figure, &present);
	figure_spread(&cmp->contender[nr], figure, &one);
	return present.median > 0 ? one.median / present.median : NAN;
}

double search_ratio(const struct compare *cmp, unsigned int nr)
{
	const struct search *one = &cmp->contender[nr].search;
	const struct search *present = &cmp->contender[0].search;

	if (one->state != SEARCH_FOUND || present->state != SEARCH_FOUND)
		return NAN;
	return (double)one->least / (double)present->least;
}

const char *figure_text(enum figure figure, double value,
			char buf[FIGURE_TEXT])
{
	if (isnan(value))
		snprintf(buf, FIGURE_TEXT, "-");
	else if (figure != FIGURE_WALL && figure != FIGURE_CPU)
		size_human((uint64_t)value, buf);
	else if (value < 0.9995)
		snprintf(buf, FIGURE_TEXT, "%.0f ms", value * 1e3);
	else
		snprintf(buf, FIGURE_TEXT, "%.*f s", value < 99.995 ? 2 : 0,
			 value);
	return buf;
}

void contender_tally(const struct contender *contender, struct tally *ret)
{
	double hits[RUNS_MOST];
	const struct trial *trial;
	unsigned int nr = 0;

	memset(ret, 0, sizeof(*ret));
	ret->limit_hits = UNKNOWN;
	for (unsigned int i = 0; i < contender->nr_trials; i++) {
		trial = &contender->trials[i];
		if (trial_is_good(trial))
			ret->good++;
		else if (!ret->bad)
			ret->bad = trial;
		ret->slow += trial->timed_out;
		ret->nr_with += trial->nr_with;
		ret->nr_without += trial->nr_without;
		ret->nr_left += trial->nr_left > 0;
		if (trial->oom_kills != UNKNOWN)
			ret->oom_kills += trial->oom_kills;
		if (trial->limit_hits != UNKNOWN)
			hits[nr++] = (double)trial->limit_hits;
	}
	if (nr)
		ret->limit_hits = (uint64_t)median_of(hits, nr);
}

const char *trial_failure(const struct trial *trial, char *buf, size_t size)
{
	bool oom = trial->oom_kills && trial->oom_kills != UNKNOWN;
	int status = trial->wait_status;

	if (trial->timed_out)
		snprintf(buf, size, "taking too long (%.0f s)", trial->wall);
	else if (WIFSIGNALED(status))
		snprintf(buf, size, "signal %d (%s)%s", WTERMSIG(status),
			 strsignal(WTERMSIG(status)),
			 oom ? ", an OOM kill" : "");
	else
		snprintf(buf, size, "exit status %d%s", WEXITSTATUS(status),
			 oom ? " and an OOM kill" : "");
	return buf;
}
