/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Long-lived threads that take one step after the other
 *
 * A worker's main thread takes commands; its crew does them: all threads run
 * the same function, each with its own number, and crew_do() returns when the
 * last one has.  Between steps they sleep in futex(2), as a service's do.
 */
#ifndef EBB_BENCH_CREW_H
#define EBB_BENCH_CREW_H

#define CREW_MAX	16

void crew_start(unsigned int nr);
void crew_do(void (*step)(unsigned int number));

#endif
