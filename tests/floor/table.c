/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - Table of live blocks, and the page floor
 */
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "floor/table.h"

#define NR_SHARDS	64u
#define FIRST_CAPACITY	1024u

/* Open addressing, capacity a power of two, at most half full. */
struct shard {
	_Alignas(64) int locked;
	struct floor_block *blocks;
	size_t capacity;
	size_t used;
};

static struct shard shards[NR_SHARDS];
static __thread volatile int depth
	__attribute__((tls_model("initial-exec")));

static uint64_t hash_of(const void *start)
{
	return ((uintptr_t)start >> 3) * 0x9e3779b97f4a7c15ULL;
}

static struct shard *shard_of(const void *start)
{
	return &shards[hash_of(start) >> 58];
}

static size_t place_of(const struct shard *shard, const void *start)
{
	return (hash_of(start) >> 16) & (shard->capacity - 1);
}

static void shard_lock(struct shard *shard)
{
	depth++;
	while (__atomic_exchange_n(&shard->locked, 1, __ATOMIC_ACQUIRE))
		sched_yield();
}

static void shard_unlock(struct shard *shard)
{
	__atomic_store_n(&shard->locked, 0, __ATOMIC_RELEASE);
	depth--;
}

bool floor_busy(void)
{
	return depth != 0;
}

void floor_reset_locks(void)
{
	depth = 0;
	for (unsigned int i = 0; i < NR_SHARDS; i++)
		shards[i].locked = 0;
}

static struct floor_block *map_blocks(size_t nr)
{
	void *p = mmap(NULL, nr * sizeof(struct floor_block),
		       PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void put(struct shard *shard, struct floor_block block)
{
	size_t at = place_of(shard, block.start);

	while (shard->blocks[at].start)
		at = (at + 1) & (shard->capacity - 1);
	shard->blocks[at] = block;
}

static void grow(struct shard *shard)
{
	struct floor_block *old = shard->blocks;
	size_t capacity = shard->capacity;

	shard->capacity = capacity ? capacity * 2 : FIRST_CAPACITY;
	shard->blocks = map_blocks(shard->capacity);
	/* A table with gaps would tell lies. */
	if (!shard->blocks)
		abort();
	for (size_t i = 0; i < capacity; i++)
		if (old[i].start)
			put(shard, old[i]);
	if (old)
		munmap(old, capacity * sizeof(*old));
}

void floor_add(void *start, size_t len)
{
	struct shard *shard = shard_of(start);

	shard_lock(shard);
	if ((shard->used + 1) * 2 > shard->capacity)
		grow(shard);
	put(shard, (struct floor_block){ start, len });
	shard->used++;
	shard_unlock(shard);
}

/* Close the gap at @hole, so that no search stops there too early. */
static void close_gap(struct shard *shard, size_t hole)
{
	size_t mask = shard->capacity - 1;
	size_t at = hole;

	for (;;) {
		size_t wants;

		at = (at + 1) & mask;
		if (!shard->blocks[at].start)
			break;
		wants = place_of(shard, shard->blocks[at].start);
		if (((at - wants) & mask) < ((at - hole) & mask))
			continue;
		shard->blocks[hole] = shard->blocks[at];
		hole = at;
	}
	shard->blocks[hole].start = NULL;
}

bool floor_remove(void *start, size_t *ret_len)
{
	struct shard *shard = shard_of(start);
	bool found = false;
	size_t at;

	shard_lock(shard);
	if (shard->capacity) {
		at = place_of(shard, start);
		while (shard->blocks[at].start && shard->blocks[at].start !=
		       (char *)start)
			at = (at + 1) & (shard->capacity - 1);
		found = shard->blocks[at].start != NULL;
		if (found) {
			if (ret_len)
				*ret_len = shard->blocks[at].len;
			close_gap(shard, at);
			shard->used--;
		}
	}
	shard_unlock(shard);
	return found;
}

static void sift_down(struct floor_block *list, size_t root, size_t nr)
{
	struct floor_block block = list[root];

	for (size_t child; (child = 2 * root + 1) < nr; root = child) {
		if (child + 1 < nr && list[child + 1].start >
		    list[child].start)
			child++;
		if (list[child].start <= block.start)
			break;
		list[root] = list[child];
	}
	list[root] = block;
}

/* By heap: qsort() may call malloc. */
void floor_sort(struct floor_block *list, size_t nr)
{
	for (size_t root = nr / 2; root-- > 0;)
		sift_down(list, root, nr);
	for (size_t end = nr; end-- > 1;) {
		struct floor_block top = list[0];

		list[0] = list[end];
		list[end] = top;
		sift_down(list, 0, end);
	}
}

struct floor_block *floor_list(size_t *ret_nr)
{
	struct floor_block *list;
	size_t nr = 0, used = 0;

	for (unsigned int i = 0; i < NR_SHARDS; i++) {
		shard_lock(&shards[i]);
		used += shards[i].used;
	}
	list = map_blocks(used + 1);
	for (unsigned int i = 0; i < NR_SHARDS; i++) {
		for (size_t j = 0; list && j < shards[i].capacity; j++)
			if (shards[i].blocks[j].start)
				list[nr++] = shards[i].blocks[j];
		shard_unlock(&shards[i]);
	}
	if (!list)
		return NULL;
	floor_sort(list, nr);
	*ret_nr = nr;
	return list;
}

void floor_unlist(struct floor_block *list, size_t nr)
{
	munmap(list, (nr + 1) * sizeof(*list));
}

size_t floor_pages_bytes(const struct floor_block *list, size_t nr)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uintptr_t counted = 0;	/* pages before this one are counted */
	size_t pages = 0;

	for (size_t i = 0; i < nr; i++) {
		uintptr_t first = (uintptr_t)list[i].start / page;
		uintptr_t end = ((uintptr_t)list[i].start + list[i].len +
				 page - 1) / page;

		if (!list[i].len)
			continue;
		if (first < counted)
			first = counted;
		if (end <= first)
			continue;
		pages += end - first;
		counted = end;
	}
	return pages * page;
}

int floor_measure(struct floor_numbers *ret_numbers)
{
	struct floor_numbers numbers = { 0 };
	struct floor_block *list = floor_list(&numbers.blocks);

	if (!list)
		return -1;
	for (size_t i = 0; i < numbers.blocks; i++)
		numbers.live_bytes += list[i].len;
	numbers.floor_bytes = floor_pages_bytes(list, numbers.blocks);
	floor_unlist(list, numbers.blocks);
	for (unsigned int i = 0; i < NR_SHARDS; i++)
		numbers.own_bytes += shards[i].capacity *
				     sizeof(struct floor_block);
	*ret_numbers = numbers;
	return 0;
}
