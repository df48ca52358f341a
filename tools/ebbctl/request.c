/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - Writing to a process's files, and waiting for its answer
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "ebbctl.h"
#include "request.h"

#define POLL_MS		5
#define REQUEST_LINE	4096

/*
 * Where no thread of the process waits for files, they are made by who writes
 * to them, for the process's user.
 */
static int open_file(const struct process *process, const char *name)
{
	const int flags = O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
	int fd = openat(process->dir_fd, name, flags | O_TRUNC);

	if (fd >= 0 || errno != ENOENT)
		return fd;
	fd = openat(process->dir_fd, name, flags | O_CREAT | O_EXCL, 0600);
	if (fd >= 0 && geteuid() != process->uid &&
	    fchown(fd, process->uid, (gid_t)-1)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Through a hard link or a device it would be something else's. */
static bool is_plain(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_nlink == 1;
}

static bool put_value(const struct process *process, const char *name,
		      const char *value, char *text, size_t size)
{
	char line[REQUEST_LINE];
	int fd = open_file(process, name);
	/* A line of its own, so that none is not taken for half a value. */
	int len = snprintf(line, sizeof(line), "%s\n", value);
	bool ok = false;

	if (fd < 0)
		snprintf(text, size, "%s/%s cannot be written: %s",
			 process->dir, name, strerror(errno));
	else if (!is_plain(fd))
		snprintf(text, size, "%s/%s is not a plain file",
			 process->dir, name);
	else if (len >= (int)sizeof(line))
		snprintf(text, size, "%s is longer than %zu bytes", name,
			 sizeof(line) - 2);
	else if (write(fd, line, (size_t)len) != len)
		snprintf(text, size, "%s/%s cannot be written: %s",
			 process->dir, name, strerror(errno));
	else
		ok = true;
	if (fd >= 0)
		close(fd);
	return ok;
}

/* The answer to what was written after verdict @after, if there is one. */
static bool look(struct process *process, const char *name, uint64_t after,
		 enum answer *ret_answer, char *text, size_t size)
{
	const struct ebb_verdict *verdict;

	if (!process_refresh(process))
		return false;
	verdict = page_verdict(&process->page, name, after);
	if (!verdict)
		return false;
	snprintf(text, size, "%s", verdict->text);
	*ret_answer = verdict->error ? ANSWER_REFUSED : ANSWER_ACCEPTED;
	return true;
}

enum answer request_send(struct process *process, const char *name,
			 const char *value, unsigned int wait_ms, char *text,
			 size_t size)
{
	const struct timespec nap = { 0, POLL_MS * 1000000 };
	uint64_t after = page_last_verdict(&process->page);
	enum answer answer;

	if (process_refresh(process))
		after = page_last_verdict(&process->page);
	if (!put_value(process, name, value, text, size))
		return ANSWER_FAILED;
	for (unsigned int ms = 0; ms <= wait_ms; ms += POLL_MS) {
		if (look(process, name, after, &answer, text, size))
			return answer;
		if (!process_lives(process)) {
			snprintf(text, size, "the process has ended");
			return ANSWER_GONE;
		}
		nanosleep(&nap, NULL);
	}
	snprintf(text, size, "written, not answered in %u ms: %s", wait_ms,
		 process->page.head.state == EBB_PAGE_RUNNING ?
		 "the process is stopped, or busy" :
		 "without a background thread it looks when it allocates");
	return ANSWER_PENDING;
}

int request_status(enum answer answer)
{
	switch (answer) {
	case ANSWER_ACCEPTED:
		return STATUS_OK;
	case ANSWER_REFUSED:
		return STATUS_NO;
	case ANSWER_PENDING:
		return STATUS_PENDING;
	case ANSWER_GONE:
		return STATUS_ABSENT;
	default:
		return STATUS_FAILED;
	}
}

long request_parse_wait(const char *text)
{
	char *end;
	long ms = strtol(text, &end, 10);

	if (end != text && !*end && ms >= 0 && ms <= 3600000)
		return ms;
	message("--wait=%s: accepts 0..3600000 ms", text);
	return -1;
}

int request_needs_pid(const char *command)
{
	message("%s needs the number of a process; `ebbctl list` shows them",
		command);
	return STATUS_USAGE;
}
