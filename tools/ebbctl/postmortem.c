/* SPDX-License-Identifier: MIT */
/*
 * ebbctl postmortem - How those stood that were killed
 *
 * What it is: counters pages that outlived their processes.  Whoever sweeps
 * first, another process of that user or this tool, puts them into
 * EBB_DEAD_DIR; where neither may, they are read where they are.
 */
#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "ebbctl.h"
#include "ending.h"
#include "proctable.h"
#include "status.h"
#include "sweep.h"

static const char usage[] =
"usage: ebbctl postmortem [--list] [--json] [PID|CGROUP]\n"
"\n"
"Shows how processes on ebbmalloc stood that were killed or crashed: when, how\n"
"it ended as far as can be told, what they held, by thread and by class, how\n"
"near their limit they were, and what they last decided.  Without an argument\n"
"the last one; else those with this number, or of this cgroup (as\n"
"/proc/PID/cgroup names it) and those below it, the newest first.\n"
"The last 8 of each user are kept.\n"
"\n"
"      --list   a line for each, the newest first; without an argument all\n"
"      --json   as a JSON array; without an argument all\n"
"  -h, --help   this\n"
"\n"
"Exit status: 0; 2 for wrong usage; 3 if there is none; 125 if that cannot be\n"
"told.\n";

#define NR_CLASSES	8u	/* the largest ones */
#define NR_THREADS	8u
#define NR_EVENTS	10u
#define DIR_MAX		64u	/* pages read from one directory */

struct records {
	struct process **list;	/* without a directory: dir_fd is -1 */
	size_t nr;
};

struct wanted {
	const char *text;	/* NULL: all */
	bool is_pid;
};

/* === Collecting =========================================================== */

static bool is_wanted(const struct process *record, const struct wanted *wanted)
{
	const struct ebb_page_head *head = &record->page.head;

	if (!wanted->text)
		return true;
	if (wanted->is_pid)
		return head->pid == (unsigned int)atoi(wanted->text);
	return cgroup_lists(head->cgroup, wanted->text);
}

/* The same directory may be seen in more than one place. */
static bool is_known(const struct records *records,
		     const struct ebb_page_head *head)
{
	for (size_t i = 0; i < records->nr; i++) {
		const struct ebb_page_head *other =
			&records->list[i]->page.head;

		if (other->pid == head->pid && other->pid_ns == head->pid_ns &&
		    other->start_ticks == head->start_ticks &&
		    other->time_ms == head->time_ms)
			return true;
	}
	return false;
}

static void keep(struct records *records, struct process *record)
{
	struct process **more;

	if (is_known(records, &record->page.head)) {
		process_put(record);
		return;
	}
	more = realloc(records->list, (records->nr + 1) * sizeof(*more));
	if (!more) {
		process_put(record);
		return;
	}
	records->list = more;
	more[records->nr++] = record;
}

/* TIME-PID, as whoever swept has named it. */
static bool is_record_name(const char *name)
{
	size_t time = strspn(name, "0123456789");

	return time && name[time] == '-' &&
	       proctable_is_number(name + time + 1);
}

static void read_record(struct records *records, int dir_fd, const char *dir,
			const char *name)
{
	struct process *record = calloc(1, sizeof(*record));
	const char *why;
	struct stat st;

	if (!record)
		return;
	record->dir_fd = -1;
	if (fstat(dir_fd, &st) || st.st_mode & (S_IWGRP | S_IWOTH) ||
	    !path_make(record->dir, sizeof(record->dir), "%s/%s", dir, name) ||
	    !page_read(dir_fd, name, &record->page, &why)) {
		process_put(record);
		return;
	}
	record->uid = st.st_uid;
	record->inner_pid = (int)record->page.head.pid;
	keep(records, record);
}

static void read_dead(int dir_fd, const char *dir, void *arg)
{
	struct records *records = arg;
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!list) {
		if (fd >= 0)
			close(fd);
		return;
	}
	/* The library keeps fewer; whoever owns the directory may not. */
	for (unsigned int nr = 0; nr < DIR_MAX && (entry = readdir(list));)
		if (is_record_name(entry->d_name) && ++nr)
			read_record(records, dir_fd, dir, entry->d_name);
	closedir(list);
}

static int newest_first(const void *a, const void *b)
{
	const struct process *one = *(struct process *const *)a;
	const struct process *other = *(struct process *const *)b;
	uint64_t x = one->page.head.time_ms, y = other->page.head.time_ms;

	return (x < y) - (x > y);
}

static bool collect(struct records *records)
{
	struct process **list;
	size_t nr;

	*records = (struct records){ 0 };
	if (!process_list(&list, &nr, true))
		return false;
	for (size_t i = 0; i < nr; i++)
		if (sweep_bury(list[i])) {
			process_put(list[i]);
			list[i] = NULL;
		}
	process_each_dead(read_dead, records);
	/* Those that could not be buried, or were by somebody else just now. */
	for (size_t i = 0; i < nr; i++)
		if (list[i])
			keep(records, list[i]);
	free(list);
	if (records->nr)
		qsort(records->list, records->nr, sizeof(*records->list),
		      newest_first);
	return true;
}

/* === Showing ============================================================== */

static void print_ending(const struct process *record)
{
	const struct ebb_page_head *head = &record->page.head;
	char when[STATUS_TIME], age[TIME_TEXT];
	struct ending ending;
	uint64_t now = clock_ms(CLOCK_REALTIME);

	ending_find(&record->page, &ending);
	printf("process     %u %s, user %u\n", head->pid, head->comm,
	       record->uid);
	printf("ended       %s\n", ending.how);
	if (ending.at_ms)
		printf("            at %s\n", status_time(ending.at_ms, when));
	if (ending.oom_kills != UNKNOWN)
		printf("            its cgroup is still there and counts %"
		       PRIu64 " OOM kill%s\n", ending.oom_kills,
		       ending.oom_kills == 1 ? "" : "s");
	printf("last seen   %s, %s ago\n", status_time(head->time_ms, when),
	       time_human(now > head->time_ms ? (now - head->time_ms) * 1000 :
						0, age));
	printf("library     %s, ABI %u\n", head->version, head->abi);
	printf("page        %s\n", record->dir);
}

static void print_cgroup(const struct ebb_page_head *head)
{
	char text[sizeof(head->cgroup)], *line, *next = text;

	memcpy(text, head->cgroup, sizeof(text));
	while ((line = strsep(&next, "\n")))
		if (strstr(line, "memory:") || !strncmp(line, "0::/", 4))
			printf("cgroup      %s\n", line);
}

static int largest_first(const void *a, const void *b)
{
	const struct ebb_class *one = a, *other = b;
	uint64_t x = one->taken * one->size, y = other->taken * other->size;

	return (x < y) - (x > y);
}

static void print_classes(const struct ebb_page *page)
{
	struct ebb_class rows[EBB_NR_CLASSES_MAX];
	char taken[SIZE_TEXT], lazy[SIZE_TEXT], clean[SIZE_TEXT];
	char large[SIZE_TEXT];

	memcpy(rows, page->classes, sizeof(rows));
	qsort(rows, page->head.classes.used, sizeof(*rows), largest_first);
	printf("%8s %9s %7s %7s %7s %7s\n", "CLASS", "TAKEN", "BYTES", "SLABS",
	       "LAZY", "CLEAN");
	printf("%8s %9s %7s\n", "large", "",
	       size_human(page->counters[EBB_COUNTER_LARGE], large));
	for (unsigned int i = 0; i < page->head.classes.used &&
				 i < NR_CLASSES && rows[i].taken; i++)
		printf("%8u %9" PRIu64 " %7s %7u %7s %7s\n", rows[i].size,
		       rows[i].taken,
		       size_human(rows[i].taken * rows[i].size, taken),
		       rows[i].slabs, size_human(rows[i].lazy, lazy),
		       size_human(rows[i].clean, clean));
}

static void print_record(const struct process *record)
{
	print_ending(record);
	print_cgroup(&record->page.head);
	status_print_body(&record->page, NR_EVENTS);
	threads_print(&record->page, NR_THREADS);
	print_classes(&record->page);
}

static void print_line(const struct process *record)
{
	const uint64_t *counters = record->page.counters;
	char when[STATUS_TIME], live[SIZE_TEXT], dirty[SIZE_TEXT];
	char room[SIZE_TEXT], limit[SIZE_TEXT];
	bool limited = counters[EBB_COUNTER_LIMIT] != 0;
	struct ending ending;

	ending_find(&record->page, &ending);
	printf("%-19.19s %7u %-11.11s %5s %5s %5s %5s  %s\n",
	       status_time(record->page.head.time_ms, when),
	       record->page.head.pid, record->page.head.comm,
	       size_human(counters[EBB_COUNTER_LIVE], live),
	       size_human(counters[EBB_COUNTER_DIRTY], dirty),
	       limited ? size_human(counters[EBB_COUNTER_HEADROOM], room) : "-",
	       limited ? size_human(counters[EBB_COUNTER_LIMIT], limit) : "-",
	       ending.what);
}

static void put_json(struct json *out, const struct process *record)
{
	struct ending ending;

	ending_find(&record->page, &ending);
	json_open(out, NULL, '{');
	json_text(out, "page", record->dir);
	json_text(out, "ended", ending.what);
	json_number(out, "ended_ms", ending.at_ms ?: UNKNOWN);
	json_number(out, "cgroup_oom_kills", ending.oom_kills);
	status_json(out, &record->page);
	threads_json(out, "threads", &record->page);
	json_close(out, '}');
}

/* === Command ============================================================== */

struct options {
	bool list;
	bool json;
};

static void show(const struct records *records, const struct options *options)
{
	struct json out = { .out = stdout };

	if (options->json) {
		json_open(&out, NULL, '[');
		for (size_t i = 0; i < records->nr; i++)
			put_json(&out, records->list[i]);
		json_close(&out, ']');
		putchar('\n');
		return;
	}
	if (options->list)
		printf("%-19s %7s %-11s %5s %5s %5s %5s  %s\n", "LAST SEEN",
		       "PID", "NAME", "LIVE", "DIRTY", "ROOM", "LIMIT",
		       "ENDED");
	for (size_t i = 0; i < records->nr; i++) {
		if (options->list) {
			print_line(records->list[i]);
			continue;
		}
		if (i)
			putchar('\n');
		print_record(records->list[i]);
	}
}

/* Only those that are @wanted stay. */
static void filter(struct records *records, const struct wanted *wanted)
{
	size_t nr = 0;

	for (size_t i = 0; i < records->nr; i++) {
		if (is_wanted(records->list[i], wanted))
			records->list[nr++] = records->list[i];
		else
			process_put(records->list[i]);
	}
	records->nr = nr;
}

static int run(const struct wanted *wanted, const struct options *options)
{
	struct records records;
	size_t nr_all;

	if (!collect(&records))
		return STATUS_FAILED;
	filter(&records, wanted);
	nr_all = records.nr;
	if (!wanted->text && !options->list && !options->json && nr_all > 1)
		while (records.nr > 1)
			process_put(records.list[--records.nr]);
	if (nr_all || options->json)
		show(&records, options);
	if (!nr_all)
		message("no page is there of a dead process%s%s%s",
			!wanted->text ? ", that you may read" :
			wanted->is_pid ? " " : " in cgroup ",
			wanted->text ?: "",
			wanted->text && wanted->is_pid ?
			" (in a container: by its own count)" : "");
	else if (records.nr < nr_all)
		printf("\n%zu more: `ebbctl postmortem --list`\n", nr_all - 1);
	process_free(records.list, records.nr);
	return nr_all ? STATUS_OK : STATUS_ABSENT;
}

int cmd_postmortem(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "list", no_argument, NULL, 'l' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct options options = { 0 };
	struct wanted wanted = { 0 };
	int c;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == 'h')
			fputs(usage, stdout);
		if (c != 'l' && c != 'j')
			return c == 'h' ? STATUS_OK : STATUS_USAGE;
		options.list |= c == 'l';
		options.json |= c == 'j';
	}
	if (optind < argc)
		wanted.text = argv[optind];
	wanted.is_pid = wanted.text && proctable_is_number(wanted.text) &&
			strlen(wanted.text) < 10;
	if (argc - optind > 1 ||
	    (wanted.text && !wanted.is_pid && *wanted.text != '/')) {
		message("postmortem takes the number of a process, or a cgroup "
			"that begins with /, not \"%s\"", argv[argc - 1]);
		return STATUS_USAGE;
	}
	return run(&wanted, &options);
}
