/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - Burying processes that have died
 */
#ifndef EBBCTL_SWEEP_H
#define EBBCTL_SWEEP_H

#include <stdbool.h>
#include "process.h"

/*
 * Remove the directory of @dead, which process_list() found dead, and keep its
 * page in EBB_DEAD_DIR beside it, by the rules of the library: the newest
 * EBB_DEAD_MAX stay.  False: that may not be, or it was seen to meanwhile.
 */
bool sweep_bury(struct process *dead);

#endif
