/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Walk: random growth and shrinkage at the edge of a limit
 *
 * walk [--mb=64] [--rounds=200] [--margin-percent=10] [--preload=LIB] ...
 *
 * In each round the threads grow their objects to a random 60 to 100 % of
 * --mb, of sizes in three octaves chosen anew between 16 B and 32 KB, so that
 * memory must pass from some size classes to others; then they shrink: every
 * other round to one object in a hundred, chosen at random, else to a random
 * share.  All bytes of all objects are compared when they go.
 *
 * First the same steps are run without a limit under the recorder
 * (tests/floor), which computes after each growth the pages that live blocks
 * touch: the page floor, of this allocator's placement.  The limit is its
 * greatest value plus --margin-percent, plus what the cgroup is charged before
 * the first object exists (threads, lists, libraries).  Then --repeat trials
 * are run, with the same seed, under the limit.
 *
 * --container=1 confines the workers as a container does by default.
 * --limit-kb=N sets the limit itself; no floor is computed then.
 */
#include <libgen.h>
#include "bench/crew.h"
#include "bench/frame.h"
#include "bench/load.h"

static unsigned long mb = 64, rounds = 200, threads = 2, margin_percent = 10,
	repeat = 3, limit_kb, list, seed = 1;
static const char *recorder = "";

static struct knob knobs[] = {
	{ "mb", &mb, 1, 65536, NULL, "MiB of live objects at the most" },
	{ "rounds", &rounds, 1, 100000, NULL, "growth and shrinkage" },
	{ "threads", &threads, 1, CREW_MAX, NULL, "that walk in step" },
	{ "margin-percent", &margin_percent, 0, 10000, NULL,
	  "added to the page floor" },
	{ "repeat", &repeat, 1, 100, NULL, "trials under the limit" },
	{ "limit-kb", &limit_kb, 0, 1ul << 40, NULL,
	  "instead of floor and margin; 0: compute it" },
	{ "list", &list, 0, 1ul << 30, NULL,
	  "objects of a thread to have a place for from the start" },
	{ "seed", &seed, 0, 1ul << 30, NULL, "of sizes and choices" },
	{ "recorder", NULL, 0, 0, &recorder,
	  "the floor recorder (default: beside this program)" },
	{ NULL, NULL, 0, 0, NULL, NULL },
};

/* === The worker ========================================================= */

static bool recorded;

static size_t share(void)
{
	return mb * MIB / threads;
}

static void prepare(unsigned int number)
{
	load_init(&loads[number], share(), 4, 15);
	load_back(&loads[number], list);
	load_seed(&loads[number], seed * 100 + number);
}

static void grow(unsigned int number)
{
	struct load *load = &loads[number];
	unsigned int low = 4 + (unsigned int)rng_below(&load->rng, 9);
	size_t percent = 60 + rng_below(&load->rng, 41);

	load->low = low;
	load->high = low + 3;
	load_grow(load, share() / 100 * percent);
}

static void shrink(unsigned int number)
{
	struct load *load = &loads[number];

	if (rng_below(&load->rng, 2))
		load_cull(load, 100);
	else
		load_shrink(load, share() / 100 * rng_below(&load->rng, 76));
}

static size_t most_objects(void)
{
	size_t most = 0;

	for (unsigned int i = 0; i < threads; i++)
		if (loads[i].nr_peak > most)
			most = loads[i].nr_peak;
	return most;
}

static void walk(void)
{
	for (unsigned int round = 1; round <= rounds; round++) {
		crew_do(grow);
		if (recorded)
			raise(SIGUSR2);
		crew_do(shrink);
		answer("{\"round\": %u, \"objects\": %zu}", round,
		       most_objects());
	}
}

static int worker(void)
{
	char line[64];

	recorded = getenv("EBB_FLOOR_OUT") != NULL;
	crew_start((unsigned int)threads);
	crew_do(prepare);
	answer("ready");
	while (next_command(line, sizeof(line))) {
		if (!strcmp(line, "walk"))
			walk();
		else
			answer_info();
		answer("done");
	}
	return 0;
}

/* === The controller ===================================================== */

static const char *recorder_path(void)
{
	static char path[4096];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 64);

	if (*recorder)
		return recorder;
	if (len < 0)
		die("/proc/self/exe: %s", strerror(errno));
	path[len] = '\0';
	dirname(path);
	strcat(path, "/../floor/recorder.so");
	return path;
}

/* The greatest floor in the recorder's file; 0: none. */
static size_t read_floor(const char *path)
{
	FILE *file = fopen(path, "re");
	size_t floor, most = 0;
	char line[256];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "floor_bytes=%zu", &floor) == 1 &&
		    floor > most)
			most = floor;
	if (file)
		fclose(file);
	return most;
}

/*
 * Rounds until it is done, or dies.  The list of objects is the bench's own
 * memory: its size becomes part of what is charged before the first object.
 */
static unsigned int follow(struct worker *w)
{
	unsigned int round = 0;
	char *line;

	worker_tell(w, "walk");
	while ((line = worker_hear(w)) && strcmp(line, "done")) {
		round = (unsigned int)number_in(line, "round", round);
		if (number_in(line, "objects", 0) > (double)list)
			list = (unsigned long)number_in(line, "objects", 0);
	}
	return round;
}

static size_t measure_floor(void)
{
	char path[] = "/tmp/ebb-bench-XXXXXX", env[64], preload[8192];
	struct worker w = { 0 };
	size_t floor;
	int fd = mkstemp(path);

	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	close(fd);
	snprintf(env, sizeof(env), "EBB_FLOOR_OUT=%s", path);
	snprintf(preload, sizeof(preload), "%s %s", recorder_path(),
		 frame.preload);
	worker_start(&w, "worker", preload, env);
	if (worker_hear(&w))
		follow(&w);
	worker_end(&w, false);
	floor = read_floor(path);
	unlink(path);
	if (!floor)
		die("no page floor was recorded (%s; %s)", recorder_path(),
		    w.ending);
	return floor;
}

static bool try_limit(size_t limit, bool last)
{
	struct worker w = { 0 };
	uint64_t begin = now_ns();
	unsigned int round = 0;
	char *info = NULL;
	bool good;

	limit_begin();
	limit_set(limit);
	worker_start(&w, "worker", NULL, NULL);
	if (worker_hear(&w))
		round = follow(&w);
	if (round == rounds)
		info = worker_ask(&w, "info");
	if (info && last)
		puts(info);
	worker_end(&w, false);
	good = round == rounds && !strcmp(w.ending, "ended well");
	limit_end();
	emit("trial", "\"limit_bytes\": %zu, \"survived\": %s, \"rounds\": "
	     "%u, \"ending\": \"%s\", \"seconds\": %.2f", limit,
	     good ? "true" : "false", round, w.ending,
	     (double)(now_ns() - begin) / 1e9);
	say("%zu KiB: %u rounds, %s", limit / KIB, round, w.ending);
	return good;
}

int main(int argc, char **argv)
{
	size_t floor = 0, base = 0, limit;
	unsigned int good = 0;

	(void)argc;
	if (frame_begin("walk", knobs, argv))
		return worker();
	frame_warm(mb * MIB * 2);
	limit = limit_kb * KIB;
	if (!limit) {
		floor = measure_floor();
		base = worker_base();
		limit = base + floor / 100 * (100 + margin_percent);
		say("floor %zu KiB, base %zu KiB, limit %zu KiB", floor / KIB,
		    base / KIB, limit / KIB);
	}
	for (unsigned int i = 0; i < repeat; i++)
		good += try_limit(limit, i == repeat - 1);
	emit("result", "\"live_bytes\": %lu, \"floor_bytes\": %zu, "
	     "\"base_bytes\": %zu, \"limit_bytes\": %zu, \"survived\": %u, "
	     "\"of\": %lu, \"container\": %lu", mb * MIB, floor, base, limit,
	     good, repeat, frame.container);
	return 0;
}
