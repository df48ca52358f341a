/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Pools of buffers
 *
 * What it is: a bound and a count (heap/pool.h) around malloc() and free().
 */
/* First: it may rename what system headers declare. */
#include "api/alloc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/init.h"
#include "base/bits.h"
#include "ebb/ebb.h"
#include "heap/pool.h"
#include "os/map.h"

#define ALIGN_LEAST	16u
#define SAMPLE_DEFAULT	64u
#define SCAN_DEFAULT	1000u

/* What release 0.1 has of the structs that grow. */
#define OPTIONS_LEAST	sizeof(struct ebb_pool_options)
#define COUNTS_LEAST	sizeof(struct ebb_pool_counts)

static int fail(int err)
{
	errno = -err;
	return -1;
}

/* === Taking and returning ================================================= */

static void *alloc_for(const struct pool_wish *wish, size_t size)
{
	void *buf = alloc_aligned(wish->align, size);

	if (buf && wish->flags & EBB_POOL_ZERO)
		memset(buf, 0, size);
	return buf;
}

/* What is not known to be nothing but a malloc(). */
static noinline void *take_slow(struct ebb_pool *pool, size_t size)
{
	int64_t bytes;
	void *buf;
	int err;

	if (!pool_is_alive(pool) || !size || size > pool->wish.max_buffer) {
		errno = EINVAL;
		return NULL;
	}
	bytes = (int64_t)pool_bytes_for(pool->wish.align, size);
	err = pool_charge(pool, bytes);
	if (err) {
		errno = -err;
		return NULL;
	}
	buf = alloc_for(&pool->wish, size);
	if (!buf)
		pool_uncharge(pool, bytes);
	return buf;
}

__export void *ebb_pool_take(struct ebb_pool *pool, size_t size)
{
	int64_t bytes;
	void *buf;

	/* 0 wraps around. */
	if (unlikely(size - 1 >= pool->easy_max))
		return take_slow(pool, size);
	bytes = sizeclasses[sizeclass_of(size)].size;
	if (unlikely(!pool_charge_fast(pool, bytes)))
		return take_slow(pool, size);
	buf = alloc_aligned(ALIGN_LEAST, size);
	if (unlikely(!buf))
		pool_uncharge(pool, bytes);
	return buf;
}

/* Of a buffer: its slot's size, or all of it if it is a large one. */
static int64_t bytes_of(void *buf)
{
	const struct slab_hot *hot;

	if (unlikely(!range_contains(buf)))
		return (int64_t)alloc_usable(buf, "ebb_pool_return");
	hot = slab_hot(slab_of(buf));
	if (likely(load_relaxed(&hot->kind) == SLAB_KIND_CLASS))
		return sizeclasses[hot->class].size;
	return (int64_t)alloc_usable(buf, "ebb_pool_return");
}

__export int ebb_pool_return(struct ebb_pool *pool, void *buf)
{
	int err;

	if (unlikely(!buf))
		return fail(-EINVAL);
	/* First: it may fail. */
	err = pool_uncharge(pool, bytes_of(buf));
	if (unlikely(err))
		return fail(err);
	alloc_put(buf);
	return 0;
}

/* === Beginning and end ==================================================== */

/* What a caller has, of @size bytes, of what we know. */
static int copy_options(const struct ebb_pool_options *from,
			struct ebb_pool_options *to)
{
	const char *beyond = (const char *)from + sizeof(*to);

	*to = (struct ebb_pool_options){ 0 };
	if (!from)
		return 0;
	if (from->size < OPTIONS_LEAST)
		return -EINVAL;
	for (size_t i = 0; i + sizeof(*to) < from->size; i++)
		if (beyond[i])
			return -E2BIG;
	memcpy(to, from, min((size_t)from->size, sizeof(*to)));
	return 0;
}

static int check_options(const struct ebb_pool_options *options)
{
	if (options->flags & ~(uint32_t)EBB_POOL_ZERO || options->reserved ||
	    options->leak_level > EBB_POOL_LEAK_STRICT ||
	    options->timeout_ms < EBB_POOL_FOR_EVER ||
	    options->timeout_ms > INT64_MAX / 2)
		return -EINVAL;
	if (options->align &&
	    (!is_pow2(options->align) || options->align > PTRDIFF_MAX))
		return -EINVAL;
	return options->leak_level ? -EOPNOTSUPP : 0;
}

static int wish_for(size_t max_bytes, size_t max_buffer,
		    const struct ebb_pool_options *options,
		    struct pool_wish *wish)
{
	struct ebb_pool_options want;
	int err = copy_options(options, &want) ?: check_options(&want);

	if (err)
		return err;
	*wish = (struct pool_wish){
		.max_bytes = max_bytes,
		.max_buffer = max_buffer,
		.align = max((size_t)want.align, (size_t)ALIGN_LEAST),
		.timeout_ms = want.timeout_ms,
		.flags = want.flags,
		.level = want.leak_level,
		.sample = want.leak_sample ?: SAMPLE_DEFAULT,
		.leak_scan = want.leak_scan ?: SCAN_DEFAULT,
	};
	strncpy(wish->name, want.name ?: "pool", POOL_NAME_MAX - 1);
	/* Each size up to the largest must be possible. */
	if (!max_buffer || max_buffer > PTRDIFF_MAX - map_page_size ||
	    max_bytes > PTRDIFF_MAX ||
	    (max_bytes && pool_bytes_for(wish->align, max_buffer) > max_bytes))
		return -EINVAL;
	return 0;
}

__export struct ebb_pool *ebb_pool_create(size_t max_bytes, size_t max_buffer,
					  const struct ebb_pool_options *options)
{
	struct ebb_pool *pool = NULL;
	struct pool_wish wish;
	int err;

	err = init_ready() ? wish_for(max_bytes, max_buffer, options, &wish) :
			     -ENOMEM;
	if (!err)
		err = pool_create(&wish, &pool);
	if (err)
		errno = -err;
	return pool;
}

__export int ebb_pool_destroy(struct ebb_pool *pool, unsigned int flags,
			      uint64_t *ret_out)
{
	uint64_t nr_out = 0;
	int err;

	if (flags & ~(unsigned int)EBB_POOL_FORCE)
		return fail(-EINVAL);
	err = pool_destroy(pool, flags & EBB_POOL_FORCE, &nr_out);
	if (ret_out && (!err || err == -EBUSY))
		*ret_out = nr_out;
	return err ? fail(err) : 0;
}

__export int ebb_pool_count(struct ebb_pool *pool,
			    struct ebb_pool_counts *ret_counts)
{
	uint32_t size = ret_counts->size;
	struct pool_counts counts;
	int err;

	if (size < COUNTS_LEAST)
		return fail(-EINVAL);
	err = pool_count(pool, &counts);
	if (err)
		return fail(err);
	memset(ret_counts, 0, size);
	*ret_counts = (struct ebb_pool_counts){
		.size = size,
		.nr_waiting = (uint32_t)counts.nr_waiting,
		.bytes_out = counts.bytes_out,
		.nr_out = counts.nr_out,
		.nr_waits = counts.nr_waits,
	};
	return 0;
}
