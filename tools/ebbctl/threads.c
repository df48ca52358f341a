/* SPDX-License-Identifier: MIT */
/*
 * ebbctl threads - Which threads of a process hold memory
 */
#include "ebbctl.h"
#include "process.h"
#include "status.h"

static const char usage[] =
"usage: ebbctl threads [--json] PID\n"
"\n"
"Shows the threads of process PID that have caches, those whose slabs hold\n"
"most first.  TAKEN is what is handed out from the slabs of a thread, whoever\n"
"has it now; CACHED is what lies free in the thread's caches.  Threads that\n"
"have ended are one row; large objects belong to no thread.\n"
"\n"
"      --json   as a JSON array\n"
"  -h, --help   this\n"
"\n"
"Exit status: 0; 2 for wrong usage; 3 if there is no such process on\n"
"ebbmalloc; 125 if that cannot be told.\n";

void threads_print(const struct ebb_page *page, unsigned int max)
{
	char taken[SIZE_TEXT], cached[SIZE_TEXT];

	printf("%8s %-16s %7s %7s %7s\n", "TID", "NAME", "TAKEN", "CACHED",
	       "SLABS");
	for (unsigned int i = 0; i < page->head.threads.used && i < max; i++) {
		const struct ebb_thread_row *row = &page->threads[i];

		printf("%8u %-16s %7s %7s %7u\n", row->tid, row->name,
		       size_human(row->taken, taken),
		       size_human(row->cached, cached), row->slabs);
	}
}

void threads_json(struct json *out, const char *key,
		  const struct ebb_page *page)
{
	json_open(out, key, '[');
	for (unsigned int i = 0; i < page->head.threads.used; i++) {
		const struct ebb_thread_row *row = &page->threads[i];

		json_open(out, NULL, '{');
		json_number(out, "tid", row->tid);
		json_text(out, "name", row->name);
		json_number(out, "taken", row->taken);
		json_number(out, "cached", row->cached);
		json_number(out, "slabs", row->slabs);
		json_close(out, '}');
	}
	json_close(out, ']');
}

static void print_json(const struct ebb_page *page)
{
	struct json out = { .out = stdout };

	threads_json(&out, NULL, page);
	putchar('\n');
}

int cmd_threads(int argc, char **argv)
{
	bool json;
	int status;
	struct process *process = process_of_args(argc, argv, usage, &json,
						  &status);

	if (!process)
		return status;
	if (json)
		print_json(&process->page);
	else
		threads_print(&process->page, EBB_NR_THREADS_MAX);
	process_put(process);
	return STATUS_OK;
}
