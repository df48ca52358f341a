/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The service manager's word
 */
#ifndef EBB_RECLAIM_WATCH_H
#define EBB_RECLAIM_WATCH_H

#include "base/compiler.h"

/*
 * Keep what @env says of it; @secure: the process runs with rights that its
 * caller lacks, so @env is not trusted.  Called once, at start, since a
 * program may overwrite its environment later.
 */
void watch_note_environment(char *const *env, bool secure);

/* "off" is a word of the manager, too: it wants no pressure to be watched. */
enum watch_claim {
	WATCH_NONE,
	WATCH_OFF,
	WATCH_PSI,		/* a PSI file is watched */
};

/* What psi has to give way to.  Context: reclaimer thread. */
enum watch_claim watch_claims(void);

/*
 * Decode the Base64 (RFC 4648, padded, nothing else) in @text into @buf.  The
 * length; -EINVAL if it is none, -ENAMETOOLONG where @size is too small.
 */
long watch_decode(const char *text, unsigned char *buf, size_t size)
	__must_check;

#endif
