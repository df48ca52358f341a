/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - Processes of the system, as /proc tells
 */
#ifndef EBBCTL_PROCTABLE_H
#define EBBCTL_PROCTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include "ebb/stat_page.h"

/* The kernel's number for the first pid namespace, which sees all others. */
#define PROCTABLE_FIRST_PID_NS	0xeffffffcu

struct seen {
	int pid;
	int inner_pid;		/* in its own namespace */
	unsigned int uids[4];	/* real, effective, saved, of files */
	uint64_t pid_ns;	/* 0: cannot be told */
	uint64_t mount_ns;	/* 0: cannot be told */
	uint64_t start_ticks;
};

struct proctable {
	struct seen *seen;
	size_t nr;
	uint64_t mount_ns;	/* this tool's */
	uint64_t pid_ns;	/* this tool's */
	bool whole;		/* no process of any namespace is hidden */
};

/* False after a message. */
bool proctable_read(struct proctable *ret_table);
void proctable_free(struct proctable *table);

/*
 * Who wrote a page with @head into a directory of user @uid in mount namespace
 * @mount_ns; NULL: nobody who lives.  The number alone may be another's by now,
 * and anybody may write anything into a page: the directory must be root's or
 * of the process's user.
 */
const struct seen *proctable_owner(const struct proctable *table,
				   const struct ebb_page_head *head,
				   uint64_t mount_ns, unsigned int uid);

/* Whether who wrote @head is dead beyond doubt; false: it may live. */
bool proctable_is_gone(const struct proctable *table,
		       const struct ebb_page_head *head);

/* Field 22 of /proc/PID/stat; 0 if it cannot be told. */
uint64_t proctable_start_of(const char *pid);

bool proctable_is_number(const char *text);

#endif
