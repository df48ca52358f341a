/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - A strict reader of Prometheus' text format, version 0.0.4
 *
 * Takes no more than what the format's description allows, and less: HELP and
 * TYPE once and before all samples of a family, these together, no family
 * twice, names as they have to be, counters that end in _total, histograms
 * whose buckets grow and end with +Inf.
 */
#ifndef EBB_TESTS_CTL_METRICS_H
#define EBB_TESTS_CTL_METRICS_H

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define METRICS_MAX	128

enum metric_type {
	METRIC_NONE,
	METRIC_GAUGE,
	METRIC_COUNTER,
	METRIC_HISTOGRAM,
};

struct metric {
	char name[80];
	char help[160];
	enum metric_type type;
	unsigned int nr_samples;
	double value;		/* of the last sample; of a histogram _count */
	double bucket, le;	/* of a histogram: the last one */
	bool has_inf, has_sum, has_count;
};

struct metrics {
	struct metric rows[METRICS_MAX];
	unsigned int nr;
	const char *why, *at;	/* of failure */
};

static inline const struct metric *metrics_find(const struct metrics *metrics,
						const char *name)
{
	for (unsigned int i = 0; i < metrics->nr; i++)
		if (!strcmp(metrics->rows[i].name, name))
			return &metrics->rows[i];
	return NULL;
}

static inline bool metrics_fail(struct metrics *metrics, const char *why)
{
	metrics->why = why;
	return false;
}

/* The name at the start of @at; its length, 0: there is none. */
static inline size_t metric_name(const char *at)
{
	size_t len = 0;

	while (isalpha((unsigned char)at[len]) || at[len] == '_' ||
	       at[len] == ':' || (len && isdigit((unsigned char)at[len])))
		len++;
	return len;
}

static inline bool ends_in(const char *name, const char *end)
{
	size_t len = strlen(name), of_end = strlen(end);

	return len > of_end && !strcmp(name + len - of_end, end);
}

/* "# HELP name text" begins a family. */
static inline bool metrics_help(struct metrics *metrics, const char *line)
{
	size_t len = metric_name(line);
	struct metric *row = &metrics->rows[metrics->nr];

	if (!len || line[len] != ' ' || !line[len + 1])
		return metrics_fail(metrics, "HELP without name or text");
	if (len >= sizeof(row->name) || metrics->nr == METRICS_MAX)
		return metrics_fail(metrics, "too long, or too many");
	memset(row, 0, sizeof(*row));
	memcpy(row->name, line, len);
	snprintf(row->help, sizeof(row->help), "%s", line + len + 1);
	if (metrics_find(metrics, row->name))
		return metrics_fail(metrics, "a family twice");
	metrics->nr++;
	return true;
}

/* "# TYPE name type" follows its HELP. */
static inline bool metrics_type(struct metrics *metrics, const char *line)
{
	struct metric *row = &metrics->rows[metrics->nr - 1];
	size_t len = metric_name(line);
	const char *type = line + len + 1;

	if (!metrics->nr || strncmp(row->name, line, len) || row->name[len] ||
	    line[len] != ' ')
		return metrics_fail(metrics, "TYPE without its HELP");
	if (row->type != METRIC_NONE)
		return metrics_fail(metrics, "TYPE twice");
	if (!strcmp(type, "gauge"))
		row->type = METRIC_GAUGE;
	else if (!strcmp(type, "counter"))
		row->type = METRIC_COUNTER;
	else if (!strcmp(type, "histogram"))
		row->type = METRIC_HISTOGRAM;
	else
		return metrics_fail(metrics, "no such TYPE");
	if ((row->type == METRIC_COUNTER) != ends_in(row->name, "_total"))
		return metrics_fail(metrics, "_total is for counters");
	return true;
}

/* Behind {name="value",...}; NULL: it is no such thing. */
static inline const char *metric_labels(const char *at, double *ret_le)
{
	if (*at != '{')
		return at;
	do {
		size_t len = metric_name(++at);
		bool is_le = len == 2 && !strncmp(at, "le", 2);

		if (!len || at[len] != '=' || at[len + 1] != '"')
			return NULL;
		at += len + 2;
		if (is_le)
			*ret_le = strtod(at, NULL);
		for (; *at && *at != '"'; at++)
			if (*at == '\\' && !strchr("\\\"n", *++at))
				return NULL;
		if (*at++ != '"')
			return NULL;
	} while (*at == ',');
	return *at == '}' ? at + 1 : NULL;
}

static inline bool metrics_of_histogram(struct metrics *metrics,
					struct metric *row, const char *suffix,
					double le, double value)
{
	if (!strcmp(suffix, "_bucket")) {
		if (row->has_inf || (row->nr_samples && le <= row->le) ||
		    value < row->bucket)
			return metrics_fail(metrics, "buckets do not grow");
		row->le = le;
		row->bucket = value;
		row->has_inf = le > 1e300;
	} else if (!strcmp(suffix, "_sum")) {
		row->has_sum = true;
	} else if (!strcmp(suffix, "_count")) {
		row->has_count = true;
		row->value = value;
		if (!row->has_inf || value != row->bucket)
			return metrics_fail(metrics, "+Inf is not the count");
	} else {
		return metrics_fail(metrics, "no sample of a histogram");
	}
	return true;
}

static inline bool metrics_sample(struct metrics *metrics, const char *line)
{
	struct metric *row = &metrics->rows[metrics->nr - 1];
	size_t of_row, len = metric_name(line);
	char suffix[80], *end;
	double value, le = -1;
	const char *at;

	if (!metrics->nr || row->type == METRIC_NONE)
		return metrics_fail(metrics, "a sample without HELP and TYPE");
	of_row = strlen(row->name);
	if (len < of_row || len - of_row >= sizeof(suffix) ||
	    strncmp(row->name, line, of_row))
		return metrics_fail(metrics, "a sample of another family");
	snprintf(suffix, sizeof(suffix), "%.*s", (int)(len - of_row),
		 line + of_row);
	at = metric_labels(line + len, &le);
	if (!at || *at++ != ' ')
		return metrics_fail(metrics, "labels, or no blank");
	value = strtod(at, &end);
	if (end == at || *end || value < 0)
		return metrics_fail(metrics, "no value");
	if (row->type == METRIC_HISTOGRAM) {
		if (!metrics_of_histogram(metrics, row, suffix, le, value))
			return false;
	} else if (*suffix) {
		return metrics_fail(metrics, "a sample of another family");
	} else {
		row->value = value;
	}
	row->nr_samples++;
	return true;
}

static inline bool metrics_line(struct metrics *metrics, const char *line)
{
	if (!strncmp(line, "# HELP ", 7))
		return metrics_help(metrics, line + 7);
	if (!strncmp(line, "# TYPE ", 7))
		return metrics_type(metrics, line + 7);
	return *line == '#' || !*line || metrics_sample(metrics, line);
}

static inline bool metrics_parse(struct metrics *metrics, char *text)
{
	char *line = text, *end;

	metrics->nr = 0;
	for (; (end = strchr(line, '\n')); line = end + 1) {
		*end = '\0';
		metrics->at = line;
		if (!metrics_line(metrics, line))
			return false;
	}
	metrics->at = line;
	if (*line)
		return metrics_fail(metrics, "the last line has no end");
	for (unsigned int i = 0; i < metrics->nr; i++) {
		const struct metric *row = &metrics->rows[i];

		metrics->at = row->name;
		if (!row->nr_samples)
			return metrics_fail(metrics, "no samples");
		if (row->type == METRIC_HISTOGRAM &&
		    !(row->has_inf && row->has_sum && row->has_count))
			return metrics_fail(metrics, "half a histogram");
	}
	return true;
}

#endif
