/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc samples - A small HTTP server: who holds what
 *
 * A request's memory is the main thread's, which opened its context, also while
 * a worker answers it.
 */
#include "httpd.h"

#define THREADS_MAX	128

char *account_describe(struct ebb_context *context)
{
	struct ebb_thread_counts *rows;
	char *text = ebb_context_strdup(context, "");
	int nr;

	rows = ebb_context_calloc(context, THREADS_MAX, sizeof(*rows));
	if (!rows)
		return NULL;
	nr = ebb_thread_stats_all(rows, sizeof(*rows), THREADS_MAX);
	for (int i = 0; i < nr && i < THREADS_MAX && text; i++)
		text = ebb_context_printf(context, "%s%-16s %8d %10llu live "
					  "%10llu cached\n", text,
					  rows[i].name, rows[i].tid,
					  (unsigned long long)rows[i].live,
					  (unsigned long long)rows[i].cached);
	return text;
}
