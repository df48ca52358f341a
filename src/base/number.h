/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Numbers out of text
 *
 * What it is: the digits that a text begins with, and where they end; no sign,
 * no prefix, no blanks.  What may stand behind them is the caller's to say.
 *
 * Context: any; nothing but the text is read.
 */
#ifndef EBB_BASE_NUMBER_H
#define EBB_BASE_NUMBER_H

#include "base/compiler.h"

/*
 * The number at *@text, to @base 10 or 16 (small letters); *@text is moved
 * behind its digits.  0; -EINVAL: there are none; -ERANGE: it does not fit.  On
 * errors nothing is changed.
 */
int number_take(const char **text, unsigned int base, uint64_t *ret_value)
	__must_check;

/* The same of what the kernel wrote: 0 on errors. */
uint64_t number_or_0(const char **text, unsigned int base);

#endif
