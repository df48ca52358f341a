/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - A program whose floor is known
 *
 * Keeps some blocks of two whole pages each, frees others, and raises SIGUSR2
 * for the recorder.  Prints what the recorder must at least count.
 */
#include <signal.h>
#include "common.h"

#define NR	200

int main(void)
{
	size_t page = page_size();
	void *p[NR];

	for (int i = 0; i < NR; i++) {
		p[i] = memalign(page, 2 * page);
		if (!p[i])
			return 1;
		p[i] = realloc(p[i], 2 * page - 100);
	}
	for (int i = 0; i < NR; i += 2)
		free(p[i]);
	raise(SIGUSR2);
	printf("%zu %zu\n", NR / 2 * 2 * page, NR / 2 * (2 * page - 100));
	return 0;
}
