/* SPDX-License-Identifier: MIT */
/*
 * ebbctl run - Summary of a run
 */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include "ebbctl.h"
#include "run.h"

static void print_ending(FILE *out, const struct outcome *end)
{
	int sig = WTERMSIG(end->wait_status);

	if (WIFSIGNALED(end->wait_status))
		fprintf(out, "ebbctl: exit status %d (signal %d, %s) after "
			"%.1f s\n", end->status, sig, strsignal(sig),
			end->seconds);
	else
		fprintf(out, "ebbctl: exit status %d after %.1f s\n",
			end->status, end->seconds);
}

static void print_hits(FILE *out, const struct usage *used)
{
	fprintf(out, "ebbctl: limit hit ");
	if (used->limit_hits == UNKNOWN)
		fprintf(out, "an unknown number of times");
	else
		fprintf(out, "%llu times",
			(unsigned long long)used->limit_hits);
	if (used->high_hits != UNKNOWN)
		fprintf(out, ", high %llu times",
			(unsigned long long)used->high_hits);
	if (used->oom_kills == UNKNOWN)
		fprintf(out, ", OOM kills unknown\n");
	else
		fprintf(out, ", %llu OOM kill%s\n",
			(unsigned long long)used->oom_kills,
			used->oom_kills == 1 ? "" : "s");
}

static void print_summary(FILE *out, const struct run *run,
			  const struct outcome *end)
{
	char peak[SIZE_TEXT], limit[SIZE_TEXT], high[SIZE_TEXT];

	if (run->no_cgroup) {
		fprintf(out, "ebbctl: peak %s of RSS in the largest process\n",
			size_human(end->peak_rss, peak));
		print_ending(out, end);
		return;
	}
	fprintf(out, "ebbctl: peak usage %s of %s",
		size_human(end->usage.peak, peak),
		run->limits.memory == LIMIT_NONE ? "no limit" :
		size_human(run->limits.memory, limit));
	if (run->cg.high != LIMIT_NONE)
		fprintf(out, ", high at %s", size_human(run->cg.high, high));
	fprintf(out, " (cgroup v%d)\n", run->cg.places.version);
	print_hits(out, &end->usage);
	print_ending(out, end);
}

/* LIMIT_NONE and UNKNOWN are the same number, and both are null. */
static void print_json(FILE *out, const struct run *run,
		       const struct outcome *end)
{
	struct json json = { .out = out };
	bool cgroup = !run->no_cgroup;

	json_open(&json, NULL, '{');
	json_open(&json, "command", '[');
	for (char **arg = run->command; *arg; arg++)
		json_text(&json, NULL, *arg);
	json_close(&json, ']');
	json_text(&json, "library", run->no_preload ? NULL : run->library);
	json_number(&json, "cgroup_version",
		    cgroup ? (uint64_t)run->cg.places.version : UNKNOWN);
	json_text(&json, "cgroup", cgroup ? run->cg.memory.dir : NULL);
	json_number(&json, "memory_limit", run->limits.memory);
	json_number(&json, "memory_high", cgroup ? run->cg.high : UNKNOWN);
	json_number(&json, "peak_usage", cgroup ? end->usage.peak : UNKNOWN);
	json_number(&json, "peak_rss", end->peak_rss);
	json_number(&json, "limit_hits",
		    cgroup ? end->usage.limit_hits : UNKNOWN);
	json_number(&json, "high_hits",
		    cgroup ? end->usage.high_hits : UNKNOWN);
	json_number(&json, "oom_kills",
		    cgroup ? end->usage.oom_kills : UNKNOWN);
	json_number(&json, "exit_status", (uint64_t)end->status);
	json_number(&json, "signal", WIFSIGNALED(end->wait_status) ?
		    (uint64_t)WTERMSIG(end->wait_status) : UNKNOWN);
	json_number(&json, "milliseconds", (uint64_t)(end->seconds * 1000));
	json_close(&json, '}');
	fputc('\n', out);
}

bool summary_write(const struct run *run, const struct outcome *end)
{
	FILE *out = stderr;
	bool ok;

	if (run->quiet)
		return true;
	if (run->output)
		out = fopen(run->output, "we");
	if (!out) {
		message("cannot write %s: %s", run->output, strerror(errno));
		return false;
	}
	if (run->json)
		print_json(out, run, end);
	else
		print_summary(out, run, end);
	ok = !ferror(out);
	if (run->output)
		ok &= !fclose(out);
	if (!ok)
		message("cannot write %s: %s", run->output ? run->output :
			"the summary", strerror(errno));
	return ok;
}
