// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Contexts: what is allocated from them, and where it ends
 */
#include <errno.h>
#include <pthread.h>
#include <sys/wait.h>
#include "harness.h"

const char *ebb_conf = "accounts=live";

#define NR_OBJECTS	3000u

/* Each test twice: with checks, what is freed is not used again so soon. */
FIXTURE(context) {
	struct ebb_context *context;
	bool checked;
};

FIXTURE_VARIANT(context) {
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(context, plain) {
	.flags = 0,
};

FIXTURE_VARIANT_ADD(context, with_checks) {
	.flags = EBB_CONTEXT_CHECK,
};

FIXTURE_SETUP(context)
{
	self->checked = variant->flags;
	self->context = ebb_context_open(NULL, 0, variant->flags);
	ASSERT_NE(NULL, self->context);
}

FIXTURE_TEARDOWN(context)
{
	ebb_context_close(self->context);
}

/* More than what the start of the reclaimer allocates, less than a chunk. */
#define LITTLE		(4 * KIB)

struct object {
	char *p;
	size_t size;
};

static struct object objects[NR_OBJECTS];

/* Small ones as a rule, some larger than any chunk. */
static size_t draw_size(struct rng *rng)
{
	return rng_below(rng, 50) ? rng_size(rng, 0, 10) :
				    rng_size(rng, 10, 20);
}

static void fill(struct object *object, char *p, size_t size)
{
	*object = (struct object){ p, size };
	pattern_fill(p, size, (uintptr_t)object);
}

static bool holds(const struct object *object)
{
	return pattern_holds(object->p, object->size, (uintptr_t)object);
}

static unsigned int nr_broken(void)
{
	unsigned int nr = 0;

	for (unsigned int i = 0; i < NR_OBJECTS; i++)
		nr += objects[i].p && !holds(&objects[i]);
	return nr;
}

TEST_F(context, objects_hold_what_was_written)
{
	struct rng rng;

	rng_seed(&rng, 1);
	for (unsigned int round = 0; round < 3; round++) {
		for (unsigned int i = 0; i < NR_OBJECTS; i++) {
			size_t size = draw_size(&rng);
			char *p = ebb_context_alloc(self->context, size);

			ASSERT_NE(NULL, p);
			ASSERT_TRUE(is_aligned(p, 16));
			fill(&objects[i], p, size);
		}
		EXPECT_EQ(0, nr_broken());
		ebb_context_reset(self->context);
	}
}

TEST_F(context, what_is_freed_in_reverse_order_is_used_again)
{
	static void *again[NR_OBJECTS];

	if (self->checked)
		SKIP(return, "with checks it is not");
	for (unsigned int i = 0; i < NR_OBJECTS; i++)
		again[i] = ebb_context_alloc_aligned(self->context,
						     i % 7 ? 1 : 256, i % 500);
	for (unsigned int i = NR_OBJECTS; i--;)
		ebb_context_free(self->context, again[i]);
	for (unsigned int i = 0; i < NR_OBJECTS; i++) {
		void *p = ebb_context_alloc_aligned(self->context,
						    i % 7 ? 1 : 256, i % 500);

		/* Chunks are malloc's, which may give others. */
		if (i < 10)
			ASSERT_EQ(again[i], p);
		ASSERT_NE(NULL, p);
	}
}

TEST_F(context, what_is_used_within_a_scope_does_not_grow)
{
	struct ebb_heap_counts before, after;

	if (self->checked)
		SKIP(return, "with checks nothing is used again");
	ASSERT_EQ(0, ebb_heap_count(&before));
	for (unsigned int i = 0; i < 100000; i++) {
		void *outer = ebb_context_alloc(self->context, 1000 + i % 3000);
		void *inner = ebb_context_alloc(self->context, 3000 - i % 3000);

		ASSERT_TRUE(outer && inner);
		ebb_context_free(self->context, inner);
		ebb_context_free(self->context, outer);
	}
	ASSERT_EQ(0, ebb_heap_count(&after));
	EXPECT_GT(before.live_bytes + 64 * KIB, after.live_bytes);
}

TEST_F(context, random_frees_and_reallocs_lose_nothing)
{
	struct rng rng;

	rng_seed(&rng, 2);
	for (unsigned int i = 0; i < 20 * NR_OBJECTS; i++) {
		struct object *object = &objects[rng_below(&rng, NR_OBJECTS)];
		size_t size = draw_size(&rng), kept;
		char *p;

		if (object->p && rng_below(&rng, 3) == 0) {
			ASSERT_TRUE(holds(object));
			ebb_context_free(self->context, object->p);
			object->p = NULL;
			continue;
		}
		kept = object->p && object->size < size ? object->size : size;
		p = ebb_context_realloc(self->context, object->p, size);
		ASSERT_NE(NULL, p);
		ASSERT_TRUE(!object->p ||
			    pattern_holds(p, kept & ~(size_t)7,
					  (uintptr_t)object));
		fill(object, p, size);
		if (i % (10 * NR_OBJECTS) == 0) {
			ebb_context_reset(self->context);
			memset(objects, 0, sizeof(objects));
		}
	}
	EXPECT_EQ(0, nr_broken());
}

TEST_F(context, the_last_object_grows_where_it_is)
{
	char *p = ebb_context_alloc(self->context, 10), *next;

	if (self->checked)
		SKIP(return, "with checks it moves");
	memcpy(p, "123456789", 10);
	EXPECT_EQ(p, ebb_context_realloc(self->context, p, 2000));
	EXPECT_STREQ("123456789", p);
	EXPECT_EQ(p, ebb_context_realloc(self->context, p, 10));
	/* What it gave up is the next one's. */
	next = ebb_context_alloc(self->context, 1);
	EXPECT_EQ(p + 32, next);
	/* Not the last any more, but there is room up to that. */
	EXPECT_EQ(p, ebb_context_realloc(self->context, p, 24));
	EXPECT_NE(p, ebb_context_realloc(self->context, p, 25));
}

TEST_F(context, reset_begins_anew)
{
	char *first = ebb_context_alloc(self->context, 100), *again;
	struct ebb_heap_counts before, after;

	ASSERT_EQ(0, ebb_heap_count(&before));
	for (unsigned int i = 0; i < 100; i++)
		ASSERT_NE(NULL, ebb_context_alloc(self->context, i * 1000));
	ebb_context_reset(self->context);
	if (self->checked)
		/* What was reset is kept once, to be looked at. */
		ebb_context_reset(self->context);
	ASSERT_EQ(0, ebb_heap_count(&after));
	again = ebb_context_alloc(self->context, 100);
	EXPECT_GT(before.live_bytes + LITTLE, after.live_bytes);
	if (!self->checked)
		EXPECT_EQ(first, again);
}

TEST_F(context, closing_returns_everything)
{
	struct ebb_heap_counts before, after;
	struct ebb_context *context;

	ASSERT_EQ(0, ebb_heap_count(&before));
	context = ebb_context_open(NULL, 100000, variant->flags);
	for (unsigned int i = 0; i < 200; i++)
		ASSERT_NE(NULL, ebb_context_alloc(context, i * 500));
	ASSERT_EQ(0, ebb_heap_count(&after));
	EXPECT_LT(before.live_bytes + 100 * 200 * 500, after.live_bytes);
	ebb_context_close(context);
	ASSERT_EQ(0, ebb_heap_count(&after));
	EXPECT_GT(before.live_bytes + LITTLE, after.live_bytes);
}

TEST_F(context, what_is_expected_takes_one_piece)
{
	struct ebb_heap_counts before, after;
	struct ebb_context *context;

	if (self->checked)
		SKIP(return, "with checks objects lie elsewhere");
	context = ebb_context_open(NULL, 100000, 0);
	ASSERT_NE(NULL, context);
	ASSERT_EQ(0, ebb_heap_count(&before));
	for (unsigned int i = 0; i < 1000; i++)
		ASSERT_NE(NULL, ebb_context_alloc(context, 80));
	ASSERT_EQ(0, ebb_heap_count(&after));
	EXPECT_EQ(before.live_bytes, after.live_bytes);
	ebb_context_close(context);
	/* More than there is: no reason to fail. */
	context = ebb_context_open(NULL, SIZE_MAX, 0);
	EXPECT_NE(NULL, context);
	ebb_context_close(context);
}

TEST_F(context, what_is_within_another_ends_with_it)
{
	struct ebb_heap_counts before, after;

	ASSERT_EQ(0, ebb_heap_count(&before));
	for (unsigned int turn = 0; turn < 3; turn++) {
		struct ebb_context *at = self->context, *beside;

		for (unsigned int i = 0; i < 500; i++) {
			beside = ebb_context_open(at, 0, variant->flags);
			at = ebb_context_open(at, 0, variant->flags);
			ASSERT_TRUE(at && beside);
			ASSERT_NE(NULL, ebb_context_alloc(at, 100 + 20 * i));
			if (i % 3 == 0)
				ebb_context_close(beside);
		}
		ebb_context_reset(self->context);
	}
	ASSERT_EQ(0, ebb_heap_count(&after));
	EXPECT_GT(before.live_bytes + LITTLE, after.live_bytes);
	ASSERT_NE(NULL, ebb_context_open(self->context, 0, 0));
}

TEST_F(context, alignment_is_as_asked_for)
{
	struct rng rng;

	rng_seed(&rng, 3);
	for (unsigned int i = 0; i < 2000; i++) {
		size_t align = (size_t)1 << i % 22;
		size_t size = draw_size(&rng);
		char *p = ebb_context_alloc_aligned(self->context, align, size);

		ASSERT_NE(NULL, p);
		ASSERT_TRUE(is_aligned(p, align) && is_aligned(p, 16));
		fill(&objects[i % 500], p, size);
		if (i % 5 == 4) {
			ebb_context_free(self->context, p);
			objects[i % 500].p = NULL;
		}
		if (i % 500 == 499) {
			EXPECT_EQ(0, nr_broken());
			memset(objects, 0, sizeof(objects));
			ebb_context_reset(self->context);
		}
	}
}

TEST_F(context, large_objects_come_and_go_at_once)
{
	struct ebb_heap_counts before, after;
	char *p;

	if (self->checked)
		SKIP(return, "with checks they are kept, to be looked at");
	ASSERT_EQ(0, ebb_heap_count(&before));
	for (unsigned int i = 0; i < 50; i++) {
		p = ebb_context_alloc(self->context, MIB);
		ASSERT_NE(NULL, p);
		memset(p, 1, MIB);
		p = ebb_context_realloc(self->context, p, 5 * MIB);
		ASSERT_TRUE(p && p[0] == 1 && p[MIB - 1] == 1);
		ebb_context_free(self->context, p);
	}
	ASSERT_EQ(0, ebb_heap_count(&after));
	EXPECT_GT(before.live_bytes + LITTLE, after.live_bytes);
}

TEST_F(context, calloc_clears_what_was_used_before)
{
	for (unsigned int turn = 0; turn < 3; turn++) {
		for (size_t size = 1; size < 300000; size = size * 3 / 2 + 1) {
			char *p = ebb_context_calloc(self->context, 1, size);

			ASSERT_NE(NULL, p);
			ASSERT_TRUE(all_zero(p, size));
			memset(p, 0xff, size);
		}
		ebb_context_reset(self->context);
	}
	errno = 0;
	EXPECT_EQ(NULL, ebb_context_calloc(self->context,
					   hide_size(SIZE_MAX / 2 + 2), 2));
	EXPECT_EQ(ENOMEM, errno);
}

TEST_F(context, strings_are_copied_and_printed)
{
	char text[10000], *copy;

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	/* Also over the end of what is free: each length is there once. */
	for (size_t len = 0; len < sizeof(text); len += 1 + len / 50) {
		char *end = text + sizeof(text) - 1;

		copy = ebb_context_strdup(self->context, end - len);
		ASSERT_STREQ(end - len, copy);
		copy = ebb_context_strndup(self->context, text, len);
		ASSERT_EQ(len, strlen(copy));
		copy = ebb_context_printf(self->context, "%s%d", end - len, 7);
		ASSERT_EQ(len + 1, strlen(copy));
		ASSERT_EQ('7', copy[len]);
		ASSERT_EQ(0, memcmp(copy, end - len, len));
	}
	EXPECT_STREQ("", ebb_context_printf(self->context, "%s", ""));
	EXPECT_STREQ("ab", ebb_context_strndup(self->context, "ab", 10));
}

TEST_F(context, what_cannot_be_is_refused)
{
	struct ebb_context *context = self->context;

	for (size_t size = SIZE_MAX - 64; size; size++) {
		errno = 0;
		ASSERT_EQ(NULL, ebb_context_alloc(context, hide_size(size)));
		ASSERT_EQ(ENOMEM, errno);
		ASSERT_EQ(NULL, ebb_context_alloc_aligned(context, 64,
							  hide_size(size)));
		ASSERT_EQ(NULL, ebb_context_realloc(context, NULL,
						    hide_size(size)));
	}
	ASSERT_EQ(NULL, ebb_context_alloc(context, hide_size(PTRDIFF_MAX)));
	ASSERT_EQ(NULL, ebb_context_alloc_aligned(context,
						  hide_size(SIZE_MAX / 2 + 1),
						  10));
	for (size_t align = 0; align < 100; align = align * 2 + 3) {
		errno = 0;
		ASSERT_EQ(NULL, ebb_context_alloc_aligned(context, align, 1));
		ASSERT_EQ(EINVAL, errno);
	}
	errno = 0;
	EXPECT_EQ(NULL, ebb_context_open(NULL, 0, 2));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(context, a_refused_realloc_leaves_the_object)
{
	char *p = ebb_context_strdup(self->context, "here");
	char *large = ebb_context_calloc(self->context, 1, MIB);

	large[MIB - 1] = 'x';
	EXPECT_EQ(NULL, ebb_context_realloc(self->context, p,
					    hide_size(SIZE_MAX)));
	EXPECT_EQ(NULL, ebb_context_realloc(self->context, large,
					    hide_size(SIZE_MAX)));
	EXPECT_STREQ("here", p);
	EXPECT_EQ('x', large[MIB - 1]);
}

TEST_F(context, null_is_nothing_and_errno_is_kept)
{
	errno = 77;
	ebb_context_free(self->context, NULL);
	ebb_context_close(NULL);
	ebb_context_free(self->context, ebb_context_alloc(self->context, 9));
	ebb_context_reset(self->context);
	ebb_context_close(ebb_context_open(self->context, 0, variant->flags));
	EXPECT_EQ(77, errno);
	EXPECT_NE(NULL, ebb_context_realloc(self->context, NULL, 0));
	EXPECT_NE(ebb_context_alloc(self->context, 0),
		  ebb_context_alloc(self->context, 0));
}

TEST_F(context, calls_do_the_same_as_what_is_in_line)
{
	void *(*volatile call)(struct ebb_context *, size_t) =
		ebb_context_alloc;
	char *last = call(self->context, 1), *p;

	for (size_t size = 0; size < 2000; size++) {
		p = size & 1 ? call(self->context, size) :
			       ebb_context_alloc(self->context, size);
		ASSERT_NE(NULL, p);
		memset(p, 1, size);
		/* Behind one another, each with its label: else another chunk. */
		if (!self->checked && p > last && p < last + 100)
			ASSERT_EQ(0, (p - last) % 16);
		last = p;
	}
	errno = 0;
	ASSERT_EQ(NULL, call(self->context, SIZE_MAX - 7));
	EXPECT_EQ(ENOMEM, errno);
}

/* === Threads ============================================================ */

static struct ebb_context *handed;
static const char *text_seen;

static void *open_and_leave(void *flags)
{
	handed = ebb_context_open(NULL, 0, (unsigned int)(uintptr_t)flags);
	text_seen = ebb_context_strdup(handed, "from a thread that has ended");
	return NULL;
}

static void run_thread(void *(*fn)(void *), void *arg)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, fn, arg))
		abort();
	pthread_join(thread, NULL);
}

TEST_F(context, what_an_ended_thread_left_is_used_by_another)
{
	run_thread(open_and_leave, (void *)(uintptr_t)variant->flags);
	EXPECT_STREQ("from a thread that has ended", text_seen);
	EXPECT_STREQ("more", ebb_context_strdup(handed, "more"));
	ebb_context_close(handed);
}

static void *use_and_pass_on(void *arg)
{
	struct ebb_context *context = arg;

	for (unsigned int i = 0; i < 100; i++)
		if (!ebb_context_alloc(context, i * 10))
			abort();
	if (ebb_context_transfer(context))
		abort();
	return NULL;
}

TEST_F(context, is_handed_from_thread_to_thread)
{
	struct ebb_context *inner;

	inner = ebb_context_open(self->context, 0, variant->flags);
	errno = 0;
	EXPECT_EQ(-1, ebb_context_transfer(inner));
	EXPECT_EQ(EINVAL, errno);
	for (unsigned int i = 0; i < 10; i++) {
		ASSERT_EQ(0, ebb_context_transfer(self->context));
		run_thread(use_and_pass_on, self->context);
	}
	EXPECT_NE(NULL, ebb_context_alloc(inner, 10));
}

/* === Accounts =========================================================== */

static size_t live_of(int tid)
{
	struct ebb_thread_counts counts;

	return ebb_thread_stats(tid, &counts, sizeof(counts)) ? 0 : counts.live;
}

static pthread_barrier_t steps;

/* Uses what others opened, step by step, and remembers what it was charged. */
static struct user {
	struct ebb_context *context;
	size_t before, during, after;
} user;

static void *use_step_by_step(void *arg)
{
	void *p = malloc(100), *large;

	(void)arg;
	user.before = live_of(0);
	for (unsigned int i = 0; i < 3000; i++)
		hide(ebb_context_alloc(user.context, 100 + i % 300));
	large = ebb_context_alloc(user.context, 50000);
	large = ebb_context_realloc(user.context, large, 500000);
	hide(ebb_context_alloc_aligned(user.context, 4096, 100000));
	hide(large);
	user.during = live_of(0);
	pthread_barrier_wait(&steps);
	pthread_barrier_wait(&steps);
	ebb_context_reset(user.context);
	ebb_context_transfer(user.context);
	user.after = live_of(0);
	pthread_barrier_wait(&steps);
	pthread_barrier_wait(&steps);
	free(p);
	return NULL;
}

TEST_F(context, stays_charged_to_who_opened_it)
{
	struct ebb_context *context;
	size_t before, opened;
	pthread_t thread;

	if (ebb_thread_stats_all(NULL, 0, 0) < 0)
		SKIP(return, "no accounts");
	before = live_of(0);
	context = user.context = ebb_context_open(NULL, 0, variant->flags);
	opened = live_of(0);
	ASSERT_LT(before, opened);
	ASSERT_EQ(0, ebb_context_transfer(context));
	ASSERT_EQ(0, pthread_barrier_init(&steps, NULL, 2));
	ASSERT_EQ(0, pthread_create(&thread, NULL, use_step_by_step, NULL));
	pthread_barrier_wait(&steps);
	EXPECT_EQ(user.before, user.during);
	EXPECT_LE(opened + 3000 * 100 + 600000, live_of(0));
	pthread_barrier_wait(&steps);
	pthread_barrier_wait(&steps);
	EXPECT_EQ(user.before, user.after);
	if (!self->checked)
		EXPECT_GT(opened + 8 * KIB, live_of(0));
	/* Its accounts are exact also where it is freed elsewhere. */
	for (unsigned int i = 0; i < 1000; i++)
		hide(ebb_context_alloc(context, i));
	ebb_context_close(context);
	pthread_barrier_wait(&steps);
	pthread_join(thread, NULL);
	/* But for what the C library allocated for the thread. */
	EXPECT_GT(before + 4 * KIB, live_of(0));
}

static int tid_of_ended;

static void *open_in_account(void *flags)
{
	tid_of_ended = gettid();
	return open_and_leave(flags);
}

TEST_F(context, an_ended_thread_s_is_charged_to_that)
{
	size_t before;

	if (ebb_thread_stats_all(NULL, 0, 0) < 0)
		SKIP(return, "no accounts");
	run_thread(open_in_account, (void *)(uintptr_t)variant->flags);
	EXPECT_LT(0, live_of(tid_of_ended));
	before = live_of(0);
	for (unsigned int i = 0; i < 3000; i++)
		hide(ebb_context_alloc(handed, 200));
	EXPECT_EQ(before, live_of(0));
	EXPECT_LT(3000 * 200, live_of(tid_of_ended));
	ebb_context_close(handed);
	EXPECT_EQ(before, live_of(0));
	EXPECT_EQ(0, live_of(tid_of_ended));
}

TEST_F(context, a_child_process_has_its_own)
{
	char *p = ebb_context_strdup(self->context, "parent's");
	int status;
	pid_t pid = fork();

	if (!pid) {
		strcpy(p, "child's ");
		for (unsigned int i = 0; i < 1000; i++)
			if (!ebb_context_alloc(self->context, i))
				_exit(1);
		ebb_context_close(self->context);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_STREQ("parent's", p);
}

/* === What closed ones hold ============================================== */

#define NR_THREADS	3
#define NR_CONTEXTS	150
#define EACH_BYTES	(128 * KIB)

static pthread_barrier_t barrier;

/* Stays asleep, with the contexts it has closed. */
static void *fill_and_sleep(void *flags)
{
	static __thread struct ebb_context *contexts[NR_CONTEXTS];

	for (unsigned int i = 0; i < NR_CONTEXTS; i++) {
		contexts[i] = ebb_context_open(NULL, 0,
					       (unsigned int)(uintptr_t)flags);
		for (size_t done = 0; done < EACH_BYTES; done += 1000)
			memset(ebb_context_alloc(contexts[i], 980), 1, 980);
	}
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	for (unsigned int i = 0; i < NR_CONTEXTS; i++)
		ebb_context_close(contexts[i]);
	pthread_barrier_wait(&barrier);
	pause();
	return NULL;
}

TEST_F(context, memory_of_closed_ones_goes_back_to_the_kernel)
{
	struct ebb_heap_counts counts;
	size_t before, filled;

	if (SANITIZED)
		SKIP(return, "sanitizers keep as much for themselves");
	ASSERT_EQ(0, pthread_barrier_init(&barrier, NULL, NR_THREADS + 1));
	before = rss_bytes();
	for (unsigned int i = 0; i < NR_THREADS; i++) {
		pthread_t thread;

		ASSERT_EQ(0, pthread_create(&thread, NULL, fill_and_sleep,
					    (void *)(uintptr_t)variant->flags));
	}
	pthread_barrier_wait(&barrier);
	filled = rss_bytes();
	EXPECT_LT(before + NR_THREADS * NR_CONTEXTS * EACH_BYTES / 2, filled);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	EXPECT_TRUE(WAIT_FOR(rss_bytes() < before + 8 * MIB));
	/* The account has it as what it is. */
	ASSERT_EQ(0, ebb_heap_count(&counts));
	EXPECT_GT(4 * MIB, counts.live_bytes);
	EXPECT_GT(8 * MIB, counts.dirty_bytes + counts.cached_bytes);
}

TEST_HARNESS_MAIN
