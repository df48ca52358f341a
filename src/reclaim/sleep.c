/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - How the reclaimer thread sleeps and is woken
 */
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <time.h>
#include "acct/account.h"
#include "base/atomic.h"
#include "base/sys.h"
#include "reclaim/app.h"
#include "reclaim/purge.h"
#include "reclaim/reclaimer.h"
#include "reclaim/sleep.h"

#define WAKE_SIGNAL	SIGSTKFLT
#define KERNEL_SIGSET	8		/* bytes of the kernel's signal set */
#define MAX_POLLED	32
#define OWN_POLLED	2		/* signalfd, the guest's */
#define REPEAT_WAKE	256		/* unheard calls until the next signal */
#define FAILED_WAIT_MS	100		/* where waiting itself fails */

enum sleep_state {
	AWAKE,
	ASLEEP,
	WOKEN,
};

static uint32_t sleep_word;		/* enum sleep_state */
static uint32_t nr_unheard;		/* wakes asked for while WOKEN */
static int wake_pid, wake_tid;		/* set before it first sleeps */
static uint32_t visit_wanted;		/* reclaimer_visit() was called */

/* Reclaimer thread only. */
static int signal_fd;			/* -1: no private file table */
static struct pollfd poll_set[OWN_POLLED + MAX_POLLED];
static unsigned int nr_polled;		/* of the sources */

const char *sleep_begin(const char *no_table)
{
	uint64_t mask = 1ULL << (WAKE_SIGNAL - 1);

	store_relaxed(&wake_pid, sys_getpid());
	store_relaxed(&wake_tid, sys_gettid());
	nr_polled = 0;
	signal_fd = -1;
	if (no_table)
		return no_table;
	signal_fd = (int)sys_call4(SYS_signalfd4, -1, (long)&mask,
				   KERNEL_SIGSET, SFD_CLOEXEC | SFD_NONBLOCK);
	return signal_fd < 0 ? "no signalfd to wait with" : NULL;
}

/* === Sleeping ========================================================= */

static void wait_for_signal(uint32_t ms)
{
	struct timespec ts = { ms / 1000, (long)(ms % 1000) * 1000000 };
	uint64_t mask = 1ULL << (WAKE_SIGNAL - 1);

	sys_call4(SYS_rt_sigtimedwait, (long)&mask, 0, (long)(ms ? &ts : NULL),
		  KERNEL_SIGSET);
}

static void drain_signal(void)
{
	struct signalfd_siginfo info;

	while (sys_read(signal_fd, &info, sizeof(info)) > 0)
		;
}

/*
 * Wait for a source, a wake, @guest_fd, or @ms; 0: as long as it takes.
 * Returns whether @guest_fd is ready.
 */
static bool wait_for_any(uint32_t ms, int guest_fd)
{
	struct timespec ts = { ms / 1000, (long)(ms % 1000) * 1000000 };
	int ret;

	nr_polled = 0;
	if (signal_fd < 0) {
		wait_for_signal(ms);
		return false;
	}
	poll_set[0] = (struct pollfd){ .fd = signal_fd, .events = POLLIN };
	/* -1 is left out by the kernel. */
	poll_set[1] = (struct pollfd){ .fd = guest_fd, .events = POLLIN };
	nr_polled = source_poll_set(poll_set + OWN_POLLED, MAX_POLLED);
	ret = sys_ppoll(poll_set, OWN_POLLED + nr_polled, ms ? &ts : NULL);
	if (ret < 0) {
		nr_polled = 0;
		if (ret != -EINTR)
			wait_for_signal(FAILED_WAIT_MS);
		return false;
	}
	if (poll_set[0].revents)
		drain_signal();
	return poll_set[1].revents;
}

static bool level_is_reached(void)
{
	return purge_free_most() >= load_relaxed(&account.wake_level);
}

static void go_to_sleep(uint64_t level, uint32_t ms, int guest_fd,
			struct sleep_end *ret_end)
{
	store_relaxed(&account.wake_level, level);
	store_relaxed(&sleep_word, ASLEEP);
	/* Pairs with reclaimer_wake() and reclaimer_alarm(). */
	fence_seq_cst();
	nr_polled = 0;
	ret_end->freed = level_is_reached();
	if (!ret_end->freed && !app_is_waiting() &&
	    !load_relaxed(&visit_wanted))
		ret_end->guest_ready = wait_for_any(ms, guest_fd);
}

static void wake_up(struct sleep_end *ret_end)
{
	bool reached = level_is_reached();

	store_relaxed(&account.wake_level, UINT64_MAX);
	if (xchg_acquire(&sleep_word, AWAKE) != WOKEN)
		return;
	/* For a visit alone: nobody freed anything. */
	if (load_relaxed(&visit_wanted) && !reached)
		return;
	ret_end->freed = true;
	ret_end->woken = true;
}

struct sleep_end sleep_until(uint64_t level, uint32_t ms, int guest_fd)
{
	struct sleep_end end = { 0 };

	go_to_sleep(level, ms, guest_fd, &end);
	wake_up(&end);
	return end;
}

void sleep_dispatch(struct signals *signals)
{
	source_dispatch(poll_set + OWN_POLLED, nr_polled, signals);
	nr_polled = 0;
}

void sleep_visited(void)
{
	store_relaxed(&visit_wanted, 0);
}

/* === Waking =========================================================== */

static void send_wake(void)
{
	sys_tgkill(load_relaxed(&wake_pid), load_relaxed(&wake_tid),
		   WAKE_SIGNAL);
}

/* A wake was sent and is not heard yet: again, now and then. */
static void repeat_wake(void)
{
	if (add_relaxed(&nr_unheard, 1) % REPEAT_WAKE == REPEAT_WAKE - 1)
		send_wake();
}

void reclaimer_wake(void)
{
	uint32_t word;

	/* Pairs with go_to_sleep(). */
	fence_seq_cst();
	word = load_relaxed(&sleep_word);
	if (word == WOKEN)
		repeat_wake();
	else if (word == ASLEEP && level_is_reached() &&
		 cas_acq_rel(&sleep_word, &word, WOKEN))
		send_wake();
}

void reclaimer_alarm(void)
{
	uint32_t word;

	/* Pairs with go_to_sleep(). */
	fence_seq_cst();
	word = load_relaxed(&sleep_word);
	if (word == WOKEN)
		send_wake();
	else if (word == ASLEEP && cas_acq_rel(&sleep_word, &word, WOKEN))
		send_wake();
}

void reclaimer_visit(void)
{
	store_relaxed(&visit_wanted, 1);
	reclaimer_alarm();
}

void sleep_postfork_child(void)
{
	store_relaxed(&sleep_word, AWAKE);
	store_relaxed(&nr_unheard, 0);
	store_relaxed(&visit_wanted, 0);
}
