/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Server: objects outlive the threads that made them
 *
 * server [--blocks=5000] [--term=50000] [--low=8] [--high=1000] [--threads=1]
 *
 * After the larson benchmark (P. Larson and M. Krishnan, 1998): a thread takes
 * a set of --blocks objects, replaces --term of them at random, and ends; a
 * new thread goes on with a set that others made.  --threads run at a time,
 * and there are twice as many sets.  Sizes are uniform in [--low, --high].
 */
#include <pthread.h>
#include "bench/speed/speed.h"

#define BLOCKS_MAX	65536
#define NR_PLACES	65536
#define NR_SIZES	16384

struct set {
	void **blocks;
	uint16_t *sizes;
	uint32_t at;
};

struct term {
	struct set *set;
	uint64_t operations;
};

static unsigned long blocks = 5000, term_length = 50000, low = 8, high = 1000;
static uint16_t places[NR_PLACES], sizes[NR_SIZES];
static struct set sets[2 * THREADS_MAX];
static struct set *queue[2 * THREADS_MAX];
static unsigned int nr_sets, queue_first, queue_end;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct knob knobs[] = {
	{ "blocks", &blocks, 1, BLOCKS_MAX, NULL, "objects of a set" },
	{ "term", &term_length, 1, 1ul << 30, NULL,
	  "operations before a thread ends" },
	{ "low", &low, 8, 65535, NULL, "bytes of the smallest" },
	{ "high", &high, 8, 65535, NULL, "bytes of the largest" },
	{ NULL, NULL, 0, 0, NULL, NULL },
};

/* There are more sets than threads: some always wait. */
static struct set *get_set(void)
{
	struct set *set;

	pthread_mutex_lock(&lock);
	set = queue[queue_first++ % nr_sets];
	pthread_mutex_unlock(&lock);
	return set;
}

static void put_set(struct set *set)
{
	pthread_mutex_lock(&lock);
	queue[queue_end++ % nr_sets] = set;
	pthread_mutex_unlock(&lock);
}

static void fill_set(struct set *set)
{
	set->blocks = table_map(blocks * sizeof(void *));
	set->sizes = table_map(blocks * sizeof(uint16_t));
	for (uint32_t i = 0; i < blocks; i++) {
		set->sizes[i] = sizes[i % NR_SIZES];
		set->blocks[i] = take(set->sizes[i], i);
	}
}

static void prepare(void)
{
	struct rng rng;

	if (low > high)
		die("--low=%lu: expected at most --high=%lu", low, high);
	rng_seed(&rng, 3);
	for (size_t i = 0; i < NR_PLACES; i++)
		places[i] = (uint16_t)rng_below(&rng, blocks);
	for (size_t i = 0; i < NR_SIZES; i++)
		sizes[i] = (uint16_t)(low + rng_below(&rng, high - low + 1));
	nr_sets = 2 * (unsigned int)speed_threads;
	for (unsigned int i = 0; i < nr_sets; i++) {
		sets[i].at = i * 4099;
		fill_set(&sets[i]);
		put_set(&sets[i]);
	}
}

static void *serve(void *arg)
{
	struct term *term = arg;
	struct set *set = term->set;
	uint32_t at = set->at;

	for (uint64_t i = 0; i < term->operations; i++, at++) {
		uint16_t place = places[at % NR_PLACES];
		uint16_t size = sizes[(at + at / NR_PLACES * 31) % NR_SIZES];

		drop(set->blocks[place], set->sizes[place], place);
		set->sizes[place] = size;
		set->blocks[place] = take(size, place);
	}
	set->at = at;
	return NULL;
}

static void body(unsigned int thread, uint64_t operations)
{
	(void)thread;
	for (uint64_t done = 0; done < operations; done += term_length) {
		struct term term = { get_set(), term_length };
		pthread_t server;

		if (operations - done < term_length)
			term.operations = operations - done;
		if (pthread_create(&server, NULL, serve, &term))
			die("a thread more cannot be made");
		pthread_join(server, NULL);
		put_set(term.set);
	}
}

static void finish(void)
{
	for (unsigned int i = 0; i < nr_sets; i++)
		for (uint32_t j = 0; j < blocks; j++)
			drop(sets[i].blocks[j], sets[i].sizes[j], j);
}

static const struct program program = {
	.name = "server",
	.knobs = knobs,
	.operation = "a free and a malloc",
	.operations = 10000000,
	.prepare = prepare,
	.body = body,
	.finish = finish,
};

int main(int argc, char **argv)
{
	(void)argc;
	return speed_main(&program, argv);
}
