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
"Shows whose memory it is: the threads of process PID, those with most in use\n"
"first, and in a line before them who has most.  LIVE is what the thread has\n"
"allocated and nobody has freed; RATE is how much it allocates a second; OTHERS\n"
"is what others have freed of it, and FOR what it has freed of others'.  A\n"
"thread that has ended is shown as long as something of it is in use.  CACHED\n"
"is what lies free in the thread's caches; TAKEN is what is handed out from\n"
"its slabs, whoever has it, and for 0 from those of threads that have ended.\n"
"Unless the process keeps accounts (accounts=live) only these two are known.\n"
"\n"
"      --json   as a JSON array\n"
"  -h, --help   this\n"
"\n"
"Exit status: 0; 2 for wrong usage; 3 if there is no such process on\n"
"ebbmalloc; 125 if that cannot be told.\n";

/* The answer to: who allocates too much? */
static void print_most(const struct ebb_page *page)
{
	const struct ebb_thread_row *most = &page->threads[0];
	char all[SIZE_TEXT], rate[SIZE_TEXT];
	uint64_t live = 0;

	/* The page may say anything: a sum may even wrap around. */
	for (unsigned int i = 0; i < page->head.threads.used; i++)
		live += page->threads[i].live / 128;
	if (!live || most->live / 128 > live)
		return;
	printf("%s (%u) has %llu %% of %s in use, and allocates %s a second\n",
	       most->name, most->tid,
	       (unsigned long long)(most->live / 128 * 100 / live),
	       size_human(live * 128, all), size_human(most->rate, rate));
}

static bool has_accounts(const struct ebb_page *page)
{
	for (unsigned int i = 0; i < page->head.threads.used; i++)
		if (page->threads[i].live)
			return true;
	return false;
}

/* Without accounts: what their heaps have. */
static void print_heaps(const struct ebb_page *page, unsigned int max)
{
	char taken[SIZE_TEXT], cached[SIZE_TEXT];

	printf("No accounts are kept (option accounts=live): TAKEN is whoever's\n"
	       "%8s %-16s %7s %7s %7s\n", "TID", "NAME", "TAKEN", "CACHED",
	       "SLABS");
	for (unsigned int i = 0; i < page->head.threads.used && i < max; i++) {
		const struct ebb_thread_row *row = &page->threads[i];

		printf("%8u %-16s %7s %7s %7u\n", row->tid, row->name,
		       size_human(row->taken, taken),
		       size_human(row->cached, cached), row->slabs);
	}
}

void threads_print(const struct ebb_page *page, unsigned int max)
{
	char text[6][SIZE_TEXT];

	if (!has_accounts(page)) {
		print_heaps(page, max);
		return;
	}
	print_most(page);
	printf("%8s %-16s %7s %7s %7s %7s %7s %7s %7s\n", "TID", "NAME",
	       "LIVE", "RATE", "OTHERS", "FOR", "TAKEN", "CACHED", "SLABS");
	for (unsigned int i = 0; i < page->head.threads.used && i < max; i++) {
		const struct ebb_thread_row *row = &page->threads[i];

		printf("%8u %-16s %7s %7s %7s %7s %7s %7s %7u%s\n", row->tid,
		       row->name, size_human(row->live, text[0]),
		       size_human(row->rate, text[1]),
		       size_human(row->by_others, text[2]),
		       size_human(row->for_others, text[3]),
		       size_human(row->taken, text[4]),
		       size_human(row->cached, text[5]), row->slabs,
		       row->flags & EBB_ROW_ENDED ? " ended" : "");
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
		json_number(out, "live", row->live);
		json_number(out, "rate", row->rate);
		json_number(out, "allocated", row->allocated);
		json_number(out, "freed_self", row->freed_self);
		json_number(out, "freed_by_others", row->by_others);
		json_number(out, "freed_for_others", row->for_others);
		json_bool(out, "ended", row->flags & EBB_ROW_ENDED);
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
