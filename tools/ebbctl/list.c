/* SPDX-License-Identifier: MIT */
/*
 * ebbctl list - Processes that run on ebbmalloc
 */
#include <getopt.h>
#include "ebbctl.h"
#include "process.h"

static const char usage[] =
"usage: ebbctl list [--json]\n"
"\n"
"Lists the processes that run on ebbmalloc and keep a control directory, those\n"
"in containers included, as far as the user may see them.  One that is younger\n"
"than a second, or has hardly allocated since, has none.\n"
"\n"
"      --json   as a JSON array\n"
"  -h, --help   this\n"
"\n"
"Exit status: 0; 2 for wrong usage; 125 if /proc cannot be read.\n";

static void print_row(const struct process *process)
{
	const uint64_t *counters = process->page.counters;
	char live[SIZE_TEXT], free_text[SIZE_TEXT], clean[SIZE_TEXT];
	char limit[SIZE_TEXT];

	printf("%7d %6u %-15s %6s %6s %6s %6s  %-8s %s\n", process->pid,
	       process->uid, process->page.head.comm,
	       size_human(counters[EBB_COUNTER_LIVE], live),
	       size_human(counters[EBB_COUNTER_CACHED] +
			  counters[EBB_COUNTER_DIRTY] +
			  counters[EBB_COUNTER_LAZY], free_text),
	       size_human(counters[EBB_COUNTER_CLEAN], clean),
	       counters[EBB_COUNTER_LIMIT] ?
		       size_human(counters[EBB_COUNTER_LIMIT], limit) : "-",
	       page_pressure((unsigned int)counters[EBB_COUNTER_PRESSURE]),
	       process->page.head.reclaimer);
}

static void print_json(struct process **list, size_t nr)
{
	struct json out = { .out = stdout };

	json_open(&out, NULL, '[');
	for (size_t i = 0; i < nr; i++) {
		const struct ebb_page *page = &list[i]->page;

		json_open(&out, NULL, '{');
		json_number(&out, "pid", (uint64_t)list[i]->pid);
		json_number(&out, "inner_pid", (uint64_t)list[i]->inner_pid);
		json_number(&out, "uid", list[i]->uid);
		json_text(&out, "name", page->head.comm);
		json_text(&out, "directory", list[i]->dir);
		json_text(&out, "version", page->head.version);
		json_number(&out, "abi", page->head.abi);
		json_text(&out, "reclaimer", page->head.reclaimer);
		json_number(&out, "written_ms", page->head.time_ms);
		for (int c = 0; c < EBB_NR_COUNTERS; c++)
			json_number(&out, ebb_counters[c].name,
				    page->counters[c]);
		json_close(&out, '}');
	}
	json_close(&out, ']');
	putchar('\n');
}

int cmd_list(int argc, char **argv)
{
	struct process **list;
	size_t nr;
	bool json;
	int status = json_option(argc, argv, usage, &json);

	if (status >= 0)
		return status;
	if (optind < argc) {
		message("list takes no argument, not \"%s\"", argv[optind]);
		return STATUS_USAGE;
	}
	if (!process_list(&list, &nr, false))
		return STATUS_FAILED;
	if (json) {
		print_json(list, nr);
	} else {
		printf("%7s %6s %-15s %6s %6s %6s %6s  %-8s %s\n", "PID", "UID",
		       "NAME", "LIVE", "FREE", "GIVEN", "LIMIT", "PRESSURE",
		       "RECLAIMER");
		for (size_t i = 0; i < nr; i++)
			print_row(list[i]);
	}
	process_free(list, nr);
	return STATUS_OK;
}
