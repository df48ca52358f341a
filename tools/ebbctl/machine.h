/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - Facts about this machine that matter to the library
 */
#ifndef EBBCTL_MACHINE_H
#define EBBCTL_MACHINE_H

#include <stdbool.h>
#include <stddef.h>

struct fact {
	const char *name;
	char value[512];
	char meaning[256];
	bool bad;		/* the library cannot work here */
};

size_t machine_nr_facts(void);

/* Find out the @nr-th, anew each time. */
void machine_fact(size_t nr, struct fact *ret_fact);

#endif
