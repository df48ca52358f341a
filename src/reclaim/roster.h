/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The roster: which processes share a cgroup
 *
 * What it is: a file for each memory cgroup and user, ROSTER_ROWS rows of 64
 * bytes, in a directory that only this user may write to; and a FIFO for each
 * row, its bell.  A process has one row, says there how much it could give
 * back, and is asked to by its bell.
 *
 * Who lives: whoever has a row holds a lock on its bytes (F_OFD_SETLK), through
 * a descriptor that nobody inherits.  The kernel takes the lock back when the
 * process ends, however it ends, or execs; a row that is written and not locked
 * is of one who is gone.  Row 0 has no bell: who holds its lock leads.
 *
 * Protocol:
 *	join	lock a row that nobody has, make its bell anew, write the row
 *	bury	lock the row of one who is gone, remove its bell, write zeros,
 *		unlock: who locks a row may write to it, nobody else does
 *	clear	lock all rows: then nobody is there, nobody can join, and the
 *		file and its bells may be removed.  Who joins looks after
 *		locking whether the file still has a name, and else begins anew
 *	leave	remove the own bell, and where no other row is locked the bells
 *		of who is gone, and the file.
 *		Who joins in between has a file without a name, sees that
 *		(roster_is_lost) and joins anew
 *
 * Invariants:
 * (1) What is read is a hint, by which something is asked for at most: files may
 *     be cut, rows half written.  They are read and written by system calls,
 *     since a mapping of a file that is cut raises SIGBUS.
 * (2) Nobody waits: locks are tried, bells are rung without blocking.
 *
 * Locking: one user of a struct roster; the rest is the file's own protocol.
 *
 * Fork: the descriptors are in the reclaimer's file table; a child has none.
 */
#ifndef EBB_RECLAIM_ROSTER_H
#define EBB_RECLAIM_ROSTER_H

#include "base/compiler.h"

#define ROSTER_ROWS	256u		/* row 0 included */
#define ROSTER_NAME_SIZE 32
#define ROSTER_PATH_MAX	384

struct roster_row {
	uint32_t magic;
	uint32_t pid;			/* as its own namespace counts; 0: none */
	uint64_t spare;			/* bytes it could give back, at most */
	uint64_t unused[6];
};

/* One's own place; all zero but the descriptors, -1: none. */
struct roster {
	int fd;
	int bell_fd;			/* readable: somebody asks */
	unsigned int row;
	bool leads;
	uint64_t ino;			/* of the file, behind @path or not */
	char path[ROSTER_PATH_MAX];
};

/* The file for the cgroup behind directory @path; -errno. */
int roster_name(const char *path, char name[ROSTER_NAME_SIZE]) __must_check;

/*
 * Have a row in the file @path, made if need be.  -EMFILE: all are taken;
 * -ESTALE: somebody is just removing it; -EPERM: it is not this user's alone;
 * other -errno.  @self has @path.
 */
int roster_join(struct roster *self, uint32_t uid, uint32_t pid) __must_check;

/* Say what could be given back; -errno where the roster is of no use any more. */
int roster_tell(struct roster *self, uint32_t pid, uint64_t spare) __must_check;

/* Somebody removed the file or the bell: we are not to be found any more. */
bool roster_is_lost(const struct roster *self);

/* How many others there are; buries who is gone.  -errno. */
int roster_count(struct roster *self) __must_check;

/* Whether one leads; becomes it where nobody does. */
bool roster_lead(struct roster *self);

/* What the bell says: bytes that are asked for, 0 for nothing; or -errno. */
int64_t roster_hear(struct roster *self) __must_check;

/* Let go; the row is free for others.  What is on disk stays. */
void roster_close(struct roster *self);

/*
 * Remove what the process with @row leaves, and all where it was the last;
 * nothing if the file behind @path is another one than @ino.  Context: anybody
 * in the process; the row may still be locked.
 */
void roster_clean(const char *path, unsigned int row, uint64_t ino);

/* Whom to ask, for how much; and what came of it. */
struct roster_request {
	unsigned int own_row;		/* not asked; 0: one has none */
	uint64_t want;			/* bytes; the bells say so */
	uint64_t least;			/* who has less to spare is not asked */
	unsigned int nr_asked;
	uint64_t hoped;			/* what those said they could spare */
};

/*
 * Ask those with the most to spare, until they have @want, by their own word.
 * -errno where there is no such file; 0 also if nobody was asked.  @rows: room
 * for ROSTER_ROWS.  Context: any thread; in an fd_window where the table is the
 * program's.
 */
int roster_ask(const char *path, uint32_t uid, struct roster_request *request,
	       struct roster_row *rows) __must_check;

/*
 * Whether @name in the directory is a file or a bell of which nobody is there:
 * then it may be removed, and the file is locked through *@ret_fd until that is
 * closed (-1: nothing to close).
 */
#if IS_ENABLED(CONFIG_SIBLINGS)
bool roster_is_abandoned(int dir_fd, const char *name, int *ret_fd);
#else
static inline bool roster_is_abandoned(int dir_fd, const char *name,
				       int *ret_fd)
{
	(void)dir_fd;
	(void)name;
	*ret_fd = -1;
	return false;
}
#endif

#endif
