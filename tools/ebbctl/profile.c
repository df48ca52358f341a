/* SPDX-License-Identifier: MIT */
/*
 * ebbctl profile - The heap profile of a running process
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include "ebb/stat_page.h"
#include "ebbctl.h"
#include "output.h"
#include "request.h"

static const char usage[] =
"usage: ebbctl profile [--wait MS] [-o FILE] PID\n"
"\n"
"Has process PID, which was started with the option profile, write what lives\n"
"on its heap now, by call stack, and prints that: text in the format heap_v2,\n"
"which pprof reads.\n"
"\n"
"  -o, --output FILE  to this file instead, at once as a whole; nobody else may\n"
"                     read it\n"
"      --wait MS      how long to wait for the answer, 0..3600000 (3000)\n"
"  -h, --help         this\n"
"\n"
"Exit status: 0; 1 if it is refused; 2 for wrong usage; 3 if there is no such\n"
"process on ebbmalloc, or it ended; 4 if it did not answer in time; 125 if the\n"
"profile cannot be read or written.\n";

#define PROFILE_MAX	(1 << 30)	/* the process may put there anything */

static int fetch(const struct process *process, const char *path)
{
	size_t len;
	char *text = process_read(process, EBB_PROFILE_FILE, PROFILE_MAX,
				  &len);
	bool ok = text && output_put(path, 0600, text, len);

	if (!text)
		message("%s/" EBB_PROFILE_FILE " cannot be read: %s",
			process->dir, strerror(errno));
	free(text);
	return ok ? STATUS_OK : STATUS_FAILED;
}

struct options {
	const char *output;
	long wait_ms;
};

/* The index of the first argument, or -1 with the status in *@ret_status. */
static int parse(int argc, char **argv, struct options *options,
		 int *ret_status)
{
	static const struct option longs[] = {
		{ "output", required_argument, NULL, 'o' },
		{ "wait", required_argument, NULL, 'w' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	*options = (struct options){ .wait_ms = REQUEST_WAIT_MS };
	*ret_status = STATUS_USAGE;
	while ((c = getopt_long(argc, argv, "ho:", longs, NULL)) != -1) {
		switch (c) {
		case 'o':
			options->output = optarg;
			break;
		case 'w':
			options->wait_ms = request_parse_wait(optarg);
			if (options->wait_ms < 0)
				return -1;
			break;
		case 'h':
			fputs(usage, stdout);
			*ret_status = STATUS_OK;
			return -1;
		default:
			return -1;
		}
	}
	if (argc - optind == 1)
		return optind;
	if (optind == argc)
		request_needs_pid("profile");
	else
		message("profile takes one process, not also \"%s\"",
			argv[argc - 1]);
	return -1;
}

int cmd_profile(int argc, char **argv)
{
	char text[REQUEST_TEXT];
	struct options options;
	struct process *process;
	enum answer answer;
	int status, at = parse(argc, argv, &options, &status);

	if (at < 0)
		return status;
	process = process_find(argv[at]);
	if (!process)
		return STATUS_ABSENT;
	answer = request_send(process, "dump", "profile",
			      (unsigned int)options.wait_ms, text,
			      sizeof(text));
	status = request_status(answer);
	if (answer == ANSWER_ACCEPTED)
		status = fetch(process, options.output);
	else
		message("process %d: %s", process->pid, text);
	process_put(process);
	return status;
}
