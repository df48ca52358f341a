/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The page words of a run
 */
#include "vm/pages.h"

void run_count_holes(const struct slab *first, size_t bytes,
		     enum run_state state, size_t *ret_clean,
		     size_t *ret_lazy)
{
	unsigned int used = slab_all_pages();

	*ret_clean = state == RUN_CLEAN ? ALIGN_UP(bytes, map_page_size) : 0;
	*ret_lazy = state == RUN_LAZY ? ALIGN_UP(bytes, map_page_size) : 0;
	if (state != RUN_PART)
		return;
	for (; bytes; first++) {
		uint64_t word = run_page_word(first, state);

		if (bytes < SLAB_SIZE)
			used = run_last_pages(bytes);
		*ret_clean += pages_bytes(pages_clean(word) & used);
		*ret_lazy += pages_bytes(pages_lazy(word) & used);
		bytes -= min(bytes, SLAB_SIZE);
	}
}

enum run_state run_state_by_words(const struct slab *first, size_t nr,
				  size_t *ret_backed)
{
	enum run_state state = RUN_DIRTY;

	*ret_backed = 0;
	for (size_t i = 0; i < nr; i++) {
		*ret_backed += run_backed_bytes(first + i, RUN_PART);
		if (run_page_word(first + i, RUN_PART))
			state = RUN_PART;
	}
	return *ret_backed ? state : RUN_CLEAN;
}
