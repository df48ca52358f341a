// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Contexts go from thread to thread while all that is free is
 * given back at once
 *
 * Threads take contexts out of places that all of them share, use them, check
 * every object in them, and put them back, or close them.  A context's objects
 * are listed in it, so who takes it knows what must be there.  Threads end and
 * others begin; children are forked meanwhile, and check what lies in the
 * places.  One thread has all caches emptied without a pause.  An object that
 * is another's as well, or whose pages were given back, has lost its pattern; a
 * context that is not returned shows in the count of the heap.
 */
#include <pthread.h>
#include <sys/wait.h>
#include "harness.h"

#define NR_THREADS	4u
#define NR_PLACES	24u
#define NR_TERMS	6u	/* threads, one after the other */
#define NR_TURNS	600u	/* of each */
#define NR_FORKS	6u

/* The reclaimer has no patience, and is there from the beginning. */
extern const char *ebb_conf;
const char *ebb_conf = "thread_min=0,decay_ms=0,lazy_ms=0";

struct node {
	struct node *next;
	size_t size;
	uint64_t seed;
	unsigned char data[];
};

/* The first object of each context. */
struct root {
	struct node *nodes;
	struct ebb_context *inner;	/* NULL: none */
	uint64_t seed;
};

/* What is in a place; the first object is known by its owner alone. */
struct place {
	struct ebb_context *context;
	struct root *root;
};

static struct place *places[NR_PLACES];
static uint32_t nr_broken, ready;

static bool nodes_hold(const struct node *node)
{
	for (; node; node = node->next)
		if (!pattern_holds(node->data, node->size, node->seed))
			return false;
	return true;
}

static size_t draw_size(struct rng *rng)
{
	return rng_below(rng, 30) ? rng_size(rng, 0, 9) :
				    rng_size(rng, 9, 18);
}

static void add_node(struct root *root, struct ebb_context *context,
		     struct rng *rng)
{
	size_t size = draw_size(rng);
	struct node *node;

	if (rng_below(rng, 4))
		node = ebb_context_alloc(context, sizeof(*node) + size);
	else
		node = ebb_context_calloc(context, 1, sizeof(*node) + size);
	if (!node)
		abort();
	node->size = size;
	node->seed = ++root->seed;
	pattern_fill(node->data, size, node->seed);
	node->next = root->nodes;
	root->nodes = node;
}

/* The newest one goes, or grows. */
static void change_node(struct root *root, struct ebb_context *context,
			struct rng *rng)
{
	struct node *node = root->nodes;

	if (!node)
		return;
	if (rng_below(rng, 2)) {
		root->nodes = node->next;
		ebb_context_free(context, node);
		return;
	}
	node = ebb_context_realloc(context, node, sizeof(*node) + node->size +
						  100);
	if (!node || !pattern_holds(node->data, node->size, node->seed))
		abort();
	node->size += 100;
	pattern_fill(node->data, node->size, node->seed);
	root->nodes = node;
}

static struct place *open_place(struct rng *rng)
{
	struct ebb_context *context;
	struct place *place;

	context = ebb_context_open(NULL, rng_below(rng, 3) ? 0 : 30000,
				   rng_below(rng, 4) ? 0 : EBB_CONTEXT_CHECK);
	place = ebb_context_alloc(context, sizeof(*place));
	place->context = context;
	place->root = ebb_context_calloc(context, 1, sizeof(*place->root));
	return place;
}

/* What was reset is opened anew, in the same context. */
static struct place *reset_place(struct ebb_context *context)
{
	struct place *place;

	ebb_context_reset(context);
	place = ebb_context_alloc(context, sizeof(*place));
	place->context = context;
	place->root = ebb_context_calloc(context, 1, sizeof(*place->root));
	return place;
}

static struct place *use(struct place *place, struct rng *rng)
{
	struct ebb_context *inner = place->root->inner;

	if (!nodes_hold(place->root->nodes))
		__atomic_add_fetch(&nr_broken, 1, __ATOMIC_RELAXED);
	switch (rng_below(rng, 16)) {
	case 0:
		return reset_place(place->context);
	case 1:
		ebb_context_close(inner);
		place->root->inner = inner ? NULL :
			ebb_context_open(place->context, 0, 0);
		break;
	default:
		break;
	}
	inner = place->root->inner;
	for (uint64_t i = rng_below(rng, 30); i--;) {
		if (rng_below(rng, 4))
			add_node(place->root, place->context, rng);
		else
			change_node(place->root, place->context, rng);
		if (inner)
			memset(ebb_context_alloc(inner, 300), 1, 300);
	}
	return place;
}

static struct place *swap(unsigned int at, struct place *place)
{
	return __atomic_exchange_n(&places[at], place, __ATOMIC_ACQ_REL);
}

static void *serve(void *arg)
{
	struct rng rng;

	rng_seed(&rng, (uintptr_t)arg);
	for (unsigned int turn = 0; turn < NR_TURNS; turn++) {
		unsigned int at = (unsigned int)rng_below(&rng, NR_PLACES);
		struct place *place = swap(at, NULL);

		place = use(place ?: open_place(&rng), &rng);
		if (rng_below(&rng, 10) == 0) {
			ebb_context_close(place->context);
			continue;
		}
		if (ebb_context_transfer(place->context))
			abort();
		at = (unsigned int)rng_below(&rng, NR_PLACES);
		place = swap(at, place);
		/* Somebody else's, and now this thread's. */
		if (place)
			ebb_context_close(place->context);
	}
	return NULL;
}

/* Threads that end with much of what they have opened in use by others. */
static void *serve_terms(void *arg)
{
	for (uintptr_t term = 0; term < NR_TERMS; term++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, serve,
				   (void *)((uintptr_t)arg + term * 100)))
			abort();
		pthread_join(thread, NULL);
	}
	return NULL;
}

static void *trim(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&ready, __ATOMIC_ACQUIRE))
		malloc_trim(0);
	return NULL;
}

static unsigned int close_all(void)
{
	unsigned int nr = 0;

	for (unsigned int at = 0; at < NR_PLACES; at++) {
		struct place *place = swap(at, NULL);

		if (!place)
			continue;
		nr += !nodes_hold(place->root->nodes);
		ebb_context_close(place->context);
	}
	return nr;
}

/* What the child of so many threads finds in the places is whole. */
static int fork_and_check(void)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(close_all() != 0);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return status;
}

FIXTURE_EMPTY(contexts);

TEST_F(contexts, hold_what_was_written_whoever_has_them)
{
	struct ebb_heap_counts before, after;
	pthread_t threads[NR_THREADS], trimmer;

	ASSERT_EQ(0, ebb_heap_count(&before));
	ASSERT_EQ(0, pthread_create(&trimmer, NULL, trim, NULL));
	for (uintptr_t i = 0; i < NR_THREADS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, serve_terms,
					    (void *)(i + 1)));
	for (unsigned int i = 0; i < NR_FORKS; i++)
		EXPECT_EQ(0, fork_and_check());
	for (unsigned int i = 0; i < NR_THREADS; i++)
		pthread_join(threads[i], NULL);
	__atomic_store_n(&ready, 1, __ATOMIC_RELEASE);
	pthread_join(trimmer, NULL);
	EXPECT_EQ(0, close_all());
	EXPECT_EQ(0, nr_broken);
	ASSERT_EQ(0, ebb_heap_count(&after));
	/* Besides, the C library keeps what it needs for a thread's stack. */
	EXPECT_GT(before.live_bytes + 64 * KIB, after.live_bytes);
}

TEST_HARNESS_MAIN
