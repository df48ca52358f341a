/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - All processes, a row each, and how fast they give back
 *
 * A process writes its page once a second at most, whenever somebody looks: a
 * rate is what was given back between two writings, by the clock of the
 * writer.  A page that is not written any more belongs to a process where
 * nothing changes, and its rate is 0.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include "ebbctl.h"
#include "frame.h"
#include "process.h"

#define QUIET_MS	2500	/* without a writing: nothing changes */

/* Of width 0: not shown. */
static struct column {
	const char *title;
	const char *name;	/* --sort NAME */
	int width;
	bool left;
	bool up;		/* the least first */
} columns[FRAME_NR_KEYS] = {
	[FRAME_PID] = { "PID", "pid", .width = 7, .up = true },
	[FRAME_NAME] = { "NAME", "name", .width = 13, .left = true,
			 .up = true },
	[FRAME_LIVE] = { "LIVE", "live", .width = 5 },
	[FRAME_DIRTY] = { "DIRTY", "dirty", .width = 5 },
	[FRAME_LAZY] = { "LAZY", "lazy", .width = 5 },
	[FRAME_CLEAN] = { "CLEAN", "clean", .width = 5 },
	[FRAME_CACHED] = { "CACHE", "cached", .width = 5 },
	[FRAME_COLD] = { "COLD", "cold", .width = 0 },
	[FRAME_BACK] = { "BACK/s", "back", .width = 6 },
	[FRAME_PRESSURE] = { "LEVEL", "pressure", .width = 6, .left = true },
	[FRAME_HEADROOM] = { "ROOM", "headroom", .width = 5, .up = true },
	[FRAME_LIMIT] = { "LIMIT", "limit", .width = 5, .up = true },
};

const char frame_key_names[] = "pid, name, live, dirty, lazy, clean, cached, "
			       "cold, back, pressure, headroom or limit";

const char *frame_key_name(enum frame_key key)
{
	return columns[key].name;
}

void frame_column(enum frame_key key, int *ret_at, int *ret_width)
{
	*ret_at = 0;
	for (int i = 0; i < (int)key; i++)
		*ret_at += columns[i].width ? columns[i].width + 1 : 0;
	*ret_width = columns[key].width;
}

bool frame_key_parse(const char *name, enum frame_key *ret_key)
{
	for (int i = 0; i < FRAME_NR_KEYS; i++)
		if (!strcmp(name, columns[i].name)) {
			*ret_key = (enum frame_key)i;
			return true;
		}
	return false;
}

/* === Looking ============================================================== */

static const struct frame_row *find_old(const struct frame *frame,
					const struct frame_row *row)
{
	for (size_t i = 0; i < frame->nr; i++)
		if (frame->rows[i].dev == row->dev &&
		    frame->rows[i].ino == row->ino &&
		    frame->rows[i].values[FRAME_PID] == row->values[FRAME_PID])
			return &frame->rows[i];
	return NULL;
}

/* Bytes a second that were given back since @old was seen. */
static uint64_t rate(const struct frame_row *row, const struct frame_row *old)
{
	uint64_t ms = row->written_ms - old->written_ms;

	/* Another program in the same process; or the clock was set. */
	if (row->given < old->given || row->written_ms < old->written_ms)
		return UNKNOWN;
	if (ms)
		return (uint64_t)((double)(row->given - old->given) * 1000 /
				  (double)ms);
	return clock_ms(CLOCK_REALTIME) - row->written_ms > QUIET_MS ?
	       0 : old->values[FRAME_BACK];
}

static void fill(struct frame_row *row, const struct process *process)
{
	const uint64_t *counters = process->page.counters;
	bool limited = counters[EBB_COUNTER_LIMIT] != 0;

	*row = (struct frame_row){
		.dev = process->dev,
		.ino = process->ino,
		.given = counters[EBB_COUNTER_GIVEN_BACK] +
			 counters[EBB_COUNTER_INBAND_GIVEN],
		.written_ms = process->page.head.time_ms,
		.values = {
			[FRAME_PID] = (uint64_t)process->pid,
			[FRAME_LIVE] = counters[EBB_COUNTER_LIVE],
			[FRAME_DIRTY] = counters[EBB_COUNTER_DIRTY],
			[FRAME_LAZY] = counters[EBB_COUNTER_LAZY],
			[FRAME_CLEAN] = counters[EBB_COUNTER_CLEAN],
			[FRAME_CACHED] = counters[EBB_COUNTER_CACHED],
			[FRAME_COLD] = counters[EBB_COUNTER_NR_SCANS] ?
				counters[EBB_COUNTER_COLD] : UNKNOWN,
			[FRAME_BACK] = UNKNOWN,
			[FRAME_PRESSURE] = counters[EBB_COUNTER_PRESSURE],
			[FRAME_HEADROOM] = limited ?
				counters[EBB_COUNTER_HEADROOM] : UNKNOWN,
			[FRAME_LIMIT] = limited ?
				counters[EBB_COUNTER_LIMIT] : UNKNOWN,
		},
	};
	memcpy(row->name, process->page.head.comm, sizeof(row->name));
}

/* Names are shorter where there is one column more. */
static void show_cold(const struct frame *frame)
{
	bool known = false;

	for (size_t i = 0; i < frame->nr; i++)
		known |= frame->rows[i].values[FRAME_COLD] != UNKNOWN;
	columns[FRAME_COLD].width = known ? 5 : 0;
	columns[FRAME_NAME].width = known ? 9 : 13;
}

static bool is_summed(enum frame_key key)
{
	return key >= FRAME_LIVE && key <= FRAME_BACK;
}

static void add_up(struct frame *frame)
{
	for (int k = 0; k < FRAME_NR_KEYS; k++)
		frame->sums[k] = is_summed((enum frame_key)k) ||
				 k == FRAME_PRESSURE ? 0 : UNKNOWN;
	for (size_t i = 0; i < frame->nr; i++)
		for (int k = 0; k < FRAME_NR_KEYS; k++) {
			uint64_t value = frame->rows[i].values[k];

			if (is_summed((enum frame_key)k) && value != UNKNOWN)
				frame->sums[k] += value;
			else if (k == FRAME_PRESSURE && value > frame->sums[k])
				frame->sums[k] = value;
		}
}

bool frame_take(struct frame *frame)
{
	struct process **list;
	struct frame_row *rows;
	size_t nr;

	if (!process_list(&list, &nr, false))
		return false;
	rows = calloc(nr + 1, sizeof(*rows));
	for (size_t i = 0; rows && i < nr; i++) {
		const struct frame_row *old;

		fill(&rows[i], list[i]);
		old = find_old(frame, &rows[i]);
		if (old)
			rows[i].values[FRAME_BACK] = rate(&rows[i], old);
	}
	process_free(list, nr);
	if (!rows) {
		message("there is no memory for %zu rows", nr);
		return false;
	}
	free(frame->rows);
	frame->rows = rows;
	frame->nr = nr;
	show_cold(frame);
	add_up(frame);
	frame_sort(frame);
	return true;
}

void frame_free(struct frame *frame)
{
	free(frame->rows);
	frame->rows = NULL;
	frame->nr = 0;
}

/* === Sorting ============================================================== */

/* What is not known comes last, whichever way round. */
static int compare(const void *a, const void *b, void *arg)
{
	const struct frame_row *one = a, *other = b;
	const struct frame *frame = arg;
	enum frame_key key = frame->key;
	uint64_t x = one->values[key], y = other->values[key];
	int order = key == FRAME_NAME ? strcmp(one->name, other->name) :
					(x > y) - (x < y);

	if (key != FRAME_NAME && (x == UNKNOWN) != (y == UNKNOWN))
		return order;
	if (frame->reversed == columns[key].up)
		order = -order;
	if (order)
		return order;
	x = one->values[FRAME_PID];
	y = other->values[FRAME_PID];
	return (x > y) - (x < y);
}

void frame_sort(struct frame *frame)
{
	if (frame->nr)
		qsort_r(frame->rows, frame->nr, sizeof(*frame->rows), compare,
			frame);
}

/* === Lines ================================================================ */

/* @text, as much as fits into @width columns; how many it takes. */
static int fit(char *to, size_t room, const char *text, int width)
{
	mbstate_t state = { 0 };
	size_t len, at = 0;
	int used = 0, cells;
	wchar_t wide;

	for (; *text; text += len) {
		len = mbrtowc(&wide, text, strlen(text), &state);
		cells = len > 4 ? -1 : wcwidth(wide);
		/* Not in this locale. */
		if (cells < 0) {
			memset(&state, 0, sizeof(state));
			len = 1;
		}
		if (used + (cells < 0 ? 1 : cells) > width || at + len >= room)
			break;
		if (cells < 0)
			to[at] = '?';
		else
			memcpy(to + at, text, len);
		at += len;
		used += cells < 0 ? 1 : cells;
	}
	to[at] = '\0';
	return used;
}

static void add_cell(char line[FRAME_LINE], enum frame_key key,
		     const char *text)
{
	const struct column *column = &columns[key];
	char cell[64];
	int pad = column->width - fit(cell, sizeof(cell), text, column->width);
	size_t at = strlen(line);

	if (!column->width)
		return;
	snprintf(line + at, FRAME_LINE - at, "%s%*s%s%*s", at ? " " : "",
		 column->left ? 0 : pad, "", cell, column->left ? pad : 0, "");
}

static const char *value_text(enum frame_key key, uint64_t value,
			      char text[SIZE_TEXT])
{
	if (value == UNKNOWN)
		return "-";
	if (key == FRAME_PRESSURE)
		return page_pressure(value > 99 ? 99 : (unsigned int)value);
	if (key == FRAME_PID)
		snprintf(text, SIZE_TEXT, "%" PRIu64, value);
	return key == FRAME_PID ? text : size_human(value, text);
}

void frame_title(char line[FRAME_LINE])
{
	line[0] = '\0';
	for (int k = 0; k < FRAME_NR_KEYS; k++)
		add_cell(line, (enum frame_key)k, columns[k].title);
}

void frame_line(const struct frame_row *row, char line[FRAME_LINE])
{
	char text[SIZE_TEXT];

	line[0] = '\0';
	for (int k = 0; k < FRAME_NR_KEYS; k++)
		add_cell(line, (enum frame_key)k, k == FRAME_NAME ? row->name :
			 value_text((enum frame_key)k, row->values[k], text));
}

void frame_sums(const struct frame *frame, char line[FRAME_LINE])
{
	char text[SIZE_TEXT], name[SIZE_TEXT];

	line[0] = '\0';
	snprintf(name, sizeof(name), "%zu process%s", frame->nr,
		 frame->nr == 1 ? "" : "es");
	for (int k = 0; k < FRAME_NR_KEYS; k++) {
		bool shown = is_summed((enum frame_key)k) ||
			     k == FRAME_PRESSURE;

		add_cell(line, (enum frame_key)k, k == FRAME_PID ? "all" :
			 k == FRAME_NAME ? name : !shown ? "" :
			 value_text((enum frame_key)k, frame->sums[k], text));
	}
}
