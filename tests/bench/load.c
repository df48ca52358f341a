/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Loads: many objects, patterned and checked
 */
#include <sys/mman.h>
#include "bench/frame.h"
#include "bench/load.h"

struct load loads[CREW_MAX];

/* The compiler must not turn these into calls, or see another type there. */
typedef uint64_t __attribute__((may_alias)) word_t;

static uint64_t first_word(const struct object *object)
{
	return (object->seed + 1) * 0x9e3779b97f4a7c15ULL;
}

/* Every byte counts: a word for each eight, the last bytes one by one. */
static void fill(const struct object *object)
{
	uint64_t word = first_word(object);
	unsigned char *tail = object->p;
	word_t *words = object->p;
	size_t nr = object->size / 8;

	for (size_t i = 0; i < nr; i++)
		words[i] = word + i;
	for (size_t i = nr * 8; i < object->size; i++)
		tail[i] = (unsigned char)(word >> 56);
}

static bool holds(const struct object *object)
{
	uint64_t word = first_word(object), differ = 0;
	const unsigned char *tail = object->p;
	const word_t *words = object->p;
	size_t nr = object->size / 8;

	for (size_t i = 0; i < nr; i++)
		differ |= words[i] ^ (word + i);
	for (size_t i = nr * 8; i < object->size; i++)
		differ |= tail[i] ^ (unsigned char)(word >> 56);
	return !differ;
}

void load_init(struct load *load, size_t bytes, unsigned int low,
	       unsigned int high)
{
	*load = (struct load){
		.most = (bytes >> low) + 1024, .low = low, .high = high,
	};
	load->list = mmap(NULL, load->most * sizeof(struct object),
			  PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS |
			  MAP_NORESERVE, -1, 0);
	if (load->list == MAP_FAILED)
		die("a list of %zu objects: %s", load->most, strerror(errno));
	/* What a huge page adds to the list is no cost of the allocator's. */
	madvise(load->list, load->most * sizeof(struct object),
		MADV_NOHUGEPAGE);
	load_seed(load, 0);
}

void load_back(struct load *load, size_t nr)
{
	char *list = (char *)load->list;
	size_t page = page_size();

	if (nr > load->most)
		nr = load->most;
	for (size_t at = 0; at < nr * sizeof(struct object); at += page)
		list[at] = 0;
}

void load_seed(struct load *load, uint64_t seed)
{
	rng_seed(&load->rng, seed);
}

void load_add(struct load *load, size_t size)
{
	struct object object = {
		.p = malloc(size), .size = (uint32_t)size,
		.seed = (uint32_t)rng_next(&load->rng),
	};

	if (!object.p)
		_exit(EXIT_NO_MEMORY);
	if (load->nr == load->most)
		die("more than %zu objects", load->most);
	fill(&object);
	load->list[load->nr++] = object;
	load->made++;
	if (load->nr > load->nr_peak)
		load->nr_peak = load->nr;
	load->bytes += size;
	if (load->bytes > load->peak)
		load->peak = load->bytes;
}

void load_drop(struct load *load, size_t i)
{
	struct object object = load->list[i];

	if (!holds(&object))
		_exit(EXIT_CORRUPT);
	load->list[i] = load->list[--load->nr];
	load->bytes -= object.size;
	free(object.p);
}

void load_grow(struct load *load, size_t bytes)
{
	for (;;) {
		size_t size = rng_size(&load->rng, load->low, load->high);

		if (load->bytes + size > bytes)
			return;
		load_add(load, size);
	}
}

void load_shrink(struct load *load, size_t bytes)
{
	while (load->bytes > bytes)
		load_drop(load, rng_below(&load->rng, load->nr));
}

void load_cull(struct load *load, unsigned int one_of)
{
	size_t keep = load->nr / one_of;

	while (load->nr > keep)
		load_drop(load, rng_below(&load->rng, load->nr));
}

void load_churn(struct load *load, size_t bytes, size_t most)
{
	for (size_t done = 0; done < bytes && load->nr;) {
		size_t size = rng_size(&load->rng, load->low, load->high);

		while (load->nr && load->bytes + size > most)
			load_drop(load, rng_below(&load->rng, load->nr));
		load_add(load, size);
		done += size;
	}
}

void load_replace(struct load *load, const size_t *which, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		free(load->list[which[i]].p);
	for (size_t i = 0; i < nr; i++) {
		struct object *object = &load->list[which[i]];

		object->p = malloc(object->size);
		if (!object->p)
			_exit(EXIT_NO_MEMORY);
		fill(object);
	}
}

void load_check(const struct load *load)
{
	for (size_t i = 0; i < load->nr; i++)
		if (!holds(&load->list[i]))
			_exit(EXIT_CORRUPT);
}
