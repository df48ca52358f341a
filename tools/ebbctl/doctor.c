/* SPDX-License-Identifier: MIT */
/*
 * ebbctl doctor - Whether the library loads, and why not
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <string.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include "ebbctl.h"
#include "inspect.h"
#include "machine.h"

static const char usage[] =
"usage: ebbctl doctor [--json] [--lib PATH] [COMMAND]\n"
"\n"
"With COMMAND: says whether the library loads there when it is preloaded and,\n"
"if not, why and what to do.  COMMAND is not run.  Without: says what the\n"
"library will find on this machine, one \"name: value (meaning)\" a line.\n"
"\n"
"      --lib PATH  the library, if not the one that belongs to this tool\n"
"      --json      the same as one JSON object\n"
"  -h, --help      this\n"
"\n"
"Exit status: 0 if the library loads there, or works here; 1 if not, or if\n"
"the program also has another heap; 2 for wrong usage; 125 if it cannot be\n"
"told, because COMMAND, or the library, cannot be examined.\n";

/* === Trial ================================================================ */

/*
 * Have the program's own loader, which may be told to list what it would load
 * and to run nothing, try with the library preloaded.
 */
static void child_list(const struct inspection *in, const char *library,
		       int out)
{
	dup2(out, 1);
	dup2(out, 2);
	setenv("LD_PRELOAD", library, 1);
	execl(in->loader, in->loader, "--list", in->path, (char *)NULL);
	_exit(STATUS_NO_EXEC);
}

static size_t read_all(int fd, char *text, size_t size)
{
	size_t len = 0;
	ssize_t ret;

	do {
		ret = read(fd, text + len, size - 1 - len);
		len += ret > 0 ? (size_t)ret : 0;
	} while (ret > 0 && len < size - 1);
	text[len] = '\0';
	return len;
}

/* False, with the loader's complaint in in->why, if it is not loaded. */
static bool try_loading(struct inspection *in, const char *library)
{
	static char text[65536];
	int fds[2], status;
	pid_t pid;

	if (pipe(fds))
		return false;
	pid = fork();
	if (!pid)
		child_list(in, library, fds[1]);
	close(fds[1]);
	read_all(fds[0], text, sizeof(text));
	close(fds[0]);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return false;
	if (WIFEXITED(status) && !WEXITSTATUS(status) &&
	    strstr(text, library) && !strstr(text, "cannot be preloaded"))
		return true;
	if (WIFSIGNALED(status)) {
		snprintf(in->why, sizeof(in->why), "signal %d ends %.150s when "
			 "it looks at the file", WTERMSIG(status), in->loader);
		return false;
	}
	text[strcspn(text, "\n")] = '\0';
	snprintf(in->why, sizeof(in->why), "%.50s says: %.180s",
		 in->loader, *text ? text : "nothing");
	return false;
}

/* Add the trial to what inspection found. */
static void judge_trial(struct inspection *in, const char *library,
			bool library_found)
{
	if (in->verdict != INSPECT_YES && in->verdict != INSPECT_IN_PART)
		return;
	if (!library_found) {
		in->verdict = INSPECT_UNKNOWN;
		snprintf(in->why, sizeof(in->why), "there is no library at "
			 "%.150s to try with; name it with --lib", library);
	} else if (!try_loading(in, library)) {
		in->verdict = INSPECT_NO;
	}
}

/* === Output =============================================================== */

static const char *const verdict_texts[] = {
	[INSPECT_YES] = "loads",
	[INSPECT_IN_PART] = "loads in part",
	[INSPECT_NO] = "does not load",
	[INSPECT_UNKNOWN] = "cannot be told",
};

static const int verdict_status[] = {
	[INSPECT_YES] = STATUS_OK,
	[INSPECT_IN_PART] = STATUS_NO,
	[INSPECT_NO] = STATUS_NO,
	[INSPECT_UNKNOWN] = STATUS_FAILED,
};

static void print_command(const struct inspection *in, const char *library)
{
	printf("program: %s\n", in->path);
	printf("library: %s\n", library);
	for (unsigned int i = 0; i < in->nr_notes; i++)
		printf("note: %s\n", in->notes[i]);
	printf("verdict: %s", verdict_texts[in->verdict]);
	if (*in->why)
		printf(" (%s)", in->why);
	putchar('\n');
}

static void print_command_json(const struct inspection *in,
			       const char *library)
{
	struct json json = { .out = stdout };

	json_open(&json, NULL, '{');
	json_text(&json, "program", in->path);
	json_text(&json, "library", library);
	json_text(&json, "verdict", verdict_texts[in->verdict]);
	json_text(&json, "why", *in->why ? in->why : NULL);
	json_open(&json, "notes", '[');
	for (unsigned int i = 0; i < in->nr_notes; i++)
		json_text(&json, NULL, in->notes[i]);
	json_close(&json, ']');
	json_close(&json, '}');
	putchar('\n');
}

static int diagnose_command(const char *name, const char *lib, bool as_json)
{
	char library[PATH_MAX];
	struct inspection in;
	bool found;

	found = library_find(lib, library, sizeof(library));
	inspect_program(name, &in);
	judge_trial(&in, library, found);
	if (as_json)
		print_command_json(&in, library);
	else
		print_command(&in, library);
	return verdict_status[in.verdict];
}

static int diagnose_machine(const char *lib, bool as_json)
{
	struct json json = { .out = stdout };
	char library[PATH_MAX];
	struct fact fact;
	bool found, bad = false;

	found = library_find(lib, library, sizeof(library));
	if (as_json) {
		json_open(&json, NULL, '{');
		json_text(&json, "library", found ? library : NULL);
	} else {
		printf("library: %s (%s)\n", library, found ?
		       "preloaded by `ebbctl run`" : "not there");
	}
	for (size_t i = 0; i < machine_nr_facts(); i++) {
		machine_fact(i, &fact);
		bad |= fact.bad;
		if (!as_json) {
			printf("%s: %s (%s)\n", fact.name, fact.value,
			       fact.meaning);
			continue;
		}
		json_open(&json, fact.name, '{');
		json_text(&json, "value", fact.value);
		json_text(&json, "meaning", fact.meaning);
		json_close(&json, '}');
	}
	if (as_json) {
		json_close(&json, '}');
		putchar('\n');
	}
	if (!found)
		return STATUS_FAILED;
	return bad ? STATUS_NO : STATUS_OK;
}

int cmd_doctor(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "lib", required_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	const char *lib = NULL;
	bool as_json = false;
	int c;

	while ((c = getopt_long(argc, argv, "+jl:h", longs, NULL)) != -1) {
		if (c == 'h') {
			fputs(usage, stdout);
			return STATUS_OK;
		}
		if (c == 'j')
			as_json = true;
		else if (c == 'l')
			lib = optarg;
		else
			return STATUS_USAGE;
	}
	if (optind < argc)
		return diagnose_command(argv[optind], lib, as_json);
	return diagnose_machine(lib, as_json);
}
