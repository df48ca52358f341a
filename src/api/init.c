/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Coming to life, and what a slow path sees to
 *
 * What it is: the heap is made by the first allocation, which may come from
 * the dynamic linker before any constructor; options, fork handlers and the
 * reclaimer's conditions wait for our constructor.
 *
 * The reclaimer is started from a slow path of malloc or free, by
 * pthread_create.  glibc frees thread stacks' tables under a lock that
 * pthread_create takes, so no thread is started when the caller is libc
 * itself; what is wanted stays wanted until another caller comes by.  In a
 * static program libc's callers cannot be told apart, and only malloc starts
 * the thread.
 */
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/auxv.h>

#include "api/init.h"
#include "api/listen.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/extent.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/param.h"
#include "base/sys.h"
#include "ctl/ctl.h"
#include "debug/given.h"
#include "debug/guard.h"
#include "debug/leak.h"
#include "debug/profile.h"
#include "debug/trap.h"
#include "heap/drain.h"
#include "heap/heap.h"
#include "heap/pool.h"
#include "os/advise.h"
#include "os/guard_mark.h"
#include "os/map.h"
#include "reclaim/inband.h"
#include "reclaim/purge.h"
#include "reclaim/reclaimer.h"
#include "reclaim/watch.h"
#include "reclaim/written.h"
#include "vm/run.h"

#define INBAND_GAP_MS	100	/* between passes without a reclaimer */

__startup_data uint32_t init_state = INIT_NOT;
bool init_forking;
void (*init_thread_look)(void);

/* Which thread initialises: a handler above it must not wait. */
static __startup_data struct tcb *init_by;

static __startup_data pthread_key_t exit_key;

extern char **environ;

/* libc and ld.so: callers from there get no thread started. */
static __startup_data struct extent libc, linker;
static __startup_data bool libc_is_static;

/* Have pages of the window trap; nothing of it has been handed out yet. */
static void start_marks(void)
{
	const char *refused = NULL;

	if (range.pieces)
		refused = "the address space is limited (RLIMIT_AS)";
	else if (param_int(EBB_ATTR_GUARD) && map_strict_commit())
		refused = "free runs are unmapped (vm.overcommit_memory=2)";
	guard_mark_start(range.base, range.reserved, refused);
}

static bool init_now(void)
{
	map_init();
	sizeclass_init();
	drain_init();
	log_init();
	param_load();
	heap_checked = param_int(EBB_ATTR_CHECK);
	if (range_init((size_t)param_int(EBB_ATTR_RESERVE))) {
		store_release(&init_state, INIT_FAILED);
		return false;
	}
	start_marks();
	/* Before there is a slab, whose frees would not be seen. */
	if (IS_ENABLED(CONFIG_ACCOUNTS))
		charge_init((enum ebb_accounts)param_int(EBB_ATTR_ACCOUNTS));
	/* Before there is a heap, which would not be sampled. */
	if (IS_ENABLED(CONFIG_PROFILE) && param_int(EBB_ATTR_PROFILE) &&
	    !getauxval(AT_SECURE))
		profile_init();
	if (IS_ENABLED(CONFIG_GUARD))
		guard_init();
	heap_checked |= guard_mode == EBB_GUARD_ALL;
	heap_watched = heap_checked || heap_profiled;
	heap_sized = heap_checked || guard_mode;
	/* Pairs with init_ready(). */
	store_release(&init_state, guard_mode ? INIT_GUARDED : INIT_DONE);
	return true;
}

bool init_heap(void)
{
	struct tcb *nobody = NULL;
	uint32_t state;

	if (cas_acq_rel(&init_by, &nobody, &tcb))
		return init_now();
	while ((state = load_acquire(&init_state)) == INIT_NOT) {
		if (load_relaxed(&init_by) == &tcb)
			return false;
		cpu_relax();
	}
	return state != INIT_FAILED;
}

cold bool init_heap_plain(void)
{
	return init_heap() && load_acquire(&init_state) == INIT_DONE;
}

static void close_heap(void)
{
	if (IS_ENABLED(CONFIG_LEAK))
		leak_note_exit();
	tcb_enter(&tcb);
	/* In the bracket: a handler gets no credit behind it. */
	pool_leave();
	drain_close_heap();
	tcb_leave(&tcb);
}

/*
 * The destructor of a thread's heap.  Other destructors that allocate after
 * it use the bypass.  The heap must not be left to a later round, which there
 * may not be: it would outlive the thread block it points to.
 */
static void thread_exit(void *arg)
{
	if (arg == thread.heap && !tcb.busy)
		close_heap();
}

static void register_thread(void)
{
	/* First: setspecific may allocate and come by here again. */
	thread.registered = true;
	/* The first thread's heap may come before the key, and stays. */
	if (heap_for_all && pthread_setspecific(exit_key, thread.heap))
		close_heap();
}

/* Without a thread: the one that crossed the level does a pass. */
static void reclaim_inband(void)
{
	static uint64_t last_ms;
	uint64_t now_ms = clock_coarse_ms();
	uint64_t last = load_relaxed(&last_ms);
	int64_t decay_ms = param_int(EBB_ATTR_DECAY_MS);
	struct purge_order order = {
		.lazy_age_ms = PURGE_NEVER,
		.clean_age_ms = decay_ms < 0 ? PURGE_NEVER :
					       (uint32_t)decay_ms,
		.yields = true,
	};
	struct purge_result result;

	if (now_ms - last < INBAND_GAP_MS ||
	    !cas_relaxed(&last_ms, &last, now_ms))
		return;
	/* Below a handler that interrupted a pass: that one goes on. */
	if (purge_run(&order, &result))
		return;
}

static bool is_libc(const void *caller)
{
	uintptr_t at = (uintptr_t)caller;

	return extent_has(&libc, at) || extent_has(&linker, at);
}

static bool may_start(const void *caller, bool freeing)
{
	return libc_is_static ? !freeing : !is_libc(caller);
}

static void see_to_pass(const void *caller, bool freeing)
{
	if (!reclaimer_running()) {
		if (!may_start(caller, freeing))
			return;
		reclaimer_start();
	}
	and_relaxed(&account.wanted, ~(uint32_t)WANTED_PASS);
	if (reclaimer_running())
		reclaimer_wake();
	else
		reclaim_inband();
}

/* Pressure was seen in a child, where nobody tells the program of it. */
static void see_to_notice(const void *caller, bool freeing)
{
	if (!may_start(caller, freeing))
		return;
	and_relaxed(&account.wanted, ~(uint32_t)WANTED_NOTICE);
	/* It said so if it failed; the next pressure tries again. */
	(void)listen_start();
}

static cold void see_to_reclaim(const void *caller, bool freeing)
{
	int saved = errno;

	/* Below a handler that interrupted a pass: the next caller sees to it. */
	if (load_relaxed(&init_forking) || tcb.busy || lock_holds_any())
		return;
	if (load_relaxed(&account.wanted) & WANTED_ROOM) {
		and_relaxed(&account.wanted, ~(uint32_t)WANTED_ROOM);
		inband_look();
	}
	if (load_relaxed(&account.wanted) & WANTED_PASS)
		see_to_pass(caller, freeing);
	if (load_relaxed(&account.wanted) & WANTED_NOTICE)
		see_to_notice(caller, freeing);
	if (IS_ENABLED(CONFIG_CONTROL) &&
	    load_relaxed(&account.wanted) & WANTED_SHOW) {
		and_relaxed(&account.wanted, ~(uint32_t)WANTED_SHOW);
		ctl_visit();
	}
	/* Last: it is the program's, and may allocate. */
	if (load_relaxed(&account.wanted) & WANTED_HOOK)
		load_acquire(&init_thread_look)();
	errno = saved;
}

void init_after_slow(const void *caller, bool freeing)
{
	if (unlikely(thread.state == THREAD_ALIVE && !thread.registered))
		register_thread();
	if (unlikely(load_relaxed(&account.wanted)))
		see_to_reclaim(caller, freeing);
}

/*
 * verbose=1: who is there.  The thread is started at once, for what it has to
 * say of the cgroup and the signals.
 */
static cold void describe(void)
{
	char line[128];

	log_line("ebbmalloc %s, %zu MiB of address space reserved",
		 EBB_VERSION, range.reserved / MIB);
	if (!param_int(EBB_ATTR_RECLAIM))
		log_line("reclaimer: off, backend %s", advise_name());
	else
		reclaimer_start();
	if (guard_mark_describe(line, sizeof(line)))
		log_line("%s", line);
}

__startup static void start_traps(void)
{
	trap_find_libc();
	if (guard_mode)
		guard_start();
	given_start();
}

/* dl_iterate_phdr callback: the object that pthread_create lies in, ld.so. */
static int find_libc(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct extent all = extent_of(info);

	(void)size;
	if (extent_has(&all, (uintptr_t)arg))
		libc = all;
	if (info->dlpi_addr && info->dlpi_addr == getauxval(AT_BASE))
		linker = all;
	return 0;
}

__attribute__((constructor(101))) static void init_constructor(void)
{
	if (!init_ready()) {
		log_line("no address space for the heap");
		return;
	}
	dl_iterate_phdr(find_libc, (void *)pthread_create);
	libc_is_static = is_libc((void *)init_constructor);
	store_release(&heap_for_all,
		      !pthread_key_create(&exit_key, thread_exit));
	fork_register();
	inband_init();
	if (param_int(EBB_ATTR_RECLAIM))
		store_relaxed(&account.wake_level,
			      (uint64_t)param_int(EBB_ATTR_THREAD_MIN));
	if (IS_ENABLED(CONFIG_WATCH))
		watch_note_environment(environ, getauxval(AT_SECURE));
	if (IS_ENABLED(CONFIG_CONTROL))
		ctl_init(environ, getauxval(AT_SECURE));
	if (heap_profiled)
		profile_start();
	if (IS_ENABLED(CONFIG_GUARD))
		start_traps();
	if (IS_ENABLED(CONFIG_TRACK) && param_int(EBB_ATTR_TRACK_WRITES)) {
		written_init();
		reclaimer_start();
	}
	if (param_int(EBB_ATTR_VERBOSE))
		describe();
}

/* Late: libraries that need us have had their turn. */
__attribute__((destructor(101))) static void init_destructor(void)
{
	pool_exit();
	/* What goes wrong it says itself. */
	if (heap_profiled && param_int(EBB_ATTR_PROFILE_LEAK))
		err_ignore(profile_dump());
	if (IS_ENABLED(CONFIG_CONTROL))
		ctl_exit();
}
