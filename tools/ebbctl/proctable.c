/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - Processes of the system, as /proc tells
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "ebbctl.h"
#include "proctable.h"

/* The inode that a link of /proc/PID/ns names; 0 if it cannot be read. */
static uint64_t ns_of(const char *pid, const char *name)
{
	char path[64], text[64], *at;
	ssize_t len;

	snprintf(path, sizeof(path), "/proc/%s/ns/%s", pid, name);
	len = readlink(path, text, sizeof(text) - 1);
	if (len < 0)
		return 0;
	text[len] = '\0';
	at = strchr(text, '[');
	return at ? strtoull(at + 1, NULL, 10) : 0;
}

uint64_t proctable_start_of(const char *pid)
{
	char dir[64], text[1024], *at;

	snprintf(dir, sizeof(dir), "/proc/%s", pid);
	if (!file_get(dir, "stat", text, sizeof(text)))
		return 0;
	at = strrchr(text, ')');
	for (int field = 2; at && field < 22; field++) {
		at = strchr(at, ' ');
		at += at != NULL;
	}
	return at ? strtoull(at, NULL, 10) : 0;
}

/* The numbers behind @key in /proc/PID/status; how many. */
static unsigned int numbers_of(const char *status, const char *key,
			       unsigned long *ret_numbers, unsigned int max)
{
	const char *at = strstr(status, key);
	unsigned int nr = 0;
	char *end;

	if (!at)
		return 0;
	for (at += strlen(key); *at && *at != '\n'; at = end) {
		unsigned long number = strtoul(at, &end, 10);

		if (end == at)
			break;
		/* Beyond the room: the last one stays the last. */
		ret_numbers[nr < max ? nr++ : max - 1] = number;
		while (*end == '\t' || *end == ' ')
			end++;
	}
	return nr;
}

static void read_status(struct seen *seen, const char *pid)
{
	unsigned long numbers[8];
	char dir[64], text[4096];
	unsigned int nr;

	snprintf(dir, sizeof(dir), "/proc/%s", pid);
	if (!file_get(dir, "status", text, sizeof(text)))
		return;
	nr = numbers_of(text, "\nUid:", numbers, ARRAY_SIZE(seen->uids));
	for (unsigned int i = 0; i < nr; i++)
		seen->uids[i] = (unsigned int)numbers[i];
	nr = numbers_of(text, "\nNSpid:", numbers, ARRAY_SIZE(numbers));
	seen->inner_pid = nr ? (int)numbers[nr - 1] : seen->pid;
}

bool proctable_is_number(const char *text)
{
	return *text && !text[strspn(text, "0123456789")];
}

bool proctable_read(struct proctable *table)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	struct seen *more;

	*table = (struct proctable){
		.mount_ns = ns_of("self", "mnt"),
		.pid_ns = ns_of("self", "pid"),
	};
	table->whole = table->pid_ns == PROCTABLE_FIRST_PID_NS && !geteuid();
	if (!proc) {
		message("/proc cannot be read: %s", strerror(errno));
		return false;
	}
	while ((entry = readdir(proc))) {
		const char *pid = entry->d_name;

		if (!proctable_is_number(pid))
			continue;
		more = realloc(table->seen, (table->nr + 1) * sizeof(*more));
		if (!more)
			break;
		table->seen = more;
		more[table->nr] = (struct seen){
			.pid = atoi(pid),
			.pid_ns = ns_of(pid, "pid"),
			.mount_ns = ns_of(pid, "mnt"),
			.start_ticks = proctable_start_of(pid),
		};
		read_status(&more[table->nr++], pid);
	}
	closedir(proc);
	return true;
}

void proctable_free(struct proctable *table)
{
	free(table->seen);
}

static bool may_be(const struct seen *seen, const struct ebb_page_head *head)
{
	return seen->inner_pid == (int)head->pid &&
	       (!head->start_ticks || !seen->start_ticks ||
		head->start_ticks == seen->start_ticks);
}

static bool is_user_of(const struct seen *seen, unsigned int uid)
{
	for (size_t i = 0; i < ARRAY_SIZE(seen->uids); i++)
		if (seen->uids[i] == uid)
			return true;
	return !uid;
}

const struct seen *proctable_owner(const struct proctable *table,
				   const struct ebb_page_head *head,
				   uint64_t mount_ns, unsigned int uid)
{
	for (size_t i = 0; i < table->nr; i++) {
		const struct seen *seen = &table->seen[i];
		bool same_ns = head->pid_ns && seen->pid_ns ?
			       head->pid_ns == seen->pid_ns :
			       seen->mount_ns == mount_ns;

		if (same_ns && may_be(seen, head) && is_user_of(seen, uid))
			return seen;
	}
	return NULL;
}

bool proctable_is_gone(const struct proctable *table,
		       const struct ebb_page_head *head)
{
	char pid[16];
	uint64_t start;

	if (!head->pid || head->pid > INT32_MAX)
		return false;
	if (table->pid_ns && head->pid_ns == table->pid_ns) {
		if (kill((pid_t)head->pid, 0) && errno == ESRCH)
			return true;
		snprintf(pid, sizeof(pid), "%u", head->pid);
		start = proctable_start_of(pid);
		return start && head->start_ticks && start != head->start_ticks;
	}
	/* A number of another namespace says something where all are seen. */
	for (size_t i = 0; i < table->nr; i++)
		if (may_be(&table->seen[i], head))
			return false;
	return table->whole && head->pid_ns && head->start_ticks;
}
