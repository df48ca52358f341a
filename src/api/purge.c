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
#include "ebb/ebb.h"
#include "heap/drain.h"
#include "heap/heap.h"

int purge_all(struct purge_result *ret_result)
{
	struct purge_order order = {
		.lazy_age_ms = PURGE_NEVER,
		.drain = true,
		.force = true,
	};
	int saved = errno;
	int err;

	/* In a handler above an interrupted malloc there may be locks held. */
	if (tcb.busy || lock_holds_any())
		return -EDEADLK;
	if (!init_ready())
		return -ENOMEM;
	err = purge_run(&order, ret_result);
	if (!err)
		errno = saved;
	return err;
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
