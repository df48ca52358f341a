/* SPDX-License-Identifier: MIT */
/*
 * ebbctl top - All processes, live
 *
 * What it is: the rows of frame.h on a terminal.  A key press is answered at
 * once; processes are looked at each --delay.
 */
#include <curses.h>
#include <getopt.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "ebbctl.h"
#include "frame.h"

static const char usage[] =
"usage: ebbctl top [--sort KEY] [--delay S] [--once [--json]]\n"
"\n"
"Shows all processes on ebbmalloc, live: what they hold, how fast they give\n"
"memory back, the pressure they feel, and how near their limit they are.\n"
"\n"
"  -s, --sort KEY   pid, name, live, dirty, lazy, clean, cached, cold,\n"
"                   back, pressure, headroom or limit (live)\n"
"  -d, --delay S    seconds between two looks, 0.1..3600 (1)\n"
"      --once       one frame as plain text, after one delay\n"
"      --json       with --once: as a JSON object\n"
"  -h, --help       this\n"
"\n"
"Keys: q quits; < and > choose the column to sort by, or its letter: p n l d\n"
"z c a o b e r m; R turns the order round; arrows, Page Up, Page Down, Home and\n"
"End scroll.\n"
"\n"
"Exit status: 0; 2 for wrong usage; 125 if that cannot be told, or there is no\n"
"terminal.\n";

/* In the order of enum frame_key. */
static const char letters[FRAME_NR_KEYS + 1] = "pnldzcaoberm";

static const char help[] = " q quit  < > sort  R reverse  arrows scroll ";

struct top {
	struct frame frame;
	uint64_t delay_ms;
	size_t first;		/* row at the upper edge */
	bool once;
	bool json;
};

static volatile sig_atomic_t stopped;

static void stop(int nr)
{
	(void)nr;
	stopped = 1;
}

/* === Drawing ============================================================== */

static size_t page_rows(void)
{
	return LINES > 4 ? (size_t)LINES - 3 : 1;
}

static void scroll_to(struct top *top, size_t first)
{
	size_t most = top->frame.nr > page_rows() ?
		      top->frame.nr - page_rows() : 0;

	top->first = first < most ? first : most;
}

/* A line that is cut at the edge, and never wraps. */
static void draw(int y, const char *line, attr_t attr)
{
	if (y >= LINES)
		return;
	move(y, 0);
	clrtoeol();
	attrset(attr);
	addnstr(line, COLS < FRAME_WIDTH ? COLS : -1);
	attrset(A_NORMAL);
}

static void draw_title(const struct top *top)
{
	char line[FRAME_LINE];
	int at, len;

	frame_title(line);
	draw(1, line, A_REVERSE);
	frame_column(top->frame.key, &at, &len);
	if (at + len <= COLS)
		mvchgat(1, at, len, A_BOLD | A_UNDERLINE, 0, NULL);
}

static void draw_help(const struct top *top)
{
	char line[FRAME_WIDTH + 1];
	size_t last = top->first + page_rows();

	snprintf(line, sizeof(line), "%s %zu-%zu of %zu, by %s%s", help,
		 top->first + (top->frame.nr != 0),
		 last < top->frame.nr ? last : top->frame.nr, top->frame.nr,
		 frame_key_name(top->frame.key),
		 top->frame.reversed ? ", reversed" : "");
	draw(LINES - 1, line, A_DIM);
}

static void draw_all(struct top *top)
{
	char line[FRAME_LINE];

	scroll_to(top, top->first);
	erase();
	frame_sums(&top->frame, line);
	draw(0, line, A_BOLD);
	draw_title(top);
	for (size_t i = 0; i < page_rows() && top->first + i < top->frame.nr;
	     i++) {
		frame_line(&top->frame.rows[top->first + i], line);
		draw((int)i + 2, line, A_NORMAL);
	}
	draw_help(top);
	refresh();
}

/* === Keys ================================================================= */

static void sort_by(struct top *top, enum frame_key key)
{
	top->frame.reversed = top->frame.key == key && top->frame.reversed;
	top->frame.key = key;
	frame_sort(&top->frame);
}

static void press_letter(struct top *top, int key)
{
	const char *at = key > 0 && key < 128 ? strchr(letters, key) : NULL;

	if (at)
		sort_by(top, (enum frame_key)(at - letters));
	else if (key == '<' && top->frame.key > 0)
		sort_by(top, top->frame.key - 1);
	else if (key == '>' && top->frame.key + 1 < FRAME_NR_KEYS)
		sort_by(top, top->frame.key + 1);
	else if (key == 'R') {
		top->frame.reversed = !top->frame.reversed;
		frame_sort(&top->frame);
	}
}

static void press(struct top *top, int key)
{
	size_t page = page_rows();

	switch (key) {
	case 'q':
	case 'Q':
		stopped = 1;
		break;
	case KEY_UP:
		top->first -= top->first > 0;
		break;
	case KEY_DOWN:
		scroll_to(top, top->first + 1);
		break;
	case KEY_PPAGE:
		top->first -= top->first < page ? top->first : page;
		break;
	case KEY_NPAGE:
	case ' ':
		scroll_to(top, top->first + page);
		break;
	case KEY_HOME:
		top->first = 0;
		break;
	case KEY_END:
		scroll_to(top, top->frame.nr);
		break;
	default:
		press_letter(top, key);
	}
}

/* === Live ================================================================= */

/* Reading from it would fail at once, for ever. */
static bool terminal_is_gone(void)
{
	struct pollfd fd = { .fd = STDIN_FILENO };

	return poll(&fd, 1, 0) > 0;
}

static int live(struct top *top)
{
	uint64_t next_ms = clock_ms(CLOCK_MONOTONIC) + top->delay_ms, now_ms;
	int key;

	while (!stopped) {
		draw_all(top);
		now_ms = clock_ms(CLOCK_MONOTONIC);
		if (now_ms >= next_ms) {
			if (!frame_take(&top->frame))
				return STATUS_FAILED;
			next_ms = now_ms + top->delay_ms;
			continue;
		}
		timeout((int)(next_ms - now_ms));
		key = getch();
		if (key != ERR)
			press(top, key);
		else if (terminal_is_gone())
			break;
	}
	return STATUS_OK;
}

static int run_live(struct top *top)
{
	struct sigaction action = { .sa_handler = stop };
	SCREEN *screen;
	int status;

	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
		message("top needs a terminal; `ebbctl top --once` does not");
		return STATUS_FAILED;
	}
	/* Before curses, which else would end the program by itself. */
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	if (!frame_take(&top->frame))
		return STATUS_FAILED;
	screen = newterm(NULL, stdout, stdin);
	if (!screen) {
		message("the terminal \"%s\" is not known; `ebbctl top --once` "
			"needs none", getenv("TERM") ?: "");
		return STATUS_FAILED;
	}
	cbreak();
	noecho();
	keypad(stdscr, TRUE);
	curs_set(0);
	status = live(top);
	endwin();
	delscreen(screen);
	return status;
}

/* === Once ================================================================= */

static void print_text(const struct top *top)
{
	char line[FRAME_LINE];

	frame_title(line);
	puts(line);
	for (size_t i = 0; i < top->frame.nr; i++) {
		frame_line(&top->frame.rows[i], line);
		puts(line);
	}
	frame_sums(&top->frame, line);
	puts(line);
}

static void put_values(struct json *out, const uint64_t *values)
{
	for (int k = FRAME_LIVE; k < FRAME_NR_KEYS; k++)
		json_number(out, frame_key_name((enum frame_key)k), values[k]);
}

static void print_json(const struct top *top)
{
	struct json out = { .out = stdout };

	json_open(&out, NULL, '{');
	json_open(&out, "processes", '[');
	for (size_t i = 0; i < top->frame.nr; i++) {
		const struct frame_row *row = &top->frame.rows[i];

		json_open(&out, NULL, '{');
		json_number(&out, "pid", row->values[FRAME_PID]);
		json_text(&out, "name", row->name);
		put_values(&out, row->values);
		json_close(&out, '}');
	}
	json_close(&out, ']');
	json_open(&out, "all", '{');
	put_values(&out, top->frame.sums);
	json_close(&out, '}');
	json_close(&out, '}');
	putchar('\n');
}

static int run_once(struct top *top)
{
	const struct timespec nap = { (time_t)(top->delay_ms / 1000),
				      (long)(top->delay_ms % 1000) * 1000000 };

	if (!frame_take(&top->frame))
		return STATUS_FAILED;
	nanosleep(&nap, NULL);
	if (!frame_take(&top->frame))
		return STATUS_FAILED;
	if (top->json)
		print_json(top);
	else
		print_text(top);
	return STATUS_OK;
}

/* === Arguments ============================================================ */

static bool parse_delay(const char *text, uint64_t *ret_ms)
{
	char *end;
	double seconds = strtod(text, &end);

	if (end == text || *end || !(seconds >= 0.1 && seconds <= 3600)) {
		message("--delay=%s: accepts 0.1..3600 seconds", text);
		return false;
	}
	*ret_ms = (uint64_t)(seconds * 1000);
	return true;
}

static bool parse_key(const char *text, enum frame_key *ret_key)
{
	if (frame_key_parse(text, ret_key))
		return true;
	message("--sort=%s: accepts %s", text, frame_key_names);
	return false;
}

static bool parse(int argc, char **argv, struct top *top, int *ret_status)
{
	static const struct option longs[] = {
		{ "sort", required_argument, NULL, 's' },
		{ "delay", required_argument, NULL, 'd' },
		{ "once", no_argument, NULL, 'o' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	*ret_status = STATUS_USAGE;
	while ((c = getopt_long(argc, argv, "hs:d:", longs, NULL)) != -1) {
		if (c == 'h') {
			fputs(usage, stdout);
			*ret_status = STATUS_OK;
		}
		if (c == 'h' || c == '?' ||
		    (c == 's' && !parse_key(optarg, &top->frame.key)) ||
		    (c == 'd' && !parse_delay(optarg, &top->delay_ms)))
			return false;
		top->once |= c == 'o';
		top->json |= c == 'j';
	}
	if (optind < argc)
		message("top takes no argument, not \"%s\"", argv[optind]);
	else if (top->json && !top->once)
		message("--json goes with --once");
	else
		return true;
	return false;
}

int cmd_top(int argc, char **argv)
{
	struct top top = { .delay_ms = 1000, .frame.key = FRAME_LIVE };
	int status;

	if (!parse(argc, argv, &top, &status))
		return status;
	setlocale(LC_CTYPE, "");
	status = top.once ? run_once(&top) : run_live(&top);
	frame_free(&top.frame);
	return status;
}
