/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - A heap with holes: scattered ranges of free whole pages
 */
#include <sys/mman.h>
#include "bench/frame.h"
#include "bench/holes.h"

#define RANGE_LOW	12		/* 4 KiB */
#define RANGE_HIGH	16		/* 64 KiB */

void *map_pages(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		       MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		die("%zu bytes: %s", bytes, strerror(errno));
	return p;
}

static int by_address(const void *a, const void *b)
{
	const char *x = *(char *const *)a, *y = *(char *const *)b;

	return (x > y) - (x < y);
}

/* Whole pages between two blocks that are alive. */
static struct range pages_between(char *end_of_one, char *start_of_next)
{
	uintptr_t mask = page_size() - 1;
	uintptr_t from = ((uintptr_t)end_of_one + mask) & ~mask;
	uintptr_t to = (uintptr_t)start_of_next & ~mask;

	return (struct range){ (char *)from, to > from ? to - from : 0 };
}

static void add_range(struct holes *holes, struct range range)
{
	if (!range.len)
		return;
	holes->ranges[holes->nr++] = range;
	holes->bytes += range.len;
}

/*
 * Free from block @i on, until what lies before the block that stays holds
 * @len bytes of whole pages; the index of that block.  The one before @i
 * stayed, or there is none.
 */
static size_t free_one_run(struct holes *holes, size_t i, size_t len)
{
	char **blocks = holes->blocks;
	char *end_of_last = i ? blocks[i - 1] + holes->block_size : blocks[0];

	for (; i < holes->nr_blocks - 1; i++) {
		struct range range = pages_between(end_of_last, blocks[i]);

		/* Heaps have gaps of their own, not ours to count. */
		if (range.len >= len ||
		    blocks[i + 1] - blocks[i] > (ptrdiff_t)GAP_MOST) {
			add_range(holes, range);
			return i;
		}
		free(blocks[i]);
		blocks[i] = NULL;
	}
	return i;
}

void holes_fill(struct holes *holes, size_t bytes, size_t block_size)
{
	/* Somewhat more than the holes, for what stays between them. */
	*holes = (struct holes){
		.nr_blocks = (bytes + bytes / 4) / block_size + 1024,
		.block_size = block_size,
	};
	holes->blocks = map_pages(holes->nr_blocks * sizeof(char *));
	holes->ranges = map_pages(holes->nr_blocks * sizeof(struct range));
	for (size_t i = 0; i < holes->nr_blocks; i++) {
		holes->blocks[i] = malloc(block_size);
		if (!holes->blocks[i])
			_exit(EXIT_NO_MEMORY);
		memset(holes->blocks[i], 1, block_size);
	}
	qsort(holes->blocks, holes->nr_blocks, sizeof(*holes->blocks),
	      by_address);
}

void holes_free(struct holes *holes, size_t bytes, unsigned long seed)
{
	struct rng rng;

	rng_seed(&rng, seed);
	for (size_t i = 0; i < holes->nr_blocks - 1 && holes->bytes < bytes;
	     i++) {
		size_t len = rng_size(&rng, RANGE_LOW, RANGE_HIGH);

		len &= ~(page_size() - 1);
		i = free_one_run(holes, i, len ? len : page_size());
	}
}

void holes_end(struct holes *holes)
{
	for (size_t i = 0; i < holes->nr_blocks; i++)
		free(holes->blocks[i]);
	munmap(holes->blocks, holes->nr_blocks * sizeof(char *));
	munmap(holes->ranges, holes->nr_blocks * sizeof(struct range));
}
