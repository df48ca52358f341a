/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Notes: which files of the control directory were written to
 */
#include <string.h>
#include <sys/inotify.h>

#include "base/err.h"
#include "base/log.h"
#include "base/sys.h"
#include "ctl/attr.h"
#include "ctl/file.h"
#include "ctl/notes.h"

#define NOTES_SIZE	4096
#define NOTES_READS	64	/* of the queue at one time */

static const uint32_t mask = IN_CLOSE_WRITE | IN_MOVED_TO | IN_DELETE |
			     IN_MOVED_FROM;

int notes_open(int dir_fd)
{
	char path[40];
	int fd = (int)sys_call1(SYS_inotify_init1, IN_CLOEXEC | IN_NONBLOCK);
	long err;

	if (fd < 0)
		return fd;
	fmt_line(path, sizeof(path), "/proc/thread-self/fd/%d", dir_fd);
	err = sys_call3(SYS_inotify_add_watch, fd, (long)path, mask);
	if (err >= 0)
		return fd;
	sys_close(fd);
	return (int)err;
}

/*
 * The file that @note is of; 0 for what file_put() does: it was seen to when it
 * did that, and who wrote since then may be in the middle of it.
 */
static uint64_t noted(const struct inotify_event *note, uint32_t *cookie)
{
	if (!note->len)
		return 0;
	if (note->mask & IN_MOVED_FROM && !strcmp(note->name, FILE_NEW_NAME))
		*cookie = note->cookie;
	if (note->mask & IN_MOVED_TO && note->cookie == *cookie)
		return 0;
	return attr_bit(note->name);
}

uint64_t notes_read(int notes_fd, uint64_t *ret_written, bool *ret_more)
{
	static char buf[NOTES_SIZE] __aligned_(8);
	static uint32_t cookie;
	uint64_t which = 0;
	long len = 0;

	for (unsigned int i = 0; i < NOTES_READS; i++) {
		len = sys_read(notes_fd, buf, sizeof(buf));
		for (long at = 0; at < len;) {
			const struct inotify_event *note =
				(const void *)(buf + at);
			uint64_t bit = noted(note, &cookie);

			at += (long)(sizeof(*note) + note->len);
			which |= note->mask & IN_Q_OVERFLOW ? ALL_FILES : bit;
			if (note->mask & IN_CLOSE_WRITE)
				*ret_written |= bit;
		}
		if (len <= 0)
			break;
	}
	*ret_more = len > 0;
	return which;
}
