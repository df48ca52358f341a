/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Giving everything back, because the program asked for it
 */
/* First: it may rename what system headers declare. */
#include "api/alloc.h"

#include <errno.h>
#include <malloc.h>

#include "api/init.h"
#include "api/purge.h"
#include "base/lock.h"
#include "base/param.h"
#include "ebb/ebb.h"
#include "heap/drain.h"
#include "heap/heap.h"
#include "os/guard_mark.h"

static int purge_now(const struct purge_order *order,
		     struct purge_result *ret_result)
{
	int saved = errno;
	int err;

	/* In a handler above an interrupted malloc there may be locks held. */
	if (tcb.busy || lock_holds_any())
		return -EDEADLK;
	if (!init_ready())
		return -ENOMEM;
	err = purge_run(order, ret_result);
	if (!err)
		errno = saved;
	return err;
}

int purge_all(struct purge_result *ret_result)
{
	static const struct purge_order all = {
		.lazy_age_ms = PURGE_NEVER,
		.drain = true,
		.force = true,
	};

	return purge_now(&all, ret_result);
}

static uint32_t age_of(int64_t age_ms)
{
	return age_ms < 0 ? PURGE_NEVER : (uint32_t)age_ms;
}

int purge_due(struct purge_result *ret_result)
{
	const struct purge_order due = {
		.lazy_age_ms = age_of(param_int(EBB_ATTR_LAZY) &&
				      !guard_missing_traps() ?
				      param_int(EBB_ATTR_LAZY_MS) : -1),
		.clean_age_ms = age_of(param_int(EBB_ATTR_DECAY_MS)),
		.drain = true,
		.yields = true,
	};

	return purge_now(&due, ret_result);
}

/*
 * Everything that can be given back, now, whatever @pad says: with magazines
 * apart there is no top of the heap that a pad would keep.  1 if any memory
 * was backed that is not any more.  From a signal handler that interrupted
 * the allocator it does nothing and returns 0.
 */
__export int malloc_trim(size_t pad)
{
	struct purge_result result;

	(void)pad;
	return !purge_all(&result) && result.clean_bytes > 0;
}

__export int ebb_purge(struct ebb_purge_result *ret_result)
{
	struct purge_result result;
	int err = purge_all(&result);
	size_t cached, runs;

	if (err) {
		errno = -err;
		return -1;
	}
	if (!ret_result)
		return 0;
	cached = drain_cached_bytes(&runs);
	*ret_result = (struct ebb_purge_result){
		.given_bytes = result.clean_bytes,
		.refused_bytes = result.refused_bytes,
		.left_bytes = result.dirty_left,
		.cached_bytes = cached + runs,
	};
	return 0;
}
