/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Pools: how much is out, and who waits for room
 */
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/sys.h"
#include "heap/drain.h"
#include "heap/pool.h"
#include "os/barrier.h"
#include "os/map.h"

#define POOLS_MAX	POOL_PLACES
#define INDEX_MASK	((uint64_t)POOLS_MAX - 1)
#define KEY_MASK	(POOL_REVOKED - 1)

#define CREDIT_MOST	MIB		/* of a pool that has a bound */
#define CREDIT_ENDLESS	(INT64_C(1) << 40)
#define LIMIT_ENDLESS	(INT64_C(1) << 60)

#define REVOKE_TRIES	20		/* for who does not wait */
#define LEFT_MS		1		/* until what was busy is asked again */
#define LEFT_MOST_MS	64

enum waiter_state {
	WAITER_WAITS,
	WAITER_SERVED,
	WAITER_CANCELLED,
};

/* On the stack of who waits; the pool's line is linked by @next. */
struct pool_waiter {
	struct pool_waiter *next;
	const struct tcb *tcb;	/* of who waits */
	int64_t bytes;
	uint32_t state;		/* enum waiter_state; others set it, once */
};

static struct lock table_lock = LOCK_INIT(3);
static struct ebb_pool *table;		/* table_lock; set once */
static size_t table_used;		/* table_lock; only grows */
static uint32_t generation;		/* of this process; set by a fork */

_Static_assert(sizeof(struct ebb_pool) % 64 == 0, "a pool has its own lines");

struct ebb_pool *pool_at(size_t index)
{
	/* Pairs with new_place(). */
	return index < load_acquire(&table_used) ? &table[index] : NULL;
}

static struct ebb_pool *pool_of(uint64_t key)
{
	return &table[key & INDEX_MASK];
}

bool pool_is_alive(const struct ebb_pool *pool)
{
	size_t nr = load_acquire(&table_used);
	uintptr_t offset = (uintptr_t)pool - (uintptr_t)table;

	return nr && offset < nr * sizeof(*pool) && !(offset % sizeof(*pool)) &&
	       !(load_relaxed(&pool->key) & POOL_DEAD);
}

/* === Credits ============================================================== */

/* What is in @credit goes to @pool, if it is its.  Context: pool->lock. */
static void take_back(struct ebb_pool *pool, struct pool_credit *credit)
{
	if ((load_relaxed(&credit->key) & ~POOL_REVOKED) != pool->key)
		return;
	pool->room += credit->bytes;
	pool->nr_out += credit->nr;
	credit->bytes = 0;
	credit->nr = 0;
	store_relaxed(&credit->key, 0);
}

/* This thread's own, if a handler may not be above a change of it. */
static void take_own_back(struct ebb_pool *pool)
{
	struct pool_credit *credit = credit_enter(pool, pool->key);

	if (!credit)
		return;
	take_back(pool, credit);
	credit_leave();
}

/* Make room in this thread's slot: it may be another pool's. */
static void evict(const struct ebb_pool *pool)
{
	struct heap *heap = load_dependent(&tcb.heap);
	struct pool_credit *credit = credit_of(heap, pool);
	uint64_t key = load_relaxed(&credit->key) & ~POOL_REVOKED;
	struct ebb_pool *other;

	if (!key || key == load_relaxed(&pool->key))
		return;
	other = pool_of(key);
	lock_take(&other->lock);
	if (other->key == key) {
		take_own_back(other);
	} else if ((load_relaxed(&credit->key) & ~POOL_REVOKED) == key) {
		/* That pool is gone. */
		*credit = (struct pool_credit){ 0 };
	}
	lock_release(&other->lock);
}

/* Context: pool->lock; take_own_back() was called. */
static void grant(struct ebb_pool *pool)
{
	struct pool_credit *credit;
	int64_t most = pool->credit_max / 2;

	if (!most || pool->nr_waiting || load_dependent(&tcb.heap) == EMPTY_HEAP)
		return;
	/* A handler, and the thread is about to end: see pool_leave(). */
	if (tcb.busy)
		return;
	/* It could not be had back. */
	if (barrier_unavailable())
		return;
	credit = credit_enter(pool, pool->key);
	if (!credit)
		return;
	if (!load_relaxed(&credit->key)) {
		credit->bytes = min(most, pool->room / 4);
		pool->room -= credit->bytes;
		pool->granted = true;
		store_relaxed(&credit->key, pool->key);
	}
	credit_leave();
}

struct revoking {
	struct ebb_pool *pool;
	bool left;
};

static void close_credit(struct heap *heap, void *arg)
{
	const struct ebb_pool *pool = ((struct revoking *)arg)->pool;
	struct pool_credit *credit = credit_of(heap, pool);

	if (load_relaxed(&credit->key) == pool->key)
		store_relaxed(&credit->key, pool->key | POOL_REVOKED);
}

static void revoke_from(struct heap *heap, bool ordered, void *arg)
{
	struct revoking *how = arg;
	struct ebb_pool *pool = how->pool;
	struct pool_credit *credit = credit_of(heap, pool);

	if (load_relaxed(&credit->key) != (pool->key | POOL_REVOKED))
		return;
	/* Pairs with credit_leave(). */
	if (ordered && load_acquire(&heap->tcb->pool_busy) != pool->key) {
		take_back(pool, credit);
		return;
	}
	store_relaxed(&credit->key, pool->key);
	how->left = true;
}

/*
 * Have all threads' credits back.  False: some is left, since its thread was
 * busy with it, or nobody could be asked.  Context: pool->lock.
 */
static bool revoke(struct ebb_pool *pool)
{
	struct revoking how = { .pool = pool };

	if (!pool->granted)
		return true;
	if (!drain_around_barrier(close_credit, revoke_from, &how))
		return false;
	if (!how.left)
		pool->granted = false;
	return !how.left;
}

/* === The line ============================================================= */

static void line_up(struct ebb_pool *pool, struct pool_waiter *waiter)
{
	waiter->next = NULL;
	*pool->end = waiter;
	pool->end = &waiter->next;
}

static void leave_line(struct ebb_pool *pool, struct pool_waiter *waiter)
{
	struct pool_waiter **at = &pool->first;

	while (*at != waiter)
		at = &(*at)->next;
	*at = waiter->next;
	if (!*at)
		pool->end = at;
	store_relaxed(&pool->nr_waiting, pool->nr_waiting - 1);
}

/* The first leaves the line; its stack may be gone once the state is set. */
static void tell(struct ebb_pool *pool, enum waiter_state state)
{
	struct pool_waiter *waiter = pool->first;
	uint32_t *word = &waiter->state;

	leave_line(pool, waiter);
	/* Pairs with sleep_in_line(). */
	store_release(word, state);
	sys_futex_wake(word, 1);
}

/* Context: pool->lock. */
static void serve(struct ebb_pool *pool)
{
	while (pool->first && pool->room >= pool->first->bytes) {
		pool->room -= pool->first->bytes;
		pool->nr_out++;
		tell(pool, WAITER_SERVED);
	}
}

static int result_of(const struct pool_waiter *waiter)
{
	/* Pairs with tell(). */
	switch (load_acquire(&waiter->state)) {
	case WAITER_SERVED:
		return 0;
	case WAITER_CANCELLED:
		return -ECANCELED;
	default:
		return -EAGAIN;
	}
}

static void sleep_for(struct pool_waiter *waiter, uint64_t ms)
{
	struct timespec ts = { (time_t)(ms / 1000),
			       (long)(ms % 1000) * 1000000 };

	sys_futex_wait(&waiter->state, WAITER_WAITS,
		       ms == UINT64_MAX ? NULL : &ts);
}

/*
 * Until served.  What a busy thread was left with is asked for again after a
 * while: it may be busy with its credit, but not return anything to it.
 * Context: pool->lock, which is released.
 */
static int sleep_in_line(struct ebb_pool *pool, struct pool_waiter *waiter,
			 bool all_back)
{
	int64_t timeout_ms = pool->wish.timeout_ms;
	uint64_t until_ms = clock_ms() + (uint64_t)max(timeout_ms, 0);
	uint64_t again_ms = LEFT_MS;
	int err;

	for (;;) {
		uint64_t ms = UINT64_MAX, now_ms = clock_ms();

		if (timeout_ms >= 0)
			ms = until_ms > now_ms ? until_ms - now_ms : 0;
		if (!all_back)
			ms = min(ms, again_ms);
		lock_release(&pool->lock);
		if (ms)
			sleep_for(waiter, ms);
		err = result_of(waiter);
		if (err != -EAGAIN)
			return err;
		lock_take(&pool->lock);
		err = result_of(waiter);
		if (err != -EAGAIN)
			break;
		if (!all_back) {
			all_back = revoke(pool);
			again_ms = min(2 * again_ms, (uint64_t)LEFT_MOST_MS);
			serve(pool);
			err = result_of(waiter);
		}
		if (err != -EAGAIN)
			break;
		if (timeout_ms >= 0 && clock_ms() >= until_ms) {
			leave_line(pool, waiter);
			/* Who stood behind may want less. */
			serve(pool);
			err = -ETIMEDOUT;
			break;
		}
	}
	lock_release(&pool->lock);
	return err;
}

static bool take_room(struct ebb_pool *pool, int64_t bytes)
{
	if (pool->first || pool->room < bytes)
		return false;
	pool->room -= bytes;
	pool->nr_out++;
	return true;
}

/* There is too little room.  Context: pool->lock, which is released. */
static int wait_in_line(struct ebb_pool *pool, int64_t bytes)
{
	struct pool_waiter waiter = { .tcb = &tcb, .bytes = bytes };
	bool may_wait = pool->wish.timeout_ms;
	uint32_t begun_in = generation;
	uint64_t key = pool->key;
	bool all_back, ok;
	int tries = 0;

	/* Before the barrier of revoke().  Pairs with credit_change(). */
	store_relaxed(&pool->nr_waiting, pool->nr_waiting + 1);
	for (;;) {
		all_back = revoke(pool);
		ok = take_room(pool, bytes);
		if (ok || may_wait || all_back || ++tries > REVOKE_TRIES)
			break;
		lock_release(&pool->lock);
		sys_call0(SYS_sched_yield);
		lock_take(&pool->lock);
		/* Destroyed by force: who waits there now is others' business. */
		if (pool->key != key) {
			lock_release(&pool->lock);
			return -ECANCELED;
		}
		/* A handler has forked meanwhile, and this is the child. */
		if (generation != begun_in) {
			begun_in = generation;
			store_relaxed(&pool->nr_waiting, pool->nr_waiting + 1);
		}
	}
	if (!ok && may_wait) {
		pool->nr_waits++;
		line_up(pool, &waiter);
		return sleep_in_line(pool, &waiter, all_back);
	}
	store_relaxed(&pool->nr_waiting, pool->nr_waiting - 1);
	lock_release(&pool->lock);
	return ok ? 0 : -EAGAIN;
}

/* === Taking and returning ================================================= */

/* With the lock, and without a credit. */
static int enter(struct ebb_pool *pool)
{
	if (!pool_is_alive(pool))
		return -EINVAL;
	/* A handler that interrupted the like. */
	if (lock_holds_any())
		return -EDEADLK;
	if (!load_relaxed(&tcb.pool_busy))
		evict(pool);
	lock_take(&pool->lock);
	if (pool->key & POOL_DEAD) {
		lock_release(&pool->lock);
		return -EINVAL;
	}
	take_own_back(pool);
	return 0;
}

int pool_charge_slow(struct ebb_pool *pool, int64_t bytes)
{
	int err = enter(pool);

	if (err)
		return err;
	if (take_room(pool, bytes)) {
		grant(pool);
		lock_release(&pool->lock);
		return 0;
	}
	if (load_relaxed(&tcb.pool_busy)) {
		lock_release(&pool->lock);
		return -EDEADLK;
	}
	return wait_in_line(pool, bytes);
}

int pool_uncharge_slow(struct ebb_pool *pool, int64_t bytes)
{
	int err = enter(pool);

	if (err)
		return err;
	pool->room += bytes;
	pool->nr_out--;
	serve(pool);
	grant(pool);
	lock_release(&pool->lock);
	return 0;
}

cold void pool_give_back(struct ebb_pool *pool)
{
	if (enter(pool))
		return;
	serve(pool);
	lock_release(&pool->lock);
}

/* === Beginning and end ==================================================== */

/* Context: table_lock. */
static struct ebb_pool *new_place(void)
{
	size_t len = ALIGN_UP(POOLS_MAX * sizeof(*table), map_page_size);
	size_t nr = table_used;
	char *at;

	for (size_t i = 0; i < nr; i++)
		if (table[i].key & POOL_DEAD)
			return &table[i];
	if (nr == POOLS_MAX)
		return NULL;
	if (!table) {
		if (map_reserve(len, map_page_size, &at))
			return NULL;
		/* What is not written is not backed. */
		if (map_commit(at, len))
			return NULL;
		table = (struct ebb_pool *)at;
	}
	table[nr].lock = (struct lock)LOCK_INIT(3);
	table[nr].key = POOL_DEAD | nr;
	/* Pairs with pool_at(). */
	store_release(&table_used, nr + 1);
	return &table[nr];
}

static void set_up(struct ebb_pool *pool, const struct pool_wish *wish)
{
	bool endless = !wish->max_bytes;

	pool->wish = *wish;
	pool->level = wish->level;
	pool->credit_at = (uint32_t)offsetof(struct heap_front, credits) +
			  (uint32_t)((size_t)(pool - table) % POOL_CREDITS *
				     sizeof(struct pool_credit));
	pool->limit = endless ? LIMIT_ENDLESS : (int64_t)wish->max_bytes;
	pool->credit_max = endless ? CREDIT_ENDLESS :
			   min(pool->limit / 8, (int64_t)CREDIT_MOST);
	/* Credits could not be had back. */
	if (barrier_ready())
		pool->credit_max = 0;
	pool->room = pool->limit;
	pool->nr_out = 0;
	pool->nr_waits = 0;
	pool->granted = false;
	pool->first = NULL;
	pool->end = &pool->first;
	store_relaxed(&pool->nr_waiting, 0);
	pool->nr_takes = pool->nr_unknown = 0;
	pool->kept_at = 0;
	memset(pool->kept, 0, sizeof(pool->kept));
	pool->next_scan = wish->leak_scan;
	pool->easy_max = wish->align > 16 || wish->flags || wish->level ? 0 :
			 min(wish->max_buffer, (size_t)CLASS_SIZE_MAX);
}

int pool_create(const struct pool_wish *wish, struct ebb_pool **ret_pool)
{
	struct ebb_pool *pool;

	if (lock_holds_any())
		return -EDEADLK;
	lock_take(&table_lock);
	pool = new_place();
	if (pool) {
		lock_take(&pool->lock);
		set_up(pool, wish);
		pool->key = (pool->key & ~POOL_DEAD) + POOLS_MAX;
		lock_release(&pool->lock);
	}
	lock_release(&table_lock);
	if (!pool)
		return -ENOMEM;
	*ret_pool = pool;
	return 0;
}

/* Context: pool->lock.  The lock is let go of and taken again meanwhile. */
static bool revoke_patiently(struct ebb_pool *pool)
{
	uint64_t until_ms = clock_ms() + LOCK_PATIENCE_MS;

	while (!revoke(pool)) {
		if (clock_ms() > until_ms)
			return false;
		lock_release(&pool->lock);
		sys_call0(SYS_sched_yield);
		lock_take(&pool->lock);
	}
	return true;
}

int pool_destroy(struct ebb_pool *pool, bool force, uint64_t *ret_nr_out)
{
	int err = enter(pool);
	uint64_t key;
	bool all;

	if (err)
		return err;
	key = pool->key;
	all = revoke_patiently(pool);
	if (pool->key != key) {
		lock_release(&pool->lock);
		return -EINVAL;
	}
	*ret_nr_out = (uint64_t)max(pool->nr_out, 0);
	if (force || (all && !pool->nr_out && !pool->nr_waiting)) {
		store_relaxed(&pool->key, pool->key | POOL_DEAD);
		while (pool->first)
			tell(pool, WAITER_CANCELLED);
	} else {
		err = -EBUSY;
	}
	lock_release(&pool->lock);
	return err;
}

struct counting {
	const struct ebb_pool *pool;
	int64_t bytes, nr;
};

static __guesses void count_credit(struct heap *heap, void *arg)
{
	struct counting *sum = arg;
	struct pool_credit *credit = credit_of(heap, sum->pool);

	if (load_relaxed(&credit->key) != sum->pool->key)
		return;
	sum->bytes += load_guess(&credit->bytes);
	sum->nr += load_guess(&credit->nr);
}

int pool_count(struct ebb_pool *pool, struct pool_counts *ret_counts)
{
	struct counting sum = { .pool = pool };
	int err = enter(pool);

	if (err)
		return err;
	if (!drain_for_each(count_credit, &sum))
		err = -EAGAIN;
	ret_counts->bytes_out = (uint64_t)max(pool->limit - pool->room -
					      sum.bytes, 0);
	ret_counts->nr_out = (uint64_t)max(pool->nr_out + sum.nr, 0);
	ret_counts->nr_waiting = pool->nr_waiting;
	ret_counts->nr_waits = pool->nr_waits;
	lock_release(&pool->lock);
	return err;
}

/* === Threads and forks ==================================================== */

void pool_leave(void)
{
	struct heap *heap = thread.heap;

	/* Not the one in tcb.heap: its gate may be closed at this moment. */
	if (!heap || lock_holds_any())
		return;
	for (unsigned int i = 0; i < POOL_CREDITS; i++) {
		uint64_t key = load_relaxed(&heap->credits[i].key) & KEY_MASK;
		struct ebb_pool *pool = key ? pool_of(key) : NULL;

		if (!pool)
			continue;
		lock_take(&pool->lock);
		store_relaxed(&tcb.pool_busy, key);
		barrier();
		if (pool->key == key) {
			take_back(pool, &heap->credits[i]);
			serve(pool);
		}
		/* Of a pool that is gone. */
		heap->credits[i] = (struct pool_credit){ 0 };
		credit_leave();
		lock_release(&pool->lock);
	}
}

/* Of the forking thread: which locks it took. */
static bool table_taken;

void pool_prefork(bool may_wait)
{
	struct ebb_pool *pool;

	table_taken = lock_take_for_fork(&table_lock, may_wait);
	for (size_t i = 0; (pool = pool_at(i)); i++)
		pool->lock_taken = lock_take_for_fork(&pool->lock, may_wait);
}

void pool_postfork(void)
{
	struct ebb_pool *pool;

	for (size_t i = 0; (pool = pool_at(i)); i++)
		if (pool->lock_taken)
			lock_release(&pool->lock);
	if (table_taken)
		lock_release(&table_lock);
}

static void inherit(struct heap *heap, void *unused)
{
	(void)unused;
	/* Its own goes on; it may be what a handler interrupted. */
	if (heap->tcb == &tcb)
		return;
	for (unsigned int i = 0; i < POOL_CREDITS; i++) {
		struct pool_credit *credit = &heap->credits[i];

		if (credit->key)
			take_back(pool_of(credit->key & KEY_MASK), credit);
		*credit = (struct pool_credit){ 0 };
	}
}

/*
 * Who waits is not here, but for the one thread there is: below the handler that
 * forks, it goes on waiting.
 */
static void keep_own_waiters(struct ebb_pool *pool)
{
	struct pool_waiter **at = &pool->first;
	uint32_t nr = 0;

	while (*at) {
		if ((*at)->tcb != &tcb) {
			*at = (*at)->next;
			continue;
		}
		at = &(*at)->next;
		nr++;
	}
	pool->end = at;
	store_relaxed(&pool->nr_waiting, nr);
}

void pool_after_fork(void)
{
	struct ebb_pool *pool;

	generation++;
	/* Of who is not here. */
	if (!table_taken && !lock_is_mine(&table_lock))
		lock_reset(&table_lock);
	if (!table_used)
		return;
	drain_for_each_held(inherit, NULL);
	for (size_t i = 0; (pool = pool_at(i)); i++) {
		if (!pool->lock_taken) {
			/* A handler interrupted who changes it, and goes on. */
			if (lock_is_mine(&pool->lock))
				continue;
			/* Of who is not here. */
			lock_reset(&pool->lock);
		}
		keep_own_waiters(pool);
	}
}
