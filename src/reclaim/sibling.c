/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Siblings: the other processes of the cgroup
 */
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/own_file.h"
#include "base/param.h"
#include "base/sys.h"
#include "os/probe.h"
#include "reclaim/sibling.h"

/*
 * No options: what is worth asking for, how stale the roster may be, which
 * costs a system call each time, and what who leads asks for.
 */
#define LEAST_SPARE	(256 * KIB)
#define TELL_STEP	MIB		/* what has changed, to be told at once */
#define LOOK_MS		1000u		/* between two looks at who is there */
#define PASS_ON_MS	10u		/* between two calls for all */
#define PASS_ON_SHARE	8u		/* of the limit */

static struct lock sibling_lock = LOCK_INIT(5);

/* Set once, or NULL. */
static __startup_data const struct sibling_places *places;

/* sibling_lock; @row is set to 0 by anybody */
static struct {
	char path[ROSTER_PATH_MAX];	/* "": not found yet */
	uint64_t place;			/* of the view that it is for */
	unsigned int row;		/* 0: we have none */
	uint64_t ino;
} shared;
static __startup_data uint32_t shared_uid;	/* whose it is */
static struct roster_row rows[ROSTER_ROWS];

/* inband_lock */
static uint64_t check_after_ms;
static bool may_be;

/* Reclaimer thread only. */
static struct roster self = { .fd = -1, .bell_fd = -1 };
static uint32_t self_uid;		/* with which it joined */
static int tried_filters;		/* how many there were when it did */
static const struct cgroup_view *own_view;
static uint64_t looked_ms, passed_on_ms;
static uint64_t told;			/* spare bytes */
static bool rung;			/* in this round, by a sibling */

static struct sibling_stats stats;	/* nr_asks: sibling_lock */

/* Asking makes no call for it, which a filter might not expect. */
__startup void sibling_set_places(const struct sibling_places *new_places)
{
	places = new_places;
	shared_uid = (uint32_t)getauxval(AT_EUID);
}

/* === Asking =============================================================== */

static bool find_dir(void)
{
	uint32_t uid = load_relaxed(&shared_uid);
	char path[ROSTER_PATH_MAX];

	for (unsigned int i = 0; places && places->at(i, uid, path); i++)
		if (own_file_exists(path, S_IFDIR, uid))
			return true;
	return false;
}

bool sibling_may_be(void)
{
	uint64_t now_ms = clock_coarse_ms();

	if (sibling_has_joined())
		return load_relaxed(&stats.nr_others);
	if (now_ms >= check_after_ms) {
		may_be = param_int(EBB_ATTR_SIBLINGS) && find_dir();
		check_after_ms = now_ms + SIBLING_CHECK_MS;
	}
	return may_be;
}

/* The file for @view in the directory that is in @path. */
static int add_name(char *path, const struct cgroup_view *view)
{
	char name[ROSTER_NAME_SIZE];
	size_t len = strlen(path);
	int err = roster_name(view->memory.path, name);

	if (err)
		return err;
	/* A bell's name is longer by ".255". */
	if (len + sizeof(name) + 8 > ROSTER_PATH_MAX)
		return -ENAMETOOLONG;
	fmt_line(path + len, ROSTER_PATH_MAX - len, "/%s", name);
	return 0;
}

static bool locate(const struct cgroup_view *view)
{
	if (shared.path[0] && (shared.row || shared.place == view->place))
		return true;
	shared.place = view->place;
	if (!param_int(EBB_ATTR_SIBLINGS) || view->version == CGROUP_NONE)
		return false;
	for (unsigned int i = 0; places && places->at(i, shared_uid,
						     shared.path); i++)
		if (own_file_exists(shared.path, S_IFDIR, shared_uid) &&
		    !add_name(shared.path, view) &&
		    own_file_exists(shared.path, S_IFREG, shared_uid))
			return true;
	shared.path[0] = '\0';
	return false;
}

bool sibling_ask(const struct cgroup_view *view, uint64_t want)
{
	struct roster_request request = {
		.want = want,
		.least = LEAST_SPARE,
	};

	if (!lock_try(&sibling_lock))
		return false;
	request.own_row = shared.row;
	if (locate(view) && roster_ask(shared.path, shared_uid, &request, rows) &&
	    !shared.row)
		shared.path[0] = '\0';
	if (request.nr_asked)
		store_relaxed(&stats.nr_asks, stats.nr_asks + 1);
	lock_release(&sibling_lock);
	return request.nr_asked;
}

/* === Taking part ========================================================== */

/* False: who asks just now is stopped, perhaps. */
static bool share(void)
{
	if (!lock_try_for(&sibling_lock, LOCK_PATIENCE_MS))
		return false;
	fmt_line(shared.path, sizeof(shared.path), "%s", self.path);
	shared.ino = self.ino;
	store_relaxed(&shared_uid, self_uid);
	store_relaxed(&shared.row, self.row);
	lock_release(&sibling_lock);
	return true;
}

/* There is a filter since the calls were tried: it may kill. */
static bool is_confined(void)
{
	return probe_filters(-1) != tried_filters;
}

__startup bool sibling_has_joined(void)
{
	return load_relaxed(&shared.row);
}

void sibling_exit(void)
{
	char path[ROSTER_PATH_MAX];
	char *slash;

	/* Who asks just now, or whom this handler interrupted: swept one day. */
	if (!sibling_has_joined() || lock_is_mine(&sibling_lock) ||
	    !lock_try_for(&sibling_lock, LOCK_PATIENCE_MS))
		return;
	memcpy(path, shared.path, sizeof(path));
	roster_clean(path, shared.row, shared.ino);
	store_relaxed(&shared.row, 0);
	lock_release(&sibling_lock);
	slash = strrchr(path, '/');
	if (slash) {
		*slash = '\0';
		/* Not empty: there are others, or other cgroups. */
		sys_call3(SYS_unlinkat, AT_FDCWD, (long)path, AT_REMOVEDIR);
	}
}

static void sibling_close(struct source *source)
{
	if (self.fd < 0)
		return;
	/* The bell is closed with the roster. */
	source->nr_fds = 0;
	/* First: the row may be another one's as soon as it is let go. */
	store_relaxed(&shared.row, 0);
	if (!is_confined())
		roster_clean(self.path, self.row, self.ino);
	roster_close(&self);
	store_relaxed(&stats.nr_others, 0);
	store_relaxed(&stats.leads, 0);
}

static int sibling_open(struct source *source, const struct cgroup_view *view)
{
	/* What it held before is another process's. */
	self.fd = self.bell_fd = -1;
	own_view = view;
	rung = false;
	if (!param_int(EBB_ATTR_SIBLINGS))
		return source_refuse(source, "siblings=off", -EOPNOTSUPP);
	if (!places)
		return source_refuse(source, IS_ENABLED(CONFIG_CONTROL) ?
				     "control_dir=off" :
				     "built without CONFIG_CONTROL",
				     -EOPNOTSUPP);
	if (view->version == CGROUP_NONE)
		return source_refuse(source, view->why, -EOPNOTSUPP);
	source_watches(source, "nobody: there is no limit");
	return 0;
}

/* Beyond those that ctl tries. */
static const char *refused_call(void)
{
	static const struct probe_call needed[] = {
		{ SYS_mknodat, { -1, (long)"", 0, 0 } },
		{ SYS_fcntl, { -1, F_OFD_GETLK, 0 } },
	};
	const char *reason;

	for (unsigned int i = 0; i < ARRAY_SIZE(needed); i++)
		if (probe_allowed(&needed[i], &reason))
			return "a seccomp filter refuses what is needed";
	return NULL;
}

static int join(struct source *source)
{
	const char *why;
	int err;

	tried_filters = probe_filters(-1);
	why = refused_call();
	if (why)
		return source_refuse(source, why, -EPERM);
	err = places->make(self.path, &why);
	if (err)
		return source_refuse(source, why, err);
	err = add_name(self.path, own_view);
	if (err)
		return source_refuse(source, "the cgroup is gone", err);
	self_uid = (uint32_t)sys_call0(SYS_geteuid);
	err = roster_join(&self, self_uid, (uint32_t)sys_getpid());
	if (err == -EMFILE)
		return source_refuse(source, "there are 255 already", err);
	if (err)
		return source_refuse(source, "no roster can be made", err);
	source_add_fd(source, self.bell_fd, POLLIN);
	told = 0;
	looked_ms = 0;
	if (share())
		return 0;
	return source_refuse(source, "a thread that asks is stopped", -EAGAIN);
}

static const char *describe(uint64_t nr_others, bool leads)
{
	if (!nr_others)
		return "alone";
	return leads ? "with others; leads" : "with others";
}

static int tell(struct source *source, uint64_t spare)
{
	int err = roster_tell(&self, (uint32_t)sys_getpid(), spare);

	told = spare;
	return err ? source_refuse(source, "cannot write to the roster", err) :
		     0;
}

static int look(struct source *source, uint64_t now_ms)
{
	int nr;

	if (roster_is_lost(&self))
		return source_refuse(source, "the roster was removed", -ESTALE);
	if ((uint32_t)sys_call0(SYS_geteuid) != self_uid)
		return source_refuse(source, "the user has changed", -ESTALE);
	nr = roster_count(&self);
	if (nr < 0)
		return source_refuse(source, "cannot read the roster", nr);
	store_relaxed(&stats.nr_others, (uint64_t)nr);
	store_relaxed(&stats.leads, roster_lead(&self));
	source_watches(source, describe(stats.nr_others, stats.leads));
	looked_ms = now_ms;
	return 0;
}

/* The kernel said something: others may not hear it. */
static void pass_on(const struct signals *signals)
{
	if (!stats.leads || rung || !signals->by_source ||
	    signals->limit == CGROUP_NO_LIMIT ||
	    signals->now_ms < passed_on_ms + PASS_ON_MS)
		return;
	passed_on_ms = signals->now_ms;
	(void)sibling_ask(own_view, signals->limit / PASS_ON_SHARE);
}

static bool differs(uint64_t spare)
{
	uint64_t by = spare > told ? spare - told : told - spare;

	return by >= max(told / 4, (uint64_t)TELL_STEP) ||
	       (spare < LEAST_SPARE && told >= LEAST_SPARE);
}

static int sibling_sample(struct source *source, struct signals *signals)
{
	bool look_is_due, tell_is_due;
	int err = 0;

	if (self.fd < 0 && signals->limit == CGROUP_NO_LIMIT)
		return 0;
	if (self.fd < 0)
		err = join(source);
	look_is_due = !looked_ms || signals->now_ms >= looked_ms + LOOK_MS;
	/* With each look: somebody may have cut the file. */
	tell_is_due = look_is_due || differs(signals->spare);
	if (!err && (tell_is_due || signals->by_source) && is_confined())
		err = source_refuse(source, "a seccomp filter was added",
				    -EPERM);
	if (!err && tell_is_due)
		err = tell(source, signals->spare);
	if (!err && look_is_due)
		err = look(source, signals->now_ms);
	if (!err)
		pass_on(signals);
	rung = false;
	return err;
}

static int sibling_event(struct source *source, unsigned int at,
			 struct signals *signals)
{
	int64_t asked = roster_hear(&self);

	(void)at;
	if (asked < 0)
		return source_refuse(source, "cannot read the bell",
				     (int)asked);
	if (!asked)
		return 0;
	rung = true;
	signals->pressure = PRESSURE_SEVERE;
	return 1;
}

void sibling_stats(struct sibling_stats *ret_stats)
{
	*ret_stats = (struct sibling_stats){
		.nr_others = load_relaxed(&stats.nr_others),
		.leads = load_relaxed(&stats.leads),
		.nr_asks = load_relaxed(&stats.nr_asks),
	};
}

void sibling_postfork_child(void)
{
	if (!lock_is_mine(&sibling_lock))
		lock_reset(&sibling_lock);
	shared.path[0] = '\0';
	shared.place = 0;
	shared.row = 0;
	self.fd = self.bell_fd = -1;
	check_after_ms = 0;
	stats = (struct sibling_stats){ 0 };
}

struct source sibling_source = {
	.name = "siblings",
	.open = sibling_open,
	.close = sibling_close,
	.event = sibling_event,
	.sample = sibling_sample,
	.needs_fds = true,
	.reason = "not opened",
};
