/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Traps by guard markers: MADV_GUARD_INSTALL, Linux 6.13
 *
 * A marker is an entry of the page table: no mapping is split, and it stays
 * until it is removed or unmapped, whatever else is advised.  Installing it
 * gives back what was there.  Forked children have it as well, and mremap
 * takes it along.
 */
#include <sys/mman.h>

#include "base/err.h"
#include "base/sys.h"
#include "os/guard_mark.h"
#include "os/map.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#define MADV_GUARD_REMOVE	103
#endif

/* Nothing may keep it: who is handed the page is about to touch it. */
static int marker_remove(char *start, size_t len)
{
	long err;

	do
		err = sys_call3(SYS_madvise, (long)start, (long)len,
				MADV_GUARD_REMOVE);
	while (err == -EAGAIN || err == -EINTR || err == -ENOMEM);
	return (int)err;
}

static int marker_open(char *base, size_t len, const char **ret_reason)
{
	long page = sys_mmap(NULL, map_page_size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS);
	int err;

	(void)base;
	(void)len;
	if (sys_is_err(page))
		return (int)page;
	err = sys_madvise((char *)page, map_page_size, MADV_GUARD_INSTALL);
	if (!err)
		err = marker_remove((char *)page, map_page_size);
	if (err == -EINVAL)
		*ret_reason = "the kernel is older than 6.13";
	sys_munmap((char *)page, map_page_size);
	return err;
}

static void marker_forget(void)
{
}

const struct guard_trap guard_trap_marker = {
	.name = "marker",
	.advice = ADVISE_GUARD,
	.open = marker_open,
	.remove = marker_remove,
	.forget = marker_forget,
};
