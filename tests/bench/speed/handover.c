/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Handover: one thread allocates, another one frees
 *
 * handover [--kind=oneway|mutual] [--threads=2]
 *
 * Threads work in pairs.  oneway: the first makes objects of the mix, the
 * second only frees them.  mutual: each makes what the other one frees.  They
 * hand over 256 objects at a time, and at most 16 such parcels wait.
 */
#include <pthread.h>
#include "bench/speed/mix.h"

#define PARCEL		256
#define DEPTH		16

enum { KIND_ONEWAY, KIND_MUTUAL };

struct parcel {
	void *objects[PARCEL];
	uint64_t first;			/* tag of the first */
	uint64_t nr;
};

/* From one thread to another; the parcel at an end is that thread's alone. */
struct channel {
	pthread_mutex_t lock;
	pthread_cond_t moved;
	uint64_t made;
	uint64_t taken;
	uint64_t tag;
	struct parcel parcels[DEPTH];
};

static const char *const kinds[] = { "oneway", "mutual", NULL };
static unsigned long kind;
static struct channel channels[THREADS_MAX];

static struct knob knobs[] = {
	{ "kind", &kind, 0, 0, kinds, "who allocates" },
	{ NULL, NULL, 0, 0, NULL, NULL },
};

static void prepare(void)
{
	if (speed_threads % 2)
		die("--threads=%lu: expected an even number", speed_threads);
	mix_prepare();
	for (unsigned int i = 0; i < speed_threads; i++) {
		pthread_mutex_init(&channels[i].lock, NULL);
		pthread_cond_init(&channels[i].moved, NULL);
	}
}

static void wait_for_room(struct channel *channel)
{
	pthread_mutex_lock(&channel->lock);
	while (channel->made - channel->taken == DEPTH)
		pthread_cond_wait(&channel->moved, &channel->lock);
	pthread_mutex_unlock(&channel->lock);
}

static void wait_for_parcel(struct channel *channel)
{
	pthread_mutex_lock(&channel->lock);
	while (channel->made == channel->taken)
		pthread_cond_wait(&channel->moved, &channel->lock);
	pthread_mutex_unlock(&channel->lock);
}

static void advance(struct channel *channel, uint64_t *count)
{
	pthread_mutex_lock(&channel->lock);
	++*count;
	pthread_mutex_unlock(&channel->lock);
	pthread_cond_signal(&channel->moved);
}

static void make_parcel(struct channel *channel, uint64_t nr)
{
	struct parcel *parcel;

	wait_for_room(channel);
	parcel = &channel->parcels[channel->made % DEPTH];
	parcel->first = channel->tag;
	parcel->nr = nr;
	for (uint64_t i = 0; i < nr; i++, channel->tag++)
		parcel->objects[i] = take(mix_size(channel->tag),
					  channel->tag);
	advance(channel, &channel->made);
}

static void free_parcel(struct channel *channel)
{
	struct parcel *parcel;

	wait_for_parcel(channel);
	parcel = &channel->parcels[channel->taken % DEPTH];
	for (uint64_t i = 0; i < parcel->nr; i++)
		drop(parcel->objects[i], mix_size(parcel->first + i),
		     parcel->first + i);
	advance(channel, &channel->taken);
}

static void body(unsigned int thread, uint64_t operations)
{
	bool makes = kind == KIND_MUTUAL || thread % 2 == 0;
	bool frees = kind == KIND_MUTUAL || thread % 2 == 1;

	for (uint64_t done = 0; done < operations; done += PARCEL) {
		uint64_t left = operations - done;

		if (makes)
			make_parcel(&channels[thread],
				    left < PARCEL ? left : PARCEL);
		if (frees)
			free_parcel(&channels[thread ^ 1]);
	}
}

static const struct program program = {
	.name = "handover",
	.knobs = knobs,
	.operation = "a malloc or a free (mutual: both)",
	.operations = 5000000,
	.threads_min = 2,
	.prepare = prepare,
	.body = body,
};

int main(int argc, char **argv)
{
	(void)argc;
	return speed_main(&program, argv);
}
