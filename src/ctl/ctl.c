/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The control directory
 */
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "acct/account.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/param.h"
#include "base/sys.h"
#include "ctl/attr.h"
#include "ctl/board.h"
#include "ctl/ctl.h"
#include "ctl/file.h"
#include "ctl/filter.h"
#include "ctl/notes.h"
#include "ctl/place.h"
#include "ctl/text.h"
#include "debug/report.h"
#include "ebb/abi.h"
#include "os/probe.h"
#include "reclaim/reclaimer.h"
#include "reclaim/sibling.h"

#define SHOW_GAP_MS	1000u	/* between two writings of all files */
#define HASTE_GAP_MS	20u	/* of the page, while there is pressure */
#define READ_GAP_MS	10u	/* between two looks at what was written */
#define RETRY_MIN_MS	5000u	/* where something failed */
#define RETRY_MAX_MS	300000u
#define WAIT_MS	1000u	/* for who is at it when the process ends, or forks */
#define TEXT_SIZE	(24 * KIB)

enum ctl_state {
	CTL_OFF,		/* control_dir=off, or not built in */
	CTL_WAITING,		/* the process is too young, or see retry_ms */
	CTL_OPEN,		/* there is a directory */
	CTL_CLOSED,		/* the process ends */
};

static struct lock ctl_lock = LOCK_INIT(6);

/* ctl_lock; @state, @why and @error are also read by ctl_describe(). */
static struct {
	enum ctl_state state;
	bool made;		/* PID/ is, at @path, to be removed one day */
	bool forked;		/* in the middle of a visit, by a handler */
	int pid;		/* whose it is: not a child's on our memory */
	const char *why;	/* of what failed last, or NULL */
	int error;
	char path[PLACE_PATH_MAX];
	struct place_self self;
	uint64_t retry_ms;	/* nothing is tried before this */
	uint32_t retry_gap_ms;
	uint64_t shown_ms;	/* all files were written; 0: never */
	uint64_t paged_ms;	/* the page was */
	uint64_t shown_stamp;
	uint64_t forced_seen;	/* forced passes, at the last look */
	bool settled;		/* the thread has put all files in place */
} ctl __startup_data;

/* Reclaimer thread only: descriptors of its own table, or -1. */
static int dir_fd = -1, page_fd = -1, notes_fd = -1;
static bool may_hold;		/* it has such a table */
static uint64_t read_after_ms;	/* notes are left alone until then */
static bool unread;		/* and there are some */

static bool fork_took;		/* ctl_lock, by who forks */
static uint32_t leaving;	/* the thread is to remove all: ctl_exit() */

/* === Failing ============================================================== */

/* Descriptors are the reclaimer's; others hold none. */
static void close_all(void)
{
	int *const fds[] = { &dir_fd, &page_fd, &notes_fd };

	for (unsigned int i = 0; i < ARRAY_SIZE(fds); i++) {
		if (*fds[i] >= 0)
			sys_close(*fds[i]);
		*fds[i] = -1;
	}
	unread = false;
}

/* Tried again later, each time after twice as long. */
static void fail(const char *why, int err)
{
	ctl.retry_gap_ms = min(max(ctl.retry_gap_ms * 2, RETRY_MIN_MS),
			       RETRY_MAX_MS);
	ctl.retry_ms = clock_coarse_ms() + ctl.retry_gap_ms;
	ctl.error = err;
	store_relaxed(&ctl.why, why);
	store_relaxed(&ctl.state, CTL_WAITING);
	store_relaxed(&account.show_ms, ctl.retry_ms);
}

/* === Making =============================================================== */

/* Returns a descriptor of the directory, or -errno. */
static int make(void)
{
	static char path[PLACE_PATH_MAX];
	const char *why = "";
	int fd;

	place_look_at_self(&ctl.self);
	fd = place_make(&ctl.self, param_str(EBB_ATTR_CONTROL_DIR), path, &why);
	if (fd < 0) {
		fail(why, fd);
		return fd;
	}
	fmt_line(ctl.path, sizeof(ctl.path), "%s", path);
	ctl.made = true;
	board_begin(&ctl.self);
	attr_reset();
	ctl.shown_ms = ctl.paged_ms = 0;
	ctl.settled = false;
	ctl.retry_gap_ms = 0;
	store_relaxed(&ctl.why, (const char *)NULL);
	store_relaxed(&ctl.state, CTL_OPEN);
	return fd;
}

/* The directory's descriptor, which it is made for if need be; or -errno. */
static int get_dir(bool on_thread)
{
	const char *refused = filter_refusal(on_thread);
	int fd;

	if (refused) {
		fail(refused, -EPERM);
		return -EPERM;
	}
	if (on_thread && dir_fd >= 0)
		return dir_fd;
	if (ctl.state == CTL_OPEN) {
		fd = place_open(ctl.path, ctl.self.uid);
		/* Removed, or out of reach since the user changed. */
		if (fd >= 0)
			return fd;
	}
	return make();
}

/* === Showing ============================================================== */

static int open_page(int dir)
{
	const struct ebb_page *page = board_page();
	struct stat st;
	int err;

	if (page_fd >= 0 && !sys_fstat(page_fd, &st) && st.st_nlink)
		return page_fd;
	if (page_fd >= 0)
		sys_close(page_fd);
	page_fd = -1;
	err = file_put(dir, EBB_PAGE_FILE, 0600, (const char *)page,
		       sizeof(*page), NULL);
	return err ?: file_open(dir, EBB_PAGE_FILE, O_WRONLY);
}

/* As long as we live, or keep it open (EBB_FEATURE_HELD). */
static void hold_page(int fd)
{
	page_fd = fd;
	/* Where it cannot be locked, it can be told by our number alone. */
	sys_call2(SYS_flock, fd, LOCK_EX | LOCK_NB);
}

static int write_page(int dir, bool on_thread)
{
	const struct ebb_page *page = board_page();
	int fd = open_page(dir);
	long len;

	if (fd < 0)
		return fd;
	len = sys_call4(SYS_pwrite64, fd, (long)page, sizeof(*page), 0);
	if (fd != page_fd && on_thread && may_hold)
		hold_page(fd);
	else if (fd != page_fd)
		sys_close(fd);
	return len == (long)sizeof(*page) ? 0 : len < 0 ? (int)len : -ENOSPC;
}

static int write_texts(int dir)
{
	static char buf[TEXT_SIZE];
	const struct text_file *file;

	for (unsigned int i = 0; (file = text_file_at(i)); i++) {
		struct text text = { buf, sizeof(buf), 0 };
		int err;

		file->render(&text, board_page());
		err = file_put(dir, file->name, 0400, buf, text.len, NULL);
		/* Somebody's directory in its place is no harm to others. */
		if (err && err != -EISDIR)
			return err;
	}
	return 0;
}

static uint64_t features(bool on_thread)
{
	return EBB_FEATURE_CONTROL | EBB_FEATURE_LIMIT |
	       (on_thread ? EBB_FEATURE_THREAD : 0) |
	       (on_thread && may_hold ? EBB_FEATURE_HELD : 0);
}

/* Where the page is all that there is, @on_thread is false. */
static int show(int dir, bool on_thread, bool page_only)
{
	uint64_t now_ms = clock_coarse_ms();
	uint64_t stamp = board_stamp();
	int err;

	/* What board_report() had no chance to. */
	(void)board_take_report(dir);
	board_gather(on_thread ? EBB_PAGE_RUNNING : EBB_PAGE_INBAND,
		     features(on_thread));
	err = write_page(dir, on_thread);
	ctl.paged_ms = now_ms;
	if (err || page_only)
		return err;
	if (on_thread)
		err = write_texts(dir);
	ctl.shown_ms = now_ms;
	ctl.shown_stamp = stamp;
	return err;
}

/* === As the reclaimer's guest ============================================= */

static void begin(bool own_table)
{
	may_hold = own_table;
	unread = false;
	read_after_ms = 0;
}

static int poll_fd(void)
{
	return unread ? -1 : notes_fd;
}

/* The thread has the directory from now on: all files are put in place. */
static int settle_in(int dir)
{
	int err;

	if (ctl.settled)
		return 0;
	if (may_hold) {
		dir_fd = dir;
		notes_fd = notes_open(dir);
	}
	/* What was written before there were notes. */
	attr_read(dir, attr_present(dir), 0, ctl.self.uid);
	err = attr_put_texts(dir);
	err = err ?: attr_put(dir, ALL_FILES);
	ctl.settled = !err;
	return err;
}

/* See to what was written; returns whether an option changed. */
static bool answer(int dir)
{
	uint64_t now_ms = clock_coarse_ms();
	uint64_t written = 0, which;

	if (notes_fd < 0) {
		unread = false;
		return attr_look(dir, ctl.self.uid);
	}
	if (now_ms < read_after_ms)
		return false;
	which = notes_read(notes_fd, &written, &unread) | attr_hollow();
	if (!which)
		return false;
	read_after_ms = now_ms + READ_GAP_MS;
	return attr_read(dir, which, written, ctl.self.uid);
}

/* Whether the page is due though the texts are not. */
static bool in_haste(uint64_t now_ms)
{
	struct reclaim_stats stats;

	reclaimer_stats(&stats);
	return now_ms - ctl.paged_ms >= HASTE_GAP_MS &&
	       (stats.pressure || stats.nr_forced != ctl.forced_seen);
}

/* Whether there is anything to do but to answer. */
static bool is_due(uint64_t now_ms)
{
	return in_haste(now_ms) || (board_stamp() != ctl.shown_stamp &&
				    now_ms - ctl.shown_ms >= SHOW_GAP_MS);
}

static int show_if_due(int dir, bool answered)
{
	uint64_t now_ms = clock_coarse_ms();
	struct reclaim_stats stats;
	int err = 0;

	if (board_stamp() != ctl.shown_stamp &&
	    now_ms - ctl.shown_ms >= SHOW_GAP_MS)
		err = show(dir, true, false);
	else if (answered || in_haste(now_ms))
		err = show(dir, true, true);
	reclaimer_stats(&stats);
	ctl.forced_seen = stats.nr_forced;
	return err;
}

/* When there will be something to do, if nothing happens. */
static uint32_t next_visit(void)
{
	uint64_t now_ms = clock_coarse_ms();
	uint64_t at_ms = UINT64_MAX;

	if (board_stamp() != ctl.shown_stamp)
		at_ms = ctl.shown_ms + SHOW_GAP_MS;
	if (unread || attr_hollow())
		at_ms = min(at_ms, read_after_ms);
	/* What is allocated is told from then on, by who allocates. */
	store_relaxed(&account.show_ms, ctl.shown_ms + SHOW_GAP_MS);
	if (at_ms == UINT64_MAX)
		return RECLAIMER_NO_VISIT;
	return (uint32_t)max(at_ms - min(at_ms, now_ms), (uint64_t)1);
}

static uint32_t visit_locked(bool ready)
{
	uint64_t now_ms = clock_coarse_ms(), verdicts;
	bool changed;
	int dir, err;

	if (ctl.state == CTL_WAITING && now_ms < ctl.retry_ms) {
		store_relaxed(&account.show_ms, ctl.retry_ms);
		/* An idle process is woken once to be seen, not to retry. */
		return ctl.why ? RECLAIMER_NO_VISIT :
		       (uint32_t)(ctl.retry_ms - now_ms);
	}
	unread |= ready;
	if (ctl.settled && !unread && !attr_hollow() && !is_due(now_ms))
		return next_visit();
	dir = get_dir(true);
	if (dir < 0) {
		close_all();
		return RECLAIMER_NO_VISIT;
	}
	err = settle_in(dir);
	verdicts = board_nr_verdicts();
	changed = !err && answer(dir);
	if (!err)
		err = show_if_due(dir, board_nr_verdicts() != verdicts);
	if (err) {
		fail("files cannot be written", err);
		close_all();
	}
	if (dir != dir_fd && (err || !may_hold))
		sys_close(dir);
	return changed ? 0 : err ? RECLAIMER_NO_VISIT : next_visit();
}

/* Nothing is left behind; the state is CTL_CLOSED. */
static void remove_all(void)
{
	int fd = place_open(ctl.path, ctl.self.uid);

	if (fd < 0)
		return;
	place_remove(fd, ctl.path);
	sys_close(fd);
}

/* For who ends the process, and may not do it below its filter. */
static uint32_t leave(void)
{
	if (!lock_try(&ctl_lock))
		return READ_GAP_MS;
	if (!filter_refusal(true)) {
		remove_all();
		sibling_exit();
	}
	close_all();
	lock_release(&ctl_lock);
	/* Pairs with leave_by_thread(). */
	store_release(&leaving, 0);
	sys_futex_wake(&leaving, 1);
	return RECLAIMER_NO_VISIT;
}

static uint32_t visit(bool ready)
{
	uint32_t ret;

	if (load_relaxed(&leaving))
		return leave();
	if (load_relaxed(&ctl.state) == CTL_OFF ||
	    load_relaxed(&ctl.state) == CTL_CLOSED)
		return RECLAIMER_NO_VISIT;
	if (!lock_try(&ctl_lock)) {
		unread |= ready;
		return READ_GAP_MS;
	}
	ret = ctl.state == CTL_CLOSED ? RECLAIMER_NO_VISIT :
					visit_locked(ready);
	lock_release(&ctl_lock);
	return ret;
}

static const struct reclaimer_guest guest = {
	.begin = begin,
	.poll_fd = poll_fd,
	.visit = visit,
};

/* === Siblings ============================================================= */

/* By who it is that may be asked: the reclaimer, which sees to it itself. */
static int make_roster_dir(char *path, const char **ret_why)
{
	struct place_self who;
	int fd;

	*ret_why = filter_refusal(true);
	if (*ret_why)
		return -EPERM;
	*ret_why = "the control directory is in use";
	if (!lock_try(&ctl_lock))
		return -EAGAIN;
	*ret_why = "the process ends";
	if (ctl.state == CTL_CLOSED) {
		lock_release(&ctl_lock);
		return -EOPNOTSUPP;
	}
	place_look_at_self(&who);
	fd = place_make_side(&who, param_str(EBB_ATTR_CONTROL_DIR),
			     EBB_ROSTER_DIR, roster_is_abandoned, path,
			     ret_why);
	if (fd >= 0)
		sys_close(fd);
	lock_release(&ctl_lock);
	return min(fd, 0);
}

static bool roster_dir_at(unsigned int i, uint32_t uid, char *path)
{
	return place_side_at(i, param_str(EBB_ATTR_CONTROL_DIR),
			     EBB_ROSTER_DIR, uid, path);
}

static const struct sibling_places sibling_places = {
	.make = make_roster_dir,
	.at = roster_dir_at,
};

/* === Without the reclaimer ================================================ */

/* Of every process, and of a forked child. */
__startup static void begin_waiting(void)
{
	store_relaxed(&ctl.state, CTL_WAITING);
	ctl.pid = sys_getpid();
	ctl.made = false;
	ctl.why = NULL;
	filter_forget();
	ctl.retry_gap_ms = 0;
	ctl.retry_ms = clock_coarse_ms() + EBB_CONTROL_AFTER_MS;
	ctl.settled = false;
	ctl.path[0] = '\0';
	store_relaxed(&account.show_ms, ctl.retry_ms);
}

/*
 * This is the child of a handler that interrupted the visit and forked: what
 * was made is the parent's.
 */
static void end_if_forked(void)
{
	if (!ctl.forked)
		return;
	ctl.forked = file_barred = false;
	begin_waiting();
}

static void visit_alone(void)
{
	int dir, err;

	/* Others need not try meanwhile; each way out sets it again. */
	store_relaxed(&account.show_ms, UINT64_MAX);
	if (ctl.state == CTL_WAITING && clock_coarse_ms() < ctl.retry_ms) {
		store_relaxed(&account.show_ms, ctl.retry_ms);
		return;
	}
	dir = get_dir(false);
	if (dir < 0)
		return;
	attr_look(dir, ctl.self.uid);
	err = show(dir, false, false);
	sys_close(dir);
	if (err)
		fail("files cannot be written", err);
	else
		store_relaxed(&account.show_ms, ctl.shown_ms + SHOW_GAP_MS);
}

/* A child of vfork(2), or of a fork that knows no handlers. */
static bool is_other_process(void)
{
	return sys_getpid() != ctl.pid;
}

void ctl_visit(void)
{
	if (reclaimer_running()) {
		/* It sets that again, on each way out of its visit. */
		store_relaxed(&account.show_ms, UINT64_MAX);
		reclaimer_visit();
		return;
	}
	/* Whoever has the lock does it. */
	if (load_relaxed(&ctl.state) == CTL_OFF || is_other_process() ||
	    !lock_try(&ctl_lock))
		return;
	if (ctl.state != CTL_CLOSED)
		visit_alone();
	end_if_forked();
	lock_release(&ctl_lock);
}

/* === Life ================================================================= */

/*
 * A report was written (debug/report.h), most likely by a process that ends
 * now.  Nobody is waited for: in the middle of a visit, the next one shows it if
 * the process goes on.
 */
static void show_report(void)
{
	if (load_relaxed(&ctl.state) != CTL_OPEN || is_other_process() ||
	    lock_holds_any() || !lock_try(&ctl_lock))
		return;
	/* Below a filter of this thread's alone a process that goes on lives. */
	if (!filter_refusal(false))
		board_report(ctl.path, ctl.self.uid);
	lock_release(&ctl_lock);
}

__startup void ctl_init(char *const *env, bool secure)
{
	if (!strcmp(param_str(EBB_ATTR_CONTROL_DIR), "off"))
		return;
	place_note_environment(env, secure);
	if (secure)
		attr_note_secure();
	begin_waiting();
	reclaimer_set_guest(&guest);
	sibling_set_places(&sibling_places);
	if (IS_ENABLED(CONFIG_GUARD))
		report_shown = show_report;
}

/*
 * Below a filter of this thread's, calls may kill it that the reclaimer has
 * tried.  Where it does not come in time, somebody sweeps one day.
 */
static void leave_by_thread(void)
{
	uint64_t until_ms = clock_ms() + WAIT_MS;
	struct timespec ts = { 0, READ_GAP_MS * 1000000 };

	if (!reclaimer_running())
		return;
	store_relaxed(&leaving, 1);
	reclaimer_visit();
	/* Pairs with leave(). */
	while (load_acquire(&leaving) && clock_ms() < until_ms)
		sys_futex_wait(&leaving, 1, &ts);
}

/* Of every process that ends by itself. */
__startup void ctl_exit(void)
{
	/* In a handler that interrupted a visit, which does not go on. */
	bool mine = lock_is_mine(&ctl_lock);
	bool made, may_call;

	if (load_relaxed(&ctl.state) == CTL_OFF || is_other_process())
		return;
	if (!mine && !lock_try_for(&ctl_lock, WAIT_MS))
		return;
	made = ctl.made || sibling_has_joined();
	store_relaxed(&ctl.state, CTL_CLOSED);
	store_relaxed(&account.show_ms, UINT64_MAX);
	may_call = made && !probe_filters(-1);
	if (may_call) {
		remove_all();
		sibling_exit();
	}
	if (!mine)
		lock_release(&ctl_lock);
	if (made && !may_call)
		leave_by_thread();
}

void ctl_prefork(bool may_wait)
{
	/* Nobody has descriptors open for a moment that a child would get. */
	fork_took = !lock_is_mine(&ctl_lock) &&
		    lock_try_for(&ctl_lock, may_wait ? WAIT_MS : 0);
}

void ctl_postfork_parent(void)
{
	if (fork_took)
		lock_release(&ctl_lock);
}

void ctl_postfork_child(void)
{
	bool mine = lock_is_mine(&ctl_lock);

	/* They are not in this process's table. */
	dir_fd = page_fd = notes_fd = -1;
	unread = may_hold = false;
	store_relaxed(&leaving, 0);
	if (ctl.state != CTL_OFF)
		begin_waiting();
	ctl.forked = file_barred = mine && !fork_took;
	if (fork_took)
		lock_release(&ctl_lock);
	else if (!mine)
		lock_reset(&ctl_lock);
}

size_t ctl_describe(char *buf, size_t size)
{
	const char *why = load_relaxed(&ctl.why);

	switch (load_relaxed(&ctl.state)) {
	case CTL_OFF:
		return fmt_line(buf, size, "control: off");
	case CTL_OPEN:
		return fmt_line(buf, size, "control: %s", ctl.path);
	case CTL_CLOSED:
		return fmt_line(buf, size, "control: removed");
	case CTL_WAITING:
		break;
	}
	if (!why)
		return fmt_line(buf, size, "control: not yet");
	return fmt_line(buf, size, "control: none: %s (%s)", why,
			err_name(ctl.error));
}
