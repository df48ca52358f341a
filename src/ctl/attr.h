/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Attributes: files whose contents can be written
 *
 * What it is: the options of ebb/control.h, one file each, `trim' and `dump'.  What
 * somebody wrote is read when the file is closed, parsed strictly, applied, and
 * answered: the file then holds the value in force, and the board a verdict.
 * A refused value changes nothing, and `error' says why.
 *
 * Trust: the directory is this user's, but what lies in it may be anything: a
 * link, a FIFO, a device, a gigabyte.  Only regular files of this user or root
 * are read, and no more of them than the longest value has.
 *
 * Locking: ctl_lock.
 */
#ifndef EBB_CTL_ATTR_H
#define EBB_CTL_ATTR_H

#include "base/compiler.h"
#include "ebb/control.h"

/* Options by their number, then what is done when it is asked for. */
enum {
	ATTR_TRIM = EBB_NR_ATTRS,
	ATTR_DUMP,
	NR_FILES
};

_Static_assert(NR_FILES <= 64, "files that were written are bits of a word");

#define ALL_FILES ((1ULL << NR_FILES) - 1)

/* The bit of @name among those files; 0: it is none of them. */
uint64_t attr_bit(const char *name);

/* Put all files in place that are in @which, as they are in force. */
int attr_put(int dir_fd, uint64_t which) __must_check;

/* What attributes are answered with, empty as long as nothing was asked for. */
int attr_put_texts(int dir_fd) __must_check;

/*
 * Of @which, see to those that are not as we left them; of @written it is known
 * that somebody wrote to them, whatever they look like.  Returns whether an
 * option changed.  Context: outside of the allocator; may make a pass.
 */
bool attr_read(int dir_fd, uint64_t which, uint64_t written, uint32_t uid);

/* Those that were found empty, and are to be looked at again soon. */
uint64_t attr_hollow(void);

/* Those of them that are in the directory. */
uint64_t attr_present(int dir_fd);

/*
 * Where nobody tells of writes: see to all that is in the directory and not as
 * we left it.  What may be half written yet is left for the next time.
 */
bool attr_look(int dir_fd, uint32_t uid);

/*
 * The program has privileges that who starts it has not (AT_SECURE), who may be
 * the one that may write here: where it writes itself is not to be told to it.
 */
void attr_note_secure(void);

/* Forget which files are ours: those of another process. */
void attr_reset(void);

#endif
