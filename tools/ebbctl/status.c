/* SPDX-License-Identifier: MIT */
/*
 * ebbctl status - What a process holds, hears and does
 */
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include "ebb/abi.h"
#include "ebbctl.h"
#include "process.h"
#include "status.h"

static const char usage[] =
"usage: ebbctl status [--json] PID\n"
"\n"
"Shows what process PID holds, how near its limit is, which sources of\n"
"pressure it hears, and what its last passes gave back.\n"
"\n"
"      --json   all counters and tables as a JSON object\n"
"  -h, --help   this\n"
"\n"
"Exit status: 0; 2 for wrong usage; 3 if there is no such process on\n"
"ebbmalloc; 125 if that cannot be told.\n";

#define LAST_EVENTS	5u

const char *status_time(uint64_t ms, char buf[STATUS_TIME])
{
	time_t seconds = (time_t)(ms / 1000);
	struct tm tm;
	size_t len;

	if (!ms || !localtime_r(&seconds, &tm)) {
		snprintf(buf, STATUS_TIME, "never");
		return buf;
	}
	len = strftime(buf, STATUS_TIME, "%Y-%m-%d %H:%M:%S", &tm);
	snprintf(buf + len, STATUS_TIME - len, ".%03u",
		 (unsigned int)(ms % 1000));
	return buf;
}

static const char *state_text(const struct ebb_page_head *head)
{
	switch (head->state) {
	case EBB_PAGE_INBAND:
		return "without a background thread";
	case EBB_PAGE_RUNNING:
		return "with a background thread";
	case EBB_PAGE_EXITED:
		return "ended by itself";
	default:
		return "in a state that this tool does not know";
	}
}

static void print_head(const struct ebb_page_head *head, uint64_t now_ms)
{
	char when[STATUS_TIME];
	uint64_t age = now_ms > head->time_ms ? now_ms - head->time_ms : 0;

	printf("process     %u %s, user %u, %s\n", head->pid, head->comm,
	       head->uid, state_text(head));
	printf("library     %s, ABI %u%s\n", head->version, head->abi,
	       head->abi > EBB_ABI_VERSION ?
	       ", newer than this tool: it has more than is shown here" :
	       head->abi < EBB_ABI_VERSION ?
	       ", older than this tool: what it lacks is shown as 0" : "");
	printf("as of       %s, %" PRIu64 ".%" PRIu64 " s ago\n",
	       status_time(head->time_ms, when), age / 1000, age % 1000 / 100);
	printf("reclaimer   %s\n", head->reclaimer);
}

static void print_bytes(const struct ebb_page *page)
{
	static const enum ebb_counter shown[] = {
		EBB_COUNTER_LIVE, EBB_COUNTER_CACHED, EBB_COUNTER_DIRTY,
		EBB_COUNTER_LAZY, EBB_COUNTER_CLEAN, EBB_COUNTER_STRANDED,
		EBB_COUNTER_METADATA, EBB_COUNTER_MAPPED,
		EBB_COUNTER_GIVEN_BACK, EBB_COUNTER_MADE_LAZY,
		EBB_COUNTER_RETAKEN,
	};
	char text[SIZE_TEXT];

	for (size_t i = 0; i < ARRAY_SIZE(shown); i++)
		printf("%-11s %6s  %s\n", ebb_counters[shown[i]].name,
		       size_human(page->counters[shown[i]], text),
		       ebb_counters[shown[i]].help);
}

/* Only where somebody asked for it: elsewhere they are 0 for another reason. */
static void print_cold(const struct ebb_page *page)
{
	const uint64_t *counters = page->counters;
	uint64_t scanned_mib = counters[EBB_COUNTER_SCANNED] >> 20;
	char cold[SIZE_TEXT];

	if (!counters[EBB_COUNTER_NR_SCANS])
		return;
	printf("%-11s %6s  %s, %" PRIu64 " %% of live; %" PRIu64 " us for each "
	       "GiB looked at\n", "cold",
	       size_human(counters[EBB_COUNTER_COLD], cold),
	       ebb_counters[EBB_COUNTER_COLD].help,
	       counters[EBB_COUNTER_COLD] /
	       (counters[EBB_COUNTER_LIVE] / 100 + 1),
	       counters[EBB_COUNTER_SCAN_TIME] * 1024 / (scanned_mib + 1));
}

static void print_limit(const struct ebb_page *page)
{
	char limit[SIZE_TEXT], headroom[SIZE_TEXT];
	const uint64_t *counters = page->counters;

	if (!counters[EBB_COUNTER_LIMIT])
		printf("limit       none seen\n");
	else
		printf("limit       %s, %s left, pressure %s\n",
		       size_human(counters[EBB_COUNTER_LIMIT], limit),
		       size_human(counters[EBB_COUNTER_HEADROOM], headroom),
		       page_pressure((unsigned int)
				     counters[EBB_COUNTER_PRESSURE]));
	printf("passes      %" PRIu64 ", %" PRIu64 " of them forced; in-band "
	       "%" PRIu64 ", the longest %" PRIu64 " us\n",
	       counters[EBB_COUNTER_NR_PASSES],
	       counters[EBB_COUNTER_NR_FORCED],
	       counters[EBB_COUNTER_INBAND_PURGES],
	       counters[EBB_COUNTER_INBAND_WORST]);
}

static void print_signals(const struct ebb_page *page)
{
	for (unsigned int i = 0; i < page->head.signals.used; i++) {
		const struct ebb_signal *row = &page->signals[i];

		printf("signal      %-9s %s: %s", row->name,
		       row->live ? "live" : "unavailable", row->what);
		if (row->error)
			printf(" (%s)", strerror((int)row->error));
		if (row->nr_events)
			printf(", %" PRIu64 " events", row->nr_events);
		putchar('\n');
	}
	for (unsigned int i = 0; i < page->head.backends.used; i++)
		printf("backend     %s\n", page->backends[i].line);
}

void status_print_event(const struct ebb_page *page,
			const struct ebb_event *event)
{
	char when[STATUS_TIME], askers[64], clean[SIZE_TEXT], lazy[SIZE_TEXT];

	status_time(event->time_ms, when);
	printf("%s %s, %s: %s%s back, %s lazy, in %u us",
	       strlen(when) > 11 ? when + 11 : when,
	       page_askers(page, event->by_source, askers, sizeof(askers)),
	       page_pressure(event->pressure),
	       event->flags & EBB_EVENT_FORCED ? "all, " : "",
	       size_human(event->clean_bytes, clean),
	       size_human(event->lazy_bytes, lazy), event->took_us);
	if (event->by_source)
		printf(", %u us after", event->waited_us);
	putchar('\n');
}

void status_print_body(const struct ebb_page *page, unsigned int nr_events)
{
	struct ebb_event rows[EBB_NR_EVENTS];
	unsigned int nr = page_events(page, rows);
	const struct ebb_verdict *report =
		page_verdict(page, EBB_VERDICT_REPORT, 0);
	char when[STATUS_TIME];

	if (report)
		printf("report      %s %s\n",
		       status_time(report->time_ms, when), report->text);
	print_limit(page);
	print_bytes(page);
	print_cold(page);
	print_signals(page);
	for (unsigned int i = nr > nr_events ? nr - nr_events : 0; i < nr;
	     i++) {
		printf("pass        ");
		status_print_event(page, &rows[i]);
	}
}

void status_print(const struct ebb_page *page, uint64_t now_ms)
{
	print_head(&page->head, now_ms);
	status_print_body(page, LAST_EVENTS);
}

static void json_head(struct json *out, const struct ebb_page_head *head)
{
	json_number(out, "pid", head->pid);
	json_number(out, "uid", head->uid);
	json_text(out, "name", head->comm);
	json_text(out, "version", head->version);
	json_number(out, "abi", head->abi);
	json_text(out, "state", state_text(head));
	json_text(out, "reclaimer", head->reclaimer);
	json_text(out, "cgroup", head->cgroup);
	json_number(out, "written_ms", head->time_ms);
}

/* The last report of guard mode, if there was one. */
static void json_report(struct json *out, const struct ebb_page *page)
{
	const struct ebb_verdict *report =
		page_verdict(page, EBB_VERDICT_REPORT, 0);

	if (!report)
		return;
	json_number(out, "report_ms", report->time_ms);
	json_text(out, "report", report->text);
}

static void json_rows(struct json *out, const struct ebb_page *page)
{
	json_open(out, "signals", '[');
	for (unsigned int i = 0; i < page->head.signals.used; i++) {
		const struct ebb_signal *row = &page->signals[i];

		json_open(out, NULL, '{');
		json_text(out, "name", row->name);
		json_bool(out, "live", row->live);
		json_text(out, "what", row->what);
		json_number(out, "events", row->nr_events);
		json_number(out, "passes", row->nr_purges);
		json_number(out, "last_ms", row->last_ms);
		json_close(out, '}');
	}
	json_close(out, ']');
	json_open(out, "classes", '[');
	for (unsigned int i = 0; i < page->head.classes.used; i++) {
		const struct ebb_class *row = &page->classes[i];

		if (!row->slabs)
			continue;
		json_open(out, NULL, '{');
		json_number(out, "size", row->size);
		json_number(out, "slabs", row->slabs);
		json_number(out, "slots", row->slots);
		json_number(out, "taken", row->taken);
		json_number(out, "clean", row->clean);
		json_number(out, "lazy", row->lazy);
		json_close(out, '}');
	}
	json_close(out, ']');
}

void status_json_event(struct json *out, const struct ebb_page *page,
		       const struct ebb_event *event)
{
	char askers[64];

	json_number(out, "time_ms", event->time_ms);
	json_number(out, "pass", event->nr);
	json_text(out, "asked_by",
		  page_askers(page, event->by_source, askers, sizeof(askers)));
	json_text(out, "pressure", page_pressure(event->pressure));
	json_bool(out, "forced", event->flags & EBB_EVENT_FORCED);
	json_number(out, "headroom", event->headroom);
	json_number(out, "dirty", event->dirty);
	json_number(out, "made_lazy", event->lazy_bytes);
	json_number(out, "given_back", event->clean_bytes);
	json_number(out, "waited_us", event->waited_us);
	json_number(out, "took_us", event->took_us);
}

static void json_events(struct json *out, const struct ebb_page *page)
{
	struct ebb_event rows[EBB_NR_EVENTS];
	unsigned int nr = page_events(page, rows);

	json_open(out, "events", '[');
	for (unsigned int i = 0; i < nr; i++) {
		json_open(out, NULL, '{');
		status_json_event(out, page, &rows[i]);
		json_close(out, '}');
	}
	json_close(out, ']');
}

void status_json(struct json *out, const struct ebb_page *page)
{
	json_head(out, &page->head);
	json_report(out, page);
	json_open(out, "counters", '{');
	for (int i = 0; i < EBB_NR_COUNTERS; i++)
		json_number(out, ebb_counters[i].name, page->counters[i]);
	json_close(out, '}');
	json_rows(out, page);
	json_events(out, page);
}

static void print_one(const struct process *process, bool json)
{
	struct json out = { .out = stdout };

	if (!json) {
		status_print(&process->page, clock_ms(CLOCK_REALTIME));
		printf("directory   %s\n", process->dir);
		return;
	}
	json_open(&out, NULL, '{');
	json_text(&out, "directory", process->dir);
	status_json(&out, &process->page);
	json_close(&out, '}');
	putchar('\n');
}

int cmd_status(int argc, char **argv)
{
	bool json;
	int status;
	struct process *process = process_of_args(argc, argv, usage, &json,
						  &status);

	if (!process)
		return status;
	print_one(process, json);
	process_put(process);
	return STATUS_OK;
}
