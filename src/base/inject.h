/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Injected failures of kernel calls (CONFIG_INJECT)
 *
 * The option inject=site:period makes every period-th call at a site fail
 * with the error the kernel would most likely give.  "all" names every site.
 */
#ifndef EBB_BASE_INJECT_H
#define EBB_BASE_INJECT_H

#include "base/compiler.h"

enum inject_site {
	INJECT_MMAP,
	INJECT_MPROTECT,
	INJECT_MREMAP,
	INJECT_MADVISE,
	INJECT_MEMBARRIER,
	INJECT_THREAD,
	INJECT_OPEN,
	INJECT_READ,
	INJECT_POLL,
	INJECT_PROCESS_MADVISE,
	INJECT_URING,
	INJECT_NR_SITES
};

extern const char *const inject_site_names[INJECT_NR_SITES];

/*
 * Whether @spec is "site:period" or empty (nothing fails): 0, -EINVAL for
 * anything else, -EOPNOTSUPP where it is not empty and this build has no
 * CONFIG_INJECT.
 */
int inject_check(const char *spec) __must_check;

/* Put @spec in force, alone; errors as inject_check(), and nothing changes. */
int inject_set(const char *spec) __must_check;

/* Whether this call at @site is to fail. */
bool inject_hit_slow(enum inject_site site);

static inline bool inject_hit(enum inject_site site)
{
	return IS_ENABLED(CONFIG_INJECT) && inject_hit_slow(site);
}

#endif
