/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Contexts: strings
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/context.h"

static char *copy(struct ebb_context *context, const char *text, size_t len)
{
	char *to = ebb_context_alloc(context, len + 1);

	if (!to)
		return NULL;
	memcpy(to, text, len);
	to[len] = '\0';
	return to;
}

__export char *ebb_context_strdup(struct ebb_context *context,
				  const char *text)
{
	return copy(context, text, strlen(text));
}

__export char *ebb_context_strndup(struct ebb_context *context,
				   const char *text, size_t max)
{
	return copy(context, text, strnlen(text, max));
}

/*
 * Printed into what is free behind the cursor, and taken then; what does not
 * fit there is printed once more.  With checks nothing is free.
 */
__export char *ebb_context_vprintf(struct ebb_context *context,
				   const char *format, va_list args)
{
	size_t room = (size_t)(context->end - context->next);
	char *free_text = NULL, *text;
	va_list again;
	int len;

	room -= min(room, sizeof(size_t));
	if (room)
		free_text = context->next + sizeof(size_t);
	va_copy(again, args);
	len = vsnprintf(free_text, room, format, args);
	text = len < 0 ? NULL : ebb_context_alloc(context, (size_t)len + 1);
	if (text && text != free_text)
		vsnprintf(text, (size_t)len + 1, format, again);
	va_end(again);
	return text;
}

__export char *ebb_context_printf(struct ebb_context *context,
				  const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	text = ebb_context_vprintf(context, format, args);
	va_end(args);
	return text;
}
