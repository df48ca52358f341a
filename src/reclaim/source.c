/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Memory pressure sources
 *
 * What it is: the table of sources, and what is common to them: opening,
 * polling, dying, and telling an admin how each of them is.
 *
 * Invariants:
 * (1) A source that is not live has a reason.
 * (2) A source that fails in event() or sample() is unavailable from then on
 *     and is polled no more, so that a dead descriptor, which is always
 *     ready, cannot keep the loop awake.
 * (3) A source whose descriptors close slowly keeps them until the process
 *     ends.
 *
 * Locking: none.  The reclaimer thread is the only writer; readers on other
 * threads see each field whole.
 *
 * Fork: the descriptors lived in the reclaimer's own file table, so a child
 * inherits none of them and closes none.
 */
#include <poll.h>
#include <time.h>
#include "base/atomic.h"
#include "base/err.h"
#include "base/log.h"
#include "base/sys.h"
#include "reclaim/source.h"

/* Headroom first: see source_headroom_bit(). */
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
	{ "psi", "CONFIG_PSI",
	  IS_ENABLED(CONFIG_PSI) ? &psi_source : NULL },
};

_Static_assert(ARRAY_SIZE(table) <= 32, "signals.by_source is one word");

/* Reclaimer thread only. */
static bool may_hold_fds;

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

static void close_fds(struct source *source)
{
	if (source->slow_close)
		return;
	for (unsigned int i = 0; i < source->nr_fds; i++)
		sys_close(source->fds[i]);
	source->nr_fds = 0;
}

static void source_fail(struct source *source)
{
	close_fds(source);
	set_state(source, SOURCE_UNAVAILABLE);
}

static void open_one(struct source *source, const struct cgroup_view *view,
		     const char *no_table)
{
	int err;

	source->nr_fds = 0;
	if (no_table && source->needs_fds)
		err = source_refuse(source, no_table, -EOPNOTSUPP);
	else
		err = source->open(source, view);
	if (err)
		source_fail(source);
	else
		set_state(source, SOURCE_LIVE);
}

void source_open_all(const struct cgroup_view *view, const char *no_table)
{
	may_hold_fds = !no_table;
	for (unsigned int i = 0; i < ARRAY_SIZE(table); i++)
		if (table[i].source)
			open_one(table[i].source, view, no_table);
}

void source_reset_all(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(table); i++) {
		struct source *source = table[i].source;

		if (!source)
			continue;
		set_state(source, SOURCE_CLOSED);
		source->nr_fds = 0;
		store_relaxed(&source->error, 0);
		store_relaxed(&source->nr_events, 0);
		store_relaxed(&source->last_event_ms, 0);
		store_relaxed(&source->nr_purges, 0);
	}
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
					.events = source->poll_events,
				};
	}
	return nr;
}

static void note_event(struct source *source, unsigned int i,
		       enum pressure before, struct signals *signals)
{
	store_relaxed(&source->nr_events, source->nr_events + 1);
	store_relaxed(&source->last_event_ms, signals->now_ms);
	if (signals->pressure > PRESSURE_NONE)
		signals->by_source |= 1u << i;
	if (signals->pressure < before)
		signals->pressure = before;
}

static void dispatch_fd(struct source *source, unsigned int i, unsigned int at,
			struct signals *signals)
{
	enum pressure before = signals->pressure;
	int ret;

	signals->pressure = PRESSURE_NONE;
	ret = source->event(source, at, signals);
	if (ret > 0)
		note_event(source, i, before, signals);
	else
		signals->pressure = before;
	if (ret < 0)
		source_fail(source);
}

void source_dispatch(const struct pollfd *set, unsigned int nr,
		     struct signals *signals)
{
	unsigned int next = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(table) && next < nr; i++) {
		struct source *source = table[i].source;
		unsigned int nr_fds;

		if (!source || get_state(source) != SOURCE_LIVE)
			continue;
		nr_fds = source->nr_fds;
		for (unsigned int at = 0; at < nr_fds && next < nr; at++) {
			if (set[next++].revents &&
			    get_state(source) == SOURCE_LIVE)
				dispatch_fd(source, i, at, signals);
		}
	}
}

void source_sample_all(struct signals *signals)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(table); i++) {
		struct source *source = table[i].source;

		if (!source || !source->sample ||
		    get_state(source) != SOURCE_LIVE)
			continue;
		if (source->sample(source, signals) < 0)
			source_fail(source);
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
	return false;
}

/* A source that is only sampled hears no event; a pass it forced is one. */
static void note_purge(struct source *source)
{
	store_relaxed(&source->nr_purges, source->nr_purges + 1);
	if (source->event)
		return;
	store_relaxed(&source->nr_events, source->nr_events + 1);
	store_relaxed(&source->last_event_ms, source_now_ms());
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

uint64_t source_now_ms(void)
{
	struct timespec ts = { 0 };

	sys_call2(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* === Telling ========================================================== */

const char *source_error_name(int error)
{
	static const struct {
		int error;
		const char *name;
	} names[] = {
		{ EACCES, "EACCES" },	{ EPERM, "EPERM" },
		{ ENOENT, "ENOENT" },	{ EROFS, "EROFS" },
		{ ENODEV, "ENODEV" },	{ EINVAL, "EINVAL" },
		{ EBUSY, "EBUSY" },	{ EMFILE, "EMFILE" },
		{ ENFILE, "ENFILE" },	{ ENOMEM, "ENOMEM" },
		{ ENOSYS, "ENOSYS" },	{ EAGAIN, "EAGAIN" },
		{ EIO, "EIO" },		{ EOPNOTSUPP, "EOPNOTSUPP" },
		{ ENAMETOOLONG, "ENAMETOOLONG" },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(names); i++)
		if (error == names[i].error || error == -names[i].error)
			return names[i].name;
	return "error";
}

const struct source *source_at(unsigned int i)
{
	for (unsigned int at = 0; at < ARRAY_SIZE(table); at++)
		if (table[at].source && !i--)
			return table[at].source;
	return NULL;
}

bool source_is_live(const struct source *source)
{
	return get_state(source) == SOURCE_LIVE;
}

size_t source_describe(const struct source *source, char *buf, size_t size)
{
	enum source_state state = get_state(source);
	uint64_t nr_events = load_relaxed(&source->nr_events);
	uint64_t last_ms = load_relaxed(&source->last_event_ms);
	uint64_t now_ms = source_now_ms();
	const char *reason = load_relaxed(&source->reason);
	int error = load_relaxed(&source->error);

	if (state == SOURCE_CLOSED)
		return fmt_line(buf, size, "%s: unavailable: "
				"the reclaimer has not run yet", source->name);
	if (state == SOURCE_UNAVAILABLE && error != -EOPNOTSUPP)
		return fmt_line(buf, size, "%s: unavailable: %s (%s)",
				source->name, reason, source_error_name(error));
	if (state == SOURCE_UNAVAILABLE)
		return fmt_line(buf, size, "%s: unavailable: %s", source->name,
				reason);
	if (!nr_events)
		return fmt_line(buf, size, "%s: live (%s), 0 events",
				source->name, reason);
	return fmt_line(buf, size, "%s: live (%s), %llu events, "
			"last %llu ms ago", source->name, reason,
			(unsigned long long)nr_events,
			(unsigned long long)(now_ms - min(now_ms, last_ms)));
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
