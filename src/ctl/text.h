/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The board as text: one function for each file that is read only
 *
 * Each text begins with a line "# " that says when it was made, which readers
 * of tables and Prometheus skip as a comment.
 */
#ifndef EBB_CTL_TEXT_H
#define EBB_CTL_TEXT_H

#include "base/compiler.h"
#include "ebb/stat_page.h"

struct text {
	char *buf;
	size_t size;
	size_t len;
};

struct text_file {
	const char *name;
	void (*render)(struct text *text, const struct ebb_page *page);
};

/* The @i-th file; NULL behind the last. */
const struct text_file *text_file_at(unsigned int i);

#endif
