/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - Commands
 */
#include <string.h>
#include "ebbctl.h"

static const struct command commands[] = {
	{ "run", cmd_run, "run a command on ebbmalloc, in a limited cgroup" },
	{ "list", cmd_list, "list processes that run on ebbmalloc" },
	{ "status", cmd_status, "show what a process holds, hears and does" },
	{ "threads", cmd_threads, "show which of its threads hold memory" },
	{ "get", cmd_get, "show the options of a process" },
	{ "set", cmd_set, "change options of a process, and wait" },
	{ "trim", cmd_trim, "have processes give memory back now" },
	{ "profile", cmd_profile, "show who allocated what lives on the heap" },
	{ "compare", cmd_compare, "run a command on several allocators" },
	{ "top", cmd_top, "show all processes, live" },
	{ "watch", cmd_watch, "show pressure and what came of it, live" },
	{ "metrics", cmd_metrics, "print counters for Prometheus" },
	{ "postmortem", cmd_postmortem, "show how they stood when killed" },
	{ "options", cmd_options, "list the options of the library" },
	{ "doctor", cmd_doctor, "say whether the library loads, and why not" },
};

static void print_help(FILE *out)
{
	fprintf(out, "usage: ebbctl COMMAND ...\n\ncommands:\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(out, "  %-10s %s\n", commands[i].name,
			commands[i].help);
	fprintf(out, "\n`ebbctl COMMAND --help` explains each; "
		"`ebbctl --version` prints %s.\n", EBB_VERSION);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		print_help(stderr);
		return STATUS_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		print_help(stdout);
		return STATUS_OK;
	}
	if (!strcmp(argv[1], "--version")) {
		printf("ebbctl %s\n", EBB_VERSION);
		return STATUS_OK;
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argc - 1, argv + 1);
	message("there is no command \"%s\"; `ebbctl --help` lists them",
		argv[1]);
	return STATUS_USAGE;
}
