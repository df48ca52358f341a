/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - Other processes, as /proc shows them
 */
#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "ebbctl.h"
#include "pids.h"

/* === Which ================================================================ */

bool pids_have(const struct pids *pids, pid_t pid)
{
	for (unsigned int i = 0; i < pids->nr; i++)
		if (pids->pid[i] == pid)
			return true;
	return false;
}

static void add_pid(struct pids *pids, pid_t pid)
{
	/* 0 stands for a process of another name space; kill(2) means us. */
	if (pid > 0 && pids->nr < PIDS_MOST)
		pids->pid[pids->nr++] = pid;
}

static void add_cgroup(const char *dir, struct pids *pids)
{
	char path[PATH_MAX];
	struct dirent *entry;
	FILE *file = NULL;
	DIR *below;
	int pid;

	if (path_make(path, sizeof(path), "%s/cgroup.procs", dir))
		file = fopen(path, "re");
	while (file && fscanf(file, "%d", &pid) == 1)
		add_pid(pids, pid);
	if (file)
		fclose(file);
	below = opendir(dir);
	while (below && (entry = readdir(below)))
		if (entry->d_type == DT_DIR && *entry->d_name != '.' &&
		    path_make(path, sizeof(path), "%s/%s", dir,
			      entry->d_name))
			add_cgroup(path, pids);
	if (below)
		closedir(below);
}

void pids_of_cgroup(const char *dir, struct pids *ret)
{
	ret->nr = 0;
	add_cgroup(dir, ret);
}

struct kinship {
	pid_t pid;
	pid_t parent;
};

/* The parent and the state of @pid; false if it has ended. */
static bool read_stat(pid_t pid, pid_t *ret_parent, char *ret_state)
{
	char dir[32], text[1024], *end;

	snprintf(dir, sizeof(dir), "/proc/%d", (int)pid);
	if (!file_get(dir, "stat", text, sizeof(text)))
		return false;
	/* The name, in parentheses, may have some of its own. */
	end = strrchr(text, ')');
	return end && sscanf(end, ") %c %d", ret_state, ret_parent) == 2;
}

/* Every process and its parent, in a new array. */
static unsigned int read_kinships(struct kinship **ret)
{
	DIR *proc = opendir("/proc");
	unsigned int nr = 0, room = 0;
	struct kinship *all = NULL, *more, one;
	struct dirent *entry;
	char state;

	while (proc && (entry = readdir(proc))) {
		if (!isdigit((unsigned char)*entry->d_name))
			continue;
		one.pid = atoi(entry->d_name);
		/* What is dead holds no memory, and is reaped elsewhere. */
		if (!read_stat(one.pid, &one.parent, &state) ||
		    (state == 'Z' && !pid_has_memory(one.pid)))
			continue;
		if (nr == room) {
			room = room ? 2 * room : 256;
			more = realloc(all, room * sizeof(*all));
			if (!more)
				break;
			all = more;
		}
		all[nr++] = one;
	}
	if (proc)
		closedir(proc);
	*ret = all;
	return nr;
}

void pids_below_us(const struct pids *except, struct pids *ret)
{
	struct kinship *all;
	unsigned int nr = read_kinships(&all), before;
	pid_t self = getpid();

	ret->nr = 0;
	/* A parent need not come before its children: pids wrap around. */
	do {
		before = ret->nr;
		for (unsigned int i = 0; i < nr; i++) {
			if ((all[i].parent == self ||
			     pids_have(ret, all[i].parent)) &&
			    !pids_have(ret, all[i].pid) &&
			    !pids_have(except, all[i].pid))
				add_pid(ret, all[i].pid);
		}
	} while (ret->nr != before);
	free(all);
}

/* === Memory =============================================================== */

static bool has_memory(const char *dir)
{
	uint64_t pages = file_number(dir, "statm", NULL);

	return pages && pages != UNKNOWN;
}

bool pid_has_memory(pid_t pid)
{
	char dir[PATH_MAX];
	struct dirent *entry;
	bool has = false;
	DIR *tasks;

	snprintf(dir, sizeof(dir), "/proc/%d", (int)pid);
	if (has_memory(dir))
		return true;
	/* The first thread may have ended before others. */
	snprintf(dir, sizeof(dir), "/proc/%d/task", (int)pid);
	tasks = opendir(dir);
	while (tasks && !has && (entry = readdir(tasks))) {
		if (*entry->d_name == '.')
			continue;
		snprintf(dir, sizeof(dir), "/proc/%d/task/%s", (int)pid,
			 entry->d_name);
		has = has_memory(dir);
	}
	if (tasks)
		closedir(tasks);
	return has;
}

uint64_t pid_held(pid_t pid)
{
	unsigned long long kib;
	char dir[32], text[8192], *at;
	uint64_t held = 0;

	snprintf(dir, sizeof(dir), "/proc/%d", (int)pid);
	if (!file_get(dir, "status", text, sizeof(text)))
		return 0;
	at = strstr(text, "\nRssAnon:");
	if (at && sscanf(at, "\nRssAnon: %llu", &kib) == 1)
		held += kib * 1024;
	at = strstr(text, "\nVmSwap:");
	if (at && sscanf(at, "\nVmSwap: %llu", &kib) == 1)
		held += kib * 1024;
	return held;
}

/* === Mappings ============================================================= */

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* Whether @file begins with @name, and no longer name of a file goes on. */
static bool is_file(const char *file, const char *name)
{
	size_t len = strlen(name);

	return !strncmp(file, name, len) && (!file[len] || file[len] == ' ');
}

static const char *known_allocator(const char *file)
{
	static const char *const known[] = {
		"ebbmalloc", "jemalloc", "tcmalloc", "mimalloc", "snmalloc",
		"hoard", "hardened_malloc", "mesh", "rpmalloc", "scudo",
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (!strncmp(file, "lib", 3) &&
		    !strncmp(file + 3, known[i], strlen(known[i])))
			return known[i];
	return NULL;
}

/*
 * The loader maps what is to be preloaded before the C library: where that is,
 * and the library is not, it will not come any more.  But maps are read in
 * pieces, and of a process that ends meanwhile the last ones do not come, in
 * which the library may be: it has not been seen as a whole without its stack,
 * which is behind both.
 */
enum maps_verdict pid_maps(pid_t pid, const char *library,
			       char *found, size_t size)
{
	enum maps_verdict verdict = MAPS_UNKNOWN;
	const char *file, *name;
	char path[32], *line = NULL;
	bool whole = false;
	size_t room = 0;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	while (maps && getline(&line, &room, maps) > 0) {
		line[strcspn(line, "\n")] = '\0';
		whole |= strstr(line, "[stack]") != NULL;
		file = strchr(line, '/');
		if (!file)
			continue;
		file = base_name(file);
		name = known_allocator(file);
		if (*library && is_file(file, base_name(library)))
			verdict = MAPS_WITH;
		else if (name)
			snprintf(found, size, "%s", name);
		if (verdict == MAPS_UNKNOWN && (is_file(file, "libc.so.6") ||
						!strncmp(file, "libc-2.", 7)))
			verdict = MAPS_WITHOUT;
	}
	free(line);
	if (maps)
		fclose(maps);
	return verdict == MAPS_WITHOUT && !whole ? MAPS_UNKNOWN : verdict;
}
