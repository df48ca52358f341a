// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Medium objects: blocks, chunks, and the reclaimer
 *
 * The parts of the library are the real ones; medium.c and claim.c are
 * included, for what nobody else sees.  A model knows of each block whose it is,
 * and what it reads as: what the reclaimer gives back is zeroed here.
 */
#include <pthread.h>
#include <sched.h>

#include "base/atomic.h"

/*
 * Between any two steps of a protocol another thread may run, if only once in a
 * long time: here it does so often.
 */
static bool jitters;

static void jitter(void)
{
	static __thread uint32_t last;

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
	object->start = medium_alloc(NULL, size, align, &zero);
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

	if (!medium_resize(NULL, object->start, size))
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

static const char *drop(struct object *object)
{
	if (!holds(object, object->len))
		return "changed";
	if (!change_owner(object->start, object->len,
			  (uint32_t)(object - objects) + 1, 0))
		return "lost";
	medium_free(NULL, object->start, "free");
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
	return rng_below(rng, 3) ? drop(object) : resize(object, rng);
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
	if (at->pages)
		medium_claimed(slab);
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
	medium_settled(at->slab);
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
		if (longest(chunk, (enum view)view) > chunk[view].most)
			return chunk->chunk.changed || chunk->chunk.nr_pins;
	return true;
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
	return !run_counters.used && !account.slots_handed &&
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
			medium_reap(i % 1024);
		}
	}
	ASSERT_EQ(NULL, wrong) {
		TH_LOG("an object is %s", wrong);
	}
	for (unsigned int i = 0; i < NR_OBJECTS; i++)
		if (objects[i].start)
			ASSERT_EQ(NULL, drop(&objects[i]));
	for (unsigned int i = 0; i < NR_HELD; i++)
		if (held[i].pages)
			settle(&held[i], i % 2);
	medium_reap(true);
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
	struct extent extent = { .at = 0 };
	struct arena *arena;
	bool zero;
	char *p;

	p = medium_alloc(NULL, 40 * KIB, 1, &zero);
	ASSERT_NE(NULL, p);
	extent.chunk = chunk_of(p);
	extent.nr = length_at(extent.chunk, 0);
	arena = &arenas[extent.chunk->chunk.arena];
	ASSERT_TRUE(unmark_start(extent.chunk, 0));
	clear_end(&extent);
	sub_relaxed(&account.slots_handed, 40 * (int64_t)KIB);
	add_relaxed(&account.slots_dirty, 40 * (int64_t)KIB);

	/* All of it is free, and another free has told so; ours goes on. */
	publish(extent, "free");
	relist(arena, extent.chunk);
	EXPECT_EQ(CHUNK_BLOCKS, extent.chunk[VIEW_FREE].most);
	medium_reap(true);
	EXPECT_TRUE(medium_is(p));
	/* It has told, too: who pops it then would take it for a chunk. */
	tell_arena(extent.chunk);
	unpin(extent.chunk);
	EXPECT_FALSE(give_up(arena, extent.chunk));
	EXPECT_TRUE(medium_is(p));
	medium_reap(true);
	EXPECT_FALSE(medium_is(p));
	EXPECT_TRUE(none_is_left());
}

/* === At once ============================================================== */

#define NR_THREADS	3u
#define NR_EACH		40u
#define NR_ROUNDS	20000u

static struct object *handed;	/* to whoever frees it */
static uint32_t nr_wrong, stop;

static void free_handed(struct object *next)
{
	struct object *last = xchg_acq_rel(&handed, next);

	if (!last)
		return;
	if (!holds(last, last->len))
		add_relaxed(&nr_wrong, 1);
	medium_free(NULL, last->start, "free");
	free(last);
}

static void churn_one(struct object *object, struct rng *rng)
{
	struct object *copy;
	bool zero;

	if (!object->start) {
		object->id = rng_next(rng);
		object->start = medium_alloc(NULL, draw(rng), 1, &zero);
		if (!object->start)
			abort();
		object->len = medium_usable(object->start);
	} else if (!holds(object, object->len)) {
		add_relaxed(&nr_wrong, 1);
	} else if (!rng_below(rng, 4)) {
		copy = malloc(sizeof(*copy));
		*copy = *object;
		object->start = NULL;
		free_handed(copy);
		return;
	} else if (rng_below(rng, 3) ||
		   !medium_resize(NULL, object->start, draw(rng))) {
		medium_free(NULL, object->start, "free");
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
	struct rng rng;

	rng_seed(&rng, (uintptr_t)arg);
	for (unsigned int i = 0; i < NR_ROUNDS; i++) {
		churn_one(&mine[rng_below(&rng, nr_each)], &rng);
		/* Now and then it has nothing, and chunks get empty. */
		if (i % (NR_ROUNDS / 32))
			continue;
		for (unsigned int k = 0; k < NR_EACH; k++)
			if (mine[k].start)
				medium_free(NULL, mine[k].start, "free");
		memset(mine, 0, sizeof(mine));
	}
	for (unsigned int k = 0; k < NR_EACH; k++)
		if (mine[k].start)
			medium_free(NULL, mine[k].start, "free");
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
	}
	for (unsigned int i = 0; i < 8; i++)
		sched_yield();
	for (unsigned int i = 0; i < CHUNK_SLABS; i++) {
		/* Who has not unpinned yet subtracts from what is this now. */
		if (slabs[i]->charges)
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
		medium_reap(true);
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
	free_handed(NULL);
	EXPECT_EQ(0, nr_wrong);
	EXPECT_TRUE(all_are_known());
	medium_reap(true);
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
