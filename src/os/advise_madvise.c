/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Giving ranges back one by one: madvise(2)
 *
 * Always there.  EINVAL from MADV_DONTNEED means locked memory (mlockall):
 * what the user wants resident stays, and is counted as refused.
 */
#include "base/sys.h"
#include "os/advise_backend.h"

static int madvise_open(struct advise_backend *backend, bool keep_fds)
{
	(void)keep_fds;
	backend->any_thread = true;
	return 0;
}

static int madvise_advise(struct advise_backend *backend,
			  const struct advise_range *ranges, size_t nr,
			  int advice, bool *ok)
{
	for (size_t i = 0; i < nr; i++) {
		if (ok[i])
			continue;
		ok[i] = !sys_madvise(ranges[i].start, ranges[i].len, advice);
		backend_count(&backend->counters.calls, 1);
	}
	return 0;
}

static void madvise_close(void)
{
}

struct advise_backend madvise_backend = {
	.name = "madvise",
	.open = madvise_open,
	.advise = madvise_advise,
	.close = madvise_close,
	.forget = madvise_close,
};
