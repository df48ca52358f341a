/* SPDX-License-Identifier: MIT */
/*
 * ebbctl compare - The same command on several allocators
 *
 * One run on each, in turn, as often as asked for: what changes on the
 * machine meanwhile meets all of them.  What cannot be compared is said, not
 * compared: runs that failed, and runs in which the library was not loaded.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
#include "compare.h"
#include "launch.h"

/* === Progress ============================================================= */

#define CLEAR_LINE	"\r\033[K"

void compare_progress(const struct compare *cmp, const char *fmt, ...)
{
	va_list ap;

	/* The command's own output would be torn apart. */
	if (cmp->show || !isatty(STDERR_FILENO))
		return;
	fputs(CLEAR_LINE "ebbctl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fflush(stderr);
}

static void clear_progress(const struct compare *cmp)
{
	if (!cmp->show && isatty(STDERR_FILENO))
		fputs(CLEAR_LINE, stderr);
}

/* === Before =============================================================== */

/* STATUS_OK, or what to exit with, after a message. */
static int check_program(struct compare *cmp)
{
	static struct inspection in;
	char path[PATH_MAX];

	if (!program_find(*cmp->command, path, sizeof(path))) {
		message("cannot run %s: %s", *cmp->command, strerror(errno));
		return errno == ENOENT ? STATUS_NO_FILE : STATUS_NO_EXEC;
	}
	inspect_program(*cmp->command, &in);
	if (in.verdict == INSPECT_NO) {
		message("%s: %s", in.path, in.why);
		message("nothing is preloaded there, so there is nothing to "
			"compare");
		return STATUS_FAILED;
	}
	if (in.verdict == INSPECT_IN_PART)
		snprintf(cmp->program, sizeof(cmp->program), "%s", in.why);
	return STATUS_OK;
}

/* Rather than after an hour of runs. */
static bool check_plot(const struct compare *cmp)
{
	bool was_there;
	FILE *file;

	if (!cmp->plot)
		return true;
	was_there = !access(cmp->plot, F_OK);
	file = fopen(cmp->plot, "ae");
	if (!file) {
		message("cannot write %s: %s", cmp->plot, strerror(errno));
		return false;
	}
	fclose(file);
	if (!was_there)
		unlink(cmp->plot);
	return true;
}

/* Make a cgroup to see whether that is possible, and what it can limit. */
static bool check_cgroup(struct compare *cmp)
{
	static struct run_cgroup cg;
	const struct limits none = {
		.memory = LIMIT_NONE, .high = LIMIT_NONE, .swap = LIMIT_NONE,
		.high_given = true,
	};
	bool limited = cmp->limits.memory != LIMIT_NONE || cmp->find_limit ||
		       cmp->limits.high != LIMIT_NONE;

	if (cmp->no_cgroup) {
		snprintf(cmp->why, sizeof(cmp->why), "--no-cgroup");
		return true;
	}
	if (cgroup_make(&cg, &none)) {
		cmp->in_cgroup = true;
		cmp->cgroup_version = cg.places.version;
		if (!cgroup_limits_swap(&cg))
			cmp->limits.swap = LIMIT_NONE;
		return !cgroup_remove(&cg);
	}
	message("%s", cg.why);
	if (cg.refused)
		message("this needs root, or a cgroup delegated to you "
			"(systemd-run --user --scope -p Delegate=yes ebbctl "
			"compare ...)");
	if (limited) {
		message("without it there are no limits: --memory, --high and "
			"--find-limit are refused");
		return false;
	}
	message("going on without: memory is that of the processes, as /proc "
		"shows it");
	snprintf(cmp->why, sizeof(cmp->why), "%s", cg.why);
	return true;
}

/* Not those that nohup(1), or a shell in the background, has us ignore. */
static void choose_signals(struct compare *cmp)
{
	static const int ending[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction action;

	launch_block_signals(&cmp->waited, &cmp->mask);
	for (size_t i = 0; i < ARRAY_SIZE(ending); i++)
		if (!sigaction(ending[i], NULL, &action) &&
		    action.sa_handler == SIG_IGN)
			sigdelset(&cmp->waited, ending[i]);
}

static int prepare(struct compare *cmp)
{
	int status = check_program(cmp);

	if (status)
		return status;
	if (!check_plot(cmp) || !check_cgroup(cmp))
		return STATUS_FAILED;
	cmp->null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (cmp->null < 0) {
		message("cannot open /dev/null: %s", strerror(errno));
		return STATUS_FAILED;
	}
	for (unsigned int i = 0; i < cmp->nr; i++) {
		cmp->contender[i].trials = calloc(cmp->nr_runs,
						  sizeof(struct trial));
		if (!cmp->contender[i].trials) {
			message("out of memory");
			return STATUS_FAILED;
		}
	}
	/* An exec(2) may have left us children that we know nothing of. */
	pids_below_us(&cmp->except, &cmp->except);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	choose_signals(cmp);
	return STATUS_OK;
}

/* === Runs ================================================================= */

/* A run that only fills the file cache; false if it is no use to go on. */
static bool run_first(struct compare *cmp, const struct bounds *bounds)
{
	struct trial trial;
	char text[128];

	compare_progress(cmp, "first run, not counted");
	if (!trial_run(cmp, &cmp->contender[0], bounds, &trial))
		return false;
	if (trial_is_good(&trial) || trial.timed_out ||
	    (trial.oom_kills && trial.oom_kills != UNKNOWN))
		return true;
	clear_progress(cmp);
	message("%s fails on the allocator it has: %s; failures are not "
		"compared (--show shows what it writes)", *cmp->command,
		trial_failure(&trial, text, sizeof(text)));
	cmp->command_fails = true;
	return false;
}

static bool run_all(struct compare *cmp)
{
	const struct bounds bounds = {
		.memory = cmp->limits.memory, .seconds = cmp->seconds,
	};
	struct contender *contender;

	if (!run_first(cmp, &bounds))
		return false;
	for (unsigned int i = 0; i < cmp->nr_runs; i++) {
		for (unsigned int n = 0; n < cmp->nr; n++) {
			contender = &cmp->contender[n];
			compare_progress(cmp, "run %u of %u: %s", i + 1,
					 cmp->nr_runs,
					 contender->allocator.name);
			if (!trial_run(cmp, contender, &bounds,
				       &contender->trials[i]))
				return false;
			contender->nr_trials++;
		}
	}
	return !cmp->find_limit || compare_search(cmp);
}

/* === Results ============================================================== */

static bool write_plot(const struct compare *cmp)
{
	FILE *file;
	bool ok;

	if (!cmp->plot)
		return true;
	file = fopen(cmp->plot, "we");
	if (file)
		compare_plot(cmp, file);
	ok = file && !ferror(file);
	if (file && fclose(file))
		ok = false;
	if (!ok)
		message("cannot write %s: %s", cmp->plot, strerror(errno));
	return ok;
}

static bool write_results(const struct compare *cmp)
{
	bool ok = write_plot(cmp);

	if (cmp->json)
		compare_json(cmp, stdout);
	else
		compare_table(cmp, stdout);
	if (!ferror(stdout) && !fflush(stdout))
		return ok;
	message("cannot write the result: %s", strerror(errno));
	return false;
}

/* Whether every run was one that counts. */
static bool all_count(const struct compare *cmp)
{
	struct tally tally;

	for (unsigned int i = 0; i < cmp->nr; i++) {
		contender_tally(&cmp->contender[i], &tally);
		if (tally.bad || (i && tally.nr_without && !tally.nr_with))
			return false;
	}
	return true;
}

int cmd_compare(int argc, char **argv)
{
	static struct compare cmp;
	bool done, ran;
	int status;

	status = compare_args(&cmp, argc, argv, &done);
	if (!done)
		status = prepare(&cmp);
	if (done || status)
		return status;
	ran = run_all(&cmp);
	clear_progress(&cmp);
	if (cmp.interrupted) {
		message("interrupted by signal %d (%s): nothing is compared",
			cmp.interrupted, strsignal(cmp.interrupted));
		return 128 + cmp.interrupted;
	}
	if (!ran)
		return cmp.command_fails ? STATUS_NO : STATUS_FAILED;
	/* There is nothing to clear away any more. */
	sigprocmask(SIG_SETMASK, &cmp.mask, NULL);
	if (!write_results(&cmp))
		return STATUS_FAILED;
	return all_count(&cmp) ? STATUS_OK : STATUS_NO;
}
