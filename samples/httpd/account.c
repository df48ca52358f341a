/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc samples - A small HTTP server: who holds what
 */
#include "httpd.h"

char *account_describe(struct ebb_context *context)
{
	struct ebb_heap_counts counts;

	if (ebb_heap_count(&counts))
		return ebb_context_strdup(context, "no heap\n");
	return ebb_context_printf(context,
				  "live %llu\ncached %llu\ndirty %llu\n"
				  "clean %llu\n",
				  (unsigned long long)counts.live_bytes,
				  (unsigned long long)counts.cached_bytes,
				  (unsigned long long)counts.dirty_bytes,
				  (unsigned long long)counts.clean_bytes);
}
