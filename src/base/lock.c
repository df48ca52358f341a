/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Futex lock with an owner and a rank
 */
#include <time.h>
#include "base/clock.h"
#include "base/lock.h"
#include "base/atomic.h"
#include "base/err.h"
#include "base/sys.h"

#define SPIN_ROUNDS	100

#define SLEEPERS	1u
#define FOR_EVER	UINT64_MAX

/*
 * Initial-exec: this library is loaded at start, or takes a little of the
 * static TLS reserve.
 */
static __thread uint32_t own_number __attribute__((tls_model("initial-exec")));

/* Debug builds: ranks held by this thread, one bit each. */
static __thread uint32_t ranks_held __attribute__((tls_model("initial-exec")));

static uint32_t last_number;

/* This thread's number, shifted over the bit for sleepers; never 0. */
static inline uint32_t self(void)
{
	if (unlikely(!own_number))
		own_number = ((add_relaxed(&last_number, 1) & 0x3fffffff) + 1)
			     << 1;
	return own_number;
}

/* Locks held by this thread; never less than that, whenever a handler looks. */
static __thread uint32_t nr_held __attribute__((tls_model("initial-exec")));

bool lock_holds_any(void)
{
	return nr_held;
}

static void note_taken(const struct lock *lock)
{
	if (!IS_ENABLED(CONFIG_DEBUG))
		return;
	ranks_held |= 1u << lock->rank;
}

static void note_released(const struct lock *lock)
{
	if (IS_ENABLED(CONFIG_DEBUG))
		ranks_held &= ~(1u << lock->rank);
}

static bool try_as(struct lock *lock, uint32_t word)
{
	uint32_t expected = 0;

	nr_held++;
	barrier();
	if (!cas_acq_rel(&lock->word, &expected, word)) {
		nr_held--;
		return false;
	}
	note_taken(lock);
	return true;
}

bool lock_try(struct lock *lock)
{
	return try_as(lock, self());
}

/*
 * Once it was slept for, the lock is taken as one with sleepers.  Who gives
 * up may have been woken in vain, so it does that only after it has marked
 * the lock again: the holder then wakes another.
 */
static bool wait_for(struct lock *lock, uint64_t until_ms)
{
	while (!try_as(lock, self() | SLEEPERS)) {
		uint32_t word = load_relaxed(&lock->word);
		struct timespec ts = { 0, 0 };
		uint64_t left_ms;

		if (!word)
			continue;
		if (!(word & SLEEPERS) &&
		    !cas_relaxed(&lock->word, &word, word | SLEEPERS))
			continue;
		if (until_ms != FOR_EVER) {
			uint64_t now_ms = clock_ms();

			if (now_ms >= until_ms)
				return false;
			left_ms = until_ms - now_ms;
			ts.tv_sec = (time_t)(left_ms / 1000);
			ts.tv_nsec = (long)(left_ms % 1000) * 1000000;
		}
		/* Pairs with lock_release(). */
		sys_futex_wait(&lock->word, word | SLEEPERS,
			       until_ms == FOR_EVER ? NULL : &ts);
	}
	return true;
}

/*
 * Who was woken may be below a handler before it has the lock, which is free
 * then, and nobody else is woken: that handler must not wait for one of those
 * who sleep on.  So a thread counts as a holder from here on.
 */
static bool take_slowly(struct lock *lock, uint64_t until_ms)
{
	bool taken;

	nr_held++;
	barrier();
	taken = wait_for(lock, until_ms);
	barrier();
	nr_held--;
	return taken;
}

static bool take_spinning(struct lock *lock)
{
	for (int i = 0; i < SPIN_ROUNDS; i++) {
		if (!load_relaxed(&lock->word) && lock_try(lock))
			return true;
		cpu_relax();
	}
	return false;
}

/* Who only tries, or gives up after a while, can be out of order. */
static void assert_order(const struct lock *lock)
{
	if (IS_ENABLED(CONFIG_DEBUG))
		ebb_assert(!(ranks_held & ((1u << lock->rank) - 1)));
}

void lock_take(struct lock *lock)
{
	assert_order(lock);
	if (!take_spinning(lock))
		take_slowly(lock, FOR_EVER);
}

bool lock_try_for(struct lock *lock, uint32_t ms)
{
	return take_spinning(lock) ||
	       (ms && take_slowly(lock, clock_ms() + ms));
}

void lock_release(struct lock *lock)
{
	lock_assert_held(lock);
	note_released(lock);
	/* Pairs with lock_take(). */
	if (__atomic_exchange_n(&lock->word, 0, __ATOMIC_RELEASE) & SLEEPERS)
		sys_futex_wake(&lock->word, 1);
	barrier();
	nr_held--;
}

bool lock_is_mine(const struct lock *lock)
{
	return own_number &&
	       (load_relaxed(&lock->word) & ~SLEEPERS) == own_number;
}

bool lock_take_for_fork(struct lock *lock, bool may_wait)
{
	if (lock_is_mine(lock))
		return false;
	if (!may_wait)
		return lock_try(lock);
	lock_take(lock);
	return true;
}

void lock_reset(struct lock *lock)
{
	if (lock_is_mine(lock)) {
		note_released(lock);
		nr_held--;
	}
	store_release(&lock->word, 0);
}

void lock_assert_held(const struct lock *lock)
{
	ebb_assert(lock_is_mine(lock));
}
