/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - Patterned objects of the torture test
 */
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "stress/objects.h"
#include "stress/real.h"

#define LIVE_MAX	(32 * MIB)	/* of a seat */

struct box boxes[NR_BOXES];
bool may_fail;

static uint64_t seed_of(const struct object *object)
{
	return object->id * 0x100000001b3ULL ^ (uintptr_t)object->start;
}

static void broken(const struct object *object, const char *when)
{
	const unsigned char *at = (unsigned char *)object->start;

	fprintf(stderr, "# torture: %s: object %#llx of %zu bytes at %p does "
		"not hold its pattern; it begins", when,
		(unsigned long long)object->id, object->len,
		(void *)object->start);
	for (size_t i = 0; i < 16 && i < object->len; i++)
		fprintf(stderr, " %02x", at[i]);
	fprintf(stderr, "\n");
	abort();
}

static void check(const struct object *object, const char *when)
{
	if (!pattern_holds(object->start, object->len, seed_of(object)))
		broken(object, when);
}

static void failed(const char *call, size_t size)
{
	if (may_fail)
		return;
	fprintf(stderr, "# torture: %s of %zu bytes failed\n", call, size);
	abort();
}

/* An entry is changed between these two; see the header's word on forks. */
static void begin(struct object *object)
{
	__atomic_store_n(&object->moving, 1, __ATOMIC_SEQ_CST);
}

static void end(struct object *object)
{
	__atomic_store_n(&object->moving, 0, __ATOMIC_SEQ_CST);
}

static size_t draw_size(struct rng *rng)
{
	if (!rng_below(rng, 20000))
		return rng_size(rng, 20, 26);
	/* A few slabs, and so something behind it, as often as not backed. */
	if (!rng_below(rng, 16))
		return 33 * KIB + rng_below(rng, 160 * KIB);
	/* As many of what takes blocks, and of what is next to that. */
	if (!rng_below(rng, 16))
		return 12 * KIB + rng_below(rng, 60 * KIB);
	return rng_size(rng, 0, rng_below(rng, 8) ? 14 : 20);
}

/* Large ones mostly into what is behind them, or to leave more of it. */
static size_t draw_other_size(struct rng *rng, size_t len)
{
	if (len <= 36 * KIB || len > 4 * MIB || !rng_below(rng, 4))
		return draw_size(rng);
	return len - 20 * KIB + rng_below(rng, 40 * KIB);
}

static void *allocate_aligned(size_t size, unsigned int shift)
{
	void *p = real.do_memalign((size_t)1 << shift, size);

	if (p && !is_aligned(p, (size_t)1 << shift)) {
		fprintf(stderr, "# torture: %p is not aligned to %zu\n", p,
			(size_t)1 << shift);
		abort();
	}
	return p;
}

static void *allocate_zeroed(size_t size)
{
	void *p = real.do_calloc(1, size);

	if (p && !all_zero(p, size)) {
		fprintf(stderr, "# torture: calloc of %zu bytes at %p is not "
			"zero\n", size, p);
		abort();
	}
	return p;
}

static void make(struct seat *seat, struct object *object)
{
	unsigned int kind = (unsigned int)rng_below(&seat->rng, 10);
	unsigned int shift = 4 + (unsigned int)rng_below(&seat->rng, 9);
	size_t size = draw_size(&seat->rng);
	char *p;

	if (seat->live + size > LIVE_MAX)
		size = size % 64 + 1;
	begin(object);
	if (kind < 2)
		p = allocate_zeroed(size);
	else if (kind < 3)
		p = allocate_aligned(size, shift);
	else
		p = real.do_malloc(size);
	object->start = p;
	if (p) {
		object->len = size;
		object->id = (uint64_t)seat->nr << 48 | seat->next_id++;
		pattern_fill(p, size, seed_of(object));
		seat->live += size;
	} else {
		failed("allocation", size);
	}
	end(object);
}

static void drop(struct seat *seat, struct object *object)
{
	check(object, "free");
	begin(object);
	seat->live -= object->len;
	real.do_free(object->start);
	object->start = NULL;
	end(object);
}

/* The kernel refuses to take what is behind it, while it is freed. */
static void drop_locked(struct seat *seat, struct object *object)
{
	char *start = object->start;
	size_t len = (object->len + 64 * KIB - 1) & ~(64 * KIB - 1);

	if (object->len <= 33 * KIB || len > MIB || !is_aligned(start, 64 * KIB)) {
		drop(seat, object);
		return;
	}
	/*
	 * Where its tail was given back and traps it is locked, and fails.
	 * On fault: nothing is backed for it that the library gave back.  By
	 * system calls: sanitizers make the functions, but one, do nothing.
	 */
	if (!syscall(SYS_mlock2, start, len, MLOCK_ONFAULT))
		sched_yield();
	drop(seat, object);
	syscall(SYS_munlock, start, len);
}

static void resize(struct seat *seat, struct object *object)
{
	size_t size = draw_other_size(&seat->rng, object->len);
	size_t kept = size < object->len ? size & ~(size_t)7 : object->len;
	uint64_t seed = seed_of(object);
	char *p;

	if (seat->live + size > LIVE_MAX)
		size = size % 64 + 1;
	if (kept > size)
		kept = size & ~(size_t)7;
	check(object, "realloc");
	begin(object);
	p = real.do_realloc(object->start, size);
	if (!p) {
		failed("realloc", size);
		end(object);
		return;
	}
	if (!pattern_holds(p, kept, seed)) {
		fprintf(stderr, "# torture: realloc from %zu to %zu bytes, at "
			"%p now, lost its content\n", object->len, size,
			(void *)p);
		abort();
	}
	seat->live += size;
	seat->live -= object->len;
	object->start = p;
	object->len = size;
	pattern_fill(p, size, seed_of(object));
	end(object);
}

/* Leave @object in a box, or, where the entry is empty, fetch one. */
static void exchange(struct seat *seat, struct object *object)
{
	struct box *box = &boxes[rng_below(&seat->rng, NR_BOXES)];
	int state = object->start ? BOX_EMPTY : BOX_FULL;

	if (!__atomic_compare_exchange_n(&box->state, &state, BOX_TAKEN, false,
					 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return;
	begin(object);
	if (object->start) {
		box->object = *object;
		box->object.moving = 0;
		seat->live -= object->len;
		object->start = NULL;
		__atomic_store_n(&box->state, BOX_FULL, __ATOMIC_RELEASE);
	} else {
		object->start = box->object.start;
		object->len = box->object.len;
		object->id = box->object.id;
		seat->live += object->len;
		__atomic_store_n(&box->state, BOX_EMPTY, __ATOMIC_RELEASE);
	}
	end(object);
}

void seat_step(struct seat *seat)
{
	struct object *object =
		&seat->objects[rng_below(&seat->rng, SEAT_OBJECTS)];
	unsigned int kind = (unsigned int)rng_below(&seat->rng, 100);

	seat->ops++;
	if (kind < 15)
		exchange(seat, object);
	else if (!object->start)
		make(seat, object);
	else if (kind < 30)
		resize(seat, object);
	else if (kind < 35)
		check(object, "visit");
	else if (kind < 40)
		drop_locked(seat, object);
	else
		drop(seat, object);
}

void seat_drop(struct seat *seat, unsigned int keep)
{
	for (unsigned int i = 0; i < SEAT_OBJECTS; i++)
		if (seat->objects[i].start && rng_below(&seat->rng, keep))
			drop(seat, &seat->objects[i]);
}

size_t objects_check(const struct seat *seats, unsigned int nr_seats)
{
	size_t nr = 0;

	for (unsigned int s = 0; s < nr_seats; s++) {
		for (unsigned int i = 0; i < SEAT_OBJECTS; i++) {
			const struct object *object = &seats[s].objects[i];

			if (object->moving || !object->start)
				continue;
			check(object, "in a child");
			nr++;
		}
	}
	for (unsigned int i = 0; i < NR_BOXES; i++) {
		if (boxes[i].state != BOX_FULL)
			continue;
		check(&boxes[i].object, "in a child's box");
		nr++;
	}
	return nr;
}

void objects_free_half(struct seat *seats, unsigned int nr_seats)
{
	for (unsigned int s = 0; s < nr_seats; s++) {
		for (unsigned int i = 0; i < SEAT_OBJECTS; i += 2) {
			struct object *object = &seats[s].objects[i];

			if (object->moving || !object->start)
				continue;
			drop(&seats[s], object);
		}
	}
}
