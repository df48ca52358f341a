/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc samples - A small HTTP server: requests, in a context each
 *
 * Nothing here frees: what parsing and answering have made ends with the
 * request's context.
 */
#include <string.h>

#include "httpd.h"

size_t request_head(const char *text, size_t len)
{
	const char *end = memmem(text, len, "\r\n\r\n", 4);

	return end ? (size_t)(end - text) + 4 : 0;
}

/* Cut off what comes before @end, and what follows it; NULL: there is none. */
static char *cut(char **at, const char *end)
{
	char *begin = *at, *found = strstr(begin, end);

	if (!found)
		return NULL;
	*found = '\0';
	*at = found + strlen(end);
	return begin;
}

static bool add_header(struct request *request, char *line)
{
	struct header *header = ebb_context_alloc(request->context,
						  sizeof(*header));
	const char *name = cut(&line, ":");

	if (!header || !name)
		return false;
	header->name = name;
	header->value = line + strspn(line, " \t");
	header->next = request->headers;
	request->headers = header;
	if (!strcasecmp(name, "connection"))
		request->keep_alive = !!strcasecmp(header->value, "close");
	return true;
}

static struct request *parse(struct ebb_context *context, const char *head,
			     size_t len)
{
	struct request *request = ebb_context_calloc(context, 1,
						     sizeof(*request));
	char *text = ebb_context_strndup(context, head, len), *line, *version;

	if (!request || !text)
		return NULL;
	request->context = context;
	request->method = cut(&text, " ");
	request->path = request->method ? cut(&text, " ") : NULL;
	version = request->path ? cut(&text, "\r\n") : NULL;
	if (!version || strncmp(version, "HTTP/1.", 7))
		return NULL;
	request->keep_alive = !!strcmp(version, "HTTP/1.0");
	while ((line = cut(&text, "\r\n")) && *line)
		if (!add_header(request, line))
			return NULL;
	return request;
}

struct request *request_parse(const char *head, size_t len)
{
	struct ebb_context *context = ebb_context_open(NULL, 0, 0);
	struct request *request = context ? parse(context, head, len) : NULL;

	if (!request)
		ebb_context_close(context);
	return request;
}

/* The headers as they came, in an inner context for what is only in between. */
static char *describe_headers(struct request *request)
{
	struct ebb_context *inner = ebb_context_open(request->context, 0, 0);
	const struct header *header;
	char *text = NULL;

	if (!inner)
		return NULL;
	text = ebb_context_strdup(inner, "");
	for (header = request->headers; text && header; header = header->next)
		text = ebb_context_printf(inner, "%s: %s\n%s", header->name,
					  header->value, text);
	text = text ? ebb_context_strdup(request->context, text) : NULL;
	ebb_context_close(inner);
	return text;
}

static const char *body_of(struct request *request, const char **ret_status)
{
	*ret_status = "200 OK";
	if (strcmp(request->method, "GET")) {
		request->keep_alive = false;
		*ret_status = "405 Method Not Allowed";
		return "only GET\n";
	}
	if (!strcmp(request->path, "/"))
		return "hello\n";
	if (!strcmp(request->path, "/headers"))
		return describe_headers(request);
	if (!strcmp(request->path, "/accounts"))
		return account_describe(request->context);
	if (!strcmp(request->path, "/buffers"))
		return buffers_describe(request->context);
	*ret_status = "404 Not Found";
	return ebb_context_printf(request->context, "%s is not here\n",
				  request->path);
}

struct answer request_answer(struct request *request)
{
	const char *status, *body = body_of(request, &status), *text = NULL;

	if (body)
		text = ebb_context_printf(request->context,
					  "HTTP/1.1 %s\r\n"
					  "Content-Type: text/plain\r\n"
					  "Content-Length: %zu\r\n"
					  "Connection: %s\r\n\r\n%s", status,
					  strlen(body), request->keep_alive ?
					  "keep-alive" : "close", body);
	return (struct answer){ text, text ? strlen(text) : 0 };
}
