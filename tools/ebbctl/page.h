/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - Reading counters pages
 *
 * A page is what some process wrote, or what somebody who may write to its
 * directory put there.  What comes out of here is in the layout of this tool's
 * ABI, whatever the writer's was; counts are in range, texts end, and hold no
 * control characters; numbers may still be anything.
 */
#ifndef EBBCTL_PAGE_H
#define EBBCTL_PAGE_H

#include <stdbool.h>
#include "ebb/stat_page.h"

/*
 * Read the page @name in @dir_fd.  False: *@ret_why says why, with errno 0 if
 * no call failed.  Rows that the writer does not have are zero.
 */
bool page_read(int dir_fd, const char *name, struct ebb_page *ret_page,
	       const char **ret_why);

/* A file in such a directory, to be read, whatever lies there; -1 with errno. */
int page_open(int dir_fd, const char *name);

/*
 * Make the @size bytes at @text, the last of which ends it, lines that are
 * harmless for terminals and JSON.
 */
void page_clean_lines(char *text, size_t size);

/* Only how often it was written, in @ret_seq; false if that cannot be read. */
bool page_seq(int dir_fd, const char *name, uint64_t *ret_seq);

/* The events of @page, the oldest first, into @rows; how many. */
unsigned int page_events(const struct ebb_page *page,
			 struct ebb_event rows[EBB_NR_EVENTS]);

/* The newest verdict on @name after number @after, or NULL. */
const struct ebb_verdict *page_verdict(const struct ebb_page *page,
				       const char *name, uint64_t after);

/* The number of the newest verdict. */
uint64_t page_last_verdict(const struct ebb_page *page);

/* The value of option @name in the page's text, or false. */
bool page_option(const struct ebb_page *page, const char *name, char *value,
		 size_t size);

/* "psi,app", or "age". */
const char *page_askers(const struct ebb_page *page, uint32_t by_source,
			char *buf, size_t size);

const char *page_pressure(unsigned int level);

#endif
