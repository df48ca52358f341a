/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - Patterned objects of the torture test
 *
 * What it is: every object's bytes follow from its address and its id, so an
 * object that was moved without its owner's knowledge, overlaps another, was
 * given back to the kernel, or was handed out twice does not pass its check.
 *
 * Model: a seat has a table of objects and is sat on by one thread at a time.
 * Objects cross threads through mailboxes.
 *
 * Fork: a child sees each thread's writes up to some moment.  An entry whose
 * @moving is set was being changed then; every other one must be whole.
 */
#ifndef EBB_TESTS_STRESS_OBJECTS_H
#define EBB_TESTS_STRESS_OBJECTS_H

#include "common.h"

#define SEAT_OBJECTS	1500u
#define NR_BOXES	128u

struct object {
	char *start;
	size_t len;
	uint64_t id;
	int moving;
};

enum box_state {
	BOX_EMPTY,
	BOX_TAKEN,	/* somebody puts something in, or takes it out */
	BOX_FULL,
};

struct box {
	int state;
	struct object object;
};

struct seat {
	unsigned int nr;
	unsigned int stint;	/* how many threads have sat here */
	struct rng rng;
	uint64_t next_id;
	uint64_t ops;
	size_t live;
	struct object objects[SEAT_OBJECTS];
};

extern struct box boxes[NR_BOXES];

/* Whether a NULL from the allocator is expected: failures are injected. */
extern bool may_fail;

/* Carry out one operation that @seat's generator draws. */
void seat_step(struct seat *seat);

/* Free all but one in @keep of the seat's objects. */
void seat_drop(struct seat *seat, unsigned int keep);

/* Check all that is whole; in a forked child.  Returns how many objects. */
size_t objects_check(const struct seat *seats, unsigned int nr_seats);

/* Free every second object that is whole; in a forked child. */
void objects_free_half(struct seat *seats, unsigned int nr_seats);

#endif
