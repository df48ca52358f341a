/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ebbmalloc tests - The parts of the library, told another page size
 *
 *	FIXTURE(thing) { struct rng rng; };
 *	PAGE_SIZES(thing);
 *	...
 *	ASSERT_EQ(0, page_size_begin(variant->shift, &self->rng));
 */
#ifndef EBB_TESTS_UNIT_PAGE_SIZES_H
#define EBB_TESTS_UNIT_PAGE_SIZES_H

#include "heap/drain.h"
#include "heap/sizeclass.h"
#include "os/map.h"
#include "vm/range.h"
#include "harness.h"

#define PAGE_SIZES(fixture)						\
	FIXTURE_VARIANT(fixture) {					\
		unsigned int shift;					\
	};								\
	FIXTURE_VARIANT_ADD(fixture, of_4_kib) {			\
		.shift = 12,						\
	};								\
	FIXTURE_VARIANT_ADD(fixture, of_16_kib) {			\
		.shift = 14,						\
	};								\
	FIXTURE_VARIANT_ADD(fixture, of_64_kib) {			\
		.shift = 16,						\
	}

/* A window of 256 MiB, of pages of 1 << @shift bytes.  0/-errno. */
static inline int page_size_begin(unsigned int shift, struct rng *rng)
{
	int err;

	map_init();
	sizeclass_init();
	drain_init();
	err = range_init(256 * MIB);
	map_page_shift = shift;
	map_page_size = (size_t)1 << shift;
	rng_seed(rng, shift);
	return err;
}

#endif
