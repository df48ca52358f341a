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

#include "api/fast.h"
#include "api/init.h"
#include "base/err.h"
#include "base/bits.h"
#include "base/log.h"
#include "base/param.h"
#include "debug/leak.h"
#include "ebb/ebb.h"
#include "heap/medium.h"
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

/* === Leaks ================================================================ */

static bool has_level(const struct ebb_pool *pool)
{
	return IS_ENABLED(CONFIG_LEAK) && pool->level;
}

/*
 * From here down the stack is ours, and refers to nothing; what the program has
 * in registers is above, in the frame of find_leaks().
 */
static noinline long find_below(uint64_t key,
				void (*fn)(const struct leak_found *, void *),
				void *arg)
{
	long nr = leak_find(key, (uintptr_t)__builtin_frame_address(0), fn,
			    arg);

	barrier();
	return nr;
}

static noinline long find_leaks(uint64_t key,
				void (*fn)(const struct leak_found *, void *),
				void *arg)
{
	long nr;

	__builtin_unwind_init();
	nr = find_below(key, fn, arg);
	barrier();
	return nr;
}

/* What is written of one search. */
struct telling {
	const char *call;
	unsigned int nr;
};

static void tell_leak(const struct leak_found *found, void *arg)
{
	struct telling *telling = arg;

	if (telling->nr++ < LEAK_REPORTS_MAX)
		leak_tell(found, telling->call);
}

/* Of the pool with @key, 0: of all.  How many there are, or -errno. */
static long tell_leaks(uint64_t key, const char *call)
{
	struct telling telling = { call, 0 };
	long nr = find_leaks(key, tell_leak, &telling);

	if (nr > (long)LEAK_REPORTS_MAX)
		log_line("%s: %ld more leaked buffers are not shown", call,
			 nr - (long)LEAK_REPORTS_MAX);
	return nr;
}

/* With level strict, each leak_scan takes. */
static void search_if_due(struct ebb_pool *pool)
{
	if (likely(!leak_is_due(pool)))
		return;
	if (tell_leaks(pool->key, "ebb_pool_take") > 0)
		abort();
}

/* === Taking and returning ================================================= */

static void *alloc_for(const struct pool_wish *wish, size_t size)
{
	void *buf = alloc_aligned(wish->align, size);

	if (buf && wish->flags & EBB_POOL_ZERO)
		memset(buf, 0, size);
	return buf;
}

/* Guarded: what is usable is what was asked for. */
static cold int64_t bytes_of_other(const struct ebb_pool *pool, void *buf)
{
	size_t size = alloc_usable(buf, "ebb_pool_return");

	return (int64_t)heap_usable_for(pool->wish.align, size);
}

/* Of a buffer: its slot's size, or all of it if it is a large one. */
static int64_t bytes_of(const struct ebb_pool *pool, void *buf)
{
	const struct slab_hot *hot;

	if (unlikely(!range_contains(buf)))
		return bytes_of_other(pool, buf);
	hot = slab_hot(slab_of(buf));
	if (likely(load_relaxed(&hot->kind) == SLAB_KIND_CLASS))
		return sizeclasses[hot->class].size;
	return (int64_t)alloc_usable(buf, "ebb_pool_return");
}

/*
 * *@bytes were charged for @buf; where a medium object was thought of and there
 * was a large one, or the other way round, that is charged for.  If it fails,
 * nothing is.
 */
static int charge_anew(struct ebb_pool *pool, void *buf, int64_t *bytes)
{
	int64_t found;

	if (!medium_fits(pool->wish.align, (size_t)*bytes))
		return 0;
	found = bytes_of(pool, buf);
	if (likely(found == *bytes))
		return 0;
	(void)pool_uncharge(pool, *bytes);
	*bytes = found;
	return pool_charge(pool, found);
}

/* What is not known to be nothing but a malloc(). */
static noinline void *take_slow(struct ebb_pool *pool, size_t size,
				const struct stack_frame *frame)
{
	int64_t bytes;
	void *buf;
	int err;

	if (!pool_is_alive(pool) || !size || size > pool->wish.max_buffer) {
		errno = EINVAL;
		return NULL;
	}
	if (has_level(pool))
		search_if_due(pool);
	bytes = (int64_t)heap_usable_for(pool->wish.align, size);
	err = pool_charge(pool, bytes);
	if (err) {
		errno = -err;
		return NULL;
	}
	buf = alloc_for(&pool->wish, size);
	if (!buf) {
		pool_uncharge(pool, bytes);
		return NULL;
	}
	err = charge_anew(pool, buf, &bytes);
	if (err) {
		alloc_put(buf);
		errno = -err;
		return NULL;
	}
	if (has_level(pool))
		leak_take(pool, buf, size, (size_t)bytes, frame);
	return buf;
}

__export void *ebb_pool_take(struct ebb_pool *pool, size_t size)
{
	int64_t bytes;
	void *buf;

	/* 0 wraps around. */
	if (unlikely(size - 1 >= pool->easy_max))
		goto slow;
	bytes = sizeclasses[sizeclass_of(size)].size;
	if (unlikely(!pool_charge_fast(pool, bytes)))
		goto slow;
	buf = alloc_aligned(ALIGN_LEAST, size);
	if (unlikely(!buf))
		pool_uncharge(pool, bytes);
	return buf;
slow:
	buf = take_slow(pool, size, FRAME);
	/* No tail call: our frame has to be there. */
	barrier();
	return buf;
}

static noinline int return_known(struct ebb_pool *pool, void *buf,
				 const struct stack_frame *frame)
{
	struct leak_return back;
	enum leak_verdict verdict;
	int err;

	if (lock_holds_any())
		return fail(-EDEADLK);
	verdict = leak_return(pool, buf, frame, &back);
	if (verdict == LEAK_REFUSED)
		return fail(-EINVAL);
	err = pool_uncharge(pool, back.bytes ? (int64_t)back.bytes :
					       bytes_of(pool, buf));
	if (verdict == LEAK_FREE)
		alloc_put(buf);
	alloc_put(back.evicted);
	return err ? fail(err) : 0;
}

__export int ebb_pool_touch(struct ebb_pool *pool, void *buf)
{
	int err = -EINVAL;

	if (pool_is_alive(pool) && has_level(pool))
		err = lock_holds_any() ? -EDEADLK :
					 leak_touch(pool, buf, FRAME);
	return err ? fail(err) : 0;
}

__export int ebb_pool_return(struct ebb_pool *pool, void *buf)
{
	int err;

	if (unlikely(!buf))
		return fail(-EINVAL);
	if (unlikely(has_level(pool))) {
		err = return_known(pool, buf, FRAME);
		barrier();
		return err;
	}
	/* First: it may fail. */
	err = pool_uncharge(pool, bytes_of(pool, buf));
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
	return options->leak_level && !IS_ENABLED(CONFIG_LEAK) ? -EOPNOTSUPP :
								 0;
}

/* What a buffer of @size may take up; heap_usable_for() says the least. */
static size_t most_for(size_t align, size_t size)
{
	size_t least = heap_usable_for(align, size);

	if (!medium_fits(align, size) || !param_int(EBB_ATTR_FRUGAL) ||
	    sizeclass_for(align, size) >= 0)
		return least;
	return ALIGN_UP(size, map_page_size);
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
	fmt_line(wish->name, POOL_NAME_MAX, "%s", want.name ?: "pool");
	/* Each size up to the largest must be possible. */
	if (!max_buffer || max_buffer > PTRDIFF_MAX - map_page_size ||
	    max_bytes > PTRDIFF_MAX ||
	    (max_bytes && most_for(wish->align, max_buffer) > max_bytes))
		return -EINVAL;
	return 0;
}

/* What leak levels need, and stacks, unless the heap profile has them. */
static int begin_level(void)
{
	if (lock_holds_any())
		return -EDEADLK;
	report_know_own();
	if (!heap_profiled)
		stack_init(param_int(EBB_ATTR_PROFILE_STACK) ==
			   EBB_PROFILE_STACK_UNWIND);
	return leak_init();
}

__export struct ebb_pool *ebb_pool_create(size_t max_bytes, size_t max_buffer,
					  const struct ebb_pool_options *options)
{
	struct ebb_pool *pool = NULL;
	struct pool_wish wish;
	int err;

	err = init_ready() ? wish_for(max_bytes, max_buffer, options, &wish) :
			     -ENOMEM;
	if (!err && IS_ENABLED(CONFIG_LEAK) && wish.level)
		err = begin_level();
	if (!err)
		err = pool_create(&wish, &pool);
	if (err)
		errno = -err;
	return pool;
}

/* What is out at a pool's end may have leaked. */
static void search_before_end(struct ebb_pool *pool)
{
	struct pool_counts counts;

	if (pool_count(pool, &counts) || !counts.nr_out)
		return;
	if (tell_leaks(pool->key, "ebb_pool_destroy") > 0 &&
	    pool->wish.level == EBB_POOL_LEAK_STRICT)
		abort();
}

__export int ebb_pool_destroy(struct ebb_pool *pool, unsigned int flags,
			      uint64_t *ret_out)
{
	uint64_t nr_out = 0, key;
	int err;

	if (flags & ~(unsigned int)EBB_POOL_FORCE)
		return fail(-EINVAL);
	if (pool_is_alive(pool) && has_level(pool))
		search_before_end(pool);
	key = pool_is_alive(pool) && has_level(pool) ? pool->key : 0;
	err = pool_destroy(pool, flags & EBB_POOL_FORCE, &nr_out);
	if (!err && key)
		leak_forget(key, alloc_put);
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

/* === Leaks, on demand and at exit ========================================= */

struct asking {
	void (*fn)(const struct ebb_pool_leak *leak, void *arg);
	void *arg;
};

static void pass_on(const struct leak_found *found, void *arg)
{
	const struct asking *asking = arg;
	struct ebb_pool_leak leak = {
		.size = sizeof(leak),
		.tid = found->take.tid,
		.buf = found->buf,
		.bytes = found->size,
		.age_ms = found->age_ms,
		.pool = found->pool,
		.taken = found->take.pcs,
		.nr_taken = found->take.nr_pcs,
		.touched = found->touch.pcs,
		.nr_touched = found->touch.tid ? found->touch.nr_pcs : 0,
	};

	asking->fn(&leak, asking->arg);
}

__export int ebb_pool_leaks(struct ebb_pool *pool,
			    void (*fn)(const struct ebb_pool_leak *leak,
				       void *arg), void *arg)
{
	struct asking asking = { fn, arg };
	long nr;

	if (pool && (!pool_is_alive(pool) || !has_level(pool)))
		return fail(-EINVAL);
	if (!IS_ENABLED(CONFIG_LEAK) || !leak_area)
		return 0;
	if (lock_holds_any())
		return fail(-EDEADLK);
	nr = fn ? find_leaks(pool ? pool->key : 0, pass_on, &asking) :
		  tell_leaks(pool ? pool->key : 0, "ebb_pool_leaks");
	return nr < 0 ? fail((int)nr) : (int)nr;
}

/* Of pools that were not destroyed. */
__startup void pool_exit(void)
{
	bool strict = false;
	struct ebb_pool *pool;
	uint64_t nr_out = 0;

	if (!IS_ENABLED(CONFIG_LEAK) || !leak_area || lock_holds_any())
		return;
	for (size_t i = 0; (pool = pool_at(i)); i++) {
		struct pool_counts counts;

		if (!pool_is_alive(pool) || !has_level(pool) ||
		    pool_count(pool, &counts))
			continue;
		nr_out += counts.nr_out;
		strict |= counts.nr_out &&
			  pool->wish.level == EBB_POOL_LEAK_STRICT;
	}
	if (nr_out && tell_leaks(0, "exit") > 0 && strict)
		abort();
}
