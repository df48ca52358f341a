/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc samples - A small HTTP server: buffers for what arrives
 *
 * A connection has one only while part of a request has arrived: taken by the
 * thread that reads, returned by the one that answers.
 */
#include <stdlib.h>

#include "httpd.h"

static unsigned int most, leak_every;
static unsigned int nr_out, nr_returns;	/* atomic */

bool buffers_open(unsigned int how_many, unsigned int leaks)
{
	most = how_many;
	leak_every = leaks;
	return true;
}

char *buffer_take(void)
{
	char *buffer = NULL;

	if (__atomic_add_fetch(&nr_out, 1, __ATOMIC_RELAXED) <= most)
		buffer = malloc(BUFFER_BYTES);
	if (!buffer)
		__atomic_sub_fetch(&nr_out, 1, __ATOMIC_RELAXED);
	return buffer;
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
	if (!buffer || is_forgotten())
		return;
	free(buffer);
	__atomic_sub_fetch(&nr_out, 1, __ATOMIC_RELAXED);
}

char *buffers_describe(struct ebb_context *context)
{
	return ebb_context_printf(context, "out %u of %u\n",
				  __atomic_load_n(&nr_out, __ATOMIC_RELAXED),
				  most);
}

unsigned int buffers_close(void)
{
	return nr_out;
}
