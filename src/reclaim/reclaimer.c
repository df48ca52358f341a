/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The reclaimer thread
 *
 * What it is: one thread with one wait.  Each round it hears the sources that
 * are ready, samples headroom, asks the policy, and either runs one pass, or
 * makes a step of slow preparations, or sleeps (reclaim/sleep.h) until a
 * source, its tick, or a wake.
 *
 * File table: a private one, empty at first, so that the application can
 * neither close our descriptors nor inherit them into a child, and neither
 * closes nor writes to what is not its own.  Where the kernel does not grant
 * it nothing is kept open, sources that need that are unavailable, and
 * headroom is read by open, read, close.
 *
 * Signals: all are blocked around pthread_create with pthread_sigmask, which
 * leaves out the one by which glibc makes all threads change their ids.
 *
 * Fork: a pass in progress is waited for by purge's own lock.  Between the
 * handlers no thread is started.  The child has no reclaimer and none of its
 * descriptors; it starts one when it is needed there.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include "acct/account.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd_window.h"
#include "base/log.h"
#include "base/param.h"
#include "base/sys.h"
#include "base/trace.h"
#include "os/advise.h"
#include "os/guard_mark.h"
#include "os/probe.h"
#include "reclaim/fdtable.h"
#include "reclaim/history.h"
#include "reclaim/inband.h"
#include "reclaim/notice.h"
#include "reclaim/policy.h"
#include "reclaim/purge.h"
#include "reclaim/reclaimer.h"
#include "reclaim/sibling.h"
#include "reclaim/sleep.h"
#include "reclaim/source.h"

#define THREAD_NAME	"ebb-reclaim"
#define SHARE_FLOOR	(1 * MIB)	/* what is a share of live: not less */

/* === Data ============================================================= */

enum thread_state {
	THREAD_NONE,
	THREAD_STARTING,
	THREAD_RUNNING,
	THREAD_FAILED,
};

static uint32_t thread_state;		/* enum thread_state */
static const char *failure;		/* set before THREAD_FAILED */
static uint32_t nr_forking;		/* threads between the fork handlers */

static __startup_data const struct reclaimer_guest *guest; /* set once, or NULL */

static struct reclaim_stats stats = {	/* one writer: the thread */
	.limit = CGROUP_NO_LIMIT,
	.headroom = CGROUP_NO_LIMIT,
};

/* Reclaimer thread only. */
static struct cgroup_view view;
static struct policy_state policy_state;
static struct purge_result last_result;
static uint32_t asked_by;		/* sources behind what is pending */
static uint64_t last_audit_ms;		/* all clean memory had been looked at */
static bool own_table;			/* descriptors may be kept open */
static struct sleep_end slept;		/* what ended the last sleep */
static uint64_t seen_dirty;		/* dirty bytes that are accounted for */
static uint64_t seen_cached;		/* the same of account.cached */
static uint64_t asked_us;		/* since when asked_by is not 0 */

uint32_t (*reclaimer_errand)(bool own_table, bool pressed);

__startup void reclaimer_set_guest(const struct reclaimer_guest *new_guest)
{
	guest = new_guest;
}

/* === A round ========================================================== */

/* @id as bytes; what is a share of live memory is not less than a MiB. */
static uint64_t share_of_live(enum ebb_attr_id id)
{
	uint64_t bytes = param_bytes(id, last_result.live_bytes);

	if (param_int(id) & EBB_PERCENT_BIT && param_bytes(id, GIB))
		bytes = max(bytes, (uint64_t)SHARE_FLOOR);
	return bytes;
}

/* Until live is known a share of it is no bound. */
static uint64_t dirty_bound(void)
{
	if (param_int(EBB_ATTR_DIRTY_MAX) & EBB_PERCENT_BIT &&
	    !policy_state.known)
		return 0;
	return share_of_live(EBB_ATTR_DIRTY_MAX);
}

/* Headroom at which `high' is crossed; none beside a soft limit of the
 * cgroup's own. */
static uint64_t soft_headroom(const struct signals *signals)
{
	uint64_t high = param_bytes(EBB_ATTR_HIGH, signals->limit);

	if (!high || signals->soft || signals->limit == CGROUP_NO_LIMIT)
		return 0;
	return signals->limit - min(signals->limit, high);
}

static void read_conf(const struct signals *signals, struct policy_conf *conf)
{
	*conf = (struct policy_conf){
		.decay_ms = param_int(EBB_ATTR_DECAY_MS),
		.lazy_ms = param_int(EBB_ATTR_LAZY) &&
			   !guard_missing_traps() ?
			   param_int(EBB_ATTR_LAZY_MS) : -1,
		.over_part = (uint32_t)param_int(EBB_ATTR_OVER_PART),
		.young_ms = (uint32_t)param_int(EBB_ATTR_YOUNG_MS),
		.drop_ms = (uint32_t)param_int(EBB_ATTR_DROP_MS),
		.mild_ms = (uint32_t)param_int(EBB_ATTR_MILD_MS),
		.tick_min_ms = (uint32_t)param_int(EBB_ATTR_TICK_MIN_MS),
		.tick_max_ms = (uint32_t)param_int(EBB_ATTR_TICK_MAX_MS),
		.tight = param_bytes(EBB_ATTR_TIGHT, signals->limit),
		.soft = soft_headroom(signals),
		.low = param_bytes(EBB_ATTR_LOW, signals->limit),
		.drop = param_bytes(EBB_ATTR_DROP, last_result.live_bytes),
		.dirty_min = share_of_live(EBB_ATTR_DIRTY_MIN),
		.dirty_max = dirty_bound(),
		.refault = (uint64_t)param_int(EBB_ATTR_REFAULT),
		.refault_max = (uint32_t)param_int(EBB_ATTR_REFAULT_MAX),
	};
}

static void hear_sources(struct signals *signals)
{
	/* Before the sample: what is handed out while it is taken counts. */
	struct inband_mark mark = inband_mark();

	signals_init(signals, clock_ms());
	signals->spare = purge_free_most();
	sleep_dispatch(signals);
	if (source_refind("", signals->now_ms))
		inband_forget();
	source_sample_all(signals);
	inband_sampled(signals->limit, signals->headroom, mark);
	if (!asked_by && signals->by_source)
		asked_us = clock_us();
	asked_by |= signals->by_source;
	store_relaxed(&stats.limit, signals->limit);
	store_relaxed(&stats.headroom, signals->headroom);
}

static void count_pass(const struct policy_decision *decision)
{
	const struct purge_result *result = &last_result;

	store_relaxed(&stats.nr_passes, stats.nr_passes + 1);
	store_relaxed(&stats.lazy_bytes, stats.lazy_bytes + result->lazy_bytes);
	store_relaxed(&stats.clean_bytes,
		      stats.clean_bytes + result->clean_bytes);
	store_relaxed(&stats.refused_bytes,
		      stats.refused_bytes + result->refused_bytes);
	if (decision->over)
		store_relaxed(&stats.nr_over, stats.nr_over + 1);
	if (decision->order.force)
		store_relaxed(&stats.nr_forced, stats.nr_forced + 1);
	/* Forced, and no source asked for it: headroom alone was low. */
	if (asked_by || decision->order.force)
		source_count_purge(asked_by ?: source_headroom_bit());
}

/* Not in a hurry, and not where each look would hold up the application. */
static bool audit_is_due(const struct purge_order *order)
{
	uint64_t gap_ms = (uint64_t)param_int(EBB_ATTR_AUDIT_MS);

	return gap_ms && !order->force && clock_ms() - last_audit_ms >= gap_ms;
}

static void note_history(const struct policy_decision *decision,
			 const struct policy_input *in, uint64_t start_us)
{
	struct ebb_event event = {
		.headroom = in->headroom,
		.dirty = in->dirty,
		.lazy_bytes = last_result.lazy_bytes,
		.clean_bytes = last_result.clean_bytes,
		.took_us = (uint32_t)(clock_us() - start_us),
		.waited_us = asked_by ? (uint32_t)(start_us - asked_us) : 0,
		.by_source = asked_by,
		.pressure = (uint8_t)decision->state.pending,
		.flags = (uint8_t)((decision->order.force ?
				    EBB_EVENT_FORCED : 0) |
				   (decision->over ? EBB_EVENT_OVER : 0)),
	};

	history_note_pass(&event);
}

static void run_pass(const struct policy_decision *decision,
		     const struct policy_input *in)
{
	struct purge_order order = decision->order;
	struct purge_result result = { 0 };
	uint64_t start_us = clock_us();

	order.own_table = own_table;
	order.yields = true;
	order.audit = audit_is_due(&order);
	if (!purge_run(&order, &result)) {
		if (result.audited)
			last_audit_ms = clock_ms();
		last_result = result;
		seen_dirty = result.dirty_left;
		seen_cached = result.cached_left;
	} else {
		last_result.lazy_bytes = last_result.clean_bytes =
			last_result.refused_bytes = 0;
	}
	count_pass(decision);
	note_history(decision, in, start_us);
	policy_state = policy_note(decision, &in->conf, &last_result,
				   clock_ms());
	if (policy_state.pending == PRESSURE_NONE)
		asked_by = 0;
}

/* How long to sleep; 0 is for as long as it takes. */
static uint32_t sooner(uint32_t tick_ms, uint32_t visit_ms)
{
	if (visit_ms == RECLAIMER_NO_VISIT)
		return tick_ms;
	return tick_ms ? min(tick_ms, visit_ms) : visit_ms;
}

static uint32_t visit_guest(void)
{
	bool ready = slept.guest_ready;

	slept.guest_ready = false;
	sleep_visited();
	return guest ? guest->visit(ready) : RECLAIMER_NO_VISIT;
}

/* The round saw seen_dirty and seen_cached. */
static void sleep_after(const struct policy_decision *decision, uint32_t ms)
{
	uint64_t level = decision->wake_dirty ?: seen_dirty;

	if (level < UINT64_MAX)
		level += seen_cached + 1;
	slept = sleep_until(level, ms, guest ? guest->poll_fd() : -1);
	if (slept.woken)
		store_relaxed(&stats.nr_wakes, stats.nr_wakes + 1);
}

static void do_round(void)
{
	uint32_t visit_ms = visit_guest();
	uint64_t cached = load_relaxed(&account.cached);
	struct policy_decision decision;
	struct policy_input in;
	struct signals signals;

	hear_sources(&signals);
	if (reclaimer_errand)
		visit_ms = min(visit_ms, reclaimer_errand(own_table,
					signals.pressure != PRESSURE_NONE));
	in = (struct policy_input){
		.now_ms = signals.now_ms,
		.limit = signals.limit,
		.headroom = signals.headroom,
		.protected = signals.protected,
		.pressure = signals.pressure,
		.asked = signals.asked,
		.listened = notice_is_wanted(),
		.dirty = purge_dirty_estimate(),
		.retaken = purge_retaken(),
		.state = policy_state,
	};
	if (in.pressure != PRESSURE_NONE)
		TRACE4(pressure, in.pressure, in.limit, in.headroom, in.dirty);
	read_conf(&signals, &in.conf);
	/* Awake it is not woken: what was freed meanwhile shows here alone. */
	in.woken = slept.freed || in.dirty > seen_dirty || cached > seen_cached;
	slept.freed = false;
	decision = policy_decide(&in);
	notice_post(decision.seen);
	/* Turned off meanwhile: it goes on being here, for who turns it on. */
	if (!param_int(EBB_ATTR_RECLAIM)) {
		decision.run = false;
		decision.tick_ms = 0;
		decision.wake_dirty = UINT64_MAX;
		decision.state.pending = PRESSURE_NONE;
		decision.state.asked = false;
	}
	policy_state = decision.state;
	store_relaxed(&stats.pressure, policy_state.pending);
	if (decision.run) {
		run_pass(&decision, &in);
		return;
	}
	seen_dirty = in.dirty;
	seen_cached = cached;
	if (!visit_ms || source_settle())
		return;
	sleep_after(&decision, sooner(decision.tick_ms, visit_ms));
}

/* === The thread ======================================================= */

/* systemd's sets of allowed calls lack these, and kill for what they lack. */
static bool may_getfd(void)
{
	static const struct probe_call open = { SYS_pidfd_open, { -1, 0 } };
	static const struct probe_call get = { SYS_pidfd_getfd, { -1, -1, 0 } };
	const char *reason;

	return !probe_allowed(&open, &reason) && !probe_allowed(&get, &reason);
}

/* Returns NULL, or why nothing can be kept open. */
static const char *make_table(void)
{
	if (fdtable_leave())
		return "no private file table (close_range and unshare fail)";
	fd_window_use_private_table();
	log_use_private_table(sys_getpid(), may_getfd());
	return NULL;
}

static void describe_start(void)
{
	char line[256];

	if (view.version == CGROUP_NONE)
		log_line("cgroup: none: %s", view.why);
	else
		log_line("cgroup: v%d %s", (int)view.version, view.memory.path);
	for (unsigned int i = 0; source_at(i); i++) {
		source_describe(source_at(i), line, sizeof(line));
		log_line("signal %s", line);
	}
	for (unsigned int i = 0; advise_describe(i, line, sizeof(line)); i++)
		log_line("backend %s", line);
}

static void describe_limit(void)
{
	uint64_t limit = stats.limit;

	if (limit == CGROUP_NO_LIMIT)
		log_line("limit: none");
	else
		log_line("limit: %llu KiB, headroom %llu KiB",
			 (unsigned long long)(limit / KIB),
			 (unsigned long long)(stats.headroom / KIB));
}

/* Backends are chosen while no other thread makes a pass with them. */
static void choose_backend(const char *no_table)
{
	bool held = purge_hold();

	advise_start(no_table);
	if (held)
		purge_release();
}

static void *reclaimer_main(void *unused)
{
	const char *no_table;
	struct signals signals;

	(void)unused;
	sys_call2(SYS_prctl, PR_SET_NAME, (long)THREAD_NAME);
	policy_state = (struct policy_state){ 0 };
	last_result = (struct purge_result){ 0 };
	asked_by = 0;
	slept = (struct sleep_end){ 0 };
	seen_dirty = 0;
	seen_cached = 0;

	/*
	 * The table first, then the files: what is opened before would be
	 * closed with the application's.
	 */
	no_table = sleep_begin(make_table());
	own_table = !no_table;
	cgroup_find("", &view);
	source_open_all(&view, no_table);
	/* First: who frees meanwhile need not wait for it with a pass. */
	store_release(&thread_state, THREAD_RUNNING);
	choose_backend(no_table);
	if (guest)
		guest->begin(!no_table);
	hear_sources(&signals);
	policy_state.pending = signals.pressure;
	notice_post(signals.pressure);
	if (param_int(EBB_ATTR_VERBOSE)) {
		describe_start();
		describe_limit();
	}
	for (;;)
		do_round();
	return NULL;
}

/* Small stacks first: a large static TLS may need more. */
static int create_thread(void)
{
	static const size_t sizes[] = { 128 * KIB, 512 * KIB, 2 * MIB };
	int err = EAGAIN;
	pthread_attr_t attr;
	pthread_t thread;

	if (inject_hit(INJECT_THREAD) || pthread_attr_init(&attr))
		return err;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		err = pthread_attr_setstacksize(&attr, sizes[i]);
		if (!err)
			err = pthread_create(&thread, &attr, reclaimer_main,
					     NULL);
		if (err != EINVAL)
			break;
	}
	pthread_attr_destroy(&attr);
	return err;
}

static void note_failure(int err)
{
	static char text[64];

	fmt_line(text, sizeof(text), "pthread_create fails (%s)",
		 err_name(err));
	store_relaxed(&failure, text);
	/* Pairs with reclaimer_state(). */
	store_release(&thread_state, THREAD_FAILED);
	log_line("the reclaimer thread cannot be started: %s; memory is given "
		 "back in-band only", text);
}

void reclaimer_start(void)
{
	uint32_t none = THREAD_NONE;
	int saved_errno = errno;
	sigset_t all, old;
	int err;

	if (!param_int(EBB_ATTR_RECLAIM) || load_relaxed(&nr_forking) ||
	    load_relaxed(&thread_state) != THREAD_NONE ||
	    !cas_acq_rel(&thread_state, &none, THREAD_STARTING))
		return;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = create_thread();
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		note_failure(err);
	errno = saved_errno;
}

bool reclaimer_running(void)
{
	return load_acquire(&thread_state) == THREAD_RUNNING;
}

bool reclaimer_possible(void)
{
	return param_int(EBB_ATTR_RECLAIM) &&
	       load_acquire(&thread_state) != THREAD_FAILED;
}

const char *reclaimer_state(void)
{
	if (!param_int(EBB_ATTR_RECLAIM))
		return "off";
	/* Pairs with note_failure(). */
	switch ((enum thread_state)load_acquire(&thread_state)) {
	case THREAD_STARTING:
	case THREAD_RUNNING:
		return "running";
	case THREAD_FAILED:
		return load_relaxed(&failure);
	case THREAD_NONE:
		break;
	}
	return "not started";
}

void reclaimer_stats(struct reclaim_stats *ret_stats)
{
	const uint64_t *from = (const uint64_t *)&stats;
	uint64_t *to = (uint64_t *)ret_stats;

	for (size_t i = 0; i < sizeof(stats) / sizeof(*from); i++)
		to[i] = load_relaxed(&from[i]);
}

void reclaimer_option_changed(void)
{
	bool on = param_int(EBB_ATTR_RECLAIM);

	/* The thread sets the level as it sleeps. */
	if (load_relaxed(&thread_state) != THREAD_RUNNING)
		store_relaxed(&account.wake_level,
			      on ? (uint64_t)param_int(EBB_ATTR_THREAD_MIN) :
				   UINT64_MAX);
}

/* === Fork ============================================================= */

void reclaimer_prefork(void)
{
	add_relaxed(&nr_forking, 1);
}

void reclaimer_postfork_parent(void)
{
	sub_relaxed(&nr_forking, 1);
}

void reclaimer_postfork_child(void)
{
	store_relaxed(&nr_forking, 0);
	sleep_postfork_child();
	source_reset_all();
	sibling_postfork_child();
	advise_postfork_child();
	if (load_relaxed(&thread_state) == THREAD_RUNNING)
		store_relaxed(&account.wake_level,
			      (uint64_t)param_int(EBB_ATTR_THREAD_MIN));
	store_release(&thread_state, THREAD_NONE);
}
