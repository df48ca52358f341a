/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Words of bits, powers of two
 */
#ifndef EBB_BASE_BITS_H
#define EBB_BASE_BITS_H

#include "base/compiler.h"

#define ALIGN_DOWN(x, a)	((x) & ~((__typeof__(x))(a) - 1))
#define ALIGN_UP(x, a)		ALIGN_DOWN((x) + ((__typeof__(x))(a) - 1), (a))

static inline bool is_pow2(uint64_t x)
{
	return x && !(x & (x - 1));
}

/* Index of the lowest set bit; @x must not be 0. */
static inline unsigned int bit_lowest(uint64_t x)
{
	return (unsigned int)__builtin_ctzll(x);
}

/* Index of the highest set bit; @x must not be 0. */
static inline unsigned int bit_highest(uint64_t x)
{
	return 63u - (unsigned int)__builtin_clzll(x);
}

/*
 * Sums of pairs, of fours, of bytes, of all: the first processors of an
 * architecture have no instruction for it, and the compiler's function for those
 * is a call to a table.  Source: H. S. Warren, Hacker's Delight, 5-1.
 */
static inline unsigned int bits_count(uint64_t x)
{
	const uint64_t ones = ~0ULL;

	x -= x >> 1 & ones / 3;
	x = (x & ones / 5) + (x >> 2 & ones / 5);
	x = (x + (x >> 4)) & ones / 17;
	return (unsigned int)(x * (ones / 255) >> 56);
}

/* The same of one that is likely to have one bit at most. */
static inline unsigned int bits_count_few(uint64_t x)
{
	return x & (x - 1) ? bits_count(x) : x != 0;
}

/* Bits @first up to, not including, @end; 0 <= first <= end <= 64. */
static inline uint64_t bits_range(unsigned int first, unsigned int end)
{
	uint64_t below_end = end >= 64 ? ~0ULL : (1ULL << end) - 1;

	return first >= 64 ? 0 : below_end & (~0ULL << first);
}

/*
 * Take the lowest run of set bits out of *@x, which is not 0; returns it as a
 * mask.
 */
static inline uint64_t bits_take_run(uint64_t *x)
{
	unsigned int first = bit_lowest(*x);
	uint64_t rest = ~(*x >> first);
	unsigned int nr = rest ? bit_lowest(rest) : 64;
	uint64_t run = bits_range(first, min(first + nr, 64u));

	*x &= ~run;
	return run;
}

/* The lowest @nr set bits of @x. */
static inline uint64_t bits_lowest_n(uint64_t x, unsigned int nr)
{
	uint64_t rest = x;

	while (nr-- && rest)
		rest &= rest - 1;
	return x ^ rest;
}

#endif
