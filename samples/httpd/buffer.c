/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc samples - A small HTTP server: buffers for what arrives
 *
 * A connection has one only while part of a request has arrived: taken by the
 * thread that reads, returned by the one that answers.  They are a pool's,
 * which bounds them, and knows of each that is out who took it.
 */
#include "httpd.h"

static struct ebb_pool *pool;
static unsigned int leak_every;
static unsigned int nr_returns;	/* atomic */

bool buffers_open(unsigned int most, unsigned int leaks, bool strict)
{
	struct ebb_pool_options options = {
		.size = sizeof(options),
		.leak_level = strict ? EBB_POOL_LEAK_STRICT :
				       EBB_POOL_LEAK_FULL,
		.leak_scan = 100,
		.name = "buffers",
	};

	leak_every = leaks;
	pool = ebb_pool_create((size_t)most * BUFFER_BYTES, BUFFER_BYTES,
			       &options);
	return pool;
}

char *buffer_take(void)
{
	return ebb_pool_take(pool, BUFFER_BYTES);
}

/* The bug that the option --leak puts in. */
static bool is_forgotten(void)
{
	return leak_every &&
	       __atomic_add_fetch(&nr_returns, 1, __ATOMIC_RELAXED) %
	       leak_every == 0;
}

void buffer_return(char *buffer)
{
	if (buffer && !is_forgotten())
		ebb_pool_return(pool, buffer);
}

char *buffers_describe(struct ebb_context *context)
{
	struct ebb_pool_counts counts = { .size = sizeof(counts) };

	if (ebb_pool_count(pool, &counts))
		return ebb_context_strdup(context, "not now\n");
	return ebb_context_printf(context, "out %llu\nbytes %llu\n",
				  (unsigned long long)counts.nr_out,
				  (unsigned long long)counts.bytes_out);
}

/* What nothing refers to any more the library reports, with who took it. */
unsigned int buffers_close(void)
{
	uint64_t nr_out = 0;

	ebb_pool_destroy(pool, EBB_POOL_FORCE, &nr_out);
	return (unsigned int)nr_out;
}
