/* SPDX-License-Identifier: MIT */
/*
 * ebbctl metrics - Counters of processes in Prometheus's text format
 *
 * What it is: one scrape of all processes.  Names, types and units are those of
 * the file `metrics' that each process writes itself, and for one process the
 * values are, too.
 *
 * Model: without --by-pid the processes are folded into one page, and it is
 * printed.  Bytes and counts are summed, buckets merged; what makes no sense as
 * a sum is the least or the most of any process, and its HELP says so.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "ebbctl.h"
#include "output.h"
#include "process.h"

static const char usage[] =
"usage: ebbctl metrics [--all|PID...] [--by-pid] [--output FILE]\n"
"\n"
"Prints the counters of all processes on ebbmalloc, or of those named, in\n"
"Prometheus's text format: added up, or each by itself.  When a process ends,\n"
"what it added to a total is gone; Prometheus takes that for a restart, so\n"
"rates of totals are exact only with --by-pid.\n"
"\n"
"      --all          all processes; so it is without a PID\n"
"      --by-pid       each by itself, with labels pid and comm\n"
"  -o, --output FILE  into FILE, at once as a whole: for the textfile folder\n"
"                     of node_exporter, where names end in .prom\n"
"  -h, --help         this\n"
"\n"
"Exit status: 0; 2 for wrong usage; 3 if one of the PIDs is no process on\n"
"ebbmalloc; 125 if that cannot be told, or FILE cannot be written.\n";

struct options {
	bool all;
	bool by_pid;
	const char *output;
};

struct scrape {
	FILE *out;
	struct process **list;
	size_t nr;
	bool by_pid;
};

/* === Folding ============================================================== */

enum fold {
	FOLD_SUM,
	FOLD_LEAST,		/* 0: has none */
	FOLD_MOST,
};

static enum fold fold_of(enum ebb_counter id)
{
	switch (id) {
	case EBB_COUNTER_LIMIT:
	case EBB_COUNTER_HEADROOM:
		return FOLD_LEAST;
	case EBB_COUNTER_PRESSURE:
	case EBB_COUNTER_INBAND_WORST:
		return FOLD_MOST;
	default:
		return FOLD_SUM;
	}
}

/* Pages may say anything; no sum becomes less than its parts. */
static uint64_t add(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

/* Headroom of 0 means none where there is a limit. */
static bool has(const struct ebb_page *page, enum ebb_counter id)
{
	return fold_of(id) != FOLD_LEAST || page->counters[EBB_COUNTER_LIMIT];
}

static uint64_t fold_counter(const struct scrape *scrape, enum ebb_counter id)
{
	enum fold fold = fold_of(id);
	uint64_t ret = 0;
	bool any = false;

	for (size_t i = 0; i < scrape->nr; i++) {
		uint64_t value = scrape->list[i]->page.counters[id];

		if (!has(&scrape->list[i]->page, id))
			continue;
		if (fold == FOLD_SUM)
			ret = add(ret, value);
		else if (!any || (fold == FOLD_LEAST) == (value < ret))
			ret = value;
		any = true;
	}
	return ret;
}

static void fold_histogram(const struct scrape *scrape,
			   enum ebb_histogram_id id, struct ebb_histogram *ret)
{
	memset(ret, 0, sizeof(*ret));
	for (size_t i = 0; i < scrape->nr; i++) {
		const struct ebb_histogram *row =
			&scrape->list[i]->page.histograms[id];

		ret->sum = add(ret->sum, row->sum);
		for (unsigned int n = 0; n < EBB_NR_BUCKETS; n++)
			ret->buckets[n] = add(ret->buckets[n], row->buckets[n]);
	}
}

/* === Text ================================================================= */

static void put_head(const struct scrape *scrape, const char *metric,
		     const char *type, const char *help[2])
{
	fprintf(scrape->out, "# HELP %s %s%s\n# TYPE %s %s\n", metric, help[0],
		scrape->by_pid ? "" : help[1], metric, type);
}

static void put_label(FILE *out, const char *name, const char *value)
{
	fprintf(out, "%s=\"", name);
	for (; *value; value++) {
		if (*value == '"' || *value == '\\')
			putc('\\', out);
		putc(*value, out);
	}
	putc('"', out);
}

/* The labels of @process, or none; @comma: others went before. */
static void put_process(FILE *out, const struct process *process, bool comma)
{
	if (!process)
		return;
	fprintf(out, "%spid=\"%d\",", comma ? "," : "", process->pid);
	put_label(out, "comm", process->page.head.comm);
}

static void put_value(FILE *out, const char *unit, uint64_t value)
{
	if (!strcmp(unit, "us"))
		fprintf(out, "%" PRIu64 ".%06u", value / 1000000,
			(unsigned int)(value % 1000000));
	else
		fprintf(out, "%" PRIu64, value);
}

static void put_sample(const struct scrape *scrape,
		       const struct ebb_counter_info *info,
		       const struct process *process, uint64_t value)
{
	fputs(info->metric, scrape->out);
	if (process) {
		putc('{', scrape->out);
		put_process(scrape->out, process, false);
		putc('}', scrape->out);
	}
	putc(' ', scrape->out);
	put_value(scrape->out, info->unit, value);
	putc('\n', scrape->out);
}

static void put_counter(const struct scrape *scrape, enum ebb_counter id)
{
	static const char *const folded[] = {
		[FOLD_SUM] = "",
		[FOLD_LEAST] = "; here the least of any process with a limit",
		[FOLD_MOST] = "; here the most of any process",
	};
	const struct ebb_counter_info *info = &ebb_counters[id];

	put_head(scrape, info->metric,
		 info->kind == EBB_TOTAL ? "counter" : "gauge",
		 (const char *[]){ info->help, folded[fold_of(id)] });
	if (!scrape->by_pid) {
		put_sample(scrape, info, NULL, fold_counter(scrape, id));
		return;
	}
	for (size_t i = 0; i < scrape->nr; i++)
		put_sample(scrape, info, scrape->list[i],
			   scrape->list[i]->page.counters[id]);
}

static void put_bucket(const struct scrape *scrape,
		       const struct ebb_histogram_info *info,
		       const struct process *process, unsigned int n)
{
	fprintf(scrape->out, "%s_bucket{le=\"", info->metric);
	if (n > EBB_BUCKET_LAST)
		fputs("+Inf", scrape->out);
	else
		put_value(scrape->out, info->unit,
			  UINT64_C(1) << (n + info->shift));
	putc('"', scrape->out);
	put_process(scrape->out, process, true);
	fputs("} ", scrape->out);
}

static void put_total(const struct scrape *scrape, const char *metric,
		      const char *suffix, const struct process *process)
{
	fprintf(scrape->out, "%s%s", metric, suffix);
	if (process) {
		putc('{', scrape->out);
		put_process(scrape->out, process, false);
		putc('}', scrape->out);
	}
	putc(' ', scrape->out);
}

static void put_buckets(const struct scrape *scrape,
			const struct ebb_histogram_info *info,
			const struct process *process,
			const struct ebb_histogram *row)
{
	uint64_t sum = 0;

	for (unsigned int n = 0; n < EBB_NR_BUCKETS; n++) {
		sum = add(sum, row->buckets[n]);
		if (n > EBB_BUCKET_LAST && n < EBB_NR_BUCKETS - 1)
			continue;
		put_bucket(scrape, info, process, n);
		fprintf(scrape->out, "%" PRIu64 "\n", sum);
	}
	put_total(scrape, info->metric, "_sum", process);
	put_value(scrape->out, info->unit, row->sum);
	putc('\n', scrape->out);
	put_total(scrape, info->metric, "_count", process);
	fprintf(scrape->out, "%" PRIu64 "\n", sum);
}

static void put_histogram(const struct scrape *scrape, enum ebb_histogram_id id)
{
	const struct ebb_histogram_info *info = &ebb_histograms[id];
	struct ebb_histogram row;

	put_head(scrape, info->metric, "histogram",
		 (const char *[]){ info->help, "" });
	if (!scrape->by_pid) {
		fold_histogram(scrape, id, &row);
		put_buckets(scrape, info, NULL, &row);
		return;
	}
	for (size_t i = 0; i < scrape->nr; i++)
		put_buckets(scrape, info, scrape->list[i],
			    &scrape->list[i]->page.histograms[id]);
}

/* === Signals and versions ================================================= */

static const struct ebb_signal *signal_at(const struct scrape *scrape,
					  size_t i, unsigned int row)
{
	const struct ebb_page *page = &scrape->list[i]->page;

	return row < page->head.signals.used ? &page->signals[row] : NULL;
}

/* Whether a row before this one has its name: in this page, or in any. */
static bool is_repeated(const struct scrape *scrape, size_t at,
			unsigned int row)
{
	const char *name = signal_at(scrape, at, row)->name;
	const struct ebb_signal *other;

	for (size_t i = scrape->by_pid ? at : 0; i <= at; i++)
		for (unsigned int k = 0; (other = signal_at(scrape, i, k)) &&
					 (i < at || k < row); k++)
			if (!strcmp(name, other->name))
				return true;
	return false;
}

static uint64_t signal_value(const struct scrape *scrape, size_t at,
			     unsigned int row, bool live)
{
	const struct ebb_signal *this = signal_at(scrape, at, row), *other;
	uint64_t sum = 0;

	if (scrape->by_pid)
		return live ? !!this->live : this->nr_events;
	for (size_t i = 0; i < scrape->nr; i++)
		for (unsigned int k = 0; (other = signal_at(scrape, i, k)); k++)
			if (!strcmp(this->name, other->name)) {
				sum = add(sum, live ? !!other->live :
						      other->nr_events);
				break;
			}
	return sum;
}

static void put_signals(const struct scrape *scrape, const char *metric,
			bool live)
{
	const struct ebb_signal *signal;

	for (size_t i = 0; i < scrape->nr; i++)
		for (unsigned int k = 0; (signal = signal_at(scrape, i, k));
		     k++) {
			if (is_repeated(scrape, i, k))
				continue;
			fprintf(scrape->out, "%s{", metric);
			put_label(scrape->out, "signal", signal->name);
			put_process(scrape->out,
				    scrape->by_pid ? scrape->list[i] : NULL,
				    true);
			fprintf(scrape->out, "} %" PRIu64 "\n",
				signal_value(scrape, i, k, live));
		}
}

static bool same_build(const struct ebb_page_head *a,
		       const struct ebb_page_head *b)
{
	return a->abi == b->abi && !strcmp(a->version, b->version);
}

static void put_builds(const struct scrape *scrape)
{
	put_head(scrape, "ebb_build_info", "gauge",
		 (const char *[]){ "version of the library", "" });
	for (size_t i = 0; i < scrape->nr; i++) {
		const struct ebb_page_head *head = &scrape->list[i]->page.head;
		size_t k = 0;

		while (k < i && !same_build(head, &scrape->list[k]->page.head))
			k++;
		if (k < i && !scrape->by_pid)
			continue;
		fputs("ebb_build_info{", scrape->out);
		put_label(scrape->out, "version", head->version);
		fprintf(scrape->out, ",abi=\"%u\"", head->abi);
		put_process(scrape->out, scrape->by_pid ? scrape->list[i] :
							  NULL, true);
		fputs("} 1\n", scrape->out);
	}
}

static void put_all(const struct scrape *scrape)
{
	put_head(scrape, "ebb_processes", "gauge",
		 (const char *[]){ "processes told of here", "" });
	fprintf(scrape->out, "ebb_processes %zu\n", scrape->nr);
	put_builds(scrape);
	for (int i = 0; i < EBB_NR_COUNTERS; i++)
		put_counter(scrape, (enum ebb_counter)i);
	for (int i = 0; i < EBB_NR_HISTOGRAMS; i++)
		put_histogram(scrape, (enum ebb_histogram_id)i);
	put_head(scrape, "ebb_signal_live", "gauge",
		 (const char *[]){ "whether a source of pressure is heard",
				   "; here in how many processes" });
	put_signals(scrape, "ebb_signal_live", true);
	put_head(scrape, "ebb_signal_events_total", "counter",
		 (const char *[]){ "times a source told of pressure", "" });
	put_signals(scrape, "ebb_signal_events_total", false);
}

/* === Output =============================================================== */

static int write_scrape(struct scrape *scrape, const char *output)
{
	char *text = NULL;
	size_t len = 0;
	bool ok;

	scrape->out = open_memstream(&text, &len);
	if (!scrape->out) {
		message("there is no memory for the metrics");
		return STATUS_FAILED;
	}
	put_all(scrape);
	ok = !fclose(scrape->out);
	if (ok)
		ok = output_put(output, 0644, text, len);
	free(text);
	return ok ? STATUS_OK : STATUS_FAILED;
}

static int print_chosen(char **pids, size_t nr, const struct options *options)
{
	struct scrape scrape = { .by_pid = options->by_pid, .nr = nr };
	int status;

	if (!nr)
		status = process_list(&scrape.list, &scrape.nr, false) ?
			 STATUS_OK : STATUS_FAILED;
	else
		status = process_choose(pids, nr, &scrape.list);
	if (status)
		return status;
	status = write_scrape(&scrape, options->output);
	process_free(scrape.list, scrape.nr);
	return status;
}

int cmd_metrics(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "all", no_argument, NULL, 'a' },
		{ "by-pid", no_argument, NULL, 'b' },
		{ "output", required_argument, NULL, 'o' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct options options = { 0 };
	int c;

	while ((c = getopt_long(argc, argv, "ho:", longs, NULL)) != -1) {
		switch (c) {
		case 'a':
			options.all = true;
			break;
		case 'b':
			options.by_pid = true;
			break;
		case 'o':
			options.output = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			return STATUS_OK;
		default:
			return STATUS_USAGE;
		}
	}
	if (options.all && optind < argc) {
		message("metrics takes --all or a PID, not both");
		return STATUS_USAGE;
	}
	return print_chosen(argv + optind, (size_t)(argc - optind), &options);
}
