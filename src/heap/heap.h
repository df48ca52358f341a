/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Heaps: what belongs to one thread
 *
 * What it is: a heap holds a thread's magazines (arrays of free slots, one
 * for each class), the slabs it owns, and its outbox of slots freed for
 * others.  The thread block (tcb) says which heap the fast path uses.
 *
 * Model: the fast path touches the magazines only, between tcb_enter() and
 * tcb_leave().  The heap pointer in the tcb is also the gate: the reclaimer
 * points it at the empty heap, whose magazines are both empty and full, and
 * which owns no slab, so that every operation falls into its slow path; see
 * heap/drain.h for the protocol.
 *
 * Invariants:
 * (1) The place below a magazine's bottom holds NULL, so the value loaded by
 *     a pop is also the test for emptiness.
 * (2) tcb->busy is not 0 exactly while its thread is inside the allocator (it
 *     then holds the stack pointer, for whoever debugs).  A nested call
 *     (signal handler) never changes it.
 * (3) Heaps are type-stable: never unmapped, so a late pusher may still touch
 *     heap->avail after its heap was closed, or has become another thread's.
 *
 * Locking: a heap is its thread's alone, but for @avail (atomic).  Whoever
 * holds drain_lock and found the thread not busy behind the gate acts as the
 * thread.
 *
 * Fork: the child's heap is intact; see heap/orphan.h for the others.
 */
#ifndef EBB_HEAP_HEAP_H
#define EBB_HEAP_HEAP_H

#include "acct/account.h"
#include "base/lock.h"
#include "heap/charge.h"
#include "heap/chunk.h"
#include "heap/slab.h"
#include "vm/run.h"

/* Lists of slabs with free slots: the fullest are refilled from first. */
#define NR_FULLNESS	4u

/*
 * Slots a magazine begins with, places it needs, and places of all small ones;
 * see magazine.c.
 */
#define CACHE_START	8u
#define STORE_LEN(cap)	(1 + (cap) + (cap) / 2)
#define SMALL_PLACES	4096u

/* Slots of others' slabs that leave together, and the largest of them. */
#define OUTBOX_SLOTS	256u
#define OUTBOX_SIZE_MAX	1024u
#define OUTBOX_CLASS_MAX	31u

struct magazine {
	void **top;		/* next free place */
	void **end;		/* first place beyond */
};

/* What a magazine was last: empty, and refilled, or full, and flushed. */
enum bin_use {
	BIN_REFILLED,
	BIN_FLUSHED,
};

/* The owner's side of a class. */
struct bin {
	void **bottom;		/* of the magazine; bottom[-1] is NULL */
	struct slab *current;	/* ACTIVE slab refilled from, or NULL */
	uint16_t cap;		/* magazine's capacity; 0: it has no place */
	uint8_t last_use : 1;	/* enum bin_use */
	uint8_t has_lists : 1;
	uint8_t streak : 1;	/* it was that more than once in a row */
	uint8_t bursts : 4;	/* streaks by turns so far, below BURSTS_MIN */
	uint8_t nr_shared;	/* slots taken from the spare slab */
	uint32_t nr_slabs;	/* on the lists and current; the orphans' also
				 * counts spare slabs, so it is atomic */
};

/* Its slabs but for the current one. */
struct bin_lists {
	struct list_head full;	/* FULL and QUEUED */
	struct list_head partial[NR_FULLNESS];	/* [0]: fewest free slots */
};

/* See heap/run_cache.h. */
#define RUN_CACHE_RUNS	8u
#define RUN_CACHE_LEN	4u
#define RUN_CACHE_BYTES	(8 * SLAB_SIZE)

struct cached_run {
	struct slab *run;
	uint32_t nr_slabs;
	uint16_t state;		/* enum run_state */
	uint16_t backed;	/* pages of its last slab, at most */
};

struct run_cache {
	uint32_t nr;
	uint32_t bytes;		/* of all of them */
	struct cached_run entries[RUN_CACHE_RUNS];	/* the oldest first */
};

/* See heap/medium.h. */
#define MEDIUM_CACHED		16u
#define MEDIUM_CACHED_BYTES	(512 * BLOCK_SIZE)

struct medium_cache {
	uint32_t nr;
	uint32_t bytes;		/* of all of them */
	struct stretch stretches[MEDIUM_CACHED];	/* the oldest first */
};

struct tcb {
	struct heap *heap;	/* the gate; the empty heap while closed */
	uintptr_t busy;
	uint64_t pool_busy;	/* key of the pool whose credit it changes */
	struct heap *behind;	/* the gate of a thread that is metered, whose
				 * @heap is the empty one; NULL: closed */
};

/* Room of a pool drawn in advance; see heap/pool.h. */
#define POOL_CREDITS	4u

struct pool_credit {
	uint64_t key;		/* of the pool; 0: of none */
	int64_t bytes;
	int64_t nr;		/* buffers taken less those returned */
};

#define HEAP_FRONT							\
	/* Both empty and full: where hot->bin is 0 frees go the slow way. */ \
	struct magazine holes;						\
	struct magazine outbox;	/* slots of others' slabs */		\
	struct magazine magazines[NR_CLASSES];				\
	/* As holes: where slots are others', heap/stranger.h; and of	\
	 * what keeps avail apart, since nobody writes them. */		\
	struct magazine strangers, looking;				\
									\
	/* Others push on avail: it has a cache line of its own. */	\
	uint64_t pad_before[4];						\
	struct slab *avail;	/* stack of QUEUED slabs */		\
	uint64_t pad_after[7];						\
									\
	/* The empty heap's have no key. */				\
	struct pool_credit credits[POOL_CREDITS]

struct sampler;

struct heap_front {
	HEAP_FRONT;
};

struct heap {
	HEAP_FRONT;
	struct tcb *tcb;	/* whose heap; NULL: nobody's */
	int tid;		/* of that thread; set when it is opened */
	uint16_t turn;		/* atomic: another one with each thread that gets
				 * it, or ends */
	uint32_t tally_turn;	/* see heap/tally.h, whose walker alone ... */
	uint32_t tally_slabs;	/* ... reads and writes these */
	uint64_t tally_taken;
	struct account_delta delta;
	struct charge_own own;
	struct charge_owed owed[NR_OWED];
	uint16_t charge;	/* its thread's account */
	uint8_t arena;		/* of medium objects, from 1; 0: none yet */
	uint8_t settle_turn;	/* see refill_from() */
	struct list_head all;	/* registered heaps; drain_lock */
	struct heap *next_free;	/* closed heaps; drain_lock */
	uint64_t tops_seen;	/* drain_lock: sum of the tops at its last look */
	void **outbox_seen;	/* drain_lock: top of the outbox then */
	uint32_t kept_turn;	/* changes with each run or medium object that is
				 * kept, or no more */
	uint32_t turn_seen;	/* drain_lock: what that was at its last look */
	uint64_t burst_ms;	/* drain_lock: since then burst_bytes is not 0,
				 * as far as was seen; 0: it is */
	struct run_cache runs;
#if IS_ENABLED(CONFIG_MEDIUM)
	struct medium_cache medium;
#endif
	struct sampler *sampler;	/* NULL: nothing is marked */
	struct slab *aside;	/* popped, QUEUED, to be refilled from: see
				 * heap_next_slab() */
	uint32_t grown_bytes;	/* room of magazines beyond what they began
				 * with, cached runs and medium objects; in
				 * account.cached */
	uint32_t burst_bytes;	/* of these what is beyond the classes'
				 * cache_max; whoever is at the heap stores,
				 * holders of drain_lock read */
	uint32_t small_used;	/* places of the small store in use */
	bool grown;		/* stores reach beyond the small one's first
				 * page, or did */
	uint8_t gated;		/* drain_lock: enum drain_part, behind the gate
				 * at this moment */
	bool metered;		/* drain_lock: its thread is, heap/meter.h */
	/* What a thread that hardly allocates needs ends in the small store. */
	struct bin bins[NR_CLASSES];
	void *outbox_store[OUTBOX_SLOTS];
	void *small_store[SMALL_PLACES];	/* [0] stays NULL */
	struct bin_lists lists[NR_CLASSES];
	void *big_store[];	/* grown magazines; see magazine.c */
};

/* See heap/meter.h. */
struct meter {
	uint64_t allocated;
	uint64_t freed;
	int64_t peak;		/* of the difference, since it was ... */
	int64_t peak_from;	/* ... this */
};

/* What only slow paths need to know of a thread. */
enum thread_state {
	THREAD_NEW,		/* has no heap yet */
	THREAD_ALIVE,
	THREAD_GONE,		/* past its destructor: bypass for ever */
};

struct thread {
	struct heap *heap;	/* its own, also while gated */
	enum thread_state state;
	bool registered;	/* its destructor will run at thread exit */
	bool unwinding;		/* inside backtrace(): not once more */
	uint16_t charge;	/* its account; 0: none yet */
	bool metered;		/* each of its calls is counted: heap/meter.h */
	struct meter meter;
};

extern __thread struct tcb tcb __attribute__((tls_model("initial-exec"),
					      visibility("hidden")));
extern __thread struct thread thread
	__attribute__((tls_model("initial-exec"), visibility("hidden")));

/*
 * The empty heap: nobody looks behind its front, so it has nothing there; a
 * whole one would cost every process four pages.
 */
extern struct heap_front empty_front __attribute__((visibility("hidden")));
#define EMPTY_HEAP	((struct heap *)(void *)&empty_front)

extern struct heap orphan_heap __attribute__((visibility("hidden")));

/* Every operation is a bypass: options check=1, guard=all. */
extern bool heap_checked;

/* Sized frees are checked: heap_checked, or guard mode. */
extern bool heap_sized;

/* realloc() has to look closely: heap_checked or heap_profiled. */
extern bool heap_watched;

/* There is a heap profile: option profile, heap/sample.h. */
#if IS_ENABLED(CONFIG_PROFILE)
extern bool heap_profiled __attribute__((visibility("hidden")));
#else
#define heap_profiled	false
#endif

/*
 * Who takes a slow path looks whether it is to be noted: heap_profiled, or some
 * thread is metered (atomic; heap/meter.h).
 */
extern bool heap_noted __attribute__((visibility("hidden")));

/* Slots in magazines may be marked: by the profile, or for guard mode. */
#if IS_ENABLED(CONFIG_PROFILE) || IS_ENABLED(CONFIG_GUARD)
#define HEAP_MARKS	1
extern bool heap_marked __attribute__((visibility("hidden")));
#else
#define HEAP_MARKS	0
#define heap_marked	false
#endif

/* Threads other than the first may have heaps: their end will be heard of. */
extern bool heap_for_all;

#define BUSY_FORK	UINTPTR_MAX	/* between the fork handlers */

#define HEAP_BIN_OFFSET(class)						\
	((uint16_t)(offsetof(struct heap_front, magazines) +		\
		    (class) * sizeof(struct magazine)))

/* HEAP_BIN_OFFSET() of the class for (size - 1) / 16. */
extern const uint16_t bin_of_size[CLASS_SIZE_MAX >> CLASS_STEP_SHIFT]
	__attribute__((visibility("hidden")));

static inline struct magazine *heap_magazine(struct heap *heap,
					     unsigned int class)
{
	return &heap->magazines[class];
}

/*
 * Enter and leave the bracket.  The stores need no CPU barrier: the drainer's
 * barrier_all() orders them.  Pairs with drain_gate().
 */
__always_inline_ void tcb_enter(struct tcb *t)
{
#if defined(__x86_64__)
	__asm__ __volatile__("movq %%rsp, %0" : "=m"(t->busy) :: "memory");
#else
	store_relaxed(&t->busy, (uintptr_t)__builtin_frame_address(0));
	barrier();
#endif
}

__always_inline_ void tcb_leave(struct tcb *t)
{
	barrier();
	store_release(&t->busy, 0);
}

/* The heap behind this thread's gate; NULL: it is closed, or there is none. */
static inline struct heap *tcb_heap(void)
{
	struct heap *heap = load_dependent(&tcb.heap);

	return likely(heap != EMPTY_HEAP) ? heap : load_dependent(&tcb.behind);
}

static inline uintptr_t heap_key(const void *ptr)
{
	return (uintptr_t)ptr ^ range.secret;
}

/* Where a cached free slot keeps its key: its second word. */
static inline uintptr_t *heap_key_of(void *ptr)
{
	return (uintptr_t *)ptr + 1;
}

/*
 * This thread's heap, made if need be.  NULL: gated, gone, or no memory; use
 * the bypass.  Context: inside the bracket, not nested.
 */
struct heap *heap_get(void);

/*
 * Usable bytes, at least, of what is handed out for @size at a multiple of @align,
 * be it a slot, a medium or a large object.  The same at any time.
 */
size_t heap_usable_for(size_t align, size_t size);

/*
 * Its thread has ended: its slabs become orphans.  Context: the heap is off the
 * list of heaps, and its magazines were emptied before, with drain_lock held
 * (drain_close_heap()).
 */
void heap_close(struct heap *heap);

#define CLASS_SET_WORDS		((NR_CLASSES + 63) / 64)

struct class_set {
	uint64_t words[CLASS_SET_WORDS];
};

/* Memory is taken for @class, fresh or given back before. */
void heap_note_wanted(unsigned int class);

/* The classes that was said of since the last call; none with a single heap. */
void heap_take_wanted(struct class_set *ret_set);

/*
 * Near the limit what one thread has free and another takes memory for is given
 * back and faulted in again.  So what @heap has of slabs with free slots, of
 * the classes in @set, becomes the orphans', from whom all threads adopt before
 * they take memory.  Returns whether there was any.
 * Context: as the owner, after heap_reap(); no lock of floor 3 but drain_lock.
 */
bool heap_share(struct heap *heap, const struct class_set *set);

/*
 * The slab to refill @class from, as the bin's current one; NULL: no memory.
 *
 * Wholly free ones of @class that come off the stack meanwhile are set aside,
 * to be the next ones: a load that frees much of a class and allocates it again
 * has no use for their being retired and made anew.  They are all of one class,
 * and are retired before memory is taken for another one.
 */
struct slab *heap_next_slab(struct heap *heap, unsigned int class);

/* An orphan becomes the bin's current one, if it has none; false: no orphan. */
bool heap_adopt(struct heap *heap, unsigned int class);

/* Whether slabs of @class were set aside, which cost nothing to take. */
static inline bool heap_has_aside(const struct heap *heap, unsigned int class)
{
	return heap->aside && slab_hot(heap->aside)->class == class;
}

/* Put an owned slab that is not QUEUED on the list its count asks for. */
void heap_list_slab(struct heap *heap, struct slab *slab,
		    enum slab_state state);

/* Take QUEUED slabs off the stack; retire what is wholly free. */
void heap_pop_avail(struct heap *heap);

/* Retire every slab that is wholly free, current ones included. */
void heap_reap(struct heap *heap);

/* Return a wholly free slab of @heap, which is on no list. False: it is not. */
bool heap_retire(struct heap *heap, struct slab *slab);

void heap_init_bins(struct heap *heap);

/*
 * The lists of @class, made when the first slab is put on one, so that classes
 * which are not used cost no page.
 */
struct bin_lists *heap_lists(struct heap *heap, unsigned int class);

/* They, or NULL: none has been made. */
static inline struct bin_lists *heap_lists_made(struct heap *heap,
						unsigned int class)
{
	return heap->bins[class].has_lists ? &heap->lists[class] : NULL;
}

/* Where what is owed to @id is gathered, and now perhaps another's is. */
static inline struct charge_owed *heap_owed(struct heap *heap, unsigned int id)
{
	return &heap->owed[id & (NR_OWED - 1)];
}

/* Its thread has freed @bytes that are charged to @id. */
static inline void heap_owe(struct heap *heap, unsigned int id, uint64_t bytes)
{
	struct charge_owed *owed = heap_owed(heap, id);

	if (unlikely(owed->id != id)) {
		charge_tell(owed);
		owed->id = id;
	}
	owed->bytes += bytes;
}

/* What @heap's caches may hold changes by @more bytes. */
static inline void heap_count_room(struct heap *heap, int64_t more)
{
	heap->grown_bytes += (uint32_t)more;
	add_relaxed(&account.cached, (uint64_t)more);
}

/* @more bytes are kept beside magazines, in the cache of which *@sum are. */
static inline void heap_count_kept(struct heap *heap, uint32_t *sum,
				   int64_t more)
{
	store_relaxed(sum, *sum + (uint32_t)more);
	store_relaxed(&heap->kept_turn, heap->kept_turn + 1);
	heap_count_room(heap, more);
}

/* Whether the admin's bound (option limit) lets @bytes more be backed. */
static inline bool heap_may_back(uint64_t bytes)
{
	uint64_t most = load_relaxed(&account.backed_max);

	if (likely(!most))
		return true;
	/* Of two who have counted what they want one sees the other's. */
	fence_seq_cst();
	return account_slots_backed() + run_counted(large) +
	       run_dirty_bytes() + bytes <= most;
}

/*
 * An object of @bytes is this thread's from now on; @heap: its heap, or NULL.
 * Returns the account that holds them.
 */
static inline uint16_t heap_charge(struct heap *heap, uint64_t bytes)
{
	unsigned int id = heap ? heap->charge : charge_self();

	if (heap)
		heap->own.taken += bytes;
	else
		charge_add(id, bytes);
	return (uint16_t)id;
}

/* This thread frees @bytes that @id holds; the same. */
static inline void heap_discharge(struct heap *heap, unsigned int id,
				  uint64_t bytes)
{
	if (heap)
		charge_free(heap, id, bytes);
	else
		charge_sub(id, bytes);
}

static inline void heap_tell(struct heap *heap)
{
	if (likely(!account_is_due(&heap->delta)))
		return;
	account_tell(&heap->delta);
	run_look();
}

#endif
