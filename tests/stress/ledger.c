// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Accounts of threads under load, to the byte
 *
 *	ledger [--ops N] [--seed N] [--totals]
 *
 * Eight seats, each with a table of objects; threads come and go on them, and
 * find what others have left, so slabs are adopted.  Objects cross through
 * boxes, and are freed by who has them.  Each thread keeps its own account of
 * what it does, by malloc_usable_size(3); whenever all stand still the library's
 * are compared with these.  --totals: also what needs accounts=totals.
 *
 * Exit status: 0; 1 with one line for each account that differs.
 */
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include "common.h"

#define SEATS		8u
#define OBJECTS		700u
#define BOXES		256u
#define ROUNDS		40u
#define MAX_ACCOUNTS	(SEATS * (ROUNDS + 1))
#define LARGE		(2 * MIB)

/* What a thread has done, and what was done to it; bytes. */
struct shadow {
	int tid;
	bool ended;
	uint64_t allocated;
	uint64_t freed_self;
	uint64_t for_others;
	uint64_t by_others;	/* atomic */
	uint64_t resized;	/* atomic: what others made its objects longer */
};

/* Every object begins with it. */
struct object {
	struct shadow *of;
	uint64_t check;
};

struct seat {
	pthread_t thread;
	bool taken;
	bool leaves;		/* the thread ends after this round */
	struct shadow *shadow;
	struct rng rng;
	struct object *objects[OBJECTS];
};

static struct seat seats[SEATS];
static struct shadow shadows[MAX_ACCOUNTS];
static unsigned int nr_shadows;
static struct object *boxes[BOXES];	/* atomic */
static pthread_barrier_t barrier;
static bool may_leave;			/* atomic */
static uint64_t ops_each = 3000;
static bool totals;
static unsigned int nr_wrong;

static size_t draw_size(struct rng *rng)
{
	uint64_t r = rng_next(rng);

	if (r % 4096 == 0)
		return 256 * KIB + (r >> 20) % LARGE;
	if (r % 256 == 0)
		return 30 * KIB + (r >> 20) % (100 * KIB);
	if (r % 8 == 0)
		return 16 + (r >> 20) % 8000;
	return 16 + (r >> 20) % 240;
}

static void account_free(struct shadow *me, struct shadow *of, size_t size)
{
	if (of == me) {
		me->freed_self += size;
		return;
	}
	me->for_others += size;
	__atomic_fetch_add(&of->by_others, size, __ATOMIC_RELAXED);
}

static void set_object(struct object *object, struct shadow *of)
{
	object->of = of;
	object->check = (uintptr_t)object ^ 0x5eed;
}

static void drop(struct shadow *me, struct object *object)
{
	if (object->check != ((uintptr_t)object ^ 0x5eed))
		abort();
	account_free(me, object->of, malloc_usable_size(object));
	free(object);
}

static struct object *make(struct seat *seat)
{
	size_t size = draw_size(&seat->rng);
	struct object *object;

	switch (rng_next(&seat->rng) % 16) {
	case 0:
		object = calloc(1, size);
		break;
	case 1:
		object = aligned_alloc(256, (size + 255) & ~(size_t)255);
		break;
	default:
		object = malloc(size);
	}
	if (!object)
		abort();
	set_object(object, seat->shadow);
	seat->shadow->allocated += malloc_usable_size(object);
	return object;
}

/* What moves is freed and allocated; what stays is its account's. */
static struct object *change(struct seat *seat, struct object *object)
{
	size_t before = malloc_usable_size(object), after;
	size_t wanted = draw_size(&seat->rng);
	struct shadow *of = object->of, *me = seat->shadow;
	uintptr_t was = (uintptr_t)object;

	/* Grow a little, too, as strings do. */
	if (wanted % 2)
		wanted = before + before / 8;
	object = realloc(object, wanted);
	if (!object)
		abort();
	after = malloc_usable_size(object);
	if ((uintptr_t)object != was) {
		account_free(me, of, before);
		me->allocated += after;
		set_object(object, me);
	} else if (after < before) {
		account_free(me, of, before - after);
	} else if (after > before) {
		__atomic_fetch_add(&of->resized, after - before,
				   __ATOMIC_RELAXED);
	}
	return object;
}

static void step(struct seat *seat)
{
	uint64_t r = rng_next(&seat->rng);
	struct object **place = &seat->objects[r % OBJECTS];

	switch (r >> 32 & 15) {
	case 0: case 1: case 2: case 3:
		*place = __atomic_exchange_n(&boxes[(r >> 40) % BOXES], *place,
					     __ATOMIC_ACQ_REL);
		break;
	case 4:
		if (*place)
			*place = change(seat, *place);
		break;
	default:
		if (*place)
			drop(seat->shadow, *place);
		*place = *place ? NULL : make(seat);
	}
}

static void *sit(void *arg)
{
	struct seat *seat = arg;

	seat->shadow->tid = (int)syscall(SYS_gettid);
	for (;;) {
		bool leaves;

		pthread_barrier_wait(&barrier);
		leaves = seat->leaves;
		/* Who leaves does so in the middle of what others do. */
		for (uint64_t i = 0; i < (leaves ? ops_each / 2 : ops_each);
		     i++)
			step(seat);
		if (leaves)
			seat->shadow->ended = true;
		pthread_barrier_wait(&barrier);
		if (!leaves)
			continue;
		while (!__atomic_load_n(&may_leave, __ATOMIC_ACQUIRE))
			sched_yield();
		return NULL;
	}
}

static void wrong(const struct shadow *shadow, const char *what,
		  uint64_t expected, uint64_t seen)
{
	if (expected == seen)
		return;
	nr_wrong++;
	printf("# thread %d%s: %s %llu, not %llu\n", shadow->tid,
	       shadow->ended ? " (ended)" : "", what,
	       (unsigned long long)seen, (unsigned long long)expected);
}

static uint64_t live_of(const struct shadow *shadow)
{
	return shadow->allocated + shadow->resized - shadow->freed_self -
	       shadow->by_others;
}

static void compare_one(const struct shadow *shadow,
			const struct ebb_thread_counts *row)
{
	uint64_t allocated = shadow->allocated + shadow->resized;
	uint64_t live = live_of(shadow);

	wrong(shadow, "live", live, row->live);
	wrong(shadow, "freed by others", shadow->by_others,
	      row->freed_by_others);
	wrong(shadow, "freed for others", shadow->for_others,
	      row->freed_for_others);
	wrong(shadow, "allocated and not freed by itself",
	      allocated - shadow->freed_self,
	      row->allocated - row->freed_self);
	if (totals) {
		wrong(shadow, "allocated", allocated, row->allocated);
		wrong(shadow, "freed by itself", shadow->freed_self,
		      row->freed_self);
	}
}

/* Nobody allocates: accounts are those of the shadows and main's. */
static void compare(void)
{
	static struct ebb_thread_counts rows[MAX_ACCOUNTS + 64];
	static const struct ebb_thread_counts none;
	struct ebb_heap_counts counts;
	uint64_t live = 0;
	int nr;

	/* EAGAIN: a thread, the reclaimer say, lost its processor inside. */
	if (!WAIT_FOR((nr = ebb_thread_stats_all(rows, sizeof(rows[0]),
						 MAX_ACCOUNTS + 64)) >= 0) ||
	    !WAIT_FOR(!ebb_heap_count(&counts))) {
		perror("ebb_thread_stats_all");
		exit(1);
	}
	for (int i = 0; i < nr; i++)
		live += rows[i].live;
	if (live != counts.live_bytes) {
		nr_wrong++;
		printf("# accounts have %llu live, the heap %llu\n",
		       (unsigned long long)live,
		       (unsigned long long)counts.live_bytes);
	}
	for (unsigned int i = 0; i < nr_shadows; i++) {
		const struct ebb_thread_counts *row = &none;

		for (int j = 0; j < nr; j++)
			if (rows[j].tid == shadows[i].tid)
				row = &rows[j];
		/* One of whom nothing is left is not in the list. */
		if (row != &none)
			compare_one(&shadows[i], row);
		else
			wrong(&shadows[i], "live", live_of(&shadows[i]), 0);
	}
}

static void start_round(unsigned int round)
{
	for (unsigned int i = 0; i < SEATS; i++) {
		struct seat *seat = &seats[i];

		seat->leaves = (i + round) % 3 == 0;
		if (seat->taken)
			continue;
		seat->taken = true;
		seat->shadow = &shadows[nr_shadows++];
		if (pthread_create(&seat->thread, NULL, sit, seat))
			abort();
	}
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
}

static void end_round(void)
{
	__atomic_store_n(&may_leave, true, __ATOMIC_RELEASE);
	for (unsigned int i = 0; i < SEATS; i++)
		if (seats[i].leaves) {
			pthread_join(seats[i].thread, NULL);
			seats[i].taken = false;
		}
	may_leave = false;
}

static void run(void)
{
	for (unsigned int round = 0; round < ROUNDS && !nr_wrong; round++) {
		start_round(round);
		compare();
		end_round();
		compare();
	}
}

static bool parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "ops", required_argument, NULL, 'o' },
		{ "seed", required_argument, NULL, 's' },
		{ "totals", no_argument, NULL, 't' },
		{ 0 },
	};
	uint64_t seed = 1;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
		switch (c) {
		case 'o':
			/* One in three leaves in the middle of a round. */
			ops_each = strtoull(optarg, NULL, 0) * 6 / 5 / SEATS /
				   ROUNDS + 1;
			break;
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 't':
			totals = true;
			break;
		default:
			return false;
		}
	for (unsigned int i = 0; i < SEATS; i++)
		rng_seed(&seats[i].rng, seed * SEATS + i);
	return true;
}

int main(int argc, char **argv)
{
	if (!parse(argc, argv))
		return 2;
	setvbuf(stdout, NULL, _IONBF, 0);
	pthread_barrier_init(&barrier, NULL, SEATS + 1);
	/* Else a seat starts the background thread, and is charged for it. */
	(void)ebb_pressure(EBB_PRESSURE_MILD);
	run();
	printf("# %u accounts, %u differ\n", nr_shadows, nr_wrong);
	return nr_wrong != 0;
}
