// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Medium objects: blocks, chunks, and the reclaimer
 *
 * The parts of the library are the real ones; chunk.c, arena.c, medium.c and
 * claim.c are included, for what nobody else sees.  A model knows of each block
 * whose it is, and what it reads as: what the reclaimer gives back is zeroed here.
 */
#include <pthread.h>
#include <sched.h>

#include "base/atomic.h"

/*
 * Between any two steps of a protocol another thread may run, if only once in a
 * long time: here it does so often.
 */
static bool jitters;

/* Or once, at the step that it is said to. */
static void (*intruder)(void);
static unsigned int steps_before;

static void jitter(void)
{
	static __thread uint32_t last;

	if (steps_before && !--steps_before)
		intruder();
	last = last * 1664525 + 1013904223;
	if (jitters && last >> 27 == 0)
		sched_yield();
}

#define JITTERED(operation)						\
	({								\
		__auto_type _was = (jitter(), (operation));		\
		jitter();						\
		_was;							\
	})

#undef load_acquire
#undef load_seq_cst
#undef sub_release
#undef xchg_seq_cst
#undef xchg_acquire
#undef and_acq_rel
#undef and_acquire
#undef or_release
#define load_acquire(p)							\
	JITTERED(__atomic_load_n((p), __ATOMIC_ACQUIRE))
#define load_seq_cst(p)							\
	JITTERED(__atomic_load_n((p), __ATOMIC_SEQ_CST))
#define sub_release(p, v)						\
	JITTERED(__atomic_fetch_sub((p), (v), __ATOMIC_RELEASE))
#define xchg_seq_cst(p, v)						\
	JITTERED(__atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST))
#define xchg_acquire(p, v)						\
	JITTERED(__atomic_exchange_n((p), (v), __ATOMIC_ACQUIRE))
#define and_acq_rel(p, v)						\
	JITTERED(__atomic_fetch_and((p), (v), __ATOMIC_ACQ_REL))
#define and_acquire(p, v)						\
	JITTERED(__atomic_fetch_and((p), (v), __ATOMIC_ACQUIRE))
#define or_release(p, v)						\
	JITTERED(__atomic_fetch_or((p), (v), __ATOMIC_RELEASE))

#include "heap/chunk.c"
#include "heap/arena.c"
#include "heap/medium.c"
#include "reclaim/claim.c"

#include "unit/page_sizes.h"

#define NR_OBJECTS	400u
#define NR_HELD		8u
#define NR_BLOCKS	(256 * MIB >> BLOCK_SHIFT)

struct object {
	char *start;
	size_t len;		/* usable */
	uint64_t id;
};

/* Pages that the reclaimer has claimed. */
struct held {
	struct slab *slab;
	unsigned int pages;
};

static struct object objects[NR_OBJECTS];
static struct held held[NR_HELD];
static uint32_t owner[NR_BLOCKS];	/* object's number + 1; 0: free */

/* Of threads that keep some, as drain_open_heap() leaves them. */
#define NR_THREADS	3u

static struct heap heaps_of[NR_THREADS];

static struct heap *keeper(unsigned int number)
{
	struct heap *heap = &heaps_of[number];

	store_relaxed(&account.frugal, true);
	heap->tcb = &tcb;
	return heap;
}

/* The heap that half of the calls are made with; the others are a handler's. */
static struct heap *either(struct rng *rng)
{
	return rng_below(rng, 2) ? keeper(0) : NULL;
}

FIXTURE(medium) {
	struct rng rng;
	uint64_t last_id;
};

PAGE_SIZES(medium);

FIXTURE_SETUP(medium)
{
	ASSERT_EQ(0, page_size_begin(variant->shift, &self->rng));
}

FIXTURE_TEARDOWN(medium)
{
}

static size_t block_at(const char *at)
{
	return (size_t)(at - range.base) >> BLOCK_SHIFT;
}

/* Whether the blocks of @len bytes at @at were @from's; now they are @to's. */
static bool change_owner(const char *at, size_t len, uint32_t from, uint32_t to)
{
	for (size_t i = block_at(at); i < block_at(at + len); i++) {
		if (owner[i] != from)
			return false;
		owner[i] = to;
	}
	return true;
}

/* A word at the beginning of each block tells whose it is. */
static void fill(const struct object *object, size_t from)
{
	for (size_t at = from; at < object->len; at += BLOCK_SIZE)
		*(uint64_t *)(object->start + at) = object->id;
}

static bool holds(const struct object *object, size_t len)
{
	for (size_t at = 0; at < len; at += BLOCK_SIZE)
		if (*(uint64_t *)(object->start + at) != object->id)
			return false;
	return true;
}

static bool is_zero(const char *at, size_t len)
{
	for (size_t i = 0; i < len; i += sizeof(uint64_t))
		if (*(const uint64_t *)(at + i))
			return false;
	return true;
}

static size_t draw(struct rng *rng)
{
	return MEDIUM_MIN + 1 + rng_below(rng, MEDIUM_MAX - MEDIUM_MIN);
}

static const char *make(struct object *object, struct rng *rng, uint64_t id)
{
	size_t size = draw(rng), align = 1;
	bool zero;

	if (!rng_below(rng, 8)) {
		align = 1ul << rng_below(rng, SLAB_SHIFT + 1);
		size = rng_below(rng, MEDIUM_MAX + 1);
	}
	object->start = medium_alloc(either(rng), size, align, &zero);
	if (!object->start)
		return "no memory";
	object->len = medium_size(size);
	object->id = id;
	if ((uintptr_t)object->start & (align - 1))
		return "not aligned";
	if (medium_usable(object->start) != object->len)
		return "of another length";
	if (medium_around(object->start + object->len - 1) != object->start)
		return "not found from its end";
	if (!change_owner(object->start, object->len, 0,
			  (uint32_t)(object - objects) + 1))
		return "somebody's";
	if (zero && !is_zero(object->start, object->len))
		return "not zero";
	fill(object, 0);
	return NULL;
}

static const char *resize(struct object *object, struct rng *rng)
{
	uint32_t number = (uint32_t)(object - objects) + 1;
	size_t size = draw(rng), len = medium_size(size);

	if (!medium_resize(either(rng), object->start, size))
		return len <= object->len ? "not made shorter" : NULL;
	if (medium_usable(object->start) != len)
		return "of another length, resized";
	if (len < object->len) {
		change_owner(object->start + len, object->len - len, number, 0);
	} else if (!change_owner(object->start + object->len,
				 len - object->len, 0, number)) {
		return "grown into somebody's";
	}
	if (!holds(object, min(len, object->len)))
		return "changed, resized";
	object->len = len;
	fill(object, 0);
	return NULL;
}

static const char *drop(struct object *object, struct heap *heap)
{
	if (!holds(object, object->len))
		return "changed";
	if (!change_owner(object->start, object->len,
			  (uint32_t)(object - objects) + 1, 0))
		return "lost";
	medium_free(heap, object->start, "free");
	if (medium_usable(object->start))
		return "freed and there";
	object->start = NULL;
	return NULL;
}

static const char *step_object(struct rng *rng, uint64_t id)
{
	struct object *object = &objects[rng_below(rng, NR_OBJECTS)];

	if (!object->start)
		return make(object, rng, id);
	return rng_below(rng, 3) ? drop(object, either(rng)) :
				   resize(object, rng);
}

/* As sweep() and batch_take_pages(). */
static void hold(struct held *at, struct slab *slab)
{
	const struct sizeclass *sc = &sizeclasses[CLASS_BLOCKS];
	struct slab_life life = {
		slab, sc, ctl_gen(load_acquire(&slab->ctl)),
	};
	unsigned int pages = slab_free_pages(slab, sc) &
			     ~pages_clean(load_relaxed(&slab->pages));

	if (slab_hot(slab)->kind != SLAB_KIND_MEDIUM || !pages)
		return;
	at->pages = claim_pages(&life, pages);
	at->slab = slab;
}

/* As settle_pages(); @clean: the kernel has taken them. */
static void settle(struct held *at, bool clean)
{
	for (unsigned int left = at->pages; clean && left; left &= left - 1)
		memset(slab_base(at->slab) +
		       ((size_t)bit_lowest(left) << map_page_shift), 0,
		       map_page_size);
	if (clean) {
		or_release(&at->slab->pages,
			   (uint64_t)at->pages << PAGES_CLEAN);
		sub_relaxed(&account.slots_dirty,
			    (int64_t)pages_bytes(at->pages));
	}
	publish_pages(at->slab, at->pages);
	at->pages = 0;
}

static bool owned_by_nobody(const struct held *at)
{
	for (unsigned int left = at->pages; left; left &= left - 1)
		if (!change_owner(slab_base(at->slab) + ((size_t)
				  bit_lowest(left) << map_page_shift),
				  map_page_size, 0, 0))
			return false;
	return true;
}

static const char *step_reclaimer(struct rng *rng)
{
	struct held *at = &held[rng_below(rng, NR_HELD)];
	size_t nr = load_relaxed(&range.fresh) >> SLAB_SHIFT;

	if (at->pages)
		settle(at, rng_below(rng, 2));
	else if (nr)
		hold(at, range.slabs + rng_below(rng, nr));
	return owned_by_nobody(at) ? NULL : "of the reclaimer, and in use";
}

/* No chunk has more than its arena thinks, or will hear of. */
static bool is_known(struct slab *chunk)
{
	for (int view = 0; view < NR_VIEWS; view++)
		if (chunk_longest(chunk, (enum view)view) > *known_of(chunk, (enum view)view))
			return false;
	return chunk_meta(chunk)->changed || chunk_meta(chunk)->nr_pins ||
	       (chunk[VIEW_BACKED].listed >= *known_of(chunk, VIEW_BACKED) &&
		chunk[VIEW_FREE].listed >= *known_of(chunk, VIEW_FREE));
}

static bool all_are_known(void)
{
	size_t nr = load_relaxed(&range.fresh) >> SLAB_SHIFT;

	for (size_t i = 0; i < nr; i++) {
		if (hot_at(i)->kind != SLAB_KIND_MEDIUM)
			continue;
		if (!is_known(range.slabs + i))
			return false;
		i += CHUNK_SLABS - 1;
	}
	return true;
}

static bool none_is_left(void)
{
	size_t nr = load_relaxed(&range.fresh) >> SLAB_SHIFT;

	for (size_t i = 0; i < nr; i++)
		if (hot_at(i)->kind == SLAB_KIND_MEDIUM)
			return false;
	return !run_counted(used) && !account.slots_handed &&
	       !account.slots_dirty;
}

TEST_F_TIMEOUT(medium, objects_do_as_the_model_says, 120)
{
	const char *wrong = NULL;

	for (int i = 0; i < 60000 && !wrong; i++) {
		wrong = rng_below(&self->rng, 8) ?
			step_object(&self->rng, ++self->last_id) :
			step_reclaimer(&self->rng);
		if (!(i % 512)) {
			EXPECT_TRUE(all_are_known());
			arena_reap(i % 1024);
		}
	}
	ASSERT_EQ(NULL, wrong) {
		TH_LOG("an object is %s", wrong);
	}
	for (unsigned int i = 0; i < NR_OBJECTS; i++)
		if (objects[i].start)
			ASSERT_EQ(NULL, drop(&objects[i], NULL));
	for (unsigned int i = 0; i < NR_HELD; i++)
		if (held[i].pages)
			settle(&held[i], i % 2);
	medium_trim(keeper(0), 0);
	account_tell(&keeper(0)->delta);
	arena_reap(true);
	EXPECT_TRUE(none_is_left());
}

/* Of its own size; not of others, nor what has to lie elsewhere. */
TEST_F(medium, a_thread_takes_again_what_it_has_freed)
{
	struct heap *heap = keeper(0);
	char *p, *q;
	bool zero;

	p = medium_alloc(heap, 41 * KIB, 1, &zero);
	ASSERT_NE(NULL, p);
	ASSERT_NE(NULL, medium_alloc(heap, 9 * KIB, 1, &zero));
	q = medium_alloc(heap, 41 * KIB, 1, &zero);
	ASSERT_NE(NULL, q);
	medium_free(heap, p, "free");
	medium_free(heap, q, "free");
	EXPECT_EQ(82 * KIB, medium_cached_bytes(heap));
	EXPECT_EQ(82 * KIB, account.cached);
	EXPECT_EQ(0, medium_usable(p));
	EXPECT_EQ(NULL, medium_around(p));
	EXPECT_NE(p, medium_alloc(heap, 40 * KIB, 1, &zero));
	EXPECT_EQ(q, medium_alloc(heap, 41 * KIB, 1, &zero));
	EXPECT_FALSE(zero);
	EXPECT_EQ(41 * KIB, medium_usable(q));
	medium_free(heap, q, "free");
	/* The older one is the first of its chunk. */
	EXPECT_EQ(p, medium_alloc(heap, 41 * KIB, SLAB_SIZE, &zero));
	EXPECT_NE(q, medium_alloc(heap, 41 * KIB, SLAB_SIZE, &zero));
}

TEST_F(medium, a_thread_keeps_little_and_nothing_near_a_limit)
{
	struct heap *heap = keeper(0);
	char *p[64];
	bool zero;

	for (int i = 0; i < 64; i++)
		ASSERT_NE(NULL, p[i] = medium_alloc(heap, (i < 32 ? 60 : 9) * KIB,
						    1, &zero));
	for (int i = 0; i < 32; i++)
		medium_free(heap, p[i], "free");
	EXPECT_EQ(8, heap->medium.nr);
	for (int i = 32; i < 60; i++)
		medium_free(heap, p[i], "free");
	EXPECT_EQ(MEDIUM_CACHED, heap->medium.nr);
	EXPECT_EQ(MEDIUM_CACHED * 9 * KIB, medium_cached_bytes(heap));
	medium_trim(heap, 20 * KIB);
	EXPECT_EQ(18 * KIB, medium_cached_bytes(heap));
	store_relaxed(&account.tight, true);
	medium_free(heap, p[60], "free");
	EXPECT_EQ(0, medium_cached_bytes(heap));
	EXPECT_EQ(0, account.cached);
	store_relaxed(&account.tight, false);
	store_relaxed(&account.backed_max, UINT64_MAX / 2);
	medium_free(heap, p[61], "free");
	EXPECT_EQ(0, medium_cached_bytes(heap));
	store_relaxed(&account.backed_max, 0);
	medium_free(NULL, p[62], "free");
	medium_free(NULL, p[63], "free");
	account_tell(&heap->delta);
	arena_reap(true);
	EXPECT_TRUE(none_is_left());
}

/* A child counts the pins anew; what a vanished thread kept stays its. */
TEST_F(medium, what_is_kept_pins_its_chunk)
{
	struct heap *heap = keeper(0);
	struct slab *chunk;
	bool zero;
	char *p;

	p = medium_alloc(heap, 40 * KIB, 1, &zero);
	ASSERT_NE(NULL, p);
	chunk = chunk_around(p);
	medium_free(heap, p, "free");
	EXPECT_EQ(1, chunk_meta(chunk)->nr_pins);
	arena_reap(true);
	EXPECT_TRUE(medium_is(p));
	chunk_recount(chunk);
	EXPECT_EQ(1, chunk_meta(chunk)->nr_pins);
	EXPECT_EQ(p, medium_alloc(heap, 40 * KIB, 1, &zero));
	medium_free(heap, p, "free");
	medium_trim(heap, 0);
	account_tell(&heap->delta);
	arena_reap(true);
	EXPECT_TRUE(none_is_left());
}

/* What one size has freed another gets, without a page being faulted in. */
TEST_F(medium, sizes_share_what_is_backed)
{
	int64_t room;
	bool zero;
	char *p, *q;

	if (map_page_size > 60 * KIB)
		SKIP(return, "what is behind the hole is backed, too");
	p = medium_alloc(NULL, 60 * KIB, 1, &zero);
	ASSERT_NE(NULL, p);
	ASSERT_NE(NULL, medium_alloc(NULL, 20 * KIB, 1, &zero));
	medium_free(NULL, p, "free");
	room = account.room;
	EXPECT_EQ(p, medium_alloc(NULL, 30 * KIB, 1, &zero));
	EXPECT_FALSE(zero);
	q = medium_alloc(NULL, 30 * KIB, 1, &zero);
	EXPECT_EQ(p + 30 * KIB, q);
	EXPECT_EQ(room, account.room);
	/* And grow into each other's place. */
	medium_free(NULL, q, "free");
	EXPECT_TRUE(medium_resize(NULL, p, 59 * KIB + 1));
	EXPECT_EQ(60 * KIB, medium_usable(p));
	EXPECT_FALSE(medium_resize(NULL, p, 61 * KIB));
	EXPECT_EQ(60 * KIB, medium_usable(p));
	EXPECT_EQ(room, account.room);
}

/* Of two holes that will do the one whose pages are there. */
TEST_F(medium, what_is_backed_comes_first)
{
	struct held some = { 0 };
	char *p[16];
	bool zero;

	for (int i = 0; i < 16; i++)
		ASSERT_NE(NULL, p[i] = medium_alloc(NULL, SLAB_SIZE, SLAB_SIZE,
						    &zero));
	medium_free(NULL, p[3], "free");
	medium_free(NULL, p[9], "free");
	hold(&some, slab_of(p[3]));
	EXPECT_EQ(slab_all_pages(), some.pages);
	settle(&some, true);
	EXPECT_EQ(p[9], medium_alloc(NULL, SLAB_SIZE, 1, &zero));
	EXPECT_FALSE(zero);
	EXPECT_EQ(p[3], medium_alloc(NULL, SLAB_SIZE, 1, &zero));
	EXPECT_TRUE(zero);
}

/* Step by step what two threads do at once: a free, and who gives chunks up. */
TEST_F(medium, a_chunk_stays_until_a_free_is_done_with_it)
{
	struct stretch stretch = { .at = 0 };
	struct arena *arena;
	bool zero;
	char *p;

	p = medium_alloc(NULL, 40 * KIB, 1, &zero);
	ASSERT_NE(NULL, p);
	stretch.chunk = chunk_around(p);
	stretch.nr = chunk_length_at(stretch.chunk, 0);
	arena = &arenas[chunk_meta(stretch.chunk)->arena];
	ASSERT_TRUE(chunk_unmark(stretch.chunk, 0));
	stretch_clear_end(&stretch);
	sub_relaxed(&account.slots_handed, 40 * (int64_t)KIB);
	add_relaxed(&account.slots_dirty, 40 * (int64_t)KIB);

	/* All of it is free, and another free has told so; ours goes on. */
	stretch_publish(stretch, "free");
	list_anew(arena, stretch.chunk);
	EXPECT_EQ(CHUNK_BLOCKS, stretch.chunk[VIEW_FREE].listed);
	arena_reap(true);
	EXPECT_TRUE(medium_is(p));
	/* It has told, too: who pops it then would take it for a chunk. */
	push_changed(stretch.chunk);
	chunk_unpin(stretch.chunk);
	EXPECT_FALSE(give_up(arena, stretch.chunk));
	EXPECT_TRUE(medium_is(p));
	arena_reap(true);
	EXPECT_FALSE(medium_is(p));
	EXPECT_TRUE(none_is_left());
}

#define NR_FULL	16u	/* objects of a slab that a chunk is full of; */

static char *full[NR_FULL + 1], *intruded;	/* the last is of another */

static void free_full(unsigned int i)
{
	medium_free(NULL, full[i], "free");
	full[i] = NULL;
}

static void free_intruded(void)
{
	medium_free(NULL, intruded, "free");
	intruded = NULL;
}

/* Allocate @size while number @i is freed, at @step of that; false: after it. */
static bool intrude(struct __test_metadata *_metadata, size_t size,
		    unsigned int i, unsigned int step)
{
	bool zero, came;
	char *p;

	intruder = free_intruded;
	intruded = full[i];
	steps_before = step;
	p = medium_alloc(NULL, size, 1, &zero);
	steps_before = 0;
	came = !intruded;
	ASSERT_NE(NULL, p);
	ASSERT_TRUE(all_are_known()) {
		TH_LOG("at step %u", step);
	}
	if (came)
		full[i] = NULL;
	medium_free(NULL, p, "free");
	for (i = 0; i <= NR_FULL; i++)
		if (full[i])
			free_full(i);
	arena_reap(true);
	ASSERT_TRUE(none_is_left());
	return came;
}

/* One too many, for which all were looked at. */
static void fill_chunk(struct __test_metadata *_metadata)
{
	bool zero;

	for (unsigned int i = 0; i <= NR_FULL; i++)
		ASSERT_NE(NULL, full[i] = medium_alloc(NULL, SLAB_SIZE,
						       SLAB_SIZE, &zero));
	ASSERT_EQ(chunk_around(full[0]), chunk_around(full[NR_FULL - 1]));
}

/*
 * What is listed for a hole that is there no more is looked at, and less is known
 * of from then on: at each step of that another hole comes to be.
 */
TEST_F(medium, a_free_is_heard_of_whenever_it_comes)
{
	unsigned int step = 1;
	bool zero;

	do {
		fill_chunk(_metadata);
		free_full(3);
		full[3] = medium_alloc(NULL, 60 * KIB, 1, &zero);
		ASSERT_NE(NULL, full[3]);
	} while (intrude(_metadata, SLAB_SIZE, 9, step++));
	EXPECT_LT(20, step);
}

/* The same where a hole is found before all was looked at. */
TEST_F(medium, and_while_another_is_taken)
{
	unsigned int step = 1;

	do {
		fill_chunk(_metadata);
		free_full(3);
		free_full(5);
	} while (intrude(_metadata, SLAB_SIZE, 4, step++));
	EXPECT_LT(20, step);
}

static struct held claimed;

/* It has claimed, pinned and published, and has yet to tell. */
static void claim_and_publish(void)
{
	hold(&claimed, claimed.slab);
	slab_publish(claimed.slab, 0, chunk_blocks_of(claimed.pages),
		     PUBLISH_QUIET);
}

/* A chunk is about to be given up while the reclaimer is at it, at any step. */
TEST_F(medium, a_chunk_stays_until_the_reclaimer_is_done_with_it)
{
	unsigned int step = 0;
	bool zero;
	char *p;

	intruder = claim_and_publish;
	do {
		p = medium_alloc(NULL, SLAB_SIZE, SLAB_SIZE, &zero);
		ASSERT_NE(NULL, p);
		memset(&claimed, 0, sizeof(claimed));
		claimed.slab = slab_of(p);
		medium_free(NULL, p, "free");
		steps_before = ++step;
		arena_reap(true);
		steps_before = 0;
		if (claimed.pages) {
			ASSERT_TRUE(medium_has(claimed.slab)) {
				TH_LOG("at step %u", step);
			}
			arena_settled(claimed.slab, claimed.pages);
			arena_reap(true);
		}
		ASSERT_TRUE(none_is_left());
	} while (claimed.pages || step < 10);
}

/* === At once ============================================================== */

#define NR_EACH		40u
#define NR_ROUNDS	20000u

static struct object *handed;	/* to whoever frees it */
static uint32_t nr_wrong, stop;

static void free_handed(struct object *next, struct heap *heap)
{
	struct object *last = xchg_acq_rel(&handed, next);

	if (!last)
		return;
	if (!holds(last, last->len))
		add_relaxed(&nr_wrong, 1);
	medium_free(heap, last->start, "free");
	free(last);
}

static void churn_one(struct object *object, struct rng *rng,
		      struct heap *heap)
{
	struct object *copy;
	bool zero;

	if (!object->start) {
		object->id = rng_next(rng);
		object->start = medium_alloc(heap, draw(rng), 1, &zero);
		if (!object->start)
			abort();
		object->len = medium_usable(object->start);
	} else if (!holds(object, object->len)) {
		add_relaxed(&nr_wrong, 1);
	} else if (!rng_below(rng, 4)) {
		copy = malloc(sizeof(*copy));
		*copy = *object;
		object->start = NULL;
		free_handed(copy, heap);
		return;
	} else if (rng_below(rng, 3) ||
		   !medium_resize(heap, object->start, draw(rng))) {
		medium_free(heap, object->start, "free");
		object->start = NULL;
		return;
	}
	object->len = medium_usable(object->start);
	fill(object, 0);
}

/* Objects that a thread has at once; with one, chunks come and go. */
static unsigned int nr_each = NR_EACH;

static void *churn(void *arg)
{
	struct object mine[NR_EACH] = { 0 };
	struct heap *heap = keeper((unsigned int)(uintptr_t)arg);
	struct rng rng;

	rng_seed(&rng, (uintptr_t)arg);
	for (unsigned int i = 0; i < NR_ROUNDS; i++) {
		churn_one(&mine[rng_below(&rng, nr_each)], &rng,
			  rng_below(&rng, 2) ? heap : NULL);
		/* Now and then it has nothing, and chunks get empty. */
		if (i % (NR_ROUNDS / 32))
			continue;
		for (unsigned int k = 0; k < NR_EACH; k++)
			if (mine[k].start)
				medium_free(NULL, mine[k].start, "free");
		memset(mine, 0, sizeof(mine));
		medium_trim(heap, 0);
	}
	for (unsigned int k = 0; k < NR_EACH; k++)
		if (mine[k].start)
			medium_free(NULL, mine[k].start, "free");
	medium_trim(heap, 0);
	account_tell(&heap->delta);
	return NULL;
}

/* Each slab in turn, so that what was just freed is there. */
static void *reclaim(void *arg)
{
	struct rng rng;

	rng_seed(&rng, 99);
	for (size_t i = 0; !load_acquire(&stop); i++) {
		struct held *at = &held[rng_below(&rng, NR_HELD)];
		size_t nr = load_relaxed(&range.fresh) >> SLAB_SHIFT;

		if (at->pages)
			settle(at, rng_below(&rng, 2));
		else if (nr)
			hold(at, range.slabs + i % nr);
	}
	for (unsigned int i = 0; i < NR_HELD; i++)
		if (held[i].pages)
			settle(&held[i], false);
	return arg;
}

/* What was a chunk may serve a class next, of which nobody takes a slot. */
static void serve_a_class(void)
{
	struct slab *slabs[CHUNK_SLABS];
	enum run_state was;

	for (unsigned int i = 0; i < CHUNK_SLABS; i++) {
		slabs[i] = run_alloc(1, 1, &was);
		if (!slabs[i])
			abort();
		slab_init(slabs[i], sizeclass_of(2048), &orphan_heap, was);
		slabs[i]->avail_next = NULL;
	}
	for (unsigned int i = 0; i < 8; i++)
		sched_yield();
	for (unsigned int i = 0; i < CHUNK_SLABS; i++) {
		/* Who has not unpinned yet subtracts from what is this now. */
		if (slabs[i]->avail_next || slabs[i]->charges)
			add_relaxed(&nr_wrong, 1);
		if (!slab_is_wholly_free(slabs[i])) {
			add_relaxed(&nr_wrong, 1);
			continue;
		}
		/* A claim that came too late is put back. */
		while (!slab_retire(slabs[i]))
			sched_yield();
		run_free(slabs[i], 1, RUN_DIRTY);
	}
}

static void *give_up_chunks(void *arg)
{
	while (!load_acquire(&stop)) {
		arena_reap(true);
		serve_a_class();
	}
	return arg;
}

static void do_at_once(struct __test_metadata *_metadata)
{
	pthread_t threads[NR_THREADS], reclaimer, reaper;

	jitters = true;
	ASSERT_EQ(0, pthread_create(&reclaimer, NULL, reclaim, NULL));
	ASSERT_EQ(0, pthread_create(&reaper, NULL, give_up_chunks, NULL));
	for (uintptr_t i = 0; i < NR_THREADS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, churn,
					    (void *)i));
	for (unsigned int i = 0; i < NR_THREADS; i++)
		pthread_join(threads[i], NULL);
	store_release(&stop, 1);
	pthread_join(reclaimer, NULL);
	pthread_join(reaper, NULL);
	free_handed(NULL, NULL);
	EXPECT_EQ(0, nr_wrong);
	EXPECT_TRUE(all_are_known());
	arena_reap(true);
	EXPECT_TRUE(none_is_left());
}

TEST_F_TIMEOUT(medium, threads_and_the_reclaimer_do_it_at_once, 120)
{
	do_at_once(_metadata);
}

TEST_F_TIMEOUT(medium, chunks_come_and_go_meanwhile, 120)
{
	nr_each = 1;
	do_at_once(_metadata);
}

TEST_HARNESS_MAIN
