/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Who listens to pressure: functions of the program
 *
 * What it is: the table of functions that the program has registered, and the
 * thread that calls them, one after the other.  Pressure comes as a word
 * (reclaim/notice.h); the thread has what it said wait, for each function,
 * until that may be called again.
 *
 * Invariants:
 * (1) A function is called without any lock, and by this thread alone.
 * (2) After ebb_pressure_unregister() has returned the function does not run
 *     and is not called again, unless it was called from within it.
 * (3) Two calls of a function begin and end notify_ms apart, unless the second
 *     is for greater pressure.  What comes in between is told when the time has
 *     come, the greatest of it.
 *
 * States of the thread: NONE -> STARTING -> RUNNING, for good.  It is started
 * with the first registration; in the child of a fork, which has none, with the
 * next registration or, after pressure was seen, by a slow path of malloc: the
 * reclaimer cannot start it, since its files are not the program's.
 *
 * Locking: listen_lock (rank 7), for all here.  Not held across a call, nor
 * while a thread is started.
 *
 * Fork: listen_lock is taken before.  The child keeps the table.  Of a call
 * that another thread was in, nothing is left; who forks from a call goes on
 * as the thread.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

#include "api/init.h"
#include "api/listen.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/param.h"
#include "base/sys.h"
#include "ebb/ebb.h"
#include "heap/heap.h"
#include "reclaim/notice.h"
#include "reclaim/reclaimer.h"

#define THREAD_NAME	"ebb-pressure"

_Static_assert((int)PRESSURE_SEVERE == (int)EBB_PRESSURE_SEVERE &&
	       (int)PRESSURE_MILD == (int)EBB_PRESSURE_MILD,
	       "levels are told as they are");

struct listener {
	ebb_pressure_fn fn;	/* NULL: no listener */
	void *arg;
	enum pressure level;	/* the least that it wants to hear of */
	enum pressure pending;	/* to be told */
	enum pressure told;	/* by the last call */
	uint64_t told_ms;	/* when that ended; 0: there was none */
};

enum thread_phase {
	LISTEN_NONE,
	LISTEN_STARTING,
	LISTEN_RUNNING,
};

static struct lock listen_lock = LOCK_INIT(7);

/* Under listen_lock. */
static struct listener listeners[EBB_PRESSURE_LISTENERS];
static const struct listener *running;	/* whose call is in progress and that
					 * is still registered */
static bool taken;			/* by the forking thread */
static bool forked_within;		/* that is the listening thread */

static uint32_t nr_ended;		/* atomic: calls; a futex */
static uint32_t thread_phase;		/* atomic: enum thread_phase */
static int thread_tid;			/* 0: not known yet */

static bool is_listening_thread(void)
{
	int tid = load_relaxed(&thread_tid);

	return tid && tid == sys_gettid();
}

/* === The thread =========================================================== */

/* Milliseconds until it may be told what is pending. */
static uint32_t wait_of(const struct listener *listener, uint64_t now_ms)
{
	uint64_t due_ms = listener->told_ms +
			  (uint64_t)param_int(EBB_ATTR_NOTIFY_MS);

	if (!listener->told_ms || listener->pending > listener->told ||
	    due_ms <= now_ms)
		return 0;
	return (uint32_t)(due_ms - now_ms);
}

/* Who is to be called now, or NULL and in how long one will be; 0: nobody. */
static struct listener *next_due(uint32_t *ret_wait_ms)
{
	uint64_t now_ms = clock_ms();
	uint32_t least = 0;

	for (unsigned int i = 0; i < EBB_PRESSURE_LISTENERS; i++) {
		struct listener *listener = &listeners[i];
		uint32_t wait_ms;

		if (!listener->fn || !listener->pending)
			continue;
		wait_ms = wait_of(listener, now_ms);
		if (!wait_ms)
			return listener;
		least = least ? min(least, wait_ms) : wait_ms;
	}
	*ret_wait_ms = least;
	return NULL;
}

/* With listen_lock, which is let go of meanwhile. */
static void call(struct listener *listener)
{
	struct listener now = *listener;

	listener->pending = PRESSURE_NONE;
	listener->told = now.pending;
	running = listener;
	lock_release(&listen_lock);

	now.fn(now.arg, (enum ebb_pressure_level)now.pending);

	lock_take(&listen_lock);
	/* Otherwise it may be another's place by now. */
	if (running == listener)
		listener->told_ms = clock_ms();
	running = NULL;
	/* Pairs with wait_for_end(). */
	store_release(&nr_ended, nr_ended + 1);
	sys_futex_wake(&nr_ended, INT32_MAX);
}

/* Returns how long to wait at most; 0: until something is posted. */
static uint32_t call_all(void)
{
	enum pressure heard = notice_take();
	struct listener *listener;
	uint32_t wait_ms;

	lock_take(&listen_lock);
	for (unsigned int i = 0; i < EBB_PRESSURE_LISTENERS; i++)
		if (listeners[i].fn && heard >= listeners[i].level)
			listeners[i].pending = max(listeners[i].pending, heard);
	while ((listener = next_due(&wait_ms)))
		call(listener);
	lock_release(&listen_lock);
	return wait_ms;
}

static void *listen_main(void *unused)
{
	(void)unused;
	sys_call2(SYS_prctl, PR_SET_NAME, (long)THREAD_NAME);
	store_relaxed(&thread_tid, sys_gettid());
	notice_set_heard(true);
	store_release(&thread_phase, LISTEN_RUNNING);
	for (;;)
		notice_wait(call_all());
	return NULL;
}

static int create_thread(void)
{
	sigset_t all, old;
	pthread_attr_t attr;
	pthread_t listening;
	int err = pthread_attr_init(&attr);

	if (err)
		return err;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&listening, &attr, listen_main, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return err;
}

bool listen_start(void)
{
	uint32_t none = LISTEN_NONE;
	int saved = errno;
	int err;

	if (!notice_is_wanted() ||
	    !cas_acq_rel(&thread_phase, &none, LISTEN_STARTING))
		return true;
	err = create_thread();
	errno = saved;
	if (!err)
		return true;
	store_release(&thread_phase, LISTEN_NONE);
	log_line("the thread that tells of pressure cannot be started: %s",
		 err_name(err));
	return false;
}

/* === The table ============================================================ */

static struct listener *find(ebb_pressure_fn fn, const void *arg)
{
	for (unsigned int i = 0; i < EBB_PRESSURE_LISTENERS; i++)
		if (listeners[i].fn == fn && (!fn || listeners[i].arg == arg))
			return &listeners[i];
	return NULL;
}

static void say_what_is_wanted(void)
{
	enum pressure least = PRESSURE_NONE;

	for (unsigned int i = 0; i < EBB_PRESSURE_LISTENERS; i++)
		if (listeners[i].fn)
			least = least ? min(least, listeners[i].level) :
					listeners[i].level;
	notice_listen(least);
}

static int add(ebb_pressure_fn fn, void *arg, enum pressure level)
{
	struct listener *place;
	int err = 0;

	lock_take(&listen_lock);
	place = find(NULL, NULL);
	if (find(fn, arg))
		err = -EEXIST;
	else if (!place)
		err = -ENOSPC;
	if (!err) {
		*place = (struct listener){
			.fn = fn,
			.arg = arg,
			.level = level,
		};
		say_what_is_wanted();
	}
	lock_release(&listen_lock);
	return err;
}

static void wait_for_end(uint32_t ended)
{
	/* Pairs with call(). */
	while (load_acquire(&nr_ended) == ended)
		sys_futex_wait(&nr_ended, ended, NULL);
}

static int drop(ebb_pressure_fn fn, const void *arg)
{
	struct listener *listener;
	uint32_t ended;
	bool is_running;

	lock_take(&listen_lock);
	listener = find(fn, arg);
	if (!listener) {
		lock_release(&listen_lock);
		return -ENOENT;
	}
	ended = nr_ended;
	is_running = running == listener;
	if (is_running)
		running = NULL;
	*listener = (struct listener){ 0 };
	say_what_is_wanted();
	lock_release(&listen_lock);
	if (is_running && !is_listening_thread())
		wait_for_end(ended);
	return 0;
}

/* === What the program calls =============================================== */

static int may_call(void)
{
	/* In a handler above an interrupted malloc there may be locks held. */
	if (tcb.busy || lock_holds_any())
		return -EDEADLK;
	return init_ready() ? 0 : -ENOMEM;
}

static int enlist(ebb_pressure_fn fn, void *arg, enum pressure level)
{
	bool is_first = !notice_is_wanted();
	int err = may_call();

	if (err)
		return err;
	/* A constructor before ours: options and environment are not read. */
	if (!load_acquire(&heap_for_all))
		return -EAGAIN;
	if (!param_int(EBB_ATTR_RECLAIM))
		return -EOPNOTSUPP;
	err = add(fn, arg, level);
	if (err)
		return err;
	/* Where it cannot be started now, a later malloc() does it. */
	if (!reclaimer_running())
		or_relaxed(&account.wanted, WANTED_PASS);
	reclaimer_start();
	if (reclaimer_possible() && listen_start()) {
		/* It looks at headroom from now on, though nothing is free. */
		if (is_first)
			reclaimer_alarm();
		return 0;
	}
	/* Another thread may have dropped it already. */
	err_ignore(drop(fn, arg));
	return -EAGAIN;
}

static int finish(int err)
{
	if (!err)
		return 0;
	errno = -err;
	return -1;
}

__export int ebb_pressure_register(ebb_pressure_fn fn, void *arg,
				   enum ebb_pressure_level level)
{
	if (!fn || (level != EBB_PRESSURE_MILD && level != EBB_PRESSURE_SEVERE))
		return finish(-EINVAL);
	return finish(enlist(fn, arg, (enum pressure)level));
}

__export int ebb_pressure_unregister(ebb_pressure_fn fn, void *arg)
{
	int err = fn ? may_call() : -EINVAL;

	return finish(err ?: drop(fn, arg));
}

/* === Fork ================================================================= */

void listen_prefork(bool may_wait)
{
	bool within = is_listening_thread();

	taken = lock_take_for_fork(&listen_lock, may_wait);
	forked_within = within;
}

void listen_postfork_parent(void)
{
	if (taken)
		lock_release(&listen_lock);
}

void listen_postfork_child(void)
{
	if (forked_within) {
		store_relaxed(&thread_tid, sys_gettid());
	} else {
		running = NULL;
		store_relaxed(&thread_tid, 0);
		notice_set_heard(false);
		store_release(&thread_phase, LISTEN_NONE);
	}
	/* What the parent has not heard yet is no news of the child's. */
	(void)notice_take();
	if (taken)
		lock_release(&listen_lock);
	else if (!lock_is_mine(&listen_lock))
		lock_reset(&listen_lock);
}
