/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Numbers out of text
 */
#include <errno.h>
#include <limits.h>

#include "base/number.h"

/* Of what is no digit: more than any base. */
static unsigned int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned int)(c - '0');
	if (c >= 'a' && c <= 'f')
		return (unsigned int)(c - 'a') + 10;
	return UINT_MAX;
}

int number_take(const char **text, unsigned int base, uint64_t *ret_value)
{
	const char *at = *text;
	uint64_t value = 0;

	for (; digit_of(*at) < base; at++)
		if (__builtin_mul_overflow(value, base, &value) ||
		    __builtin_add_overflow(value, digit_of(*at), &value))
			return -ERANGE;
	if (at == *text)
		return -EINVAL;
	*text = at;
	*ret_value = value;
	return 0;
}

uint64_t number_or_0(const char **text, unsigned int base)
{
	uint64_t value = 0;

	return number_take(text, base, &value) ? 0 : value;
}
