/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - In-band reclaim: a thread looks before it leaps
 */
#include <time.h>

#include "acct/account.h"
#include "base/bits.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd_window.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/param.h"
#include "base/sys.h"
#include "base/trace.h"
#include "heap/large.h"
#include "os/cpus.h"
#include "reclaim/gauge.h"
#include "reclaim/history.h"
#include "reclaim/inband.h"
#include "reclaim/notice.h"
#include "reclaim/purge.h"
#include "reclaim/sibling.h"
#include "vm/run.h"

/*
 * No options: shares and steps that only say how often a thread looks, which
 * costs microseconds; what is worth a purge at all; and how long what failed is
 * left alone, bounded by a second.  What trades memory for time is an option:
 * inband_ms, inband_want, margin_cpu, margin_thread.
 */
#define FIRST_ROOM	(4 * (int64_t)MIB)	/* before the first look */
#define FREE_ROOM	(256 * (int64_t)MIB)	/* where there is no limit yet */
#define WORTH_IT	(256 * KIB)	/* dirty memory that is worth a purge */
#define DIRTY_SHARE	8		/* of dirty memory goes at once, at least */
#define KEEP_MIN	(4u * (uint32_t)KIB)	/* a purge spares so much of */
#define KEEP_MOST	(64u * (uint32_t)KIB)	/* each class in each cache */
#define KEEP_TURNS	8u		/* enough was found: twice as much is spared */
#define GRANT_MIN	(256 * (int64_t)KIB)	/* where there is no room left */
#define GRANT_CRAWL	(16 * (int64_t)KIB)	/* and a pass of ours goes on */
#define MARGIN_SHARE	8		/* of the limit: not more than that */
#define TIGHT_SHARE	8		/* of the limit: less headroom is tight, */
#define ROOMY_SHARE	4		/* and that is not */
#define FRUGAL_GAP	16		/* of the limit: more than `frugal' ends that */
#define PROMISED_SHARE	4		/* of the limit: more is not held back */
#define GRANT_SHARE	2		/* of headroom: others spend it, too */
#define GRANT_STEP	((int64_t)MIB)	/* or that, if it is there */
#define STEP_SHARE	64		/* of room: a heap's untold bytes */
#define STEP_MIN	(4 * (int64_t)KIB)
#define NAP_US		500
#define ASK_GAP_US	2000		/* the first: who has more by now */
#define GAP_MAX_US	1000000
#define HOPE_TIMES	25	/* inband_ms, for siblings that were asked */
#define REFIND_US	1000000
#define READ_ALL_US	100000
#define ROOM_US		10000		/* between useless purges for `limit' */

static struct lock inband_lock = LOCK_INIT(5);

/* inband_lock */
static struct cgroup_view view;
static struct gauge_set gauges;
static unsigned int tightest;
static uint64_t read_all_us;		/* until then only that one is read */
static uint64_t find_after_us;		/* not looked for before this */
static uint64_t wait_after_us;		/* no waiting before this */
static uint64_t wait_gap_us;
static uint64_t ask_after_us;		/* siblings are left in peace until then */
static uint64_t ask_gap_us;
static bool asked;			/* somebody, since there was room */
static uint64_t hope_us;		/* and so long he is waited for yet */
static uint64_t room_after_us;		/* no purge for `limit' before this */
static uint64_t room_useless;		/* free bytes that did not go then */
static uint32_t keep_bytes = KEEP_MOST;	/* what a purge spares now */
static uint32_t nr_enough;		/* purges that found enough with it */
static uint32_t nr_grants;		/* read anywhere */
static int64_t overdraft;		/* read anywhere: who finds another thread
					 * looking may take so much more */

static bool found;			/* @view is; cleared by anybody */
static struct inband_stats stats;
static bool unbounded_told;		/* `limit' in percent, of nothing */

static void add_stat(uint64_t *stat, uint64_t value)
{
	store_relaxed(stat, *stat + value);
}

/* === Room and bound =================================================== */

/* By which usage may be off, and what was taken and is not touched yet. */
static uint64_t margin_of(uint64_t limit)
{
	uint64_t each_cpu = (uint64_t)param_int(EBB_ATTR_MARGIN_CPU);
	uint64_t each_heap = (uint64_t)param_int(EBB_ATTR_MARGIN_THREAD);

	return min(each_cpu * cpus_allowed() +
		   each_heap * load_relaxed(&account.nr_heaps),
		   limit / MARGIN_SHARE);
}

/* Whether there is @times the margin below @limit. */
static bool has_margin(uint64_t limit, uint64_t headroom, unsigned int times)
{
	return limit == CGROUP_NO_LIMIT ||
	       headroom > margin_of(limit) * times + (uint64_t)GRANT_MIN;
}

/* The admin's own bound, of @limit where it is a share. */
static void set_bound(uint64_t limit)
{
	int64_t option = param_int(EBB_ATTR_LIMIT);
	bool share = option & EBB_PERCENT_BIT;

	if (!option) {
		store_relaxed(&account.backed_max, 0);
		return;
	}
	if (share && limit == CGROUP_NO_LIMIT) {
		if (!unbounded_told)
			log_line("limit=%lld%% is not in force: %s",
				 (long long)(option & ~EBB_PERCENT_BIT),
				 IS_ENABLED(CONFIG_HEADROOM) ?
				 "the cgroup has no limit" :
				 "built without CONFIG_HEADROOM");
		unbounded_told = true;
		store_relaxed(&account.backed_max, 0);
		return;
	}
	/* Every refill tells what it took: what is untold is over the bound. */
	store_relaxed(&account.step, 0);
	store_relaxed(&account.backed_max,
		      max(param_bytes(EBB_ATTR_LIMIT, limit), (uint64_t)1));
}

static void set_step(int64_t room)
{
	int64_t step = min(max(room / STEP_SHARE, STEP_MIN), ACCOUNT_STEP);

	store_relaxed(&account.step,
		      load_relaxed(&account.backed_max) ? 0 : step);
}

static void grant(int64_t room, int64_t before)
{
	set_step(room);
	add_relaxed(&account.room, room - before);
	store_relaxed(&nr_grants, nr_grants + 1);
}

/*
 * Of what is there beyond the margin: others spend it, too.  Near the limit all
 * but another margin, at which room is made anyway.
 */
static int64_t share_of(int64_t headroom, int64_t margin)
{
	return max((headroom - margin) / GRANT_SHARE,
		   min(headroom - 2 * margin, GRANT_STEP));
}

static void say_if_not_frugal(void)
{
	int64_t option = param_int(EBB_ATTR_FRUGAL);

	if (!IS_ENABLED(CONFIG_MEDIUM) &&
	    option != param_attr(EBB_ATTR_FRUGAL)->def)
		log_line("frugal is not in force: built without CONFIG_MEDIUM");
}

/*
 * Whether memory is saved however much there is: below the admin's own bound one
 * size gets what another has freed, or nothing.
 */
static bool is_always_frugal(void)
{
	int64_t option = param_int(EBB_ATTR_FRUGAL);

	return option && (load_relaxed(&account.backed_max) ||
			  (option & EBB_PERCENT_BIT &&
			   option >= EBB_PERCENT(100)));
}

/* Who goes to and fro has memory cut in both ways. */
static void note_near(uint64_t limit, uint64_t headroom)
{
	bool none = limit == CGROUP_NO_LIMIT;
	uint64_t enough = none ? 0 : param_bytes(EBB_ATTR_FRUGAL, limit);

	if (is_always_frugal() || headroom < enough)
		store_relaxed(&account.frugal, true);
	else if (headroom - enough >= limit / FRUGAL_GAP || !enough)
		store_relaxed(&account.frugal, false);
	if (!none && headroom < limit / TIGHT_SHARE)
		store_relaxed(&account.tight, true);
	else if (none || headroom >= limit / ROOMY_SHARE)
		store_relaxed(&account.tight, false);
}

static void sampled(uint64_t limit, uint64_t headroom, int64_t room)
{
	int64_t room_most = (int64_t)min(headroom, (uint64_t)INT64_MAX / 4);
	bool none = limit == CGROUP_NO_LIMIT;

	store_relaxed(&stats.limit, none ? 0 : limit);
	store_relaxed(&stats.headroom, none ? 0 : headroom);
	store_relaxed(&overdraft,
		      has_margin(limit, headroom, 1) ? GRANT_MIN : 0);
	set_bound(limit);
	note_near(limit, headroom);
	if (limit == CGROUP_NO_LIMIT)
		grant(FREE_ROOM, room);
	else
		grant(share_of(room_most, (int64_t)margin_of(limit)), room);
}

struct inband_mark inband_mark(void)
{
	return (struct inband_mark){ load_relaxed(&account.room),
				     load_relaxed(&nr_grants) };
}

void inband_sampled(uint64_t limit, uint64_t headroom, struct inband_mark mark)
{
	/* A thread that looks just now knows better. */
	if (!lock_try(&inband_lock))
		return;
	if (load_relaxed(&nr_grants) == mark.nr_grants)
		sampled(limit, headroom, mark.room);
	lock_release(&inband_lock);
}

/* As the options are. */
static __startup void begin(void)
{
	int64_t option = param_int(EBB_ATTR_LIMIT);

	if (option || (param_int(EBB_ATTR_RECLAIM) &&
		       param_int(EBB_ATTR_INBAND_MS)))
		store_relaxed(&account.room, option ? 0 : FIRST_ROOM);
	if (option && !(option & EBB_PERCENT_BIT))
		set_bound(CGROUP_NO_LIMIT);
	if (is_always_frugal())
		store_relaxed(&account.frugal, true);
}

__startup void inband_init(void)
{
	begin();
	say_if_not_frugal();
}

void inband_option_changed(void)
{
	lock_take(&inband_lock);
	unbounded_told = false;
	if (!param_int(EBB_ATTR_LIMIT)) {
		set_bound(CGROUP_NO_LIMIT);
		store_relaxed(&account.step, ACCOUNT_STEP);
	}
	begin();
	lock_release(&inband_lock);
}

/* === Looking ========================================================== */

/* What cannot be found now, for lack of descriptors perhaps, is tried again. */
static bool find(uint64_t now)
{
	if (load_relaxed(&found))
		return true;
	if (now < find_after_us)
		return false;
	find_after_us = now + REFIND_US;
	/* First: who forgets it meanwhile has it looked for once more. */
	store_relaxed(&found, true);
	cgroup_find("", &view);
	read_all_us = 0;
	gauges.nr = 0;
	if (view.version == CGROUP_NONE || gauge_open(&gauges, &view, false))
		store_relaxed(&found, false);
	return gauges.nr;
}

/*
 * Headroom, file cache included; both CGROUP_NO_LIMIT where there is no limit.
 * The tightest gauge is read alone for READ_ALL_US, then all.  False: it cannot
 * be told.
 */
static bool look_open(uint64_t *ret_limit, uint64_t *ret_headroom)
{
	struct gauge_reading reading;
	uint64_t now = clock_us();
	int err;

	if (!find(now))
		return false;
	add_stat(&stats.nr_looks, 1);
	if (now < read_all_us) {
		err = gauge_read_one(&gauges, tightest, &reading);
	} else {
		err = gauge_read(&gauges, &reading);
		read_all_us = now + READ_ALL_US;
	}
	if (err) {
		store_relaxed(&found, false);
		return false;
	}
	tightest = reading.tightest;
	*ret_limit = reading.limit;
	if (reading.limit != CGROUP_NO_LIMIT &&
	    reading.room <= 2 * margin_of(reading.limit))
		reading.room += gauge_droppable(&gauges, reading.tightest);
	*ret_headroom = reading.room;
	return true;
}

static bool look(uint64_t *ret_limit, uint64_t *ret_headroom)
{
	bool ret;

	fd_window_enter();
	ret = look_open(ret_limit, ret_headroom);
	fd_window_leave();
	return ret;
}

/* Bytes that were handed out and are not in the kernel's count yet. */
static uint64_t promised(uint64_t limit)
{
	return limit == CGROUP_NO_LIMIT ? 0 : large_unbacked();
}

static uint64_t without(uint64_t headroom, uint64_t owed)
{
	return headroom - min(headroom, owed);
}

/* === Making room ====================================================== */

/* To make room for more than this once; never 0, which would be all. */
static uint64_t want_at_least(uint64_t want)
{
	want = max(want, (uint64_t)param_int(EBB_ATTR_INBAND_WANT));
	return max(want, (uint64_t)1);
}

/* What a pass has in hand: free soon, and counted nowhere else. */
static uint64_t leaving(void)
{
	return run_counted(in_state[RUN_LEAVING]) + run_counted(tails_freed);
}

/* What fits into caches the account knows; what is there costs a walk. */
static bool caches_are_worth_it(void)
{
	return load_relaxed(&account.cached) >= WORTH_IT &&
	       purge_cached() >= WORTH_IT;
}

/*
 * What a purge spares is what threads are about to take again, the newest of
 * each class: half as much once it does not find @enough elsewhere, and
 * everything has gone after a few.
 */
static void set_keep(bool enough)
{
	nr_enough = enough ? nr_enough + 1 : 0;
	if (!enough) {
		keep_bytes = keep_bytes > KEEP_MIN ? keep_bytes / 2 : 0;
	} else if (nr_enough == KEEP_TURNS) {
		keep_bytes = min(max(keep_bytes * 2, KEEP_MIN), KEEP_MOST);
		nr_enough = 0;
	}
}

/*
 * Free memory of our own.  Little of it is known to be dirty: still, what
 * threads have in their caches may be much, and is worth one look (@anyway).
 * -ENODATA: it was not worth it; -EAGAIN: it was not, but less is spared the
 * next time; -EBUSY: another pass went on all that time.
 */
static int purge_own(uint64_t want, uint32_t budget_ms, bool anyway)
{
	uint64_t dirty = purge_dirty_estimate();
	struct purge_order order = {
		.lazy_age_ms = PURGE_NEVER,
		.want_bytes = want_at_least(max(want, dirty / DIRTY_SHARE)),
		.budget_ms = budget_ms,
		.keep_bytes = keep_bytes,
		.drain = true,
		.share = true,
		.force = true,
		.try = true,
	};
	struct purge_result result;
	int err;

	if (dirty + leaving() < WORTH_IT && !anyway &&
	    !caches_are_worth_it())
		return -ENODATA;
	err = purge_run(&order, &result);
	if (err)
		return err;
	add_stat(&stats.nr_purges, 1);
	add_stat(&stats.purged_bytes, result.clean_bytes);
	set_keep(result.clean_bytes >= order.want_bytes);
	if (result.clean_bytes >= WORTH_IT)
		return 0;
	return order.keep_bytes ? -EAGAIN : -ENODATA;
}

static uint64_t budget_us(void)
{
	return (uint64_t)param_int(EBB_ATTR_INBAND_MS) * 1000;
}

/*
 * Ask those who share the limit.  Again and again, but ever more rarely, until
 * it has helped.
 */
static void ask_siblings(uint64_t now, uint64_t limit, uint64_t headroom)
{
	uint64_t want = without(2 * margin_of(limit), headroom);
	bool heard;

	if (now < ask_after_us)
		return;
	ask_gap_us = min(max(2 * ask_gap_us, (uint64_t)ASK_GAP_US),
			 (uint64_t)GAP_MAX_US);
	ask_after_us = now + ask_gap_us;
	fd_window_enter();
	heard = sibling_ask(&view, want_at_least(want));
	fd_window_leave();
	if (heard && !asked) {
		asked = true;
		hope_us = HOPE_TIMES * budget_us();
	}
}

static bool may_have_siblings(void)
{
	bool ret;

	fd_window_enter();
	ret = sibling_may_be();
	fd_window_leave();
	return ret;
}

/* One was asked, and may still answer: he may have no CPU for a while. */
static bool may_hope(void)
{
	return asked && hope_us;
}

static void nap(void)
{
	struct timespec ts = { 0, NAP_US * 1000 };

	sys_call2(SYS_nanosleep, (long)&ts, 0);
}

/*
 * Purge, else wait for others, until there is room or the time is up.  For
 * what is only @owed, own dirty memory is given back; it is no reason to wait.
 * The time of a purge is what it had of the CPU, that of waiting the clock's.
 * Waiting for a pass of our own is never in vain, however long it takes: its
 * thread may have no CPU, and what may be given back waits for it.  Until it
 * is through, or siblings that were asked are (@ret_pass), threads go on in
 * small steps.
 */
static uint64_t make_room(uint64_t *limit, uint64_t headroom, uint64_t owed,
			  bool *ret_pass)
{
	uint64_t start = clock_us(), now = start;
	uint64_t budget = budget_us(), spent = 0;
	bool anyway = now >= wait_after_us, waited = false;

	add_stat(&stats.nr_near, 1);
	notice_post(PRESSURE_SEVERE);
	while (!has_margin(*limit, without(headroom, owed), 2) &&
	       spent < budget && now - start < budget * PURGE_PATIENCE) {
		uint64_t before = now, before_cpu = clock_cpu_us();
		int err = purge_own(without(owed, headroom),
				    (uint32_t)((budget - spent) / 1000) + 1,
				    anyway);

		*ret_pass = err == -EBUSY;
		if (err && err != -EBUSY && err != -EAGAIN) {
			if (has_margin(*limit, headroom, 1))
				break;
			ask_siblings(now, *limit, headroom);
			if (now < wait_after_us && !may_hope())
				break;
			*ret_pass = may_hope();
			waited = true;
			nap();
		}
		anyway = false;
		now = clock_us();
		spent += err ? now - before : clock_cpu_us() - before_cpu;
		if (!look(limit, &headroom))
			break;
	}
	if (waited)
		add_stat(&stats.nr_waits, 1);
	if (has_margin(*limit, headroom, 1)) {
		add_stat(&stats.nr_helped, 1);
		wait_gap_us = ask_gap_us = ask_after_us = 0;
		asked = false;
	} else if (waited) {
		uint64_t least = (uint64_t)param_int(EBB_ATTR_TICK_MIN_MS) *
				 1000;

		wait_gap_us = min(max(wait_gap_us * 2, least),
				  (uint64_t)GAP_MAX_US);
		wait_after_us = now + wait_gap_us;
		hope_us -= min(hope_us, now - start);
	}
	add_stat(&stats.spent_us, now - start);
	store_relaxed(&stats.worst_us, max(stats.worst_us, now - start));
	history_note_wait(now - start);
	TRACE4(inband, now - start, *limit, headroom, owed);
	return headroom;
}

/*
 * Who makes room need not keep all others waiting: they go on meanwhile, with
 * what is there beyond the margin.
 */
static void lend(uint64_t limit, uint64_t headroom, int64_t before)
{
	if (has_margin(limit, headroom, 1))
		sampled(limit, headroom, before);
	else
		store_relaxed(&overdraft, 0);
}

static void look_and_grant(void)
{
	int64_t before = load_relaxed(&account.room);
	uint64_t limit, headroom, owed;
	bool pass_goes_on = false;

	if (before > 0)
		return;
	/* Nothing to give back, by anybody: whose cgroup this is may wait. */
	if (!load_relaxed(&found) && !param_int(EBB_ATTR_LIMIT) &&
	    purge_free_most() < WORTH_IT && !may_have_siblings()) {
		grant(FIRST_ROOM, before);
		return;
	}
	if (!look(&limit, &headroom)) {
		grant(FIRST_ROOM, before);
		return;
	}
	owed = promised(limit);
	if (has_margin(limit, without(headroom, owed), 2)) {
		asked = false;
	} else if (param_int(EBB_ATTR_RECLAIM)) {
		lend(limit, without(headroom, owed), before);
		headroom = make_room(&limit, headroom, owed, &pass_goes_on);
		/* What was taken meanwhile had been looked at, too. */
		before = load_relaxed(&account.room);
	}
	/*
	 * An object that nobody means to touch shall not keep everything else
	 * from growing: only so much of what is owed is held back.
	 */
	sampled(limit, without(headroom, min(owed, limit / PROMISED_SHARE)),
		before);
	if (load_relaxed(&account.room) <= 0)
		grant(pass_goes_on ? GRANT_CRAWL : GRANT_MIN,
		      load_relaxed(&account.room));
}

void inband_look(void)
{
	/* With inband_ms=0 a program that confines itself is left alone. */
	if (!param_int(EBB_ATTR_LIMIT) &&
	    (!param_int(EBB_ATTR_RECLAIM) || !param_int(EBB_ATTR_INBAND_MS))) {
		grant(ACCOUNT_NO_ROOM_LIMIT, load_relaxed(&account.room));
		return;
	}
	if (!lock_try(&inband_lock)) {
		/* Another one looks: of the margin there is still that much. */
		if (load_relaxed(&account.room) > -load_relaxed(&overdraft) &&
		    !load_relaxed(&account.backed_max))
			return;
		lock_take(&inband_lock);
	}
	look_and_grant();
	lock_release(&inband_lock);
}

bool inband_make_room(size_t size)
{
	struct purge_order order = {
		.lazy_age_ms = PURGE_NEVER,
		.want_bytes = want_at_least(max((uint64_t)size,
						purge_free_most() /
						DIRTY_SHARE)),
		.drain = true,
		.share = true,
		.force = true,
	};
	struct purge_result result = { 0 };
	uint64_t bound = load_relaxed(&account.backed_max);
	uint64_t in_hand;
	bool worth_it = false;

	if (lock_holds_any())
		return false;
	/* What a pass has in hand will be free, too. */
	in_hand = leaving();
	/* What it gave back already lies beside it, and joins it in the end. */
	if (size > (bound ?: purge_free_most() + in_hand +
		    run_clean_bytes())) {
		if (bound)
			add_relaxed(&stats.nr_refused, 1);
		return false;
	}
	lock_take(&inband_lock);
	if ((purge_free_most() >= room_useless + WORTH_IT ||
	     clock_us() >= room_after_us) && !purge_run(&order, &result))
		worth_it = result.clean_bytes || result.shared || in_hand;
	room_useless = worth_it ? 0 : purge_free_most();
	if (!worth_it)
		room_after_us = clock_us() + ROOM_US;
	if (!worth_it && bound)
		add_relaxed(&stats.nr_refused, 1);
	lock_release(&inband_lock);
	/* There was enough without a bound: it is in the hand of another pass. */
	if (!worth_it && !bound && purge_hold())
		purge_release();
	return worth_it || !bound;
}

void inband_forget(void)
{
	store_relaxed(&found, false);
}

void inband_stats(struct inband_stats *ret_stats)
{
	const uint64_t *from = (const uint64_t *)&stats;
	uint64_t *to = (uint64_t *)ret_stats;

	for (size_t i = 0; i < sizeof(stats) / sizeof(*from); i++)
		to[i] = load_relaxed(&from[i]);
}

void inband_postfork_child(void)
{
	if (!lock_is_mine(&inband_lock))
		lock_reset(&inband_lock);
	stats = (struct inband_stats){ 0 };
	cgroup_postfork_child();
	inband_forget();
	find_after_us = 0;
}
