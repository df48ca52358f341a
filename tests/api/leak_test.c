// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Leak levels of pools: what has leaked, and what has not
 *
 * Addresses that shall not count are kept inverted.  What takes a buffer is a
 * function of its own, by which the stack is known, and what it leaves on the
 * stack is overwritten.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include "fds.h"
#include "harness.h"
#include "api/run.h"

#define OPTIONS(...)							\
	(&(struct ebb_pool_options){ .size =				\
		sizeof(struct ebb_pool_options), __VA_ARGS__ })

#define SIZE		1000u
#define LARGE		100000u
#define FOUND_MAX	32u
#define NR_FORKS	2000

FIXTURE(leak) {
	struct ebb_pool *pool;
};

FIXTURE_SETUP(leak)
{
	self->pool = ebb_pool_create(0, MIB, OPTIONS(
		.leak_level = EBB_POOL_LEAK_FULL, .name = "tested"));
	ASSERT_NE(NULL, self->pool);
}

/* What leaked would be told once more. */
FIXTURE_TEARDOWN(leak)
{
}

/* What was found last. */
static struct found {
	uintptr_t inverse;
	uint64_t bytes;
	uint64_t age_ms;
	int tid;
	char taker[64];
	char toucher[64];
	char pool[32];
} found[FOUND_MAX];
static int nr_found;

static void name_function(const uintptr_t *pcs, uint32_t nr, char *name)
{
	Dl_info info;

	*name = '\0';
	if (nr && dladdr((void *)(pcs[0] - 1), &info) && info.dli_sname)
		snprintf(name, 64, "%s", info.dli_sname);
}

static void note(const struct ebb_pool_leak *leak, void *arg)
{
	struct found *at = &found[nr_found++ % FOUND_MAX];

	(void)arg;
	at->inverse = ~(uintptr_t)leak->buf;
	at->bytes = leak->bytes;
	at->age_ms = leak->age_ms;
	at->tid = leak->tid;
	name_function(leak->taken, leak->nr_taken, at->taker);
	name_function(leak->touched, leak->nr_touched, at->toucher);
	snprintf(at->pool, sizeof(at->pool), "%s", leak->pool);
}

/* What functions that returned have left on the stack. */
static __attribute__((noinline)) void scrub(void)
{
	volatile char left[32 * KIB];

	for (size_t i = 0; i < sizeof(left); i++)
		left[i] = 0;
}

static int find(struct ebb_pool *pool)
{
	nr_found = 0;
	scrub();
	return ebb_pool_leaks(pool, note, NULL);
}

/* Whether @taker's buffer, and nothing else, is found. */
static bool finds_only(struct ebb_pool *pool, const char *taker)
{
	int nr = find(pool);

	for (int i = 0; i < nr && i < (int)FOUND_MAX; i++)
		if (nr != 1 || strcmp(found[i].taker, taker))
			fprintf(stderr, "# found: %lu bytes of %s\n",
				(unsigned long)found[i].bytes, found[i].taker);
	return nr == 1 && !strcmp(found[0].taker, taker);
}

/* A function that takes a buffer of @size and leaves it at @place. */
#define TAKER(name)							\
	void name(struct ebb_pool *pool, void **place, size_t size);	\
	__attribute__((noinline)) void name(struct ebb_pool *pool,	\
					    void **place, size_t size)	\
	{								\
		*place = ebb_pool_take(pool, size);			\
		if (!*place)						\
			abort();					\
	}

TAKER(take_for_global)
TAKER(take_for_struct)
TAKER(take_for_stack)
TAKER(take_for_thread)
TAKER(take_one)
TAKER(take_other)
TAKER(take_inside)

static void *in_global;
static __thread void *in_tls;

/* Functions of their own, so that no address stays in a register. */
static __attribute__((noinline)) void move(void **place, long by)
{
	*place = (char *)*place + by;
	scrub();
}

TEST_F(leak, a_dropped_global_is_one)
{
	take_for_global(self->pool, &in_global, SIZE);
	EXPECT_EQ(0, find(self->pool));
	in_global = NULL;
	EXPECT_TRUE(finds_only(self->pool, "take_for_global"));
	EXPECT_EQ(SIZE, found[0].bytes);
	EXPECT_EQ(gettid(), found[0].tid);
	EXPECT_STREQ("tested", found[0].pool);
	/* Also of all pools; and again. */
	EXPECT_TRUE(finds_only(NULL, "take_for_global"));
}

TEST_F(leak, a_large_one_is_one)
{
	take_for_global(self->pool, &in_global, LARGE);
	move(&in_global, LARGE - 1);
	EXPECT_EQ(0, find(self->pool));
	move(&in_global, 2 * (long)page_size());
	EXPECT_TRUE(finds_only(self->pool, "take_for_global"));
	EXPECT_EQ(LARGE, found[0].bytes);
}

TEST_F(leak, one_dropped_with_its_struct_is_one)
{
	void **object = malloc(500);

	take_for_struct(self->pool, &object[20], SIZE);
	EXPECT_EQ(0, find(self->pool));
	free(object);
	EXPECT_TRUE(finds_only(self->pool, "take_for_struct"));
}

TEST_F(leak, one_overwritten_in_a_struct_is_one)
{
	void **object = malloc(LARGE);

	take_for_struct(self->pool, &object[5000], SIZE);
	EXPECT_EQ(0, find(self->pool));
	object[5000] = object;
	EXPECT_TRUE(finds_only(self->pool, "take_for_struct"));
	free(object);
}

static __attribute__((noinline)) int hold_on_stack(struct ebb_pool *pool)
{
	void *place[16] = { NULL };
	int nr;

	take_for_stack(pool, hide(&place[7]), SIZE);
	nr = find(pool);
	hide(place);
	return nr;
}

TEST_F(leak, one_of_a_frame_that_returned_is_one)
{
	EXPECT_EQ(0, hold_on_stack(self->pool));
	/* Without scrub(): what is below the stack pointer does not count. */
	nr_found = 0;
	EXPECT_EQ(1, ebb_pool_leaks(self->pool, note, NULL));
	EXPECT_STREQ("take_for_stack", found[0].taker);
}

static void *hold_and_exit(void *arg)
{
	void *place[4] = { NULL };

	take_for_thread(arg, hide(&place[2]), SIZE);
	take_for_thread(arg, &in_tls, SIZE);
	hide(place);
	return NULL;
}

TEST_F(leak, those_of_a_thread_that_ended_are)
{
	pthread_t thread;
	int nr;

	NEEDS_EBBMALLOC();
	ASSERT_EQ(0, pthread_create(&thread, NULL, hold_and_exit, self->pool));
	pthread_join(thread, NULL);
	nr = find(self->pool);
	EXPECT_EQ(2, nr);
	for (int i = 0; i < nr; i++)
		EXPECT_STREQ("take_for_thread", found[i].taker);
}

static __attribute__((noinline)) void take_circle(struct ebb_pool *pool)
{
	void **one = NULL, **other = NULL;

	take_one(pool, hide(&one), SIZE);
	take_other(pool, hide(&other), LARGE);
	one[3] = other;
	other[300] = &one[9];
	in_global = one;
}

TEST_F(leak, a_circle_is_two)
{
	int nr;

	take_circle(self->pool);
	EXPECT_EQ(0, find(self->pool));
	in_global = NULL;
	nr = find(self->pool);
	EXPECT_EQ(2, nr);
	EXPECT_EQ(0, strcmp(found[0].taker, "take_one") &
		     strcmp(found[1].taker, "take_one"));
	EXPECT_EQ(0, strcmp(found[0].taker, "take_other") &
		     strcmp(found[1].taker, "take_other"));
}

TEST_F(leak, what_one_refers_to_is_not_if_it_is_not)
{
	take_one(self->pool, &in_global, SIZE);
	take_inside(self->pool, (void **)in_global + 7, SIZE);
	EXPECT_EQ(0, find(self->pool));
	((void **)in_global)[7] = NULL;
	EXPECT_TRUE(finds_only(self->pool, "take_inside"));
}

static __attribute__((noinline)) void hide_in_returned(struct ebb_pool *pool)
{
	void **buf = ebb_pool_take(pool, 8 * KIB);

	take_inside(pool, &buf[900], SIZE);
	ebb_pool_return(pool, buf);
}

TEST_F(leak, what_a_returned_buffer_refers_to_is_one)
{
	hide_in_returned(self->pool);
	EXPECT_TRUE(finds_only(self->pool, "take_inside"));
}

/* --- What has not leaked --- */

/* A place for an address at an odd place: only each fourth byte is tried. */
struct packed {
	uint32_t before;
	void *ptr;
} __attribute__((packed, aligned(4)));

static struct packed in_packed;
static void *in_word;

static __attribute__((noinline)) void change(uintptr_t inverse, uintptr_t bits)
{
	in_word = (void *)(~inverse | bits);
	scrub();
}

static __attribute__((noinline)) void pack(void)
{
	in_packed.ptr = in_word;
	hide(&in_packed);
	in_word = NULL;
	scrub();
}

TEST_F(leak, any_kind_of_address_will_do)
{
	uintptr_t inverse;

	take_one(self->pool, &in_word, SIZE);
	inverse = ~(uintptr_t)in_word;
	EXPECT_EQ(0, find(self->pool));
	move(&in_word, SIZE / 2 + 1);
	EXPECT_EQ(0, find(self->pool));
	change(inverse, 7);
	EXPECT_EQ(0, find(self->pool));
	change(inverse, UINT64_C(0xfff8) << 48);
	EXPECT_EQ(0, find(self->pool));
	pack();
	EXPECT_EQ(0, find(self->pool));
	in_packed.ptr = NULL;
	hide(&in_packed);
	EXPECT_TRUE(finds_only(self->pool, "take_one"));
}

TEST_F(leak, any_kind_of_memory_will_do)
{
	void **map = mmap(NULL, 64 * page_size(), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void **shared = mmap(NULL, page_size(), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	void **object = malloc(48);

	ASSERT_NE(MAP_FAILED, (void *)map);
	ASSERT_NE(MAP_FAILED, (void *)shared);
	take_one(self->pool, &map[20000], SIZE);
	EXPECT_EQ(0, find(self->pool));
	shared[3] = map[20000];
	map[20000] = NULL;
	EXPECT_EQ(0, find(self->pool));
	object[4] = shared[3];
	shared[3] = NULL;
	EXPECT_EQ(0, find(self->pool));
	in_tls = object[4];
	free(object);
	EXPECT_EQ(0, find(self->pool));
	/* What can only be read by now. */
	map[20000] = in_tls;
	in_tls = NULL;
	ASSERT_EQ(0, mprotect(map, 64 * page_size(), PROT_READ));
	EXPECT_EQ(0, find(self->pool));
	munmap(map, 64 * page_size());
	EXPECT_TRUE(finds_only(self->pool, "take_one"));
	munmap(shared, page_size());
}

#if defined(__x86_64__)
/* In a register that calls preserve, and nowhere else. */
static __attribute__((noinline)) int find_with_register(struct ebb_pool *pool)
{
	int nr;

	take_one(pool, &in_global, SIZE);
	__asm__ volatile("movq %1, %%r12\n\t"
			 "movq $0, %1\n\t"
			 "movq %2, %%rdi\n\t"
			 "call *%3\n\t"
			 "movl %%eax, %0\n\t"
			 "xorl %%r12d, %%r12d"
			 : "=r"(nr), "+m"(in_global)
			 : "b"(pool), "r"(find)
			 : "r12", "rax", "rcx", "rdx", "rdi", "rsi", "r8", "r9",
			   "r10", "r11", "memory", "cc");
	return nr;
}

TEST_F(leak, one_in_a_register_is_none)
{
	EXPECT_EQ(0, find_with_register(self->pool));
	EXPECT_TRUE(finds_only(self->pool, "take_one"));
}

/* A thread with the address in a register alone, once @ready is set. */
struct holder {
	struct ebb_pool *pool;
	void *buf;
	int ready, stop;
	bool blocks;		/* all signals; and sleeps */
	int pipe[2];
};

static void *spin_with_register(void *arg)
{
	struct holder *holder = arg;

	take_for_thread(holder->pool, &holder->buf, SIZE);
	scrub();
	__asm__ volatile("movq %0, %%r11\n\t"
			 "movq $0, %0\n\t"
			 "movl $1, %1\n"
			 "1:\n\t"
			 "pause\n\t"
			 "cmpl $0, %2\n\t"
			 "je 1b\n\t"
			 "movq %%r11, %0"
			 : "+m"(holder->buf), "+m"(holder->ready)
			 : "m"(holder->stop) : "r11", "memory", "cc");
	ebb_pool_return(holder->pool, holder->buf);
	return NULL;
}

/* Inside of read(2), below a mask of all signals. */
static void *sleep_with_register(void *arg)
{
	struct holder *holder = arg;
	sigset_t all;
	char byte;
	long got;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	take_for_thread(holder->pool, &holder->buf, SIZE);
	scrub();
	__asm__ volatile("movq %1, %%r12\n\t"
			 "movq $0, %1\n\t"
			 "movl $1, %2\n\t"
			 "syscall\n\t"
			 "movq %%r12, %1"
			 : "=a"(got), "+m"(holder->buf), "+m"(holder->ready)
			 : "0"((long)0 /* read */), "D"((long)holder->pipe[0]),
			   "S"(&byte), "d"(1L)
			 : "rcx", "r11", "r12", "memory", "cc");
	ebb_pool_return(holder->pool, holder->buf);
	return got == 1 ? NULL : arg;
}

TEST_F(leak, one_in_another_threads_register_is_none)
{
	struct holder holder = { .pool = self->pool };
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, spin_with_register,
				    &holder));
	ASSERT_TRUE(WAIT_FOR(__atomic_load_n(&holder.ready, __ATOMIC_ACQUIRE)));
	for (int i = 0; i < 20; i++)
		EXPECT_EQ(0, find(self->pool));
	__atomic_store_n(&holder.stop, 1, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
}

TEST_F(leak, one_of_a_thread_that_sleeps_and_blocks_signals_is_none)
{
	struct holder holder = { .pool = self->pool };
	pthread_t thread;
	void *failed = &holder;

	ASSERT_EQ(0, pipe(holder.pipe));
	ASSERT_EQ(0, pthread_create(&thread, NULL, sleep_with_register,
				    &holder));
	ASSERT_TRUE(WAIT_FOR(__atomic_load_n(&holder.ready, __ATOMIC_ACQUIRE)));
	for (int i = 0; i < 20; i++)
		EXPECT_EQ(0, find(self->pool));
	ASSERT_EQ(1, write(holder.pipe[1], "", 1));
	pthread_join(thread, &failed);
	/* And it was not interrupted. */
	EXPECT_EQ(NULL, failed);
}
#endif

/* --- At once --- */

#define CREW	6

struct crew {
	struct ebb_pool *pool;
	void *ring[64];		/* from any to any */
	bool stop, broken;
};

static void *pass_around(void *arg)
{
	struct crew *crew = arg;
	struct rng rng;

	rng_seed(&rng, (uint64_t)(uintptr_t)&rng);
	while (!__atomic_load_n(&crew->stop, __ATOMIC_RELAXED)) {
		void **place = &crew->ring[rng_below(&rng, 64)];
		void *buf = ebb_pool_take(crew->pool,
					  rng_size(&rng, 4, 17));

		buf = __atomic_exchange_n(place, buf, __ATOMIC_ACQ_REL);
		if (buf && ebb_pool_return(crew->pool, buf))
			crew->broken = true;
	}
	return NULL;
}

TEST_F(leak, none_is_what_threads_pass_around)
{
	static struct crew crew;
	pthread_t threads[CREW];
	int most = 0;

	crew = (struct crew){ .pool = self->pool };
	for (int i = 0; i < CREW; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, pass_around,
					    &crew));
	for (int i = 0; i < 60; i++) {
		int nr = find(self->pool);

		most = nr > most ? nr : most;
		if (nr > 0)
			fprintf(stderr, "# %lu bytes of %s\n",
				(unsigned long)found[0].bytes, found[0].taker);
		EXPECT_LE(0, nr);
	}
	EXPECT_EQ(0, most);
	/* One in between is found. */
	take_for_global(self->pool, &in_global, SIZE);
	in_global = NULL;
	/* Others may have had it before, and have its address left somewhere. */
	EXPECT_TRUE(WAIT_FOR(find(self->pool) == 1));
	EXPECT_STREQ("take_for_global", found[0].taker);
	__atomic_store_n(&crew.stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < CREW; i++)
		pthread_join(threads[i], NULL);
	EXPECT_FALSE(crew.broken);
}

TEST_F(leak, children_find_their_own)
{
	int status = -1;
	pid_t pid;

	take_one(self->pool, &in_global, SIZE);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		bool ok = !find(self->pool);

		in_global = NULL;
		_exit(ok && finds_only(self->pool, "take_one") ? 0 : 1);
	}
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, find(self->pool));
}

static uint32_t nr_searches;
static bool no_more_searches;

/* Each of them tells of one. */
static void *search_on(void *pool)
{
	while (!__atomic_load_n(&no_more_searches, __ATOMIC_RELAXED)) {
		if (ebb_pool_leaks(pool, NULL, NULL) != 1)
			return NULL;
		__atomic_add_fetch(&nr_searches, 1, __ATOMIC_RELAXED);
		/* Else a fork hardly gets its turn at the lock. */
		usleep(100);
	}
	return pool;
}

TEST_F(leak, forked_children_have_no_file_of_a_search_or_a_report)
{
	int found_more = 0, expected, own_stderr = dup(2);
	pthread_t thread;
	void *ret;

	take_one(self->pool, &in_global, SIZE);
	in_global = NULL;
	/* Not the file that was there at start: then nothing is written. */
	ASSERT_EQ(2, dup2(open("/dev/null", O_WRONLY), 2));
	expected = nr_open();
	ASSERT_EQ(0, pthread_create(&thread, NULL, search_on, self->pool));
	ASSERT_TRUE(WAIT_FOR(__atomic_load_n(&nr_searches, __ATOMIC_RELAXED)));
	for (int i = 0; i < NR_FORKS && !found_more; i++)
		found_more = fork_finds_more(expected);
	__atomic_store_n(&no_more_searches, true, __ATOMIC_RELAXED);
	pthread_join(thread, &ret);
	dup2(own_stderr, 2);
	EXPECT_EQ(0, found_more);
	EXPECT_EQ(self->pool, ret);
	EXPECT_EQ(expected, nr_open());
	EXPECT_LE(10u, nr_searches);
}

/* --- Levels --- */

TEST_F(leak, sampled_knows_some)
{
	struct ebb_pool *pool = ebb_pool_create(0, MIB, OPTIONS(
		.leak_level = EBB_POOL_LEAK_SAMPLED, .leak_sample = 50));

	for (int i = 0; i < 100; i++)
		take_for_global(pool, &in_global, 16);
	in_global = NULL;
	EXPECT_EQ(2, find(pool));
	EXPECT_EQ(-1, ebb_pool_destroy(pool, 0, NULL));
	EXPECT_EQ(0, ebb_pool_destroy(pool, EBB_POOL_FORCE, NULL));
	EXPECT_EQ(0, find(NULL));
}

__attribute__((noinline)) void touch_it(struct ebb_pool *pool, void *buf);
__attribute__((noinline)) void touch_it(struct ebb_pool *pool, void *buf)
{
	if (ebb_pool_touch(pool, buf))
		abort();
}

TEST_F(leak, touches_are_remembered)
{
	struct ebb_pool *off = ebb_pool_create(0, MIB, NULL);

	take_for_global(self->pool, &in_global, SIZE);
	touch_it(self->pool, in_global);
	EXPECT_EQ(-1, ebb_pool_touch(self->pool, &off));
	EXPECT_EQ(ENOENT, errno);
	EXPECT_EQ(-1, ebb_pool_touch(off, in_global));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ebb_pool_leaks(off, NULL, NULL));
	EXPECT_EQ(EINVAL, errno);
	in_global = NULL;
	EXPECT_TRUE(finds_only(self->pool, "take_for_global"));
	EXPECT_STREQ("touch_it", found[0].toucher);
	EXPECT_EQ(0, ebb_pool_destroy(off, 0, NULL));
}

/* --- Reports: that of a strict pool is a story, stories/buffer_pool_test --- */

#define FULL	"2"
#define STRICT	"3"

static struct run run;

/* What leaker says and how it ends: see there. */
static int leaker(const char *deed, const char *level, const char *leak_scan)
{
	static char program[PATH_MAX];

	run = (struct run){ .program = beside(program, "leaker") };
	run.argv[0] = program;
	run.argv[1] = (char *)deed;
	run.argv[2] = (char *)level;
	run.argv[3] = (char *)leak_scan;
	return run_program(&run) ? run.status : -1;
}

#define ABORTED		(256 + SIGABRT)

/* Whether all of these follow each other; NULL ends them. */
static bool says(const char *const *words)
{
	const char *at = run.output;

	for (; *words; words++) {
		at = strstr(at, *words);
		if (!at) {
			fprintf(stderr, "# no \"%s\" in:\n%s", *words,
				run.output);
			return false;
		}
		at += strlen(*words);
	}
	return true;
}

#define SAYS(...)	says((const char *const []){ __VA_ARGS__, NULL })

TEST_F(leak, strict_lets_a_program_be_that_loses_nothing)
{
	EXPECT_EQ(0, leaker("keep", STRICT, "50"));
	EXPECT_STREQ("", run.output);
}

TEST_F(leak, the_exit_tells_what_is_left)
{
	EXPECT_EQ(3, leaker("exit", FULL, NULL));
	EXPECT_TRUE(SAYS("exit(0x", "leaked buffer", "reporting",
			 "in take_and_drop+0x"));
	EXPECT_EQ(ABORTED, leaker("exit", STRICT, NULL));
}

TEST_F(leak, the_end_of_a_pool_tells_what_is_left)
{
	EXPECT_EQ(0, leaker("destroy", FULL, NULL));
	EXPECT_TRUE(SAYS("ebb_pool_destroy(0x", "leaked buffer", "reporting",
			 "in take_and_drop+0x"));
	EXPECT_EQ(ABORTED, leaker("destroy", STRICT, NULL));
}

TEST_F(leak, a_second_return_is_an_error)
{
	EXPECT_EQ(22, leaker("twice", FULL, NULL));
	EXPECT_TRUE(SAYS("ebb_pool_return(0x", "double return: object of 1000 "
			 "bytes", "taken from pool reporting",
			 "use by thread", "in return_it+0x",
			 "taken by thread", "in take_one+0x",
			 "returned by thread", "in return_it+0x"));
	EXPECT_EQ(ABORTED, leaker("twice", STRICT, NULL));
	EXPECT_EQ(ABORTED, leaker("late", STRICT, NULL));
	EXPECT_TRUE(SAYS("double return", "in return_it+0x", "in take_one+0x",
			 "returned by thread", "in return_it+0x"));
}

TEST_F(leak, a_return_of_what_is_not_its_is_an_error)
{
	EXPECT_EQ(22, leaker("elsewhere", FULL, NULL));
	EXPECT_EQ(ABORTED, leaker("elsewhere", STRICT, NULL));
	EXPECT_TRUE(SAYS("ebb_pool_return(0x", "not this pool's buffer: object "
			 "of 1000 bytes", "taken from pool mine",
			 "use by thread", "in return_it+0x",
			 "taken by thread", "in take_one+0x"));
	EXPECT_EQ(22, leaker("malloced", FULL, NULL));
	EXPECT_EQ(ABORTED, leaker("malloced", STRICT, NULL));
	EXPECT_TRUE(SAYS("not this pool's buffer: taken from no pool",
			 "use by thread", "in return_it+0x"));
}

TEST_F(leak, use_after_return_is_seen_at_the_next_take)
{
	EXPECT_EQ(0, leaker("write", FULL, NULL));
	EXPECT_TRUE(SAYS("write(0x", "use after return: 500 bytes into the "
			 "object of 1000 bytes", "taken from pool reporting",
			 "taken by thread", "in take_one+0x",
			 "returned by thread", "in return_it+0x"));
	EXPECT_EQ(NULL, strstr(run.output, "end of report 2"));
	EXPECT_EQ(ABORTED, leaker("write", STRICT, NULL));
}

TEST_HARNESS_MAIN
