/* SPDX-License-Identifier: MIT */
/*
 * ebbctl run - A command on ebbmalloc, in a cgroup of its own
 *
 * The tool stays outside of the cgroup, so that it survives an OOM kill and
 * can tell of it.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include "ebb/control.h"
#include "ebbctl.h"
#include "inspect.h"
#include "launch.h"
#include "run.h"

static const char usage[] =
"usage: ebbctl run [OPTION]... [--] COMMAND [ARGUMENT]...\n"
"\n"
"Runs COMMAND with libebbmalloc preloaded, in a new cgroup ebb-run-PID below\n"
"the present one, or below a scope that systemd makes for it, waits for it, and\n"
"says on stderr how much memory it took.\n"
"\n"
"  -m, --memory SIZE  limit (v2 memory.max, v1 memory.limit_in_bytes);\n"
"                     SIZE is bytes, or has a suffix K, M, G or T; or \"max\"\n"
"      --high SIZE    v2: where it is throttled and memory given back before\n"
"                     the limit kills.  Default: --memory less a sixteenth of\n"
"                     it, at least 8M less, but at most a quarter less; max:\n"
"                     none\n"
"      --swap SIZE    swap allowed beside --memory; 0 for none\n"
"  -c, --conf LIST    options of the library: name=value,name=value (see\n"
"                     `ebbctl options`); added to " EBB_CONF_ENV ", where the later wins\n"
"      --lib PATH     the library, if not the one that belongs to this tool\n"
"      --no-preload   run it on the allocator it has\n"
"      --no-cgroup    run it where we are, without limits\n"
"      --user         below a scope of the user's own systemd\n"
"      --scope        below a scope of the system's systemd; the default is\n"
"                     one of the two (--user but for root) where systemd is\n"
"                     the manager, since the tree is its own\n"
"      --no-scope     below the present cgroup all the same\n"
"  -o, --output FILE  write the summary there, not to stderr\n"
"      --json         the summary as one JSON object\n"
"  -q, --quiet        no summary\n"
"  -h, --help         this\n"
"\n"
"SIGINT, SIGTERM and SIGHUP are passed on to COMMAND.  Processes it leaves in\n"
"the cgroup are not killed: the cgroup then stays, which is said.\n"
"\n"
"Exit status: COMMAND's own; 128+N if signal N ended it (137: killed, as the\n"
"OOM killer does); 125 if ebbctl failed; 126 if COMMAND cannot be executed;\n"
"127 if it is not found; 2 for wrong usage.\n";

/* === Arguments ============================================================ */

static bool has_option(const char *name, size_t len)
{
	for (int i = 0; i < EBB_NR_ATTRS; i++)
		if (strlen(ebb_attrs[i].name) == len &&
		    !strncmp(ebb_attrs[i].name, name, len))
			return true;
	return false;
}

/* Values are checked by the library, which names those it refuses. */
static bool check_conf(const char *list)
{
	size_t len, name;

	for (; *list; list += len + (list[len] == ',')) {
		len = strcspn(list, ",");
		name = strcspn(list, "=,");
		if (!len || (name < len && has_option(list, name)))
			continue;
		message("--conf: \"%.*s\" refused: accepts name=value, with a "
			"name that `ebbctl options` lists", (int)len, list);
		return false;
	}
	return true;
}

/* Arguments that contradict each other. */
static bool check_run(const struct run *run)
{
	bool limited = run->limits.memory != LIMIT_NONE ||
		       run->limits.swap != LIMIT_NONE || run->limits.high_given;

	if (!*run->command) {
		message("run needs a COMMAND; `ebbctl run --help`");
		return false;
	}
	if (run->no_cgroup && limited) {
		message("--no-cgroup leaves no place for --memory, --high or "
			"--swap");
		return false;
	}
	if (run->no_cgroup && run->scope > SCOPE_NONE) {
		message("--no-cgroup leaves no use for --scope or --user");
		return false;
	}
	if (run->no_preload && (run->lib || run->conf)) {
		message("--no-preload leaves nothing for --lib or --conf");
		return false;
	}
	if (run->limits.swap != LIMIT_NONE &&
	    run->limits.memory == LIMIT_NONE) {
		message("--swap needs --memory");
		return false;
	}
	if (run->limits.high_given && run->limits.high != LIMIT_NONE &&
	    run->limits.high > run->limits.memory) {
		message("--high=%llu refused: accepts 0 to --memory, %llu",
			(unsigned long long)run->limits.high,
			(unsigned long long)run->limits.memory);
		return false;
	}
	return !run->conf || check_conf(run->conf);
}

enum {
	OPT_HIGH = 256,
	OPT_SWAP,
	OPT_LIB,
	OPT_NO_PRELOAD,
	OPT_NO_CGROUP,
	OPT_SCOPE,
	OPT_USER,
	OPT_NO_SCOPE,
	OPT_JSON,
};

static const struct option longs[] = {
	{ "memory", required_argument, NULL, 'm' },
	{ "high", required_argument, NULL, OPT_HIGH },
	{ "swap", required_argument, NULL, OPT_SWAP },
	{ "conf", required_argument, NULL, 'c' },
	{ "lib", required_argument, NULL, OPT_LIB },
	{ "no-preload", no_argument, NULL, OPT_NO_PRELOAD },
	{ "no-cgroup", no_argument, NULL, OPT_NO_CGROUP },
	{ "scope", no_argument, NULL, OPT_SCOPE },
	{ "user", no_argument, NULL, OPT_USER },
	{ "no-scope", no_argument, NULL, OPT_NO_SCOPE },
	{ "output", required_argument, NULL, 'o' },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "quiet", no_argument, NULL, 'q' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

/* One option; false where it is refused. */
static bool take_option(struct run *run, int c, const char *text)
{
	switch (c) {
	case 'm':
		return limit_parse("memory", text, &run->limits.memory);
	case OPT_HIGH:
		run->limits.high_given = true;
		return limit_parse("high", text, &run->limits.high);
	case OPT_SWAP:
		return limit_parse("swap", text, &run->limits.swap);
	case 'c':
		run->conf = text;
		return true;
	case OPT_LIB:
		run->lib = text;
		return true;
	case 'o':
		run->output = text;
		return true;
	case OPT_NO_PRELOAD:
		return run->no_preload = true;
	case OPT_NO_CGROUP:
		return run->no_cgroup = true;
	case OPT_SCOPE:
		run->scope = SCOPE_SYSTEM;
		return true;
	case OPT_USER:
		run->scope = SCOPE_USER;
		return true;
	case OPT_NO_SCOPE:
		run->scope = SCOPE_NONE;
		return true;
	case OPT_JSON:
		return run->json = true;
	case 'q':
		return run->quiet = true;
	default:
		return false;
	}
}

/* === Running it =========================================================== */

/* Find the library, and warn of a command where it will not load. */
static bool prepare_preload(struct run *run)
{
	struct inspection in;

	if (run->no_preload)
		return true;
	if (!library_find(run->lib, run->library, sizeof(run->library))) {
		message("cannot read the library %s: %s", run->library,
			strerror(errno));
		message("name it: ebbctl run --lib PATH; or run without it: "
			"ebbctl run --no-preload");
		return false;
	}
	if (!library_fits(run->library))
		return false;
	inspect_program(*run->command, &in);
	if (in.verdict == INSPECT_NO || in.verdict == INSPECT_IN_PART)
		message("%s: %s", in.path, in.why);
	return true;
}

/*
 * Wait for @pid, passing signals on; those from the terminal, which the kernel
 * has sent to the whole foreground group, have reached it already.
 */
static void wait_for(pid_t pid, const sigset_t *waited,
		     struct outcome *ret_outcome)
{
	struct rusage rusage;
	siginfo_t info;

	for (;;) {
		if (wait4(pid, &ret_outcome->wait_status, WNOHANG, &rusage) ==
		    pid)
			break;
		if (sigwaitinfo(waited, &info) < 0 || info.si_signo == SIGCHLD)
			continue;
		if (info.si_code != SI_KERNEL)
			kill(pid, info.si_signo);
	}
	ret_outcome->peak_rss = (uint64_t)rusage.ru_maxrss * 1024;
}

/* Start the command and wait for its end; false after a message. */
static bool run_command(struct run *run, struct outcome *ret_outcome)
{
	struct launch launch = {
		.command = run->command,
		.library = run->no_preload ? NULL : run->library,
		.conf = run->conf,
		.fds = { -1, -1, -1 },
	};
	sigset_t waited, old;
	pid_t pid;
	int gate;
	bool in;

	launch_block_signals(&waited, &old);
	launch.mask = &old;
	ret_outcome->seconds = launch_clock();
	pid = launch_child(&launch, &gate);
	if (pid < 0)
		return false;
	in = run->no_cgroup || cgroup_enter(&run->cg, pid);
	in = launch_open(gate, in);
	wait_for(pid, &waited, ret_outcome);
	ret_outcome->seconds = launch_clock() - ret_outcome->seconds;
	return in;
}

/* Make the cgroup; false after messages that say what to do instead. */
static bool make_cgroup(struct run *run)
{
	if (run->no_cgroup || cgroup_make(&run->cg, &run->limits))
		return true;
	message("%s", run->cg.why);
	if (run->cg.refused)
		message("this needs root, or a cgroup delegated to you "
			"(systemd-run --user --scope -p Delegate=yes ebbctl "
			"run ...); without a cgroup: ebbctl run --no-cgroup");
	else
		message("without a cgroup: ebbctl run --no-cgroup");
	return false;
}

/* === The command ========================================================== */

int cmd_run(int argc, char **argv)
{
	static struct run run;
	struct outcome end = { 0 };
	bool ran, ok;
	int c;

	run.limits = (struct limits){
		.memory = LIMIT_NONE, .high = LIMIT_NONE, .swap = LIMIT_NONE,
	};
	/* '+': the command's own options are none of ours. */
	while ((c = getopt_long(argc, argv, "+m:c:o:qh", longs, NULL)) != -1) {
		if (c == 'h') {
			fputs(usage, stdout);
			return STATUS_OK;
		}
		if (!take_option(&run, c, optarg))
			return STATUS_USAGE;
	}
	run.command = argv + optind;
	if (!check_run(&run))
		return STATUS_USAGE;
	if (!run.no_cgroup && !scope_enter(run.scope, argv))
		return STATUS_FAILED;
	if (!prepare_preload(&run))
		return STATUS_FAILED;
	if (!make_cgroup(&run))
		return STATUS_FAILED;
	ran = run_command(&run, &end);
	end.status = WIFSIGNALED(end.wait_status) ?
		     128 + WTERMSIG(end.wait_status) :
		     WEXITSTATUS(end.wait_status);
	if (!run.no_cgroup) {
		cgroup_read(&run.cg, &end.usage);
		cgroup_remove(&run.cg);
	}
	ok = ran && summary_write(&run, &end);
	return ok ? end.status : STATUS_FAILED;
}
