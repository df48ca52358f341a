/* SPDX-License-Identifier: MIT */
/*
 * ebbctl get, set, trim - Options of a running process
 */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include "ebb/control.h"
#include "ebbctl.h"
#include "request.h"

static const char get_usage[] =
"usage: ebbctl get [--json] PID [NAME...]\n"
"\n"
"Shows the options in force in process PID, all of them or those named, one\n"
"NAME=VALUE a line; a single one as its value alone.\n"
"\n"
"      --json   as a JSON object\n"
"  -h, --help   this\n"
"\n"
"Exit status: 0; 1 if it has no such option; 2 for wrong usage; 3 if there is\n"
"no such process on ebbmalloc; 125 if that cannot be told.\n";

static const char set_usage[] =
"usage: ebbctl set [--json] [--wait MS] PID NAME=VALUE...\n"
"\n"
"Changes options of process PID, as `ebbctl options` lists them, and waits\n"
"until it has taken or refused each.  Nothing is changed behind one that is\n"
"refused.\n"
"\n"
"      --wait MS  how long to wait for each answer, 0..3600000 (3000)\n"
"      --json     the answers as a JSON array, refusals too\n"
"  -h, --help     this\n"
"\n"
"Exit status: 0 if all are in force; 1 if one was refused; 2 for wrong usage;\n"
"3 if there is no such process on ebbmalloc, or it ended; 4 if it did not\n"
"answer in time (what was written stays for it to find); 125 if it cannot be\n"
"told.\n";

static const char trim_usage[] =
"usage: ebbctl trim [--json] [--wait MS] PID|--all [--cgroup PATH] [BYTES]\n"
"\n"
"Has a process give free memory back now: BYTES of it (with a suffix K, M, G\n"
"or T), or all.\n"
"\n"
"      --all          every process that runs on ebbmalloc\n"
"      --cgroup PATH  with --all: only those in this cgroup or below it, as\n"
"                     /proc/PID/cgroup names it\n"
"      --wait MS      how long to wait for each answer, 0..3600000 (3000)\n"
"      --json         the answers as a JSON array, refusals too\n"
"  -h, --help         this\n"
"\n"
"Exit status: as that of `ebbctl set`; with --all the greatest of all, but a\n"
"process that ends meanwhile is none.\n";

struct options {
	bool json;
	struct json out;	/* what it goes to */
	bool all;
	const char *cgroup;
	long wait_ms;
};

/* The index of the first argument, or -1 with the status in *@ret_status. */
static int parse(int argc, char **argv, const char *usage,
		 struct options *options, int *ret_status)
{
	static const struct option longs[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "all", no_argument, NULL, 'a' },
		{ "cgroup", required_argument, NULL, 'c' },
		{ "wait", required_argument, NULL, 'w' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	*options = (struct options){ .wait_ms = REQUEST_WAIT_MS };
	*ret_status = STATUS_USAGE;
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case 'j':
			options->json = true;
			break;
		case 'a':
			options->all = true;
			break;
		case 'c':
			options->cgroup = optarg;
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
	return optind;
}

/* === get ================================================================== */

static int get_named(const struct process *process, char **names, int nr,
		     bool json)
{
	struct json out = { .out = stdout };
	char value[EBB_STRING_MAX + 1];

	for (int i = 0; i < nr; i++)
		if (!page_option(&process->page, names[i], value,
				 sizeof(value))) {
			message("process %d has no option \"%s\"; `ebbctl get "
				"%d` lists them", process->pid, names[i],
				process->pid);
			return STATUS_NO;
		}
	if (json)
		json_open(&out, NULL, '{');
	for (int i = 0; i < nr; i++) {
		page_option(&process->page, names[i], value, sizeof(value));
		if (json)
			json_text(&out, names[i], value);
		else if (nr == 1)
			puts(value);
		else
			printf("%s=%s\n", names[i], value);
	}
	if (json) {
		json_close(&out, '}');
		putchar('\n');
	}
	return STATUS_OK;
}

static int get_all(const struct process *process, bool json)
{
	char text[EBB_TEXT_MAX], *line, *next = text;
	struct json out = { .out = stdout };

	if (!json) {
		fputs(process->page.text, stdout);
		return STATUS_OK;
	}
	snprintf(text, sizeof(text), "%s", process->page.text);
	json_open(&out, NULL, '{');
	while ((line = strsep(&next, "\n"))) {
		char *value = strchr(line, '=');

		if (!value)
			continue;
		*value++ = '\0';
		json_text(&out, line, value);
	}
	json_close(&out, '}');
	putchar('\n');
	return STATUS_OK;
}

int cmd_get(int argc, char **argv)
{
	struct options options;
	struct process *process;
	int status, at = parse(argc, argv, get_usage, &options, &status);

	if (at < 0)
		return status;
	if (at >= argc)
		return request_needs_pid("get");
	process = process_find(argv[at++]);
	if (!process)
		return STATUS_ABSENT;
	status = at < argc ? get_named(process, argv + at, argc - at,
				       options.json) :
			     get_all(process, options.json);
	process_put(process);
	return status;
}

/* === Answers ============================================================== */

/* In an array of answers that the caller has begun. */
static void put_answer(struct json *out, const struct process *process,
		       const char *name, enum answer answer, const char *text)
{
	static const char *const words[] = {
		[ANSWER_ACCEPTED] = "accepted",
		[ANSWER_REFUSED] = "refused",
		[ANSWER_PENDING] = "pending",
		[ANSWER_GONE] = "gone",
		[ANSWER_FAILED] = "failed",
	};

	json_open(out, NULL, '{');
	json_number(out, "pid", (uint64_t)process->pid);
	json_text(out, "process", process->page.head.comm);
	json_text(out, "name", name);
	json_text(out, "answer", words[answer]);
	json_text(out, "text", text);
	json_close(out, '}');
}

static void begin_answers(struct options *options)
{
	options->out.out = stdout;
	if (options->json)
		json_open(&options->out, NULL, '[');
}

static void end_answers(struct options *options)
{
	if (!options->json)
		return;
	json_close(&options->out, ']');
	putchar('\n');
}

/* === set ================================================================== */

static int set_one(struct process *process, const char *name,
		   const char *value, struct options *options)
{
	char text[REQUEST_TEXT], old[EBB_STRING_MAX + 1];
	enum answer answer;

	if (!page_option(&process->page, name, old, sizeof(old))) {
		message("process %d has no option \"%s\"; `ebbctl get %d` "
			"lists them", process->pid, name, process->pid);
		return STATUS_NO;
	}
	answer = request_send(process, name, value,
			      (unsigned int)options->wait_ms, text,
			      sizeof(text));
	if (options->json)
		put_answer(&options->out, process, name, answer, text);
	else if (answer == ANSWER_ACCEPTED)
		printf("%s=%s\n", name, text);
	else
		message("process %d: %s%s%s", process->pid,
			answer == ANSWER_REFUSED ? "" : name,
			answer == ANSWER_REFUSED ? "" : ": ", text);
	return request_status(answer);
}

int cmd_set(int argc, char **argv)
{
	struct options options;
	struct process *process;
	int status, at = parse(argc, argv, set_usage, &options, &status);

	if (at < 0)
		return status;
	if (at >= argc)
		return request_needs_pid("set");
	if (at + 1 >= argc) {
		message("set needs NAME=VALUE; `ebbctl options` lists names");
		return STATUS_USAGE;
	}
	for (int i = at + 1; i < argc; i++)
		if (!strchr(argv[i], '=')) {
			message("\"%s\" is not NAME=VALUE", argv[i]);
			return STATUS_USAGE;
		}
	process = process_find(argv[at++]);
	if (!process)
		return STATUS_ABSENT;
	begin_answers(&options);
	for (status = STATUS_OK; !status && at < argc; at++) {
		char *value = strchr(argv[at], '=');

		*value++ = '\0';
		status = set_one(process, argv[at], value, &options);
	}
	end_answers(&options);
	process_put(process);
	return status;
}

/* === trim ================================================================= */

static int trim_one(struct process *process, const char *bytes,
		    struct options *options)
{
	char text[REQUEST_TEXT];
	enum answer answer = request_send(process, "trim", bytes,
					  (unsigned int)options->wait_ms, text,
					  sizeof(text));

	if (options->json)
		put_answer(&options->out, process, "trim", answer, text);
	else if (answer == ANSWER_ACCEPTED)
		printf("%d %s: %s\n", process->pid, process->page.head.comm,
		       text);
	else
		message("process %d: %s", process->pid, text);
	return request_status(answer);
}

static bool is_in_cgroup(int pid, const char *path)
{
	char dir[64], text[8192];

	snprintf(dir, sizeof(dir), "/proc/%d", pid);
	return file_get(dir, "cgroup", text, sizeof(text)) &&
	       cgroup_lists(text, path);
}

static int trim_all(struct options *options, const char *bytes)
{
	struct process **list;
	int worst = STATUS_OK, status;
	size_t nr;

	if (!process_list(&list, &nr, false))
		return STATUS_FAILED;
	begin_answers(options);
	for (size_t i = 0; i < nr; i++) {
		if (options->cgroup &&
		    !is_in_cgroup(list[i]->pid, options->cgroup))
			continue;
		status = trim_one(list[i], bytes, options);
		if (status != STATUS_ABSENT && status > worst)
			worst = status;
	}
	end_answers(options);
	process_free(list, nr);
	return worst;
}

int cmd_trim(int argc, char **argv)
{
	struct options options;
	struct process *process;
	const char *bytes;
	int status, at = parse(argc, argv, trim_usage, &options, &status);

	if (at < 0)
		return status;
	if (options.cgroup && (!options.all || *options.cgroup != '/')) {
		message(options.all ? "--cgroup=%s: accepts a path that begins "
			"with /" : "--cgroup=%s goes with --all",
			options.cgroup);
		return STATUS_USAGE;
	}
	if (!options.all && at >= argc)
		return request_needs_pid("trim");
	bytes = argc - at > !options.all ? argv[argc - 1] : "all";
	if (argc - at > 1 + !options.all) {
		message("trim takes one size, not also \"%s\"", argv[argc - 1]);
		return STATUS_USAGE;
	}
	if (options.all)
		return trim_all(&options, bytes);
	process = process_find(argv[at]);
	if (!process)
		return STATUS_ABSENT;
	begin_answers(&options);
	status = trim_one(process, bytes, &options);
	end_answers(&options);
	process_put(process);
	return status;
}
