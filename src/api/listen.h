/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Who listens to pressure
 */
#ifndef EBB_API_LISTEN_H
#define EBB_API_LISTEN_H

#include "base/compiler.h"

/*
 * Start the thread that calls the functions, if there are any and it does not
 * run; false: it cannot be started.  Context: as reclaimer_start().
 */
bool listen_start(void);

/* Fork handlers.  Before: waits for the lock, if it @may_wait. */
void listen_prefork(bool may_wait);
void listen_postfork_parent(void);
void listen_postfork_child(void);

#endif
