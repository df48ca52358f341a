/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Long-lived threads that take one step after the other
 */
#include <pthread.h>
#include "bench/crew.h"
#include "bench/frame.h"

/* So small that no huge page fits: that would be a cost of ours. */
#define STACK_SIZE	(256 * KIB)

/* Everybody, main thread included, passes each of them once a step. */
static pthread_barrier_t begin, end;
static void (*step)(unsigned int number);

static void *member(void *arg)
{
	unsigned int number = (unsigned int)(uintptr_t)arg;

	for (;;) {
		pthread_barrier_wait(&begin);
		step(number);
		pthread_barrier_wait(&end);
	}
	return NULL;
}

void crew_start(unsigned int nr)
{
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	pthread_barrier_init(&begin, NULL, nr + 1);
	pthread_barrier_init(&end, NULL, nr + 1);
	for (unsigned int i = 0; i < nr; i++) {
		pthread_t thread;
		int err = pthread_create(&thread, &attr, member,
					 (void *)(uintptr_t)i);

		if (err)
			die("a thread: %s", strerror(err));
	}
	pthread_attr_destroy(&attr);
}

void crew_do(void (*what)(unsigned int number))
{
	step = what;
	pthread_barrier_wait(&begin);
	pthread_barrier_wait(&end);
}
