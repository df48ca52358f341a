/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - Writing to a process's files, and waiting for its answer
 */
#ifndef EBBCTL_REQUEST_H
#define EBBCTL_REQUEST_H

#include "process.h"

enum answer {
	ANSWER_ACCEPTED,
	ANSWER_REFUSED,
	ANSWER_PENDING,		/* it has not looked yet */
	ANSWER_GONE,		/* the process ended */
	ANSWER_FAILED,		/* the file cannot be written */
};

/*
 * Write @value to the file @name of @process, and wait up to @wait_ms for the
 * answer.  @text (of @size bytes) is what the process says to it, or why there
 * is no answer.  Several who write the same file at the same time get one
 * answer, to what was written last.
 */
enum answer request_send(struct process *process, const char *name,
			 const char *value, unsigned int wait_ms, char *text,
			 size_t size);

/* The exit status that goes with it. */
int request_status(enum answer answer);

#define REQUEST_WAIT_MS	3000u
#define REQUEST_TEXT	256

/* The option --wait: milliseconds from 0 to an hour, or -1 and a message. */
long request_parse_wait(const char *text);

/* Says so; the exit status that goes with it. */
int request_needs_pid(const char *command);

#endif
