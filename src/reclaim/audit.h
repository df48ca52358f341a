/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Audit: clean memory that is backed all the same
 */
#ifndef EBB_RECLAIM_AUDIT_H
#define EBB_RECLAIM_AUDIT_H

#include "reclaim/batch.h"

/*
 * A step on: look, count, and give back once more.  True: there is more, for
 * this pass or a later one.  Context: inside a pass; nothing is claimed.
 */
bool audit_step(struct pass *pass);

#endif
