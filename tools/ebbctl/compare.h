/* SPDX-License-Identifier: MIT */
/*
 * ebbctl compare - What is compared, and what was seen
 */
#ifndef EBBCTL_COMPARE_H
#define EBBCTL_COMPARE_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "allocator.h"
#include "cgroup.h"
#include "ebbctl.h"
#include "inspect.h"
#include "pids.h"
#include "sample.h"

#define CONTENDERS_MOST	8
#define RUNS_MOST	1000
#define SECONDS_MOST	1000000

/* One run. */
struct trial {
	int wait_status;
	bool timed_out;
	double wall;		/* seconds */
	double cpu;
	uint64_t peak;		/* bytes; UNKNOWN where nobody says */
	uint64_t mean;
	uint64_t end;
	uint64_t limit_hits;	/* UNKNOWN without a cgroup */
	uint64_t high_hits;	/* known on v2 only */
	uint64_t oom_kills;
	unsigned int nr_with;	/* programs seen with the library */
	unsigned int nr_without;
	unsigned int nr_left;	/* processes that were still there */
};

enum search_state {
	SEARCH_NOT,		/* not done */
	SEARCH_FOUND,
	SEARCH_NONE,		/* no limit up to the highest survives */
};

/* The smallest limit. */
struct search {
	enum search_state state;
	uint64_t least;		/* found: survived each time */
	uint64_t highest;	/* none: tried in vain */
	unsigned int nr_runs;
	unsigned int nr_slow;	/* of these: ended for lack of time */
};

struct contender {
	struct allocator allocator;
	unsigned int nr_trials;
	struct trial *trials;
	struct search search;
	char found[SAMPLE_NAME];	/* another allocator that was mapped */
	char without[SAMPLE_NAME];	/* a program without the library */
};

struct compare {
	/* As asked for */
	char **command;
	struct limits limits;
	unsigned int high_percent;	/* of the limit; 0: not given so */
	unsigned int nr_runs;
	unsigned int seconds;		/* for one run; 0: no end */
	bool find_limit;
	bool no_cgroup;
	bool json;
	bool show;
	const char *lib;
	const char *plot;
	unsigned int nr;
	struct contender contender[CONTENDERS_MOST];

	/* As found */
	bool in_cgroup;
	int cgroup_version;
	char why[PATH_MAX];		/* not in a cgroup */
	char program[INSPECT_TEXT];	/* what its file tells; or empty */
	uint64_t step;			/* resolution of the search */

	/* While it runs */
	sigset_t waited, mask;
	int null;			/* /dev/null */
	int interrupted;		/* by this signal */
	struct pids except;		/* children that are none of it */
	bool command_fails;		/* on the allocator it has */
	bool peak_is_rss;		/* in some run: no cgroup to ask */
};

/* What bounds a run. */
struct bounds {
	uint64_t memory;		/* LIMIT_NONE */
	double seconds;			/* 0: no end */
};

/* === compare.c ============================================================ */

/* What is being done, on stderr if that is a terminal. */
void compare_progress(const struct compare *cmp, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* === compare_args.c ======================================================= */

/*
 * Parse the arguments.  STATUS_OK, or what to exit with; *@ret_done if there
 * is nothing more to do.
 */
int compare_args(struct compare *cmp, int argc, char **argv, bool *ret_done);

/* === compare_run.c ======================================================== */

/* Run the command once; false if interrupted, or after a message. */
bool trial_run(struct compare *cmp, struct contender *contender,
	       const struct bounds *bounds, struct trial *ret_trial);

/* Whether the command ended as it should. */
bool trial_is_good(const struct trial *trial);

/* === compare_search.c ===================================================== */

/* Find the smallest limit of each; false as trial_run(). */
bool compare_search(struct compare *cmp);

/* === compare_figure.c ===================================================== */

enum figure {
	FIGURE_WALL,
	FIGURE_CPU,
	FIGURE_PEAK,
	FIGURE_MEAN,
	FIGURE_END,
	NR_FIGURES,
};

/* The middle and the ends of the good runs; all NAN where there are none. */
struct spread {
	double median;
	double least;
	double most;
};

#define FIGURE_TEXT	32

void figure_spread(const struct contender *contender, enum figure figure,
		   struct spread *ret_spread);

/* Median over the present allocator's; NAN where either is missing. */
double figure_ratio(const struct compare *cmp, unsigned int nr,
		    enum figure figure);
/* The same of the smallest limits. */
double search_ratio(const struct compare *cmp, unsigned int nr);
const char *figure_text(enum figure figure, double value,
			char buf[FIGURE_TEXT]);

struct tally {
	unsigned int good;
	unsigned int slow;		/* ended for lack of time */
	uint64_t limit_hits;		/* median of all runs */
	uint64_t oom_kills;		/* sum of all runs */
	unsigned int nr_with;
	unsigned int nr_without;
	unsigned int nr_left;		/* runs that left processes */
	const struct trial *bad;	/* the first that failed; or NULL */
};

void contender_tally(const struct contender *contender,
		     struct tally *ret_tally);

/* Why @trial failed, in words. */
const char *trial_failure(const struct trial *trial, char *buf, size_t size);

/* === compare_table.c, compare_json.c, compare_plot.c ====================== */

void compare_table(const struct compare *cmp, FILE *out);
void compare_json(const struct compare *cmp, FILE *out);
void compare_plot(const struct compare *cmp, FILE *out);

#endif
