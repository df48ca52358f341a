/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The board: what this process shows of itself
 */
#include <fcntl.h>
#include <string.h>

#include "acct/account.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/param.h"
#include "base/small_file.h"
#include "base/sys.h"
#include "ctl/board.h"
#include "ctl/file.h"
#include "debug/report.h"
#include "ebb/abi.h"
#include "heap/ledger.h"
#include "heap/tally.h"
#include "os/advise.h"
#include "os/guard_mark.h"
#include "os/map.h"
#include "reclaim/counters.h"
#include "reclaim/history.h"
#include "reclaim/reclaimer.h"
#include "reclaim/source.h"
#include "vm/run.h"

#define WALK_GAP_US	1000000
#define WALK_SHARE	1000		/* of one CPU's time */

_Static_assert(NR_CLASSES <= EBB_NR_CLASSES_MAX, "classes: no room");
_Static_assert(sizeof(((struct ebb_page_head *)0)->comm) == COMM_SIZE,
	       "processes are named as the kernel does");
_Static_assert(sizeof(((struct ebb_thread_row *)0)->name) == COMM_SIZE,
	       "threads are named as processes are");

/* All under ctl_lock. */
static struct ebb_page page;
static struct tally tally;
static struct thread_tally threads[EBB_NR_THREADS_MAX];
static struct ledger_row accounts[EBB_NR_THREADS_MAX];
static unsigned int nr_accounts;
static struct ebb_thread_row rows_before[EBB_NR_THREADS_MAX];
static unsigned int nr_rows_before;
static uint64_t rows_ms, rows_before_ms;
static uint64_t walk_after_us;		/* no walk before this */
static uint64_t nr_verdicts;
static uint64_t nr_reports;		/* of guard mode, up to the last shown */
static uint64_t nr_earlier;		/* before this page was begun */

/* Control characters could be taken for the end of a line or a field. */
static void copy_text(char *to, size_t size, const char *from)
{
	size_t i = 0;

	for (; i < size - 1 && from[i]; i++)
		to[i] = (unsigned char)from[i] < ' ' || from[i] == 0x7f ?
			'?' : from[i];
	memset(to + i, 0, size - i);
}

/* The name of thread @tid, 0: of the process. */
static void copy_comm(char to[COMM_SIZE], int tid)
{
	char name[COMM_SIZE];

	small_file_comm(tid, name);
	copy_text(to, COMM_SIZE, name);
}

/* The last report that was written, if it was not shown; else false. */
static bool new_report(struct report_last *ret_last)
{
	if (!IS_ENABLED(CONFIG_GUARD) || !report_read_last(ret_last) ||
	    ret_last->nr == nr_reports)
		return false;
	nr_reports = ret_last->nr;
	return true;
}

bool board_take_report(int dir_fd)
{
	static char text[IS_ENABLED(CONFIG_GUARD) ? REPORT_MAX : 1];
	struct report_last last;
	size_t len;

	if (!new_report(&last))
		return false;
	len = report_read_text(last.nr, text);
	if (len && dir_fd >= 0)
		err_ignore(file_put(dir_fd, EBB_REPORT_FILE, 0400, text, len,
				    NULL));
	board_verdict(EBB_VERDICT_REPORT, 0, last.head);
	return true;
}

int board_put_no_report(int dir_fd)
{
	return nr_reports != nr_earlier ? 0 :
	       file_put(dir_fd, EBB_REPORT_FILE, 0400, "", 0, NULL);
}

/* === Beginning ============================================================ */

#define SECTION(member) (struct ebb_section){				\
	.offset = offsetof(struct ebb_page, member),			\
	.stride = sizeof(page.member[0]),				\
	.nr = ARRAY_SIZE(page.member),					\
}

static void set_sections(struct ebb_page_head *head)
{
	head->counters = SECTION(counters);
	head->counters.used = EBB_NR_COUNTERS;
	head->histograms = SECTION(histograms);
	head->histograms.used = EBB_NR_HISTOGRAMS;
	head->signals = SECTION(signals);
	head->backends = SECTION(backends);
	head->events = SECTION(events);
	head->verdicts = SECTION(verdicts);
	head->classes = SECTION(classes);
	head->classes.used = NR_CLASSES;
	head->threads = SECTION(threads);
	head->text = SECTION(text);
}

void board_begin(const struct place_self *self)
{
	struct ebb_page_head *head = &page.head;
	struct report_last earlier;

	memset(&page, 0, sizeof(page));
	memcpy(head->magic, EBB_PAGE_MAGIC, sizeof(head->magic));
	head->abi = EBB_ABI_VERSION;
	head->size = sizeof(page);
	head->pid = self->pid;
	head->uid = self->uid;
	head->page_size = (uint32_t)map_page_size;
	head->start_ticks = self->start_ticks;
	head->pid_ns = self->pid_ns;
	head->errata = EBB_ERRATA_NONE;
	set_sections(head);
	copy_text(head->version, sizeof(head->version), EBB_VERSION);
	copy_comm(head->comm, 0);
	nr_verdicts = 0;
	/* Those before, our parent's perhaps, are not of this page. */
	(void)new_report(&earlier);
	nr_earlier = nr_reports;
	walk_after_us = 0;
	nr_rows_before = 0;
}

/* === Gathering ============================================================ */

static void name_row(struct ebb_thread_row *row)
{
	if (row->name[0])
		return;
	if (!row->tid) {
		copy_text(row->name, sizeof(row->name), "(ended)");
		return;
	}
	copy_comm(row->name, (int)row->tid);
}

/* What the rows knew of this thread at the last walk; NULL: it was not there. */
static const struct ebb_thread_row *row_before(const struct ebb_thread_row *row)
{
	for (unsigned int i = 0; i < nr_rows_before; i++)
		if (rows_before[i].tid == row->tid &&
		    rows_before[i].flags == row->flags)
			return &rows_before[i];
	return NULL;
}

static void add_rate(struct ebb_thread_row *row)
{
	const struct ebb_thread_row *before = row_before(row);
	uint64_t was = before ? before->allocated : 0;
	uint64_t ms = rows_ms - rows_before_ms;

	/* A name does not change often enough to be read each time. */
	if (before && !row->name[0])
		memcpy(row->name, before->name, sizeof(row->name));
	if (nr_rows_before && ms && row->allocated > was)
		row->rate = (row->allocated - was) * 1000 / ms;
}

static void set_account(struct ebb_thread_row *row,
			const struct ledger_row *from)
{
	row->tid = (uint32_t)from->tid;
	row->live = from->live;
	row->allocated = from->allocated;
	row->freed_self = from->freed_self;
	row->by_others = from->by_others;
	row->for_others = from->for_others;
	row->flags = from->ended ? EBB_ROW_ENDED : 0;
	copy_text(row->name, sizeof(row->name), from->name);
	add_rate(row);
}

/* What the walk over slabs knows of the thread, which is no row afterwards. */
static void join_tally(struct ebb_thread_row *row, uint64_t *left)
{
	for (unsigned int i = 0; i < tally.nr_threads; i++) {
		if (!(*left >> i & 1) || row->flags ||
		    (uint32_t)threads[i].tid != row->tid)
			continue;
		*left &= ~(1ULL << i);
		row->slabs = (uint32_t)threads[i].nr_slabs;
		row->taken = threads[i].taken_bytes;
		row->cached = threads[i].cached_bytes;
		return;
	}
}

/*
 * Accounts, those with most in use first, each with what the thread's heap has;
 * then heaps without one.
 */
static void walk_threads(void)
{
	uint64_t left = bits_range(0, tally.nr_threads);
	unsigned int nr = 0;

	memcpy(rows_before, page.threads, sizeof(rows_before));
	nr_rows_before = page.head.threads.used;
	rows_before_ms = rows_ms;
	rows_ms = clock_ms();
	memset(page.threads, 0, sizeof(page.threads));
	for (; nr < nr_accounts; nr++) {
		set_account(&page.threads[nr], &accounts[nr]);
		join_tally(&page.threads[nr], &left);
	}
	for (; left && nr < EBB_NR_THREADS_MAX; nr++) {
		page.threads[nr].tid = (uint32_t)threads[bit_lowest(left)].tid;
		join_tally(&page.threads[nr], &left);
	}
	for (unsigned int i = 0; i < nr; i++)
		name_row(&page.threads[i]);
	page.head.threads.used = nr;
}

/* Those with most in use, sorted; who does not fit falls out. */
static void keep_account(const struct ledger_row *row, void *arg)
{
	unsigned int at = nr_accounts;

	(void)arg;
	for (; at && accounts[at - 1].live < row->live; at--)
		if (at < EBB_NR_THREADS_MAX)
			accounts[at] = accounts[at - 1];
	if (at < EBB_NR_THREADS_MAX)
		accounts[at] = *row;
	if (nr_accounts < EBB_NR_THREADS_MAX)
		nr_accounts++;
}

static void gather_walk(void)
{
	uint64_t start_us = clock_us(), took_us;

	if (start_us < walk_after_us)
		return;
	if (!tally_take(&tally, threads, EBB_NR_THREADS_MAX))
		return;
	nr_accounts = 0;
	/* Where there are none, or they cannot be had, rows say nothing of it. */
	if (!ledger_for_each(keep_account, NULL))
		nr_accounts = 0;
	walk_threads();
	took_us = clock_us() - start_us;
	walk_after_us = start_us + max((uint64_t)WALK_GAP_US,
				       took_us * WALK_SHARE);
	page.head.walk_ms = clock_realtime_ms();
}

static void gather_classes(void)
{
	for (unsigned int i = 0; i < NR_CLASSES; i++)
		page.classes[i] = (struct ebb_class){
			.size = sizeclasses[i].size,
			.slabs = (uint32_t)tally.classes[i].nr_slabs,
			.slots = tally.classes[i].nr_slabs *
				 sizeclasses[i].nr_slots,
			.taken = tally.classes[i].nr_taken,
			.clean = tally.classes[i].clean_bytes,
			.lazy = tally.classes[i].lazy_bytes,
		};
}

static void gather_counters(void)
{
	uint64_t *values = page.counters;
	uint64_t taken = 0, slabs = 0, lazy = 0, clean = 0, dirty;

	for (unsigned int i = 0; i <= CLASS_BLOCKS; i++) {
		taken += tally.classes[i].nr_taken * sizeclasses[i].size;
		slabs += tally.classes[i].nr_slabs;
		lazy += tally.classes[i].lazy_bytes;
		clean += tally.classes[i].clean_bytes;
	}
	lazy += run_counted(in_state[RUN_LAZY]);
	clean += run_clean_bytes();
	dirty = account_slots_dirty() + run_dirty_bytes() +
		tally.run_cache_bytes;
	counters_read(values);
	values[EBB_COUNTER_LIVE] = taken - min(taken, tally.cached_bytes) +
				   values[EBB_COUNTER_LARGE];
	values[EBB_COUNTER_CACHED] = tally.cached_bytes;
	values[EBB_COUNTER_DIRTY] = dirty - min(dirty, lazy);
	values[EBB_COUNTER_LAZY] = lazy;
	values[EBB_COUNTER_CLEAN] = clean;
	values[EBB_COUNTER_METADATA] = counters_metadata(tally.heap_bytes);
	values[EBB_COUNTER_SLABS] = slabs;
}

static void gather_signal(struct ebb_signal *row, const char *name,
			  const struct source *source)
{
	uint64_t last_ms = source ? load_relaxed(&source->last_event_ms) : 0;

	memset(row, 0, sizeof(*row));
	copy_text(row->name, sizeof(row->name), name);
	if (!source) {
		copy_text(row->what, sizeof(row->what), "not built in");
		return;
	}
	row->live = source_is_live(source);
	copy_text(row->what, sizeof(row->what),
		  load_relaxed(&source->state) == SOURCE_CLOSED ?
			  "the reclaimer has not run yet" :
			  load_relaxed(&source->reason));
	if (!row->live && load_relaxed(&source->error) != -EOPNOTSUPP)
		row->error = (uint32_t)-load_relaxed(&source->error);
	row->nr_events = load_relaxed(&source->nr_events);
	row->nr_purges = load_relaxed(&source->nr_purges);
	row->nr_found = load_relaxed(&source->nr_found);
	if (last_ms)
		row->last_ms = clock_realtime_ms() - (clock_ms() - last_ms);
}

static void gather_signals(void)
{
	const struct source *source;
	const char *name;
	unsigned int i;

	for (i = 0; i < EBB_NR_SIGNALS_MAX; i++) {
		name = source_name(i, &source);
		if (!name)
			break;
		gather_signal(&page.signals[i], name, source);
	}
	page.head.signals.used = i;
}

static void gather_backends(void)
{
	char line[sizeof(page.backends[0].line)];
	unsigned int i;

	for (i = 0; i < EBB_NR_BACKENDS_MAX &&
		    advise_describe(i, line, sizeof(line)); i++)
		copy_text(page.backends[i].line, sizeof(line), line);
	if (i < EBB_NR_BACKENDS_MAX && guard_mark_describe(line, sizeof(line)))
		copy_text(page.backends[i++].line, sizeof(line), line);
	page.head.backends.used = i;
}

static size_t add_option(char *buf, size_t size, const struct ebb_attr *attr,
			 enum ebb_attr_id id)
{
	char value[EBB_STRING_MAX + 1];
	size_t len = fmt_line(buf, size, "%s=", attr->name);

	if (attr->type == EBB_TYPE_STRING)
		copy_text(value, sizeof(value), param_str(id));
	else
		param_format(attr, param_int(id), value, sizeof(value));
	len += fmt_line(buf + len, size - len, "%s\n", value);
	return len;
}

static void gather_options(void)
{
	size_t len = 0;

	for (int i = 0; i < EBB_NR_ATTRS; i++)
		len += add_option(page.text + len, sizeof(page.text) - len,
				  param_attr((enum ebb_attr_id)i),
				  (enum ebb_attr_id)i);
	page.head.text.used = (uint32_t)len;
}

static void seal(enum ebb_page_state state)
{
	page.head.state = state;
	page.head.time_ms = clock_realtime_ms();
	page.head.nr_written++;
	page.head.seq = page.tail_seq = page.head.nr_written;
}

void board_gather(enum ebb_page_state state, uint64_t features)
{
	struct ebb_page_head *head = &page.head;

	gather_walk();
	gather_counters();
	gather_classes();
	gather_signals();
	gather_backends();
	gather_options();
	for (int i = 0; i < EBB_NR_HISTOGRAMS; i++)
		history_histogram((enum ebb_histogram_id)i,
				  &page.histograms[i]);
	head->events.used = history_events(page.events);
	head->features = features;
	copy_text(head->reclaimer, sizeof(head->reclaimer), reclaimer_state());
	if (small_file_read("/proc/self/cgroup", head->cgroup,
			   sizeof(head->cgroup)) < 0)
		head->cgroup[0] = '\0';
	seal(state);
}

void board_verdict(const char *name, int err, const char *text)
{
	struct ebb_verdict *row = &page.verdicts[nr_verdicts++ %
						 EBB_NR_VERDICTS];

	memset(row, 0, sizeof(*row));
	row->nr = nr_verdicts;
	row->time_ms = clock_realtime_ms();
	row->error = (uint32_t)-err;
	copy_text(row->name, sizeof(row->name), name);
	copy_text(row->text, sizeof(row->text), text);
	page.head.verdicts.used = (uint32_t)min(nr_verdicts,
						(uint64_t)EBB_NR_VERDICTS);
}

void board_report(const char *path, uint32_t uid)
{
	int dir = place_open(path, uid), fd = -EBADF;

	if (board_take_report(dir)) {
		seal(page.head.state);
		if (dir >= 0)
			fd = file_open(dir, EBB_PAGE_FILE, O_WRONLY);
	}
	if (fd >= 0) {
		(void)sys_call4(SYS_pwrite64, fd, (long)&page, sizeof(page), 0);
		sys_close(fd);
	}
	if (dir >= 0)
		sys_close(dir);
}

uint64_t board_nr_verdicts(void)
{
	return nr_verdicts;
}

uint64_t board_stamp(void)
{
	struct reclaim_stats stats;

	reclaimer_stats(&stats);
	return stats.nr_passes * 0x9e3779b97f4a7c15 +
	       (uint64_t)load_relaxed(&account.slots_handed) * 31 +
	       (uint64_t)load_relaxed(&account.slots_dirty) * 37 +
	       run_counted(large) * 41 +
	       load_relaxed(&account.nr_heaps) * 43 +
	       stats.pressure * 47 + nr_verdicts * 53 +
	       run_dirty_bytes() * 59;
}

const struct ebb_page *board_page(void)
{
	return &page;
}
