/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The application's word
 */
#ifndef EBB_RECLAIM_APP_H
#define EBB_RECLAIM_APP_H

#include "reclaim/source.h"

#if IS_ENABLED(CONFIG_APP_CALL)

/* Keep @pressure for the next round; the greater one stays, NONE drops it. */
void app_say(enum pressure pressure);

/* Whether there is one kept. */
bool app_is_waiting(void);

#else

static inline void app_say(enum pressure pressure)
{
	(void)pressure;
}

static inline bool app_is_waiting(void)
{
	return false;
}

#endif

#endif
