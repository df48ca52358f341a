/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Memory pressure sources
 *
 * What it is: the table of sources, and what is common to them: opening,
 * polling, dying, being found again, and telling an admin how each of them is.
 *
 * Invariants:
 * (1) A source that is not live has a reason.
 * (2) A source that fails is unavailable and is polled no more until it is
 *     opened again, so that a dead descriptor, which is always ready, cannot
 *     keep the loop awake.
 * (3) The view of the cgroups changes only while no source is open.
 * (4) A descriptor that closes slowly is closed as a settling step, unless
 *     MAX_DOOMED of them wait for that; nothing is left open for good.
 *
 * States (of one source):
 *
 *	           open_one()              source_fail()
 *	CLOSED ──────────────────► LIVE ──────────────────► UNAVAILABLE
 *	                            ▲    open_one() fails        │
 *	                            └────────────────────────────┘
 *	                              source_refind(), open_one()
 *
 * A process that is moved to another cgroup is not told.  Its sources, of the
 * old cgroup's files, stay live and say the wrong thing, so the two paths in
 * /proc/thread-self/cgroup are compared with those seen, in rounds that are
 * made anyway: an idle process is not woken for it.
 *
 * Locking: none.  The reclaimer thread is the only writer; readers on other
 * threads see each field whole.
 *
 * Fork: the descriptors lived in the reclaimer's own file table, so a child
 * inherits none of them and closes none.
 */
#include <poll.h>
#include "base/atomic.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/sys.h"
#include "reclaim/source.h"

/*
 * Headroom first: see source_headroom_bit(); watch before psi, which gives way
 * to it; siblings last, who are told what the others said.
 */
static const struct {
	const char *name;
	const char *symbol;
	struct source *source;		/* NULL: not built in */
} table[] = {
	{ "headroom", "CONFIG_HEADROOM",
	  IS_ENABLED(CONFIG_HEADROOM) ? &headroom_source : NULL },
	{ "cgroup2", "CONFIG_CGROUP2",
	  IS_ENABLED(CONFIG_CGROUP2) ? &cgroup2_source : NULL },
	{ "cgroup1", "CONFIG_CGROUP1",
	  IS_ENABLED(CONFIG_CGROUP1) ? &cgroup1_source : NULL },
	{ "watch", "CONFIG_WATCH",
	  IS_ENABLED(CONFIG_WATCH) ? &watch_source : NULL },
	{ "psi", "CONFIG_PSI",
	  IS_ENABLED(CONFIG_PSI) ? &psi_source : NULL },
	{ "app", "CONFIG_APP_CALL",
	  IS_ENABLED(CONFIG_APP_CALL) ? &app_source : NULL },
	{ "siblings", "CONFIG_SIBLINGS",
	  IS_ENABLED(CONFIG_SIBLINGS) ? &sibling_source : NULL },
};

_Static_assert(ARRAY_SIZE(table) <= 32, "signals.by_source is one word");

#define MAX_DOOMED	16

/* Reclaimer thread only. */
static bool may_hold_fds;
static const char *table_missing;	/* why not; NULL: they may */
static struct cgroup_view *shown;	/* what the sources were opened for */
static uint64_t round_ms;		/* now, as the round in progress has it */
static uint64_t checked_ms;		/* whether the process was moved */
static int doomed[MAX_DOOMED];		/* fds to be closed in settling steps */
static unsigned int nr_doomed;

/* === State ============================================================ */

static void set_state(struct source *source, enum source_state state)
{
	/* Pairs with source_describe(). */
	store_release(&source->state, state);
}

static enum source_state get_state(const struct source *source)
{
	/* Pairs with set_state(). */
	return load_acquire(&source->state);
}

int source_refuse(struct source *source, const char *reason, int error)
{
	store_relaxed(&source->reason, reason);
	store_relaxed(&source->error, error);
	return error;
}

void source_watches(struct source *source, const char *what)
{
	store_relaxed(&source->reason, what);
	store_relaxed(&source->error, 0);
}

bool source_may_hold_fds(void)
{
	return may_hold_fds;
}

void source_add_fd(struct source *source, int fd, short events)
{
	source->fds[source->nr_fds] = fd;
	source->fd_events[source->nr_fds] = events;
	source->nr_fds++;
}

int source_take_fd(struct source *source, int fd, short events,
		   const char *reason)
{
	if (fd < 0)
		return source_refuse(source, reason, fd);
	source_add_fd(source, fd, events);
	return 0;
}

static void close_slowly(int fd)
{
	if (nr_doomed < MAX_DOOMED)
		doomed[nr_doomed++] = fd;
	else
		sys_close(fd);
}

void source_close_fds(struct source *source)
{
	for (unsigned int i = 0; i < source->nr_fds; i++) {
		if (source->slow_close)
			close_slowly(source->fds[i]);
		else
			sys_close(source->fds[i]);
	}
	source->nr_fds = 0;
}

/* === Opening, dying, being found again ================================ */

static void source_shut(struct source *source)
{
	if (source->close)
		source->close(source);
	source_close_fds(source);
}

/* The next try: later each time, unless it has been live for long enough. */
static void source_fail(struct source *source)
{
	bool lasted = get_state(source) == SOURCE_LIVE &&
		      round_ms >= source->opened_ms + source->retry_gap_ms;

	source_shut(source);
	if (lasted || !source->retry_gap_ms)
		source->retry_gap_ms = SOURCE_RETRY_MIN_MS;
	else
		source->retry_gap_ms = min(2 * source->retry_gap_ms,
					   SOURCE_RETRY_MAX_MS);
	source->retry_ms = round_ms + source->retry_gap_ms;
	set_state(source, SOURCE_UNAVAILABLE);
}

static void open_one(struct source *source)
{
	source->nr_fds = 0;
	if (table_missing && source->needs_fds) {
		source_refuse(source, table_missing, -EOPNOTSUPP);
		set_state(source, SOURCE_UNAVAILABLE);
		return;
	}
	if (source->open(source, shown)) {
		source_fail(source);
		return;
	}
	if (source->was_live)
		store_relaxed(&source->nr_found, source->nr_found + 1);
	source->was_live = true;
	source->opened_ms = round_ms;
	set_state(source, SOURCE_LIVE);
}

static void open_all(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(table); i++)
		if (table[i].source)
			open_one(table[i].source);
}

/* They begin anew: what they were before is another reclaimer's. */
static void forget(struct source *source)
{
	set_state(source, SOURCE_CLOSED);
	source->nr_fds = 0;
	source->was_live = false;
	source->retry_gap_ms = 0;
	store_relaxed(&source->error, 0);
	store_relaxed(&source->nr_events, 0);
	store_relaxed(&source->last_event_ms, 0);
	store_relaxed(&source->nr_purges, 0);
	store_relaxed(&source->nr_found, 0);
}

void source_open_all(struct cgroup_view *view, const char *no_table)
{
	may_hold_fds = !no_table;
	table_missing = no_table;
	shown = view;
	round_ms = checked_ms = clock_ms();
	source_reset_all();
	open_all();
}

void source_reset_all(void)
{
	nr_doomed = 0;
	for (unsigned int i = 0; i < ARRAY_SIZE(table); i++)
		if (table[i].source)
			forget(table[i].source);
}

/*
 * Whether it may come back by itself.  What no system call refused depends on
 * the configuration or the view alone.
 */
static bool is_due(const struct source *source)
{
	if (get_state(source) != SOURCE_UNAVAILABLE ||
	    round_ms < source->retry_ms || (table_missing && source->needs_fds))
		return false;
	return source->error != -EOPNOTSUPP || shown->version == CGROUP_NONE;
}

static bool any_is_due(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(table); i++)
		if (table[i].source && is_due(table[i].source))
			return true;
	return false;
}

static void retry_due(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(table); i++)
		if (table[i].source && is_due(table[i].source))
			open_one(table[i].source);
}

static void open_for(const struct cgroup_view *view)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(table); i++)
		if (table[i].source &&
		    get_state(table[i].source) == SOURCE_LIVE)
			source_shut(table[i].source);
	*shown = *view;
	open_all();
}

static bool was_moved(const char *prefix)
{
	if (round_ms < checked_ms + SOURCE_CHECK_MS)
		return false;
	checked_ms = round_ms;
	return cgroup_has_moved(prefix, shown);
}

bool source_refind(const char *prefix, uint64_t now_ms)
{
	static struct cgroup_view found;

	round_ms = now_ms;
	if (!was_moved(prefix) && !any_is_due())
		return false;
	cgroup_find(prefix, &found);
	if (cgroup_view_equals(&found, shown)) {
		shown->place = found.place;
		retry_due();
		return false;
	}
	open_for(&found);
	return true;
}

/* === A round of the loop ============================================== */

unsigned int source_poll_set(struct pollfd *set, unsigned int size)
{
	unsigned int nr = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(table); i++) {
		struct source *source = table[i].source;

		if (!source || get_state(source) != SOURCE_LIVE)
			continue;
		for (unsigned int at = 0; at < source->nr_fds; at++)
			if (nr < size)
				set[nr++] = (struct pollfd){
					.fd = source->fds[at],
					.events = source->fd_events[at],
				};
	}
	return nr;
}

static void note_event(struct source *source, unsigned int i,
		       struct signals *signals)
{
	store_relaxed(&source->nr_events, source->nr_events + 1);
	store_relaxed(&source->last_event_ms, signals->now_ms);
	if (signals->pressure <= PRESSURE_NONE)
		return;
	signals->by_source |= 1u << i;
	signals->asked |= !source->level;
}

/* Ask the @i-th source what is, of fds[@at], or (-1) of itself. */
static void ask(unsigned int i, int at, struct signals *signals)
{
	struct source *source = table[i].source;
	enum pressure before = signals->pressure;
	int ret;

	signals->pressure = PRESSURE_NONE;
	if (at < 0)
		ret = source->sample(source, signals);
	else
		ret = source->event(source, (unsigned int)at, signals);
	if (ret > 0)
		note_event(source, i, signals);
	else
		signals->pressure = PRESSURE_NONE;
	signals->pressure = max(signals->pressure, before);
	if (ret < 0)
		source_fail(source);
}

void source_dispatch(const struct pollfd *set, unsigned int nr,
		     struct signals *signals)
{
	unsigned int next = 0;

	round_ms = signals->now_ms;
	for (unsigned int i = 0; i < ARRAY_SIZE(table) && next < nr; i++) {
		struct source *source = table[i].source;
		unsigned int nr_fds;

		if (!source || get_state(source) != SOURCE_LIVE)
			continue;
		nr_fds = source->nr_fds;
		for (unsigned int at = 0; at < nr_fds && next < nr; at++) {
			source->revents = set[next++].revents;
			if (source->revents && get_state(source) == SOURCE_LIVE)
				ask(i, (int)at, signals);
		}
	}
}

void source_sample_all(struct signals *signals)
{
	round_ms = signals->now_ms;
	for (unsigned int i = 0; i < ARRAY_SIZE(table); i++) {
		struct source *source = table[i].source;

		if (source && source->sample &&
		    get_state(source) == SOURCE_LIVE)
			ask(i, -1, signals);
	}
}

bool source_settle(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(table); i++) {
		struct source *source = table[i].source;
		int ret;

		if (!source || !source->settle ||
		    get_state(source) != SOURCE_LIVE)
			continue;
		ret = source->settle(source);
		if (ret < 0)
			source_fail(source);
		if (ret)
			return true;
	}
	if (!nr_doomed)
		return false;
	sys_close(doomed[--nr_doomed]);
	return true;
}

static void note_purge(struct source *source)
{
	store_relaxed(&source->nr_purges, source->nr_purges + 1);
	if (!source->sampled)
		return;
	store_relaxed(&source->nr_events, source->nr_events + 1);
	store_relaxed(&source->last_event_ms, clock_ms());
}

void source_count_purge(uint32_t by_source)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(table); i++)
		if (table[i].source && by_source & 1u << i)
			note_purge(table[i].source);
}

uint32_t source_headroom_bit(void)
{
	return table[0].source ? 1u : 0;
}

/* === Telling ========================================================== */

const struct source *source_at(unsigned int i)
{
	for (unsigned int at = 0; at < ARRAY_SIZE(table); at++)
		if (table[at].source && !i--)
			return table[at].source;
	return NULL;
}

const char *source_name(unsigned int i, const struct source **ret_source)
{
	if (i >= ARRAY_SIZE(table))
		return NULL;
	*ret_source = table[i].source;
	return table[i].name;
}

bool source_is_live(const struct source *source)
{
	return get_state(source) == SOURCE_LIVE;
}

static size_t describe_live(const struct source *source, const char *what,
			    char *buf, size_t size)
{
	uint64_t nr_events = load_relaxed(&source->nr_events);
	uint64_t nr_purges = load_relaxed(&source->nr_purges);
	uint64_t last_ms = load_relaxed(&source->last_event_ms);
	uint64_t nr_found = load_relaxed(&source->nr_found);
	uint64_t now_ms = clock_ms();
	size_t len;

	len = fmt_line(buf, size, "%s: live (%s), %llu events", source->name,
		       what, (unsigned long long)nr_events);
	if (nr_purges)
		len += fmt_line(buf + len, size - len, ", %llu passes",
				(unsigned long long)nr_purges);
	if (nr_events)
		len += fmt_line(buf + len, size - len, ", last %llu ms ago",
				(unsigned long long)(now_ms -
						     min(now_ms, last_ms)));
	if (nr_found)
		len += fmt_line(buf + len, size - len,
				", found again %llu times",
				(unsigned long long)nr_found);
	return len;
}

size_t source_describe(const struct source *source, char *buf, size_t size)
{
	enum source_state state = get_state(source);
	const char *reason = load_relaxed(&source->reason);
	int error = load_relaxed(&source->error);

	if (state == SOURCE_LIVE)
		return describe_live(source, reason, buf, size);
	if (state == SOURCE_CLOSED)
		return fmt_line(buf, size, "%s: unavailable: "
				"the reclaimer has not run yet", source->name);
	if (error != -EOPNOTSUPP)
		return fmt_line(buf, size, "%s: unavailable: %s (%s)",
				source->name, reason, err_name(error));
	return fmt_line(buf, size, "%s: unavailable: %s", source->name,
			reason);
}

size_t source_report(char *buf, size_t size)
{
	size_t len = 0;

	if (size)
		buf[0] = '\0';
	for (unsigned int i = 0; i < ARRAY_SIZE(table); i++) {
		if (table[i].source)
			len += source_describe(table[i].source, buf + len,
					       size - len);
		else
			len += fmt_line(buf + len, size - len,
					"%s: unavailable: not built in (%s)",
					table[i].name, table[i].symbol);
		len += fmt_line(buf + len, size - len, "\n");
	}
	return len;
}
