/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Notice of pressure, for a higher floor
 *
 * What it is: a word with the greatest pressure that was seen and not taken
 * yet, and the least that anybody wants to hear of.  Who sees pressure, the
 * reclaimer or a thread near the limit, posts it and goes on; who wants to hear
 * sleeps on the word.  While nobody listens a post is one load.
 *
 * Context: any thread.
 */
#ifndef EBB_RECLAIM_NOTICE_H
#define EBB_RECLAIM_NOTICE_H

#include "reclaim/source.h"

/* From @least on somebody listens; PRESSURE_NONE: nobody does. */
void notice_listen(enum pressure least);

/* Whether anybody listens, so that it is worth looking. */
bool notice_is_wanted(void);

/*
 * Whether there is a thread that takes what is posted.  Where there is none,
 * each post sets WANTED_NOTICE, for the next slow path of malloc.
 */
void notice_set_heard(bool heard);

void notice_post(enum pressure pressure);

/* What was posted since the last call. */
enum pressure notice_take(void);

/* Until something is posted, or @ms have passed; 0: as long as it takes. */
void notice_wait(uint32_t ms);

#endif
