/* SPDX-License-Identifier: MIT */
/*
 * ebbctl compare - Arguments
 */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include "compare.h"

#define RUNS_DEFAULT	5

static const char usage[] =
"usage: ebbctl compare [OPTION]... [--] COMMAND [ARGUMENT]...\n"
"\n"
"Runs COMMAND on the allocator it has (\"present\"), on others that are named,\n"
"and on ebbmalloc, in turn, several times, each time in a new cgroup; and\n"
"says what each took: time, peak, memory held, limit hits, OOM kills.\n"
"\n"
"  -m, --memory SIZE  limit of each run; bytes, or with a suffix K, M, G or T;\n"
"                     or \"max\".  Swap is not allowed beside it\n"
"      --high SIZE    v2: where each run is throttled; or N% of the limit.\n"
"                     Default: nowhere\n"
"      --swap SIZE    swap allowed beside the limit.  Default: 0\n"
"  -n, --runs N       runs on each allocator, 1 to 1000.  Default: 5\n"
"  -w, --with LIB     also on LIB: jemalloc, mimalloc, tcmalloc, or the path\n"
"                     of a library; may be repeated, or a list with commas\n"
"      --find-limit   also find the smallest limit that each survives N times\n"
"      --timeout SEC  kill a run that takes longer, and count it as failed.\n"
"                     Default: never; while a limit is searched, 10 s and ten\n"
"                     times as long as the slowest run before that\n"
"      --lib PATH     ebbmalloc's library, if not the one of this tool\n"
"      --no-cgroup    without a cgroup and limits, by looking at processes\n"
"      --json         all figures of all runs as one JSON object\n"
"      --plot FILE    also draw the figures, as SVG\n"
"      --show         show what COMMAND writes, on stderr\n"
"  -h, --help         this\n"
"\n"
"Columns, medians of the runs that succeeded, with the smallest and largest:\n"
"  TIME   from start to end            CPU    of all its processes\n"
"  PEAK   the cgroup's highest usage, file cache included; without a cgroup\n"
"         the RSS of the largest process\n"
"  MEAN   anonymous memory held, mean over the time of the run\n"
"  END    the same, median over the last tenth of that time\n"
"  HITS   times the limit was hit      KILLS  OOM kills, of all runs together\n"
"  LEAST  the smallest limit survived  x present: relative to \"present\"\n"
"COMMAND reads /dev/null.  One more run, before all others, is not counted: it\n"
"fills the file cache.  What COMMAND leaves behind is killed after each run.\n"
"SIGINT, SIGTERM and SIGHUP end the run and the comparison.\n"
"\n"
"Exit status: 0; 1 if a run failed, which is told; 125 if ebbctl failed; 126\n"
"if COMMAND cannot be executed; 127 if it is not found; 128+N if signal N\n"
"ended the comparison; 2 for wrong usage.\n";

enum {
	OPT_HIGH = 256,
	OPT_SWAP,
	OPT_FIND_LIMIT,
	OPT_TIMEOUT,
	OPT_LIB,
	OPT_NO_CGROUP,
	OPT_JSON,
	OPT_PLOT,
	OPT_SHOW,
};

static const struct option longs[] = {
	{ "memory", required_argument, NULL, 'm' },
	{ "high", required_argument, NULL, OPT_HIGH },
	{ "swap", required_argument, NULL, OPT_SWAP },
	{ "runs", required_argument, NULL, 'n' },
	{ "with", required_argument, NULL, 'w' },
	{ "find-limit", no_argument, NULL, OPT_FIND_LIMIT },
	{ "timeout", required_argument, NULL, OPT_TIMEOUT },
	{ "lib", required_argument, NULL, OPT_LIB },
	{ "no-cgroup", no_argument, NULL, OPT_NO_CGROUP },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "plot", required_argument, NULL, OPT_PLOT },
	{ "show", no_argument, NULL, OPT_SHOW },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

/* A whole number from 1 to @most; false after a message. */
static bool parse_count(const char *option, const char *text,
			unsigned int most, unsigned int *ret)
{
	unsigned long value;
	char *end;

	value = strtoul(text, &end, 10);
	if (*text >= '0' && *text <= '9' && !*end && value && value <= most) {
		*ret = (unsigned int)value;
		return true;
	}
	message("--%s=%s refused: accepts 1 to %u", option, text, most);
	return false;
}

/* "90%", for which there is no suffix that size_parse() knows. */
static bool parse_percent(const char *text, unsigned int *ret)
{
	size_t digits = strspn(text, "0123456789");
	unsigned long value = strtoul(text, NULL, 10);

	if (!digits || digits > 3 || strcmp(text + digits, "%") || !value ||
	    value > 100)
		return false;
	*ret = (unsigned int)value;
	return true;
}

static bool parse_high(struct compare *cmp, const char *text)
{
	cmp->high_percent = 0;
	cmp->limits.high = LIMIT_NONE;
	if (!strcmp(text, "max") || parse_percent(text, &cmp->high_percent) ||
	    size_parse(text, &cmp->limits.high))
		return true;
	message("--high=%s refused: accepts bytes with or without a suffix K, "
		"M, G or T, 1%% to 100%% of the limit, or max", text);
	return false;
}

static bool has_name(const struct compare *cmp, const char *name)
{
	for (unsigned int i = 0; i < cmp->nr; i++)
		if (!strcmp(cmp->contender[i].allocator.name, name))
			return true;
	return false;
}

/* Add @allocator, with a number behind its name if that is taken. */
static void add_contender(struct compare *cmp,
			  const struct allocator *allocator)
{
	struct allocator *added = &cmp->contender[cmp->nr].allocator;

	*added = *allocator;
	for (unsigned int i = 2; has_name(cmp, added->name); i++)
		snprintf(added->name, sizeof(added->name), "%.10s-%u",
			 allocator->name, i % 10);
	cmp->nr++;
}

/* @list has one or more allocators, between commas. */
static bool add_listed(struct compare *cmp, const char *list)
{
	struct allocator allocator;
	char text[PATH_MAX];
	size_t len;

	for (;; list += len + 1) {
		len = strcspn(list, ",");
		/* One place is ebbmalloc's. */
		if (cmp->nr == CONTENDERS_MOST - 1) {
			message("--with=%s refused: accepts %d allocators, and "
				"not more", list, CONTENDERS_MOST - 2);
			return false;
		}
		if (!path_make(text, sizeof(text), "%.*s", (int)len, list) ||
		    !allocator_find(text, &allocator))
			return false;
		add_contender(cmp, &allocator);
		if (!list[len])
			return true;
	}
}

/* One option; false where it is refused. */
static bool take_option(struct compare *cmp, int c, const char *text)
{
	switch (c) {
	case 'm':
		return limit_parse("memory", text, &cmp->limits.memory);
	case OPT_HIGH:
		return parse_high(cmp, text);
	case OPT_SWAP:
		return limit_parse("swap", text, &cmp->limits.swap);
	case 'n':
		return parse_count("runs", text, RUNS_MOST, &cmp->nr_runs);
	case 'w':
		return add_listed(cmp, text);
	case OPT_FIND_LIMIT:
		return cmp->find_limit = true;
	case OPT_TIMEOUT:
		return parse_count("timeout", text, SECONDS_MOST,
				   &cmp->seconds);
	case OPT_LIB:
		cmp->lib = text;
		return true;
	case OPT_PLOT:
		cmp->plot = text;
		return true;
	case OPT_NO_CGROUP:
		return cmp->no_cgroup = true;
	case OPT_JSON:
		return cmp->json = true;
	case OPT_SHOW:
		return cmp->show = true;
	default:
		return false;
	}
}

/* Where memory.high does not fit to the limit; false after a message. */
static bool check_high(const struct compare *cmp)
{
	const struct limits *limits = &cmp->limits;
	bool fixed = !cmp->high_percent && limits->high != LIMIT_NONE;

	if (cmp->find_limit && fixed) {
		message("--high=%llu refused: with --find-limit, where the "
			"limit changes, accepts 1%% to 100%% or max",
			(unsigned long long)limits->high);
		return false;
	}
	if (cmp->high_percent && limits->memory == LIMIT_NONE &&
	    !cmp->find_limit) {
		message("--high=%u%% needs --memory or --find-limit",
			cmp->high_percent);
		return false;
	}
	if (fixed && limits->high > limits->memory) {
		message("--high=%llu refused: accepts 0 to --memory, %llu",
			(unsigned long long)limits->high,
			(unsigned long long)limits->memory);
		return false;
	}
	return true;
}

/* Arguments that contradict each other. */
static bool check_args(const struct compare *cmp, bool swap_given)
{
	bool limited = cmp->limits.memory != LIMIT_NONE || cmp->find_limit;

	if (!*cmp->command) {
		message("compare needs a COMMAND; `ebbctl compare --help`");
		return false;
	}
	if (!cmp->limits.memory) {
		message("--memory=0 refused: nothing runs in no memory; "
			"accepts 1 to 8388607T, or max");
		return false;
	}
	if (cmp->no_cgroup && (limited || cmp->high_percent || swap_given ||
			       cmp->limits.high != LIMIT_NONE)) {
		message("--no-cgroup leaves no place for --memory, --high, "
			"--swap or --find-limit");
		return false;
	}
	if (swap_given && !limited) {
		message("--swap needs --memory or --find-limit");
		return false;
	}
	return check_high(cmp);
}

int compare_args(struct compare *cmp, int argc, char **argv, bool *ret_done)
{
	struct allocator ours = { .name = "ebbmalloc" };
	const struct allocator present = { .name = "present" };
	bool swap_given = false;
	int c;

	*ret_done = true;
	/* No high unless asked for: `ebbctl run` would choose one. */
	cmp->limits = (struct limits){
		.memory = LIMIT_NONE, .high = LIMIT_NONE, .high_given = true,
	};
	cmp->nr_runs = RUNS_DEFAULT;
	add_contender(cmp, &present);
	/* '+': the command's own options are none of ours. */
	while ((c = getopt_long(argc, argv, "+m:n:w:h", longs, NULL)) != -1) {
		if (c == 'h') {
			fputs(usage, stdout);
			return STATUS_OK;
		}
		swap_given |= c == OPT_SWAP;
		if (!take_option(cmp, c, optarg))
			return STATUS_USAGE;
	}
	cmp->command = argv + optind;
	if (!check_args(cmp, swap_given))
		return STATUS_USAGE;
	if (!library_find(cmp->lib, ours.library, sizeof(ours.library))) {
		message("cannot read the library %s; name it: ebbctl compare "
			"--lib PATH", ours.library);
		return STATUS_FAILED;
	}
	if (!library_fits(ours.library))
		return STATUS_FAILED;
	add_contender(cmp, &ours);
	*ret_done = false;
	return STATUS_OK;
}
