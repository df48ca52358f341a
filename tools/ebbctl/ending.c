/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - How a process ended, as far as can be told
 *
 * Nobody is told how a process ended but its parent.  What is left: the log of
 * the kernel, which names those that its OOM killer took and those that
 * faulted, by their numbers in the first pid namespace; and the count of OOM
 * kills of the process's cgroup, if that is still there.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "ebbctl.h"
#include "ending.h"
#include "place.h"
#include "proctable.h"

#define LOG_LINE	8192
#define SLACK_MS	2000	/* between the clocks of log and page */

/* === Kernel log =========================================================== */

/* When the kernel counted from 0, in milliseconds since 1970. */
static uint64_t log_epoch_ms(void)
{
	return clock_ms(CLOCK_REALTIME) - clock_ms(CLOCK_MONOTONIC);
}

/* What the text of an entry says of process @pid @comm; NULL: nothing. */
static const char *entry_says(const char *text, unsigned int pid,
			      const char *comm)
{
	char killed[64], faulted[64];

	snprintf(killed, sizeof(killed), "Killed process %u (%s)", pid, comm);
	if (strstr(text, killed))
		return "OOM kill";
	snprintf(faulted, sizeof(faulted), "%s[%u]: segfault", comm, pid);
	return strncmp(text, faulted, strlen(faulted)) ? NULL : "segfault";
}

/* "PRIORITY,NUMBER,MICROSECONDS,FLAGS;text" */
static const char *read_entry(char *entry, uint64_t *ret_ms)
{
	char *text = strchr(entry, ';'), *at = strchr(entry, ',');

	at = at ? strchr(at + 1, ',') : NULL;
	if (!text || !at || at > text)
		return NULL;
	*ret_ms = strtoull(at + 1, NULL, 10) / 1000;
	return text + 1;
}

static void ask_log(const struct ebb_page_head *head, struct ending *ending)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	uint64_t epoch = log_epoch_ms(), ms;
	char entry[LOG_LINE];
	const char *text, *what;
	ssize_t len;

	/* EPIPE: entries were overwritten, the next is behind them. */
	while (fd >= 0 && ((len = read(fd, entry, sizeof(entry) - 1)) > 0 ||
			   (len < 0 && errno == EPIPE))) {
		entry[len > 0 ? len : 0] = '\0';
		text = read_entry(entry, &ms);
		/* An earlier one had the same number before it. */
		if (!text || epoch + ms + SLACK_MS < head->time_ms)
			continue;
		what = entry_says(text, head->pid, head->comm);
		if (!what)
			continue;
		ending->what = what;
		ending->how = *what == 'O' ?
			      "killed by the OOM killer, says the kernel log" :
			      "crashed, says the kernel log: segfault";
		ending->at_ms = epoch + ms;
		break;
	}
	if (fd >= 0)
		close(fd);
}

/* === Cgroup =============================================================== */

static uint64_t count_oom_kills(const char *cgroup)
{
	struct place place;
	int version = place_of(cgroup, &place);

	if (!version)
		return UNKNOWN;
	return file_number(place.dir, version == 1 ? "memory.oom_control" :
						     "memory.events",
			   "oom_kill");
}

void ending_find(const struct ebb_page *page, struct ending *ret)
{
	*ret = (struct ending){
		.what = "not known",
		.how = "killed, or crashed: it did not end by itself",
		.oom_kills = count_oom_kills(page->head.cgroup),
	};
	if (page->head.state == EBB_PAGE_EXITED) {
		ret->what = "exit";
		ret->how = "ended by itself";
		return;
	}
	if (page->head.pid_ns == PROCTABLE_FIRST_PID_NS)
		ask_log(&page->head, ret);
}
