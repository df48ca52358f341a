/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Reading /proc/self/maps
 */
#include <fcntl.h>
#include <string.h>

#include "base/mappings.h"
#include "base/number.h"
#include "base/sys.h"

void mappings_from(struct mappings *maps, int fd, char *buf, size_t size)
{
	*maps = (struct mappings){ .fd = fd, .buf = buf, .size = size };
}

int mappings_open(struct mappings *maps, char *buf, size_t size)
{
	int fd = sys_open("/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);

	mappings_from(maps, fd, buf, size);
	return min(fd, 0);
}

int mappings_close(struct mappings *maps)
{
	sys_close(maps->fd);
	return maps->err;
}

/* Read behind what is in the buffer; false: nothing came. */
static bool read_more(struct mappings *maps)
{
	long got;

	do {
		got = sys_read(maps->fd, maps->buf + maps->len,
			       maps->size - maps->len);
	} while (got == -EINTR);
	maps->err = got < 0 ? (int)got : 0;
	if (got <= 0)
		return false;
	maps->len += (size_t)got;
	return true;
}

size_t mappings_text(struct mappings *maps)
{
	maps->len = 0;
	return read_more(maps) ? maps->len : 0;
}

/* === Lines ================================================================ */

/* Have the next line begin where the buffer does. */
static void move_down(struct mappings *maps)
{
	maps->len -= maps->at;
	memmove(maps->buf, maps->buf + maps->at, maps->len);
	maps->at = 0;
}

/* All that the buffer holds is one line, and not the end of it. */
static char *cut_line(struct mappings *maps)
{
	maps->in_cut = true;
	maps->at = maps->len;
	maps->buf[maps->len - 1] = '\0';
	return maps->buf;
}

/* As a string; NULL: there is no more.  What has no newline is no line. */
static char *next_line(struct mappings *maps)
{
	for (;;) {
		char *line = maps->buf + maps->at;
		char *newline = memchr(line, '\n', maps->len - maps->at);
		bool is_rest = maps->in_cut;

		if (newline) {
			*newline = '\0';
			maps->at = (size_t)(newline + 1 - maps->buf);
			maps->in_cut = false;
			if (!is_rest)
				return line;
			continue;
		}
		if (is_rest)
			maps->at = maps->len;
		move_down(maps);
		if (maps->len == maps->size)
			return cut_line(maps);
		if (!read_more(maps))
			return NULL;
	}
}

static const char *skip_field(const char *at)
{
	while (*at && *at != ' ')
		at++;
	while (*at == ' ')
		at++;
	return at;
}

/* "START-END rwxp OFFSET DEVICE INODE     NAME"; false: it is none. */
static bool parse_line(const char *at, struct mapping *ret)
{
	ret->start = number_or_0(&at, 16);
	if (*at++ != '-')
		return false;
	ret->end = number_or_0(&at, 16);
	at = skip_field(at);
	ret->readable = at[0] == 'r';
	ret->writable = at[0] && at[1] == 'w';
	at = skip_field(at);
	ret->offset = number_or_0(&at, 16);
	at = skip_field(at);
	at = skip_field(at);		/* device */
	ret->inode = number_or_0(&at, 10);
	ret->name = skip_field(at);
	return true;
}

bool mappings_next(struct mappings *maps, struct mapping *ret)
{
	char *line;

	while ((line = next_line(maps)))
		if (parse_line(line, ret))
			return true;
	return false;
}
