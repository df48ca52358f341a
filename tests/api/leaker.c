// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - A program that does one thing wrong with a pool
 *
 *	leaker WHAT LEVEL [LEAK_SCAN]
 *
 * Each step is a function of its own, by which reports name it.
 */
#include <errno.h>
#include "common.h"

#define OPTIONS(...)							\
	(&(struct ebb_pool_options){ .size =				\
		sizeof(struct ebb_pool_options), __VA_ARGS__ })

#define SIZE		1000u

#define STEP		__attribute__((noinline))

void *take_one(struct ebb_pool *pool, size_t size);
void *take_other(struct ebb_pool *pool, size_t size);
void take_and_drop(struct ebb_pool *pool);
void return_it(struct ebb_pool *pool, void *buf);

/* What functions that returned have left on the stack. */
static STEP void scrub(void)
{
	volatile char left[32 * KIB];

	for (size_t i = 0; i < sizeof(left); i++)
		left[i] = 0;
}

STEP void *take_one(struct ebb_pool *pool, size_t size)
{
	void *buf = ebb_pool_take(pool, size);

	return hide(buf);
}

STEP void *take_other(struct ebb_pool *pool, size_t size)
{
	void *buf = ebb_pool_take(pool, size);

	return hide(buf);
}

STEP void take_and_drop(struct ebb_pool *pool)
{
	*(volatile char *)ebb_pool_take(pool, SIZE) = 1;
}

STEP void return_it(struct ebb_pool *pool, void *buf)
{
	if (ebb_pool_return(pool, buf))
		exit(errno == EINVAL ? 22 : 1);
}

STEP void drop_one_and_go_on(struct ebb_pool *pool);
STEP void drop_one_and_go_on(struct ebb_pool *pool)
{
	static void *ring[16];

	for (unsigned int i = 0; i < 5000; i++) {
		void **place = &ring[i % 16];

		if (*place)
			ebb_pool_return(pool, *place);
		if (i == 777)
			take_and_drop(pool);
		*place = ebb_pool_take(pool, SIZE);
	}
}

static void keep_all(struct ebb_pool *pool)
{
	static void *kept[3000];

	for (unsigned int i = 0; i < 3000; i++)
		kept[i] = ebb_pool_take(pool, 1 + i);
	for (unsigned int i = 0; i < 3000; i++)
		ebb_pool_return(pool, kept[i]);
}

static void exit_with_one(struct ebb_pool *pool)
{
	take_and_drop(pool);
	scrub();
	exit(3);
}

static void destroy_with_one(struct ebb_pool *pool)
{
	take_and_drop(pool);
	scrub();
	if (!ebb_pool_destroy(pool, 0, NULL) || errno != EBUSY)
		_exit(9);
	_exit(0);
}

static void return_twice(struct ebb_pool *pool)
{
	void *buf = take_one(pool, SIZE);

	return_it(pool, buf);
	return_it(pool, buf);
}

static void return_twice_late(struct ebb_pool *pool)
{
	void *buf = take_one(pool, SIZE), *others[20];

	for (int i = 0; i < 20; i++)
		others[i] = take_other(pool, SIZE);
	return_it(pool, buf);
	for (int i = 0; i < 20; i++)
		ebb_pool_return(pool, others[i]);
	return_it(pool, buf);
}

static void return_elsewhere(struct ebb_pool *pool)
{
	struct ebb_pool *other = ebb_pool_create(0, MIB, OPTIONS(
		.leak_level = EBB_POOL_LEAK_FULL, .name = "mine"));

	return_it(pool, take_one(other, SIZE));
}

static void return_malloced(struct ebb_pool *pool)
{
	return_it(pool, malloc(SIZE));
}

static void write_after_return(struct ebb_pool *pool)
{
	char *buf = take_one(pool, SIZE);

	return_it(pool, buf);
	buf[500] = 1;
	return_it(pool, take_other(pool, 3 * SIZE));
}

static const struct {
	const char *name;
	void (*fn)(struct ebb_pool *pool);
} deeds[] = {
	{ "drop", drop_one_and_go_on },
	{ "keep", keep_all },
	{ "exit", exit_with_one },
	{ "destroy", destroy_with_one },
	{ "twice", return_twice },
	{ "late", return_twice_late },
	{ "elsewhere", return_elsewhere },
	{ "malloced", return_malloced },
	{ "write", write_after_return },
};

int main(int argc, char **argv)
{
	struct ebb_pool *pool;

	if (argc < 3)
		return 2;
	pool = ebb_pool_create(0, MIB, OPTIONS(
		.leak_level = (uint32_t)atoi(argv[2]),
		.leak_scan = argc > 3 ? (uint32_t)atoi(argv[3]) : 0,
		.name = "reporting"));
	for (size_t i = 0; i < sizeof(deeds) / sizeof(deeds[0]); i++)
		if (!strcmp(argv[1], deeds[i].name)) {
			deeds[i].fn(pool);
			return 0;
		}
	return 2;
}
