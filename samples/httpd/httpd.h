/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc samples - A small HTTP server: what its files share
 */
#ifndef EBB_SAMPLES_HTTPD_H
#define EBB_SAMPLES_HTTPD_H

#include <stdbool.h>
#include <stddef.h>

#include <ebb/ebb.h>

#define BUFFER_BYTES	8192	/* the longest head of a request */

/* One header line; it and its strings lie in the request's context. */
struct header {
	struct header *next;
	const char *name;
	const char *value;
};

/* A request lies in its own context, with all that it makes. */
struct request {
	struct ebb_context *context;
	const char *method;
	const char *path;
	struct header *headers;	/* the last one first */
	bool keep_alive;
};

struct answer {
	const char *text;
	size_t len;
};

/* --- request.c --- */

/* Bytes of the first request's head in @text, 0: it is not complete. */
size_t request_head(const char *text, size_t len);

/* Parse a head into a context of its own; NULL: it is none, or no memory. */
struct request *request_parse(const char *head, size_t len);

/* The answer, in the request's context; text is NULL if there is no memory. */
struct answer request_answer(struct request *request);

/* --- buffer.c --- */

/*
 * @leak_every: so often a buffer is forgotten instead of returned; 0: never.
 * @strict: the process ends as soon as that is found.
 */
bool buffers_open(unsigned int most, unsigned int leak_every, bool strict);

/* Of BUFFER_BYTES; NULL: all are in use. */
char *buffer_take(void);
void buffer_return(char *buffer);

/* What is out, in words, from @context. */
char *buffers_describe(struct ebb_context *context);

/* Returns how many were not returned. */
unsigned int buffers_close(void);

/* --- account.c --- */

/* Who holds how much of the heap, in words, from @context. */
char *account_describe(struct ebb_context *context);

#endif
