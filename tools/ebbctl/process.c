/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - Processes that keep a control directory
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "ebbctl.h"
#include "process.h"
#include "proctable.h"

#define DEAD_MAX	256	/* taken at one time; of more, others later */

/* === Directories ========================================================== */

/* A search through all places. */
struct search {
	struct proctable table;
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

/* Nobody else may have put anything there. */
static bool is_private(struct process *process)
{
	struct stat st;

	if (fstat(process->dir_fd, &st) || st.st_mode & (S_IWGRP | S_IWOTH))
		return false;
	process->uid = st.st_uid;
	process->dev = st.st_dev;
	process->ino = st.st_ino;
	return true;
}

bool process_refresh(struct process *process)
{
	const char *why;

	return page_read(process->dir_fd, EBB_PAGE_FILE, &process->page, &why);
}

/* All of @fd, or what came of it. */
static char *read_all(int fd, size_t len, size_t *ret_len)
{
	char *text = malloc(len + 1);
	ssize_t got = 1;

	*ret_len = 0;
	while (text && got > 0 && *ret_len < len) {
		got = read(fd, text + *ret_len, len - *ret_len);
		if (got < 0) {
			free(text);
			return NULL;
		}
		*ret_len += (size_t)got;
	}
	if (text)
		text[*ret_len] = '\0';
	return text;
}

char *process_read(const struct process *process, const char *name,
		   size_t most, size_t *ret_len)
{
	int fd = page_open(process->dir_fd, name), err;
	char *text = NULL;
	struct stat st;
	bool ok = fd >= 0 && !fstat(fd, &st);

	if (ok && (!S_ISREG(st.st_mode) || st.st_size > (off_t)most ||
		   (st.st_uid && st.st_uid != process->uid)))
		errno = EPERM;
	else if (ok)
		text = read_all(fd, (size_t)st.st_size, ret_len);
	err = errno;
	if (fd >= 0)
		close(fd);
	errno = err;
	return text;
}

void process_put(struct process *process)
{
	if (!process)
		return;
	if (process->dir_fd >= 0)
		close(process->dir_fd);
	free(process);
}

static void keep(struct search *search, struct process *process)
{
	struct process **more = NULL;

	if (!search->dead || search->nr < DEAD_MAX)
		more = realloc(search->list, (search->nr + 1) * sizeof(*more));
	if (!more) {
		process_put(process);
		return;
	}
	search->list = more;
	more[search->nr++] = process;
}

static bool is_known(const struct search *search, const struct process *process)
{
	for (size_t i = 0; i < search->nr; i++)
		if (process->dev == search->list[i]->dev &&
		    process->ino == search->list[i]->ino)
			return true;
	return false;
}

/* Or one process could be there any number of times. */
static bool has_own_name(const struct process *process)
{
	const char *name = strrchr(process->dir, '/') + 1;

	return strlen(name) < 10 &&
	       (unsigned int)atoi(name) == process->page.head.pid;
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
	if (process->dir_fd < 0 || !is_private(process) ||
	    is_known(search, process) || !process_refresh(process) ||
	    !has_own_name(process))
		goto out;
	owner = proctable_owner(&search->table, &process->page.head, mount_ns,
				process->uid);
	process->pid = owner ? owner->pid : 0;
	process->inner_pid = (int)process->page.head.pid;
	if (owner ? !search->dead :
		    search->dead && proctable_is_gone(&search->table,
						      &process->page.head)) {
		keep(search, process);
		return;
	}
out:
	process_put(process);
}

/* @prefix and a user's number: nothing that needs care when printed. */
static bool is_of_user(const char *name, const char *prefix)
{
	size_t len = strlen(prefix);

	return !strncmp(name, prefix, len) && proctable_is_number(name + len);
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
		if (proctable_is_number(entry->d_name)) {
			look_at(search, dirfd(dir), where, mount_ns);
			continue;
		}
		if (!search->dead_fn ||
		    !is_of_user(entry->d_name, EBB_DEAD_DIR))
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
		bool wanted = *rest ? proctable_is_number(entry->d_name) :
				      is_of_user(entry->d_name, "ebb-");

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
			look_in(search, fd, where, search->table.mount_ns);
	}
}

static void look_everywhere(struct search *search)
{
	struct proctable *table = &search->table;
	char prefix[64];

	look_below(search, "", table->mount_ns);
	look_around(search);
	for (size_t i = 0; i < table->nr; i++) {
		uint64_t mount_ns = table->seen[i].mount_ns;
		bool first = mount_ns && mount_ns != table->mount_ns;

		for (size_t k = 0; first && k < i; k++)
			first = table->seen[k].mount_ns != mount_ns;
		if (!first)
			continue;
		snprintf(prefix, sizeof(prefix), "/proc/%d/root",
			 table->seen[i].pid);
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

	if (!proctable_read(&search.table))
		return false;
	look_everywhere(&search);
	proctable_free(&search.table);
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

	if (!proctable_read(&search.table))
		return;
	look_everywhere(&search);
	proctable_free(&search.table);
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
			errno == ENOENT ? "there is none; `ebbctl postmortem` "
			"shows those that were killed" : strerror(errno));
		return;
	}
	while (!found && fgets(line, sizeof(line), maps))
		found = strstr(line, "libebbmalloc") != NULL;
	fclose(maps);
	if (found)
		message("process %s runs on ebbmalloc but has no control "
			"directory: it is younger than a second, has hardly "
			"allocated since, has control_dir=off, or found no "
			"place (`ebbctl doctor` says why)", pid);
	else
		message("process %s does not run on ebbmalloc, as far as its "
			"mappings tell", pid);
}

/* Process @pid, taken out of @list; NULL after a message. */
static struct process *take(struct process **list, size_t nr, const char *pid)
{
	for (size_t i = 0; i < nr; i++)
		if (list[i] && list[i]->pid == atoi(pid)) {
			struct process *found = list[i];

			list[i] = NULL;
			return found;
		}
	explain_absence(pid);
	return NULL;
}

static bool are_pids(char **pids, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		if (!proctable_is_number(pids[i]) || strlen(pids[i]) > 9) {
			message("\"%s\" is not the number of a process",
				pids[i]);
			return false;
		}
		for (size_t k = 0; k < i; k++)
			if (atoi(pids[i]) == atoi(pids[k])) {
				message("process %s is named twice", pids[i]);
				return false;
			}
	}
	return true;
}

int process_choose(char **pids, size_t nr, struct process ***ret_list)
{
	struct process **list, **chosen;
	int status = STATUS_OK;
	size_t nr_all, i;

	if (!are_pids(pids, nr))
		return STATUS_USAGE;
	chosen = calloc(nr, sizeof(*chosen));
	if (!chosen || !process_list(&list, &nr_all, false)) {
		free(chosen);
		return STATUS_FAILED;
	}
	for (i = 0; i < nr && !status; i++) {
		chosen[i] = take(list, nr_all, pids[i]);
		if (!chosen[i])
			status = STATUS_ABSENT;
	}
	process_free(list, nr_all);
	if (status)
		process_free(chosen, nr);
	else
		*ret_list = chosen;
	return status;
}

struct process *process_find(char *pid)
{
	struct process **list, *found;

	if (process_choose(&pid, 1, &list))
		return NULL;
	found = list[0];
	free(list);
	return found;
}

bool process_lives(const struct process *process)
{
	char pid[16];
	uint64_t start;

	snprintf(pid, sizeof(pid), "%d", process->pid);
	start = proctable_start_of(pid);
	return start && (!process->page.head.start_ticks ||
			 start == process->page.head.start_ticks);
}

struct process *process_of_args(int argc, char **argv, const char *usage,
				bool *ret_json, int *ret_status)
{
	struct process *process;

	*ret_status = json_option(argc, argv, usage, ret_json);
	if (*ret_status >= 0)
		return NULL;
	if (argc - optind != 1) {
		message("%s needs the number of one process; `ebbctl list` "
			"shows them", argv[0]);
		*ret_status = STATUS_USAGE;
		return NULL;
	}
	process = process_find(argv[optind]);
	*ret_status = process ? STATUS_OK : STATUS_ABSENT;
	return process;
}
