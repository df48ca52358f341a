/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Audit: clean memory that is backed all the same
 */
#ifndef EBB_RECLAIM_AUDIT_H
#define EBB_RECLAIM_AUDIT_H

#include "reclaim/batch.h"

/* Look, count, and give back once more.  Context: inside a pass. */
void audit_run(struct pass *pass);

#endif
