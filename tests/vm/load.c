/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - A program that does with memory what it is told
 *
 *	load STEP...
 *
 *	build=MB	allocate MB in small objects
 *	free=PERCENT	free so much of them, in stretches
 *	waves=N		N times 20 MB of another size class, 95 % of it freed
 *	exhaust=MB	allocate blocks of 1 MiB until malloc fails, at most MB
 *	below=MB	wait until VmRSS is that small
 *	huge=MB		fail if more of the process is in huge pages
 *	trim=0		malloc_trim()
 *	stats=0		malloc_stats(), to stderr
 *	say=WORD	print it
 *	wait=FILE	until it exists
 *
 * A step that fails says why and ends the program with status 1.  It does not
 * know what malloc it runs on; the index of its objects is not from malloc.
 */
#include <errno.h>
#include <sys/mman.h>
#include "common.h"

#define NR_MAX		(4u << 20)
#define STRETCH		(KIB * 64)	/* bytes that are freed together */
#define WAVE_BYTES	(20 * MIB)

static void **objects;
static size_t nr_objects;

static bool fail(const char *what, const char *arg)
{
	fprintf(stderr, "load: %s=%s: ", what, arg);
	return false;
}

static bool add_object(size_t size)
{
	char *p = nr_objects < NR_MAX ? malloc(size) : NULL;

	if (!p)
		return false;
	memset(p, 0x5a, size);
	objects[nr_objects++] = p;
	return true;
}

static bool build_mixed(const char *arg)
{
	size_t left = strtoul(arg, NULL, 10) * MIB;
	struct rng rng;

	rng_seed(&rng, 1);
	while (left) {
		size_t size = rng_size(&rng, 4, 10);

		size = size < left ? size : left;
		if (!add_object(size)) {
			fail("build", arg);
			perror("malloc");
			return false;
		}
		left -= size;
	}
	return true;
}

/* Of each hundred stretches from object @first on, free @percent. */
static void free_stretches(size_t first, unsigned int percent)
{
	size_t bytes = 0, kept = first;

	for (size_t i = first; i < nr_objects; i++) {
		size_t stretch = bytes / STRETCH;

		bytes += malloc_usable_size(objects[i]);
		if (stretch * 37 % 100 < percent)
			free(objects[i]);
		else
			objects[kept++] = objects[i];
	}
	nr_objects = kept;
}

static bool free_some(const char *arg)
{
	free_stretches(0, (unsigned int)strtoul(arg, NULL, 10));
	return true;
}

/* One object of each slab stays, so that no wave can have another's slabs. */
static void free_wave(size_t first, size_t size)
{
	size_t step = STRETCH / size, kept = first;

	for (size_t i = first; i < nr_objects; i++) {
		if (i % step)
			free(objects[i]);
		else
			objects[kept++] = objects[i];
	}
	nr_objects = kept;
}

static bool run_waves(const char *arg)
{
	unsigned long nr = strtoul(arg, NULL, 10);

	for (unsigned long wave = 0; wave < nr; wave++) {
		size_t size = 256 + wave * 128 % 1024;
		size_t first = nr_objects;

		for (size_t n = 0; n < WAVE_BYTES / size; n++)
			if (!add_object(size))
				return fail("waves", arg);
		free_wave(first, size);
	}
	return true;
}

static bool exhaust(const char *arg)
{
	size_t first = nr_objects, most = strtoul(arg, NULL, 10);

	errno = 0;
	while (nr_objects - first < most && add_object(MIB))
		;
	if (nr_objects - first == most) {
		fail("exhaust", arg);
		fprintf(stderr, "malloc never failed\n");
		return false;
	}
	if (errno != ENOMEM) {
		fail("exhaust", arg);
		perror("not ENOMEM");
		return false;
	}
	printf("malloc failed after %zu MiB\n", nr_objects - first);
	while (nr_objects > first)
		free(objects[--nr_objects]);
	return true;
}

static bool wait_below(const char *arg)
{
	size_t bound = strtoul(arg, NULL, 10) * MIB;
	size_t before = rss_bytes();
	uint64_t begin = now_ms();

	if (!WAIT_FOR(rss_bytes() < bound)) {
		fail("below", arg);
		fprintf(stderr, "VmRSS stays at %zu KiB\n", rss_bytes() / KIB);
		return false;
	}
	printf("VmRSS: %zu to %zu KiB in %llu ms\n", before / KIB,
	       rss_bytes() / KIB, (unsigned long long)(now_ms() - begin));
	return true;
}

static bool at_most_huge(const char *arg)
{
	static char text[16384];
	const char *line;
	size_t bytes;

	if (read_file("/proc/self/smaps_rollup", text, sizeof(text)) <= 0)
		return fail("huge", arg);
	line = strstr(text, "AnonHugePages:");
	bytes = line ? strtoul(line + 14, NULL, 10) * KIB : 0;
	printf("AnonHugePages: %zu KiB\n", bytes / KIB);
	return line && bytes <= strtoul(arg, NULL, 10) * MIB;
}

static bool trim(const char *arg)
{
	(void)arg;
	malloc_trim(0);
	return true;
}

static bool stats(const char *arg)
{
	(void)arg;
	malloc_stats();
	return true;
}

static bool say(const char *arg)
{
	puts(arg);
	return true;
}

static bool wait_file(const char *arg)
{
	if (WAIT_FOR(!access(arg, F_OK)))
		return true;
	fail("wait", arg);
	fprintf(stderr, "it did not come\n");
	return false;
}

static const struct {
	const char *name;
	bool (*run)(const char *arg);
} steps[] = {
	{ "build", build_mixed },
	{ "free", free_some },
	{ "waves", run_waves },
	{ "exhaust", exhaust },
	{ "below", wait_below },
	{ "huge", at_most_huge },
	{ "trim", trim },
	{ "stats", stats },
	{ "say", say },
	{ "wait", wait_file },
};

static bool run_step(const char *step)
{
	const char *arg = strchr(step, '=');

	for (size_t i = 0; arg && i < sizeof(steps) / sizeof(steps[0]); i++) {
		size_t len = strlen(steps[i].name);

		if (len == (size_t)(arg - step) &&
		    !strncmp(step, steps[i].name, len))
			return steps[i].run(arg + 1);
	}
	fprintf(stderr, "load: %s: no such step\n", step);
	return false;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	objects = mmap(NULL, NR_MAX * sizeof(*objects), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	/* No huge pages here: those of the heap are looked for. */
	if (objects == MAP_FAILED ||
	    madvise(objects, NR_MAX * sizeof(*objects), MADV_NOHUGEPAGE))
		return 1;
	for (int i = 1; i < argc; i++)
		if (!run_step(argv[i]))
			return 1;
	return 0;
}
