/* SPDX-License-Identifier: MIT */
/*
 * ebbctl watch - A line for each pressure event, as it happens
 *
 * What it is: the passes in the pages of processes, printed once each.  The
 * kernel says when a page was written; where it cannot, pages are looked at a
 * few times a second.  New processes are found by looking around each second.
 *
 * Invariants: (1) Passes are numbered by the process.  A number is printed at
 * most once, and where some are skipped a line says how many: a page has room
 * for the last EBB_NR_EVENTS.  (2) What happened before a process began is its
 * parent's: after fork(2) it has inherited the ring.  (3) What happened before
 * the tool began is not printed.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>
#include "ebbctl.h"
#include "process.h"
#include "status.h"

static const char usage[] =
"usage: ebbctl watch [--json] [--all-passes] [PID...]\n"
"\n"
"Prints a line for each time a process was told of pressure: when it was seen,\n"
"who told of it, what was decided (forced: everything; over: down to dirty_max;\n"
"aged: what was old), what was given back or made lazy, how long it waited, and\n"
"how long the pass took.  Without a PID all processes are watched, new ones\n"
"too.  Reports of misuse (guard mode) are printed as well, with their stacks.\n"
"Ends when all the PIDs have ended, or is interrupted.\n"
"\n"
"      --all-passes  those that nobody asked for, too\n"
"      --json        a JSON object for each, one a line\n"
"  -h, --help        this\n"
"\n"
"Exit status: 0; 2 for wrong usage; 3 if one of the PIDs is no process on\n"
"ebbmalloc; 125 if that cannot be told, or nothing can be written.\n";

#define RESCAN_MS	1000	/* between two looks for new processes */
#define POLL_MS		200	/* between two looks where nobody tells */
#define REPORT_TEXT	16384	/* longer than any report is */

struct watched {
	struct process *process;
	uint64_t seq;		/* of the page when it was read last */
	uint64_t last;		/* number of the last pass that is dealt with */
	uint64_t reported;	/* the same of reports, among the verdicts */
	bool told;		/* the kernel says when the page is written */
	bool found;		/* by the search that is going on */
};

struct watch {
	struct watched *list;
	size_t nr;
	int notes_fd;		/* -1: there is no inotify */
	bool chosen;		/* those on the command line, no others */
	bool json;
	bool all_passes;
};

static volatile sig_atomic_t stopped;

static void stop(int nr)
{
	(void)nr;
	stopped = 1;
}

/* === Printing ============================================================= */

static const char *decision(const struct ebb_event *event)
{
	return event->flags & EBB_EVENT_FORCED ? "forced" :
	       event->flags & EBB_EVENT_OVER ? "over" : "aged";
}

/* It was seen when it was heard, not when the pass had ended. */
static uint64_t seen_ms(const struct ebb_event *event)
{
	return event->time_ms -
	       ((uint64_t)event->took_us + event->waited_us) / 1000;
}

static void print_begin(const struct process *process, uint64_t ms)
{
	char when[STATUS_TIME];

	status_time(ms, when);
	printf("%-12s %7d %-10.10s ", strlen(when) > 11 ? when + 11 : when,
	       process->pid, process->page.head.comm);
}

static void print_event(const struct process *process,
			const struct ebb_event *event)
{
	char askers[64], clean[SIZE_TEXT], lazy[SIZE_TEXT];
	char waited[TIME_TEXT], took[TIME_TEXT];

	print_begin(process, seen_ms(event));
	printf("%-8s %-6s %-6s %5s %5s %6s %5s\n",
	       page_askers(&process->page, event->by_source, askers,
			   sizeof(askers)),
	       page_pressure(event->pressure), decision(event),
	       size_human(event->clean_bytes, clean),
	       size_human(event->lazy_bytes, lazy),
	       event->by_source ? time_human(event->waited_us, waited) : "-",
	       time_human(event->took_us, took));
}

static void print_event_json(const struct process *process,
			     const struct ebb_event *event)
{
	struct json out = { .out = stdout };

	json_open(&out, NULL, '{');
	json_number(&out, "pid", (uint64_t)process->pid);
	json_text(&out, "name", process->page.head.comm);
	json_number(&out, "seen_ms", seen_ms(event));
	json_text(&out, "decided", decision(event));
	status_json_event(&out, &process->page, event);
	json_close(&out, '}');
	putchar('\n');
}

/*
 * The whole text of @report, to be freed; NULL if it is not there any more.  The
 * process may have written another since, or what it likes.
 */
static char *read_report(const struct process *process,
			 const struct ebb_verdict *report)
{
	size_t len;
	char *text = process_read(process, EBB_REPORT_FILE, REPORT_TEXT, &len);
	const char *head;

	if (!text)
		return NULL;
	page_clean_lines(text, len + 1);
	head = strstr(text, "]: ");
	if (head && !strncmp(head + 3, report->text, strlen(report->text)))
		return text;
	free(text);
	return NULL;
}

static void print_report(const struct watch *watch,
			 const struct process *process,
			 const struct ebb_verdict *report)
{
	struct json out = { .out = stdout };
	char *text = read_report(process, report);
	const char *more = text ? strchr(text, '\n') : NULL;

	if (!watch->json) {
		print_begin(process, report->time_ms);
		printf("report   %s\n", report->text);
		if (more)
			fputs(more + 1, stdout);
		free(text);
		return;
	}
	json_open(&out, NULL, '{');
	json_number(&out, "pid", (uint64_t)process->pid);
	json_text(&out, "name", process->page.head.comm);
	json_number(&out, "seen_ms", report->time_ms);
	json_text(&out, "report", report->text);
	json_text(&out, "text", text);
	json_close(&out, '}');
	putchar('\n');
	free(text);
}

static void print_lost(const struct watch *watch, const struct process *process,
		       uint64_t nr, uint64_t ms)
{
	struct json out = { .out = stdout };

	if (!watch->json) {
		print_begin(process, ms);
		printf("%" PRIu64 " passes before the next were overwritten\n",
		       nr);
		return;
	}
	json_open(&out, NULL, '{');
	json_number(&out, "pid", (uint64_t)process->pid);
	json_text(&out, "name", process->page.head.comm);
	json_number(&out, "lost", nr);
	json_close(&out, '}');
	putchar('\n');
}

/* === One process ========================================================== */

/* When it began, in milliseconds since 1970; 0 if that cannot be told. */
static uint64_t began_ms(const struct process *process)
{
	uint64_t ticks = process->page.head.start_ticks;
	long hz = sysconf(_SC_CLK_TCK);

	if (!ticks || hz <= 0)
		return 0;
	return clock_ms(CLOCK_REALTIME) - clock_ms(CLOCK_BOOTTIME) +
	       ticks * 1000 / (uint64_t)hz;
}

/* Passes up to @last, or from before @since_ms, are dealt with; reports, too. */
static void skip(struct watched *watched, uint64_t since_ms)
{
	const struct ebb_verdict *report;
	struct ebb_event rows[EBB_NR_EVENTS];
	unsigned int nr = page_events(&watched->process->page, rows);

	for (unsigned int i = 0; i < nr; i++)
		if (rows[i].time_ms < since_ms)
			watched->last = rows[i].nr;
	report = page_verdict(&watched->process->page, EBB_VERDICT_REPORT, 0);
	if (report && report->time_ms < since_ms)
		watched->reported = report->nr;
}

static void show_report(const struct watch *watch, struct watched *watched)
{
	const struct ebb_page *page = &watched->process->page;
	const struct ebb_verdict *report;

	if (page_last_verdict(page) < watched->reported)
		watched->reported = 0;
	report = page_verdict(page, EBB_VERDICT_REPORT, watched->reported);
	if (!report)
		return;
	watched->reported = report->nr;
	print_report(watch, watched->process, report);
}

static void show(const struct watch *watch, struct watched *watched)
{
	const struct process *process = watched->process;
	struct ebb_event rows[EBB_NR_EVENTS];
	unsigned int nr = page_events(&process->page, rows);

	show_report(watch, watched);
	/* Another program, in the same process. */
	if (nr && rows[nr - 1].nr < watched->last)
		watched->last = 0;
	for (unsigned int i = 0; i < nr; i++) {
		if (rows[i].nr <= watched->last)
			continue;
		if (rows[i].nr - watched->last > 1)
			print_lost(watch, process,
				   rows[i].nr - watched->last - 1,
				   rows[i].time_ms);
		watched->last = rows[i].nr;
		if (!rows[i].by_source && !rows[i].pressure &&
		    !watch->all_passes)
			continue;
		if (watch->json)
			print_event_json(process, &rows[i]);
		else
			print_event(process, &rows[i]);
	}
}

static void look(const struct watch *watch, struct watched *watched)
{
	uint64_t seq;

	if (!page_seq(watched->process->dir_fd, EBB_PAGE_FILE, &seq) ||
	    seq == watched->seq || !process_refresh(watched->process))
		return;
	watched->seq = watched->process->page.head.seq;
	show(watch, watched);
}

/* === All of them ========================================================== */

/* A page that was removed and made again is another one: each time anew. */
static void ask_kernel(const struct watch *watch, struct watched *watched)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d/" EBB_PAGE_FILE,
		 watched->process->dir_fd);
	watched->told = watch->notes_fd >= 0 &&
			inotify_add_watch(watch->notes_fd, path, IN_MODIFY |
					  IN_MOVED_TO | IN_DONT_FOLLOW) >= 0;
}

static bool add(struct watch *watch, struct process *process, uint64_t since_ms)
{
	struct watched *more = realloc(watch->list,
				       (watch->nr + 1) * sizeof(*more));
	struct watched *watched;
	uint64_t began = began_ms(process);

	if (!more) {
		process_put(process);
		return false;
	}
	watch->list = more;
	watched = &more[watch->nr++];
	*watched = (struct watched){
		.process = process,
		.seq = process->page.head.seq,
		.found = true,
	};
	skip(watched, since_ms > began ? since_ms : began);
	ask_kernel(watch, watched);
	show(watch, watched);
	return true;
}

static struct watched *known(const struct watch *watch,
			     const struct process *process)
{
	for (size_t i = 0; i < watch->nr; i++)
		if (watch->list[i].process->dev == process->dev &&
		    watch->list[i].process->ino == process->ino &&
		    watch->list[i].process->pid == process->pid)
			return &watch->list[i];
	return NULL;
}

/* What it wrote last may not have been seen. */
static void remove_at(struct watch *watch, size_t i)
{
	look(watch, &watch->list[i]);
	process_put(watch->list[i].process);
	watch->list[i] = watch->list[--watch->nr];
}

/* Take in those that are new, and drop those that are gone. */
static bool rescan(struct watch *watch, uint64_t since_ms)
{
	struct process **list;
	struct watched *old;
	size_t nr;

	if (!process_list(&list, &nr, false))
		return false;
	for (size_t i = 0; i < watch->nr; i++)
		watch->list[i].found = false;
	for (size_t i = 0; i < nr; i++) {
		old = known(watch, list[i]);
		if (old) {
			old->found = true;
			continue;
		}
		add(watch, list[i], since_ms);
		list[i] = NULL;
	}
	process_free(list, nr);
	for (size_t i = watch->nr; i > 0; i--)
		if (!watch->list[i - 1].found)
			remove_at(watch, i - 1);
	return true;
}

static bool look_around(struct watch *watch, uint64_t since_ms)
{
	if (!watch->chosen && !rescan(watch, since_ms))
		return false;
	for (size_t i = watch->nr; i > 0; i--) {
		struct watched *watched = &watch->list[i - 1];

		if (watch->chosen && !process_lives(watched->process)) {
			remove_at(watch, i - 1);
			continue;
		}
		ask_kernel(watch, watched);
		look(watch, watched);
	}
	return true;
}

/* === Waiting ============================================================== */

static bool all_told(const struct watch *watch)
{
	for (size_t i = 0; i < watch->nr; i++)
		if (!watch->list[i].told)
			return false;
	return true;
}

/* Until something happens; false: whoever read our output is gone. */
static bool wait_for(const struct watch *watch, uint64_t ms)
{
	struct timespec time = { (time_t)(ms / 1000), (long)(ms % 1000) *
				 1000000 };
	struct pollfd fds[] = {
		{ .fd = STDOUT_FILENO },
		{ .fd = watch->notes_fd, .events = POLLIN },
	};
	char notes[4096];
	sigset_t none;

	/* They come between here and there at no other time. */
	sigemptyset(&none);
	if (ppoll(fds, ARRAY_SIZE(fds), &time, &none) <= 0)
		return true;
	if (fds[0].revents)
		return false;
	while (read(watch->notes_fd, notes, sizeof(notes)) > 0)
		;
	return true;
}

/* 0 while there is more to do: else the exit status, or -1 for success. */
static int flush(void)
{
	if (!fflush(stdout))
		return 0;
	if (errno == EPIPE)
		return -1;
	message("stdout cannot be written: %s", strerror(errno));
	return STATUS_FAILED;
}

static int run(struct watch *watch, uint64_t since_ms)
{
	uint64_t scan_ms = clock_ms(CLOCK_MONOTONIC) + RESCAN_MS, now_ms;
	int status;

	for (;;) {
		status = flush();
		if (status || stopped || (watch->chosen && !watch->nr))
			break;
		now_ms = clock_ms(CLOCK_MONOTONIC);
		if (now_ms >= scan_ms) {
			if (!look_around(watch, since_ms))
				return STATUS_FAILED;
			scan_ms = now_ms + RESCAN_MS;
			continue;
		}
		if (!wait_for(watch, scan_ms - now_ms < POLL_MS ||
				     all_told(watch) ? scan_ms - now_ms :
						       POLL_MS))
			break;
		for (size_t i = 0; i < watch->nr; i++)
			look(watch, &watch->list[i]);
	}
	return status > 0 ? status : STATUS_OK;
}

static void catch_signals(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction action = { .sa_handler = stop };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		sigaddset(&set, signals[i]);
		sigaction(signals[i], &action, NULL);
	}
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static int begin(struct watch *watch, char **pids, size_t nr)
{
	uint64_t since_ms = clock_ms(CLOCK_REALTIME);
	struct process **list;
	int status;

	watch->chosen = nr != 0;
	status = nr ? process_choose(pids, nr, &list) :
		 process_list(&list, &nr, false) ? STATUS_OK : STATUS_FAILED;
	if (status)
		return status;
	catch_signals();
	watch->notes_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (!watch->json)
		printf("%-12s %7s %-10s %-8s %-6s %-6s %5s %5s %6s %5s\n",
		       "SEEN", "PID", "NAME", "BY", "LEVEL", "WHAT", "BACK",
		       "LAZY", "WAITED", "TIME");
	for (size_t i = 0; i < nr; i++)
		add(watch, list[i], since_ms);
	free(list);
	return run(watch, since_ms);
}

int cmd_watch(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "all-passes", no_argument, NULL, 'a' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct watch watch = { 0 };
	int c, status;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case 'j':
			watch.json = true;
			break;
		case 'a':
			watch.all_passes = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return STATUS_OK;
		default:
			return STATUS_USAGE;
		}
	}
	status = begin(&watch, argv + optind, (size_t)(argc - optind));
	while (watch.nr)
		remove_at(&watch, 0);
	free(watch.list);
	return status;
}
