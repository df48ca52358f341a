/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The board as text: one function for each file that is read only
 *
 * Formats have no width here (base/log.h), so columns are separated by one
 * blank; `column -t` or ebbctl lines them up.
 */
#include <stdarg.h>

#include "base/err.h"
#include "base/log.h"
#include "ctl/text.h"
#include "reclaim/counters.h"
#include "reclaim/history.h"
#include "reclaim/written.h"

static __printf_(2, 3) void add(struct text *text, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	text->len += fmt_vline(text->buf + text->len, text->size - text->len,
			       fmt, ap);
	va_end(ap);
}

static void add_stamp(struct text *text, const struct ebb_page *page)
{
	add(text, "# pid %u, written at %llu ms since 1970, ABI %u\n",
	    page->head.pid, (unsigned long long)page->head.time_ms,
	    page->head.abi);
}

static unsigned long long ull(uint64_t value)
{
	return value;
}

/* === Tables =============================================================== */

static void render_stat(struct text *text, const struct ebb_page *page)
{
	add_stamp(text, page);
	for (unsigned int i = 0; i < EBB_NR_COUNTERS; i++)
		add(text, "%s %llu\n", counters_info(i)->name,
		    ull(page->counters[i]));
}

/* Who allocates too much, if anybody does. */
static void add_most(struct text *text, const struct ebb_page *page)
{
	const struct ebb_thread_row *most = &page->threads[0];
	uint64_t live = 0;

	for (unsigned int i = 0; i < page->head.threads.used; i++)
		live += page->threads[i].live;
	if (!live)
		add(text, "# no accounts (option accounts): only taken, cached and "
		    "slabs are known\n");
	else
		add(text, "# most: %s (%u) has %llu %% of %llu bytes in use, "
		    "and allocates %llu a second\n", most->name, most->tid,
		    ull(most->live * 100 / live), ull(live), ull(most->rate));
}

static void render_threads(struct text *text, const struct ebb_page *page)
{
	add_stamp(text, page);
	add_most(text, page);
	add(text, "# tid state live rate allocated freed_self by_others "
	    "for_others taken cached slabs name\n");
	for (unsigned int i = 0; i < page->head.threads.used; i++) {
		const struct ebb_thread_row *row = &page->threads[i];

		add(text, "%u %s %llu %llu %llu %llu ", row->tid,
		    row->flags & EBB_ROW_ENDED ? "ended" : "-",
		    ull(row->live), ull(row->rate), ull(row->allocated),
		    ull(row->freed_self));
		add(text, "%llu %llu %llu %llu %u %s\n", ull(row->by_others),
		    ull(row->for_others), ull(row->taken), ull(row->cached),
		    row->slabs, row->name);
	}
}

static void render_classes(struct text *text, const struct ebb_page *page)
{
	add_stamp(text, page);
	add(text, "# size slabs slots taken clean lazy\n");
	for (unsigned int i = 0; i < page->head.classes.used; i++) {
		const struct ebb_class *row = &page->classes[i];

		if (row->slabs)
			add(text, "%u %u %llu %llu %llu %llu\n", row->size,
			    row->slabs, ull(row->slots), ull(row->taken),
			    ull(row->clean), ull(row->lazy));
	}
}

static void render_signals(struct text *text, const struct ebb_page *page)
{
	add_stamp(text, page);
	for (unsigned int i = 0; i < page->head.signals.used; i++) {
		const struct ebb_signal *row = &page->signals[i];

		if (row->live)
			add(text, "%s: live (%s), %llu events, %llu passes, "
			    "last at %llu ms, found again %llu times\n",
			    row->name, row->what, ull(row->nr_events),
			    ull(row->nr_purges), ull(row->last_ms),
			    ull(row->nr_found));
		else if (row->error)
			add(text, "%s: unavailable: %s (%s)\n", row->name,
			    row->what, err_name((int)row->error));
		else
			add(text, "%s: unavailable: %s\n", row->name,
			    row->what);
	}
}

static void render_backends(struct text *text, const struct ebb_page *page)
{
	add_stamp(text, page);
	for (unsigned int i = 0; i < page->head.backends.used; i++)
		add(text, "%s\n", page->backends[i].line);
}

static void render_histograms(struct text *text, const struct ebb_page *page)
{
	add_stamp(text, page);
	for (unsigned int id = 0; id < EBB_NR_HISTOGRAMS; id++) {
		const struct ebb_histogram_info *info = history_info(
			(enum ebb_histogram_id)id);
		const struct ebb_histogram *row = &page->histograms[id];

		add(text, "%s: %llu values, sum %llu %s\n", info->name,
		    ull(row->nr), ull(row->sum), info->unit);
		for (unsigned int n = 0; n < EBB_NR_BUCKETS; n++)
			if (row->buckets[n])
				add(text, "  <%llu %llu\n",
				    1ULL << (n + info->shift),
				    ull(row->buckets[n]));
	}
}

static const char *const pressures[] = { "none", "mild", "severe" };

/* "psi,app", or "age" where nobody asked. */
static void add_askers(struct text *text, const struct ebb_page *page,
		       uint32_t by_source)
{
	const char *comma = "";

	for (unsigned int i = 0; i < page->head.signals.used; i++)
		if (by_source >> i & 1) {
			add(text, "%s%s", comma, page->signals[i].name);
			comma = ",";
		}
	if (!*comma)
		add(text, "age");
}

static void add_event(struct text *text, const struct ebb_page *page,
		      const struct ebb_event *row)
{
	add(text, "%llu %llu ", ull(row->time_ms), ull(row->nr));
	add_askers(text, page, row->by_source);
	add(text, " %s %s ",
	    row->pressure < 3 ? pressures[row->pressure] : "?",
	    row->flags & EBB_EVENT_FORCED ? "all" :
	    row->flags & EBB_EVENT_OVER ? "over" : "aged");
	if (row->headroom == UINT64_MAX)
		add(text, "-");
	else
		add(text, "%llu", ull(row->headroom));
	add(text, " %llu %llu %llu %u %u\n", ull(row->dirty),
	    ull(row->lazy_bytes), ull(row->clean_bytes), row->waited_us,
	    row->took_us);
}

static void render_events(struct text *text, const struct ebb_page *page)
{
	uint64_t last = 0;

	add_stamp(text, page);
	add(text, "# time_ms pass asked_by pressure took headroom dirty "
	    "made_lazy given_back waited_us took_us\n");
	for (unsigned int i = 0; i < page->head.events.used; i++)
		last = max(last, page->events[i].nr);
	for (unsigned int i = 0; i < page->head.events.used; i++)
		add_event(text, page, &page->events[(last + i -
						     page->head.events.used) %
						    EBB_NR_EVENTS]);
}

/* === Prometheus =========================================================== */

static void add_head(struct text *text, const char *metric, const char *type,
		     const char *help)
{
	add(text, "# HELP %s %s\n# TYPE %s %s\n", metric, help, metric, type);
}

/* Microseconds as seconds. */
static void add_seconds(struct text *text, uint64_t us)
{
	char digits[7];

	for (int i = 5; i >= 0; i--) {
		digits[i] = (char)('0' + us % 10);
		us /= 10;
	}
	digits[6] = '\0';
	add(text, "%llu.%s", ull(us), digits);
}

static void add_value(struct text *text, const char *unit, uint64_t value)
{
	if (unit[0] == 'u')
		add_seconds(text, value);
	else
		add(text, "%llu", ull(value));
}

static void add_counter(struct text *text, const struct ebb_counter_info *info,
			uint64_t value)
{
	add_head(text, info->metric,
		 info->kind == EBB_TOTAL ? "counter" : "gauge", info->help);
	add(text, "%s ", info->metric);
	add_value(text, info->unit, value);
	add(text, "\n");
}

static void add_histogram(struct text *text,
			  const struct ebb_histogram_info *info,
			  const struct ebb_histogram *row)
{
	uint64_t sum = 0;

	add_head(text, info->metric, "histogram", info->help);
	for (unsigned int n = 0; n <= EBB_BUCKET_LAST; n++) {
		sum += row->buckets[n];
		add(text, "%s_bucket{le=\"", info->metric);
		add_value(text, info->unit, 1ULL << (n + info->shift));
		add(text, "\"} %llu\n", ull(sum));
	}
	for (unsigned int n = EBB_BUCKET_LAST + 1; n < EBB_NR_BUCKETS; n++)
		sum += row->buckets[n];
	add(text, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum ", info->metric,
	    ull(sum), info->metric);
	add_value(text, info->unit, row->sum);
	add(text, "\n%s_count %llu\n", info->metric, ull(sum));
}

static void add_signals(struct text *text, const struct ebb_page *page)
{
	add_head(text, "ebb_signal_live", "gauge",
		 "whether a source of pressure is heard");
	for (unsigned int i = 0; i < page->head.signals.used; i++)
		add(text, "ebb_signal_live{signal=\"%s\"} %u\n",
		    page->signals[i].name, page->signals[i].live);
	add_head(text, "ebb_signal_events_total", "counter",
		 "times a source told of pressure");
	for (unsigned int i = 0; i < page->head.signals.used; i++)
		add(text, "ebb_signal_events_total{signal=\"%s\"} %llu\n",
		    page->signals[i].name, ull(page->signals[i].nr_events));
}

static void render_metrics(struct text *text, const struct ebb_page *page)
{
	add_stamp(text, page);
	add_head(text, "ebb_build_info", "gauge", "version of the library");
	add(text, "ebb_build_info{version=\"%s\",abi=\"%u\"} 1\n",
	    page->head.version, page->head.abi);
	for (unsigned int i = 0; i < EBB_NR_COUNTERS; i++)
		add_counter(text, counters_info(i), page->counters[i]);
	for (unsigned int i = 0; i < EBB_NR_HISTOGRAMS; i++)
		add_histogram(text, history_info((enum ebb_histogram_id)i),
			      &page->histograms[i]);
	add_signals(text, page);
}

/* Of this moment, from where it is: the page has no place for it. */
static void render_written(struct text *text, const struct ebb_page *page)
{
	add_stamp(text, page);
	if (IS_ENABLED(CONFIG_TRACK))
		text->len += written_report(text->buf + text->len,
					    text->size - text->len);
}

static const struct text_file files[] = {
	{ "stat", render_stat },
	{ "threads", render_threads },
	{ "classes", render_classes },
	{ "signals", render_signals },
	{ "backends", render_backends },
	{ "histograms", render_histograms },
	{ "events", render_events },
	{ "metrics", render_metrics },
	{ "written", render_written },
};

const struct text_file *text_file_at(unsigned int i)
{
	return i < ARRAY_SIZE(files) ? &files[i] : NULL;
}
