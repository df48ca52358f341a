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
 * itself; what is wanted stays wanted until another caller comes by.
 */
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdlib.h>

#include "api/init.h"
#include "base/err.h"
#include "base/log.h"
#include "base/param.h"
#include "base/sys.h"
#include "heap/drain.h"
#include "heap/heap.h"
#include "os/map.h"
#include "reclaim/purge.h"
#include "reclaim/reclaimer.h"
#include "vm/run.h"

#define INBAND_GAP_MS	100	/* between passes without a reclaimer */
#define EXIT_ROUNDS	3	/* of PTHREAD_DESTRUCTOR_ITERATIONS */

uint32_t init_state = INIT_NOT;
bool init_forking;

/* Which thread initialises, so that a handler above it does not wait. */
static struct tcb *init_by;

static pthread_key_t exit_key;
static bool exit_key_made;

/* Text of libc: callers from here get no thread started. */
static uintptr_t libc_start, libc_end;

static bool init_now(void)
{
	map_init();
	sizeclass_init();
	malloc_init_table();
	run_init();
	heap_init_early();
	drain_init();
	log_init();
	param_load();
	heap_checked = param_int(EBB_ATTR_CHECK);
	if (range_init((size_t)param_int(EBB_ATTR_RESERVE))) {
		store_release(&init_state, INIT_FAILED);
		return false;
	}
	/* Pairs with init_ready(). */
	store_release(&init_state, INIT_DONE);
	return true;
}

bool init_heap(void)
{
	uint32_t state = INIT_NOT;

	if (cas_acq_rel(&init_state, &state, INIT_RUNNING)) {
		store_relaxed(&init_by, &tcb);
		return init_now();
	}
	while (state == INIT_RUNNING && load_relaxed(&init_by) != &tcb) {
		cpu_relax();
		state = load_acquire(&init_state);
	}
	return state == INIT_DONE;
}

/*
 * Called in the destructor rounds of a thread; others' destructors may still
 * allocate, so the heap is closed in a late round.
 */
static void thread_exit(void *arg)
{
	struct heap *heap = arg;

	if (heap != thread.heap || tcb.busy)
		return;
	if (++heap->exit_rounds < EXIT_ROUNDS) {
		pthread_setspecific(exit_key, heap);
		return;
	}
	tcb_enter(&tcb);
	drain_close_heap();
	tcb_leave(&tcb);
}

static void register_thread(void)
{
	if (!exit_key_made)
		return;
	/* First: setspecific may allocate and come by here again. */
	thread.registered = true;
	pthread_setspecific(exit_key, thread.heap);
}

/* Without a thread: the one that crossed the level does a pass. */
static void reclaim_inband(void)
{
	static uint64_t last_ms;
	uint64_t now_ms = run_clock_ms();
	uint64_t last = load_relaxed(&last_ms);
	int64_t decay_ms = param_int(EBB_ATTR_DECAY_MS);
	struct purge_order order = {
		.lazy_age_ms = PURGE_NEVER,
		.clean_age_ms = decay_ms < 0 ? PURGE_NEVER :
					       (uint32_t)decay_ms,
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
	return (uintptr_t)caller - libc_start < libc_end - libc_start;
}

static cold void see_to_reclaim(const void *caller)
{
	int saved = errno;

	if (init_forking || tcb.busy)
		return;
	if (!reclaimer_running()) {
		if (is_libc(caller))
			return;
		reclaimer_start();
	}
	store_relaxed(&account.wanted, 0);
	if (reclaimer_running())
		reclaimer_wake();
	else
		reclaim_inband();
	errno = saved;
}

void init_after_slow(const void *caller)
{
	if (unlikely(thread.state == THREAD_ALIVE && !thread.registered))
		register_thread();
	if (unlikely(load_relaxed(&account.wanted)))
		see_to_reclaim(caller);
}

/*
 * verbose=1: who is there.  The thread is started at once, for what it has to
 * say of the cgroup and the signals.
 */
static cold void describe(void)
{
	log_line("ebbmalloc %s, %zu MiB of address space reserved, "
		 "backend madvise", EBB_VERSION, range.reserved / MIB);
	if (!param_int(EBB_ATTR_RECLAIM))
		log_line("reclaimer: off");
	else
		reclaimer_start();
}

/* dl_iterate_phdr callback: the object that pthread_create lies in. */
static int find_libc(struct dl_phdr_info *info, size_t size, void *arg)
{
	uintptr_t inside = (uintptr_t)arg;

	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *phdr = &info->dlpi_phdr[i];
		uintptr_t start = info->dlpi_addr + phdr->p_vaddr;

		if (phdr->p_type != PT_LOAD ||
		    inside - start >= phdr->p_memsz)
			continue;
		libc_start = start;
		libc_end = start + phdr->p_memsz;
		return 1;
	}
	return 0;
}

__attribute__((constructor(101))) static void init_constructor(void)
{
	if (!init_ready()) {
		log_line("no address space for the heap");
		return;
	}
	dl_iterate_phdr(find_libc, (void *)pthread_create);
	exit_key_made = !pthread_key_create(&exit_key, thread_exit);
	fork_register();
	if (param_int(EBB_ATTR_RECLAIM))
		store_relaxed(&account.wake_level,
			      (uint64_t)param_int(EBB_ATTR_THREAD_MIN));
	if (param_int(EBB_ATTR_VERBOSE))
		describe();
}
