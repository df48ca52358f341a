/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Where an object is mapped
 */
#ifndef EBB_BASE_EXTENT_H
#define EBB_BASE_EXTENT_H

#include <link.h>

#include "base/compiler.h"

/* All zero: of none. */
struct extent {
	uintptr_t start, end;
};

static inline bool extent_has(const struct extent *extent, uintptr_t at)
{
	return at - extent->start < extent->end - extent->start;
}

/* From its first segment to its last one; for callbacks of dl_iterate_phdr(). */
static inline struct extent extent_of(const struct dl_phdr_info *info)
{
	struct extent all = { UINTPTR_MAX, 0 };

	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *phdr = &info->dlpi_phdr[i];
		uintptr_t start = info->dlpi_addr + phdr->p_vaddr;

		if (phdr->p_type != PT_LOAD)
			continue;
		all.start = min(all.start, start);
		all.end = max(all.end, start + phdr->p_memsz);
	}
	return all;
}

#endif
