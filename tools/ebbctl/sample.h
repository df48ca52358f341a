/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - What a running command holds, seen from outside
 */
#ifndef EBBCTL_SAMPLE_H
#define EBBCTL_SAMPLE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "cgroup.h"
#include "pids.h"

#define SAMPLE_MS	10	/* between looks at what is held */
#define SAMPLE_NAME	32

/* One program in one process, and whether it has the library. */
struct seen {
	pid_t pid;
	dev_t dev;		/* of the program's file: exec(2) changes it */
	ino_t ino;
	enum maps_verdict verdict;
};

#define SEEN_MOST	256

struct sample {
	double at;
	uint64_t held;
};

#define KEPT_MOST	8192

struct sampler {
	/* Set by the caller */
	const struct run_cgroup *cg;	/* NULL: look at each process */
	const struct pids *except;	/* not the command's */
	const char *library;		/* expected; empty for none */
	pid_t command;

	/* Results */
	unsigned int nr_samples;
	double area;			/* bytes times seconds */
	double since;
	unsigned int nr_with;		/* programs with the library */
	unsigned int nr_without;
	char without[SAMPLE_NAME];	/* name of one of those */
	char found[SAMPLE_NAME];	/* another allocator; or empty */

	/* Private */
	double next_look;
	unsigned int nr_looks;
	struct pids pids;
	unsigned int nr_seen;
	struct seen seen[SEEN_MOST];
	struct sample latest;
	unsigned int stride;		/* one of so many samples is kept */
	unsigned int nr_kept;
	struct sample kept[KEPT_MOST];
};

/* The command begins @now. */
void sampler_begin(struct sampler *sampler, double now);

/* Take a sample; how many milliseconds later the next one is due. */
unsigned int sampler_take(struct sampler *sampler, double now);

/* Mean over the time of the run; UNKNOWN without samples. */
uint64_t sampler_mean(const struct sampler *sampler);

/*
 * Median of the samples in the last tenth of a run that ended @now, or the
 * last one: what a program does in its very last moments, such as to take its
 * heap apart, does not count.  UNKNOWN without samples.
 */
uint64_t sampler_end(const struct sampler *sampler, double now);

/* The processes that are there at present, in sampler->pids. */
void sampler_find(struct sampler *sampler);

#endif
