/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - Processes that keep a control directory
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "ebbctl.h"
#include "process.h"

/* === Processes of the system ============================================== */

/* What /proc tells of one. */
struct seen {
	int pid;
	int inner_pid;		/* in its own namespace */
	uint64_t pid_ns;
	uint64_t mount_ns;	/* 0: cannot be told */
	uint64_t start_ticks;
};

struct machine {
	struct seen *seen;
	size_t nr;
	uint64_t mount_ns;	/* this tool's */
};

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

/* Field 22 of /proc/PID/stat; 0 if it cannot be told. */
static uint64_t start_of(const char *pid)
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

/* The last number of NSpid. */
static int inner_pid_of(const char *pid)
{
	char dir[64], text[4096], *at, *end;
	long inner = 0;

	snprintf(dir, sizeof(dir), "/proc/%s", pid);
	if (!file_get(dir, "status", text, sizeof(text)))
		return 0;
	at = strstr(text, "\nNSpid:");
	if (!at)
		return atoi(pid);
	for (at += 7; *at && *at != '\n'; at = end) {
		inner = strtol(at, &end, 10);
		if (end == at)
			break;
		while (*end == '\t' || *end == ' ')
			end++;
	}
	return (int)inner;
}

static bool is_number(const char *text)
{
	return *text && !text[strspn(text, "0123456789")];
}

static bool machine_look(struct machine *machine)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	struct seen *more;

	*machine = (struct machine){ .mount_ns = ns_of("self", "mnt") };
	if (!proc) {
		message("/proc cannot be read: %s", strerror(errno));
		return false;
	}
	while ((entry = readdir(proc))) {
		if (!is_number(entry->d_name))
			continue;
		more = realloc(machine->seen,
			       (machine->nr + 1) * sizeof(*more));
		if (!more)
			break;
		machine->seen = more;
		machine->seen[machine->nr++] = (struct seen){
			.pid = atoi(entry->d_name),
			.inner_pid = inner_pid_of(entry->d_name),
			.pid_ns = ns_of(entry->d_name, "pid"),
			.mount_ns = ns_of(entry->d_name, "mnt"),
			.start_ticks = start_of(entry->d_name),
		};
	}
	closedir(proc);
	return true;
}

/*
 * Who wrote @page in mount namespace @mount_ns; NULL: nobody who lives.  The
 * number alone may be another's by now.
 */
static const struct seen *owner_of(const struct machine *machine,
				   const struct ebb_page_head *head,
				   uint64_t mount_ns)
{
	for (size_t i = 0; i < machine->nr; i++) {
		const struct seen *seen = &machine->seen[i];
		bool same_ns = head->pid_ns && seen->pid_ns ?
			       head->pid_ns == seen->pid_ns :
			       seen->mount_ns == mount_ns;

		if (seen->inner_pid == (int)head->pid && same_ns &&
		    (!head->start_ticks || !seen->start_ticks ||
		     head->start_ticks == seen->start_ticks))
			return seen;
	}
	return NULL;
}

/* === Directories ========================================================== */

/* A search through all places. */
struct search {
	struct machine machine;
	struct process **list;
	size_t nr;
	bool dead;
	void (*dead_fn)(int dir_fd, const char *dir, void *arg);
	void *dead_arg;
};

/*
 * @path as a process of that root sees it: links there lead nowhere else.
 */
static int open_in_root(int root_fd, const char *path)
{
	struct open_how how = {
		.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};

	return (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
}

static int open_dir(int parent_fd, const char *name)
{
	return openat(parent_fd, name,
		      O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Whether what is there was made by its owner, or by root. */
static bool read_process(struct process *process)
{
	const char *why;
	struct stat st;

	if (fstat(process->dir_fd, &st) || st.st_mode & (S_IWGRP | S_IWOTH))
		return false;
	process->uid = st.st_uid;
	return page_read(process->dir_fd, EBB_PAGE_FILE, &process->page, &why);
}

void process_put(struct process *process)
{
	if (process->dir_fd >= 0)
		close(process->dir_fd);
	free(process);
}

static void keep(struct search *search, struct process *process)
{
	struct process **more = realloc(search->list, (search->nr + 1) *
							      sizeof(*more));

	if (!more) {
		process_put(process);
		return;
	}
	search->list = more;
	more[search->nr++] = process;
}

static bool is_known(const struct search *search, const struct process *process)
{
	struct stat one, other;

	if (fstat(process->dir_fd, &one))
		return true;
	for (size_t i = 0; i < search->nr; i++)
		if (!fstat(search->list[i]->dir_fd, &other) &&
		    one.st_dev == other.st_dev && one.st_ino == other.st_ino)
			return true;
	return false;
}

static void look_at(struct search *search, int base_fd, const char *where,
		    uint64_t mount_ns)
{
	struct process *process = malloc(sizeof(*process));
	const struct seen *owner;

	if (!process)
		return;
	process->dir_fd = open_dir(base_fd, strrchr(where, '/') + 1);
	snprintf(process->dir, sizeof(process->dir), "%s", where);
	if (process->dir_fd < 0 || is_known(search, process) ||
	    !read_process(process))
		goto out;
	owner = owner_of(&search->machine, &process->page.head, mount_ns);
	process->pid = owner ? owner->pid : 0;
	process->inner_pid = (int)process->page.head.pid;
	if (owner || search->dead) {
		keep(search, process);
		return;
	}
out:
	process_put(process);
}

static void look_in(struct search *search, int base_fd, const char *base,
		    uint64_t mount_ns)
{
	DIR *dir = fdopendir(base_fd);
	struct dirent *entry;
	char where[PATH_MAX];
	int fd;

	if (!dir) {
		close(base_fd);
		return;
	}
	while ((entry = readdir(dir))) {
		if (!path_make(where, sizeof(where), "%s/%s", base,
			       entry->d_name))
			continue;
		if (is_number(entry->d_name)) {
			look_at(search, dirfd(dir), where, mount_ns);
			continue;
		}
		if (!search->dead_fn || strncmp(entry->d_name, EBB_DEAD_DIR,
						strlen(EBB_DEAD_DIR)))
			continue;
		fd = open_dir(dirfd(dir), entry->d_name);
		if (fd >= 0) {
			search->dead_fn(fd, where, search->dead_arg);
			close(fd);
		}
	}
	closedir(dir);
}

/* Below a directory with one entry for each user. */
static void look_in_each(struct search *search, int root_fd,
			 const char *const path[3], uint64_t mount_ns)
{
	const char *prefix = path[0], *parent = path[1], *rest = path[2];
	int fd = open_in_root(root_fd, parent), base_fd;
	char inside[PATH_MAX], where[PATH_MAX];
	struct dirent *entry;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((entry = readdir(dir))) {
		bool wanted = *rest ? is_number(entry->d_name) :
				      !strncmp(entry->d_name, "ebb-", 4);

		if (!wanted || !path_make(inside, sizeof(inside), "%s/%s%s",
					  parent, entry->d_name, rest) ||
		    !path_make(where, sizeof(where), "%s%s", prefix, inside))
			continue;
		base_fd = open_in_root(root_fd, inside);
		if (base_fd >= 0)
			look_in(search, base_fd, where, mount_ns);
	}
	closedir(dir);
}

/* All places below one root directory; @prefix is what it is called here. */
static void look_below(struct search *search, const char *prefix,
		       uint64_t mount_ns)
{
	int root_fd = open(*prefix ? prefix : "/",
			   O_PATH | O_DIRECTORY | O_CLOEXEC);
	char where[PATH_MAX];
	int fd;

	if (root_fd < 0)
		return;
	fd = open_in_root(root_fd, EBB_DIR_RUN);
	if (fd >= 0 && path_make(where, sizeof(where), "%s%s", prefix,
				 EBB_DIR_RUN))
		look_in(search, fd, where, mount_ns);
	look_in_each(search, root_fd,
		     (const char *[3]){ prefix, "/run/user", "/ebb" },
		     mount_ns);
	look_in_each(search, root_fd,
		     (const char *[3]){ prefix, "/dev/shm", "" }, mount_ns);
	close(root_fd);
}

/* Where the user's own processes may be, and what the user names. */
static void look_around(struct search *search)
{
	const char *const vars[] = { "EBB_CONTROL_DIR", "XDG_RUNTIME_DIR" };
	char where[PATH_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(vars); i++) {
		const char *dir = getenv(vars[i]);
		int fd;

		if (!dir || *dir != '/' ||
		    !path_make(where, sizeof(where), "%s%s", dir,
			       i ? "/" EBB_DIR_RUNTIME : ""))
			continue;
		fd = open(where, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0)
			look_in(search, fd, where, search->machine.mount_ns);
	}
}

static void look_everywhere(struct search *search)
{
	struct machine *machine = &search->machine;
	char prefix[64];

	look_below(search, "", machine->mount_ns);
	look_around(search);
	for (size_t i = 0; i < machine->nr; i++) {
		uint64_t mount_ns = machine->seen[i].mount_ns;
		bool first = mount_ns && mount_ns != machine->mount_ns;

		for (size_t k = 0; first && k < i; k++)
			first = machine->seen[k].mount_ns != mount_ns;
		if (!first)
			continue;
		snprintf(prefix, sizeof(prefix), "/proc/%d/root",
			 machine->seen[i].pid);
		look_below(search, prefix, mount_ns);
	}
}

static int by_pid(const void *a, const void *b)
{
	const struct process *one = *(struct process *const *)a;
	const struct process *other = *(struct process *const *)b;

	return (one->pid > other->pid) - (one->pid < other->pid);
}

/* === Interface ============================================================ */

bool process_list(struct process ***ret_list, size_t *ret_nr, bool dead)
{
	struct search search = { .dead = dead };

	if (!machine_look(&search.machine))
		return false;
	look_everywhere(&search);
	free(search.machine.seen);
	if (search.nr)
		qsort(search.list, search.nr, sizeof(*search.list), by_pid);
	*ret_list = search.list;
	*ret_nr = search.nr;
	return true;
}

void process_each_dead(void (*fn)(int dir_fd, const char *dir, void *arg),
		       void *arg)
{
	struct search search = { .dead_fn = fn, .dead_arg = arg };

	if (!machine_look(&search.machine))
		return;
	look_everywhere(&search);
	free(search.machine.seen);
	process_free(search.list, search.nr);
}

void process_free(struct process **list, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		process_put(list[i]);
	free(list);
}

/* Why there is no directory of a process that lives. */
static void explain_absence(const char *pid)
{
	char path[64], line[PATH_MAX + 128];
	bool found = false;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%s/maps", pid);
	maps = fopen(path, "re");
	if (!maps) {
		message("process %s: %s%s", pid, errno == ENOENT ? "" :
			"no control directory, and no right to see why: ",
			errno == ENOENT ? "there is none" : strerror(errno));
		return;
	}
	while (!found && fgets(line, sizeof(line), maps))
		found = strstr(line, "libebbmalloc") != NULL;
	fclose(maps);
	if (found)
		message("process %s runs on ebbmalloc but has no control "
			"directory: it is younger than a second, has hardly "
			"allocated since, has control_dir=off, or found no "
			"place (EBB_CONF=verbose=1 says)", pid);
	else
		message("process %s does not run on ebbmalloc, as far as its "
			"mappings tell", pid);
}

struct process *process_find(const char *text)
{
	struct process **list, *found = NULL;
	size_t nr;

	if (!is_number(text) || strlen(text) > 9) {
		message("\"%s\" is not the number of a process", text);
		return NULL;
	}
	if (!process_list(&list, &nr, false))
		return NULL;
	for (size_t i = 0; i < nr; i++) {
		if (list[i]->pid == atoi(text) && !found) {
			found = list[i];
			continue;
		}
		process_put(list[i]);
	}
	free(list);
	if (!found)
		explain_absence(text);
	return found;
}

bool process_refresh(struct process *process)
{
	const char *why;

	return page_read(process->dir_fd, EBB_PAGE_FILE, &process->page, &why);
}

bool process_lives(const struct process *process)
{
	char pid[16];
	uint64_t start;

	snprintf(pid, sizeof(pid), "%d", process->pid);
	start = start_of(pid);
	return start && (!process->page.head.start_ticks ||
			 start == process->page.head.start_ticks);
}
