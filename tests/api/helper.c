/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - A program that knows nothing of ebbmalloc
 *
 * Linked with libc only.  What it does is its first argument; it exits with 0
 * if all went well.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sys/wait.h>
#include "common.h"

/* The functions of a library that was opened late. */
struct late {
	void *(*malloc)(size_t);
	void *(*realloc)(void *, size_t);
	void *(*calloc)(size_t, size_t);
	void (*free)(void *);
	int (*trim)(size_t);
};

static bool use_late(const struct late *late)
{
	static __thread char *p[2000];
	struct rng rng;

	rng_seed(&rng, 31);
	for (int i = 0; i < 2000; i++) {
		size_t size = rng_size(&rng, 3, 15);

		p[i] = i % 2 ? late->malloc(size) : late->calloc(1, size);
		if (!p[i])
			return false;
		pattern_fill(p[i], 8, (uint64_t)i);
		p[i] = late->realloc(p[i], size * 2);
	}
	for (int i = 0; i < 2000; i++) {
		if (!p[i] || !pattern_holds(p[i], 8, (uint64_t)i))
			return false;
		late->free(p[i]);
	}
	late->trim(0);
	return true;
}

static void *use_late_in_thread(void *arg)
{
	return use_late(arg) ? NULL : arg;
}

static bool find_late(void *library, struct late *late)
{
	const char *names[] = { "malloc", "realloc", "calloc", "free",
				"malloc_trim" };
	void **where = (void **)late;

	for (int i = 0; i < 5; i++) {
		where[i] = dlsym(library, names[i]);
		if (!where[i])
			return false;
	}
	return true;
}

static bool run_threads(void *(*fn)(void *), void *arg)
{
	pthread_t threads[4];
	bool good = true;
	void *result;

	for (int i = 0; i < 4; i++)
		if (pthread_create(&threads[i], NULL, fn, arg))
			return false;
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], &result);
		good &= !result;
	}
	return good;
}

static void *use_malloc_in_thread(void *arg)
{
	(void)arg;
	for (int i = 0; i < 100; i++)
		free(malloc((size_t)i * 100));
	return NULL;
}

static bool fork_and_wait(void)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		free(malloc(100));
		_exit(0);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status;
}

/* Open the library at @path, use it, close it, and go on without it. */
static int do_dlopen(const char *path)
{
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	struct late late;
	void *own;

	if (!library) {
		fprintf(stderr, "%s\n", dlerror());
		return 1;
	}
	own = malloc(100);
	if (!find_late(library, &late) || !use_late(&late) ||
	    !run_threads(use_late_in_thread, &late) || !fork_and_wait())
		return 2;
	if (late.malloc == malloc)
		return 3;
	free(own);
	dlclose(library);
	if (!run_threads(use_malloc_in_thread, NULL) || !fork_and_wait())
		return 4;
	return 0;
}

/* A bit of everything. */
static int do_work(void)
{
	char *p[300];

	for (size_t i = 0; i < 300; i++) {
		p[i] = malloc(i * i);
		if (!p[i])
			return 1;
		memset(p[i], 1, i * i);
	}
	for (int i = 0; i < 300; i++)
		free(p[i]);
	if (!run_threads(use_malloc_in_thread, NULL) || !fork_and_wait())
		return 2;
	return 0;
}

static int do_whose(void)
{
	Dl_info info;

	if (!dladdr((void *)(uintptr_t)malloc, &info))
		return 1;
	printf("%s\n", info.dli_fname);
	return 0;
}

/* Is the C++ library in this process? */
static int do_cxx(void)
{
	char line[4096];
	FILE *maps = fopen("/proc/self/maps", "r");
	int found = 0;

	if (!maps)
		return 2;
	while (fgets(line, sizeof(line), maps))
		found |= strstr(line, "libstdc++") != NULL;
	fclose(maps);
	return found;
}

/*
 * What the allocator has of memory here: anonymous pages, and those of the
 * library's file.  Which pages of libc a process maps is left out: the kernel
 * maps 64 KiB around each that is touched, wherever that happens to begin.
 */
static int do_rss(void)
{
	static char line[512], buf[4096];
	FILE *smaps = fopen("/proc/self/smaps", "r");
	size_t kib = 0, ours = 0;
	bool library = false;

	if (!smaps)
		return 1;
	setvbuf(smaps, buf, _IOFBF, sizeof(buf));
	while (fgets(line, sizeof(line), smaps)) {
		if (strchr(line, '-') && strchr(line, '/'))
			library = strstr(line, "libebbmalloc");
		else if (strchr(line, '-') && !strchr(line, ':'))
			library = false;
		if (library && !strncmp(line, "Rss:", 4))
			ours += strtoul(line + 4, NULL, 10);
		if (!library && !strncmp(line, "Anonymous:", 10))
			kib += strtoul(line + 10, NULL, 10);
	}
	fclose(smaps);
	printf("%zu\n", (kib + ours) * KIB);
	return 0;
}

/* Free 200 MiB of small objects and say how many threads there are then. */
static int do_threads(void)
{
	enum { NR = 200 * 1024 };
	static char *p[NR];
	struct dirent *entry;
	int nr = 0;
	DIR *dir;

	for (int i = 0; i < NR; i++)
		memset(p[i] = malloc(1000), 1, 1000);
	for (int i = 0; i < NR; i++)
		free(p[i]);
	dir = opendir("/proc/self/task");
	if (!dir)
		return 1;
	while ((entry = readdir(dir)))
		nr += entry->d_name[0] != '.';
	closedir(dir);
	printf("%d\n", nr);
	return 0;
}

static int do_vmsize(void)
{
	char *p = malloc(1000);

	if (!p)
		return 1;
	memset(p, 1, 1000);
	printf("%zu\n", status_bytes("\nVmSize:"));
	return 0;
}

struct link {
	struct link *next;
};

/* A list of as many blocks of @size as there can be; how many. */
static size_t fill(size_t size, struct link **ret_list)
{
	struct link *link;
	size_t nr = 0;

	*ret_list = NULL;
	while ((link = malloc(size))) {
		link->next = *ret_list;
		*ret_list = link;
		nr++;
	}
	return nr;
}

static void free_list(struct link *list)
{
	while (list) {
		struct link *next = list->next;

		free(list);
		list = next;
	}
}

/* Allocate until nothing is left, twice: all must come back. */
static int do_fill(size_t size)
{
	struct link *list;
	size_t nr, again;

	nr = fill(size, &list);
	if (errno != ENOMEM)
		return 1;
	free_list(list);
	malloc_trim(0);
	again = fill(size, &list);
	free_list(list);
	free(malloc(100));
	if (again < nr / 10 * 9)
		return 2;
	printf("%zu\n", nr * size);
	return 0;
}

static size_t committed(void)
{
	char buf[8192];
	const char *at;

	if (read_file("/proc/meminfo", buf, sizeof(buf)) <= 0)
		return 0;
	at = strstr(buf, "Committed_AS:");
	return at ? strtoul(at + strlen("Committed_AS:"), NULL, 10) * KIB : 0;
}

/* Under strict overcommit the charge rises with use and falls with trims. */
static int do_commit(void)
{
	size_t before = committed(), full, after;
	char *p = malloc(256 * MIB);

	if (!p)
		return 1;
	memset(p, 1, 256 * MIB);
	full = committed();
	free(p);
	malloc_trim(0);
	after = committed();
	if (full < before + 200 * MIB || full > before + 512 * MIB)
		return 2;
	if (after > before + 100 * MIB)
		return 3;
	printf("%zu\n", full - before);
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (!strcmp(what, "dlopen") && argc > 2)
		return do_dlopen(argv[2]);
	if (!strcmp(what, "work"))
		return do_work();
	if (!strcmp(what, "whose"))
		return do_whose();
	if (!strcmp(what, "cxx"))
		return do_cxx();
	if (!strcmp(what, "rss"))
		return do_rss();
	if (!strcmp(what, "threads"))
		return do_threads();
	if (!strcmp(what, "vmsize"))
		return do_vmsize();
	if (!strcmp(what, "fill-large"))
		return do_fill(100 * KIB);
	if (!strcmp(what, "fill-small"))
		return do_fill(112);
	if (!strcmp(what, "commit"))
		return do_commit();
	if (!strcmp(what, "clearenv")) {
		clearenv();
		return do_work();
	}
	return 99;
}
