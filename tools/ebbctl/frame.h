/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - All processes, a row each, and how fast they give back
 */
#ifndef EBBCTL_FRAME_H
#define EBBCTL_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum frame_key {
	FRAME_PID,
	FRAME_NAME,
	FRAME_LIVE,
	FRAME_DIRTY,
	FRAME_LAZY,
	FRAME_CLEAN,
	FRAME_CACHED,
	FRAME_COLD,		/* shown if somebody looks (track_writes) */
	FRAME_BACK,
	FRAME_PRESSURE,
	FRAME_HEADROOM,
	FRAME_LIMIT,
	FRAME_NR_KEYS
};

/* One process; a value not known is UNKNOWN. */
struct frame_row {
	uint64_t values[FRAME_NR_KEYS];	/* FRAME_NAME: unused */
	char name[16];
	/* What the rate is counted from. */
	dev_t dev;
	ino_t ino;
	uint64_t given;
	uint64_t written_ms;
};

struct frame {
	struct frame_row *rows;
	size_t nr;
	uint64_t sums[FRAME_NR_KEYS];
	enum frame_key key;		/* rows are sorted by it */
	bool reversed;
};

#define FRAME_WIDTH	80
/* Room for a line: a character may have four bytes. */
#define FRAME_LINE	(FRAME_WIDTH * 4 + 1)

/* Look at all processes; rates are counted from the last look. */
bool frame_take(struct frame *frame);
void frame_sort(struct frame *frame);
void frame_free(struct frame *frame);

/* In at most FRAME_WIDTH columns. */
void frame_title(char line[FRAME_LINE]);
void frame_line(const struct frame_row *row, char line[FRAME_LINE]);
void frame_sums(const struct frame *frame, char line[FRAME_LINE]);

/* Where the column of @key is in a line. */
void frame_column(enum frame_key key, int *ret_at, int *ret_width);

const char *frame_key_name(enum frame_key key);

/* The key called @name; false: there is none. */
bool frame_key_parse(const char *name, enum frame_key *ret_key);
extern const char frame_key_names[];

#endif
