/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Names for the heap's mappings
 */
#include <sys/prctl.h>

#include "base/atomic.h"
#include "base/sys.h"
#include "os/name.h"
#include "os/probe.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA		0x53564d41
#define PR_SET_VMA_ANON_NAME	0
#endif

static enum name_state {
	NAME_NOT_YET,
	NAME_GIVEN,
	NAME_UNKNOWN,		/* to this kernel */
	NAME_FILTERED,
} state;

static enum name_state set_name(char *addr, size_t len)
{
	int err;

	if (probe_filters(-1))
		return NAME_FILTERED;
	err = (int)sys_call5(SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME,
			     (long)addr, (long)len, (long)"ebbmalloc: heap");
	return err ? NAME_UNKNOWN : NAME_GIVEN;
}

void name_give(char *addr, size_t len)
{
	store_relaxed(&state, set_name(addr, len));
}

void name_renewed(char *addr, size_t len)
{
	/* Without it some mappings stay apart, no more. */
	if (unlikely(load_relaxed(&state) == NAME_GIVEN))
		(void)set_name(addr, len);
}

const char *name_describe(void)
{
	switch (load_relaxed(&state)) {
	case NAME_GIVEN:
		return "given";
	case NAME_UNKNOWN:
		return "not known to this kernel";
	case NAME_FILTERED:
		return "not given below a seccomp filter";
	default:
		return "not given while the heap is small";
	}
}
