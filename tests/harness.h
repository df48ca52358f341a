/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ebbmalloc tests - The kselftest harness, and what it lacks
 *
 * The harness forks for every test, so a test starts as the child of a
 * single-threaded process.  SKIP() in a fixture's setup does not keep the test
 * from running in the harness of Linux 6.1: tests skip for themselves.
 */
#ifndef EBB_TESTS_HARNESS_H
#define EBB_TESTS_HARNESS_H

/* FIXTURE_SETUP() and FIXTURE_TEARDOWN() define functions that are global. */
#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#include "common.h"
#include "kselftest_harness.h"

/* The runner has limits of its own; an emulated machine needs this one. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	100

#define ARRAY_LEN(a)	(sizeof(a) / sizeof((a)[0]))

/* Skip where malloc is not ebbmalloc's. */
#define NEEDS_EBBMALLOC() do {						\
	if (!on_ebbmalloc())						\
		SKIP(return, "a promise of ebbmalloc, which is not loaded"); \
} while (0)

/* A fixture without anything to set up. */
#define FIXTURE_EMPTY(name)						\
	FIXTURE(name) {							\
		char unused;						\
	};								\
	FIXTURE_SETUP(name)						\
	{								\
	}								\
	FIXTURE_TEARDOWN(name)						\
	{								\
	}								\
	struct _fixture_empty_##name

#endif
