// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - malloc in signal handlers that interrupt malloc
 *
 * POSIX promises nothing here; ebbmalloc promises that nothing is corrupted
 * and nothing waits for ever.  On other allocators these tests would hang.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include "harness.h"

#define NR_OBJECTS	512
#define HANDLER_OBJECTS	64
#define RUN_MS		800
#define INTERVAL_US	60	/* from a handler's end to the next */

struct owned {
	char *start;
	size_t len;
	uint64_t id;
};

FIXTURE(signal) {
	struct owned objects[NR_OBJECTS];
	struct rng rng;
	char *stack;
};

FIXTURE_VARIANT(signal) {
	bool alternate;
};

FIXTURE_VARIANT_ADD(signal, normal_stack) {
	.alternate = false,
};

FIXTURE_VARIANT_ADD(signal, alternate_stack) {
	.alternate = true,
};

static struct owned handlers[HANDLER_OBJECTS];
static struct rng handler_rng;
static uint64_t next_id;
static unsigned int handler_runs;
static volatile sig_atomic_t ended;

static __attribute__((noreturn)) void fail(const char *text)
{
	if (write(2, text, strlen(text)) < 0)
		_exit(1);
	abort();
}

static void check(const struct owned *object)
{
	if (!pattern_holds(object->start, object->len, object->id ^
			   (uintptr_t)object->start))
		fail("# an object lost its pattern\n");
}

/* One operation on @object: allocate, resize, free, each time checked. */
static void step(struct owned *object, struct rng *rng)
{
	struct owned new = *object;
	size_t size = rng_size(rng, 3, rng_below(rng, 50) ? 12 : 18);

	if (new.start)
		check(&new);
	if (!new.start) {
		new.start = rng_below(rng, 4) ? malloc(size) : calloc(1, size);
		new.len = size;
	} else if (rng_below(rng, 3)) {
		object->start = NULL;
		free(new.start);
		return;
	} else {
		object->start = NULL;
		new.start = realloc(new.start, size);
		new.len = size;
	}
	if (!new.start)
		fail("# an allocation failed\n");
	new.id = next_id++;
	pattern_fill(new.start, new.len, new.id ^ (uintptr_t)new.start);
	*object = new;
}

/* Once: armed again by each handler, so that main comes on as well. */
static void arm_timer(unsigned int us)
{
	struct itimerval timer = { .it_value = { 0, us } };

	if (setitimer(ITIMER_REAL, &timer, NULL))
		abort();
}

static void on_timer(int sig)
{
	int saved = errno;

	(void)sig;
	handler_runs++;
	for (int i = 0; i < 4; i++)
		step(&handlers[rng_below(&handler_rng, HANDLER_OBJECTS)],
		     &handler_rng);
	errno = saved;
	if (!ended)
		arm_timer(INTERVAL_US +
			  (unsigned int)rng_below(&handler_rng, 50));
}

static void stop_timer(void)
{
	ended = 1;
	arm_timer(0);
}

FIXTURE_SETUP(signal)
{
	struct sigaction action = {
		.sa_handler = on_timer,
		.sa_flags = variant->alternate ? SA_ONSTACK | SA_RESTART :
						 SA_RESTART,
	};
	stack_t stack = { .ss_size = 64 * KIB };

	rng_seed(&self->rng, 3);
	rng_seed(&handler_rng, 4);
	self->stack = malloc(stack.ss_size);
	stack.ss_sp = self->stack;
	if (variant->alternate)
		ASSERT_EQ(0, sigaltstack(&stack, NULL));
	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
}

FIXTURE_TEARDOWN(signal)
{
	stop_timer();
	for (int i = 0; i < NR_OBJECTS; i++)
		if (self->objects[i].start)
			check(&self->objects[i]);
	for (int i = 0; i < HANDLER_OBJECTS; i++)
		if (handlers[i].start)
			check(&handlers[i]);
}

static void run_steps(FIXTURE_DATA(signal) *self)
{
	uint64_t until = now_ms() + RUN_MS;

	ended = 0;
	arm_timer(INTERVAL_US);
	while (now_ms() < until)
		for (int i = 0; i < 1000; i++)
			step(&self->objects[rng_below(&self->rng, NR_OBJECTS)],
			     &self->rng);
	stop_timer();
}

TEST_F(signal, handlers_allocate_while_main_does)
{
	NEEDS_EBBMALLOC();
	run_steps(self);
	TH_LOG("%u handlers ran", handler_runs);
	EXPECT_LT(50, handler_runs);
}

static bool stop;

static void *trim_all_the_time(void *arg)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		malloc_trim(0);
		sleep_ms(1);
	}
	return arg;
}

TEST_F(signal, handlers_allocate_while_caches_are_drained)
{
	pthread_t thread;

	NEEDS_EBBMALLOC();
	ASSERT_EQ(0, pthread_create(&thread, NULL, trim_all_the_time, NULL));
	run_steps(self);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	EXPECT_LT(50, handler_runs);
}

static void trim_in_handler(int sig)
{
	int saved = errno;

	malloc_trim((size_t)sig);
	errno = saved;
	if (!ended)
		arm_timer(500);
}

TEST_F(signal, handlers_trim_while_main_allocates)
{
	uint64_t until = now_ms() + RUN_MS;
	struct sigaction action = {
		.sa_handler = trim_in_handler,
		.sa_flags = SA_RESTART,
	};

	NEEDS_EBBMALLOC();
	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	arm_timer(500);
	while (now_ms() < until)
		for (int i = 0; i < 1000; i++)
			step(&self->objects[rng_below(&self->rng, NR_OBJECTS)],
			     &self->rng);
	stop_timer();
}

/* Each thread is hit by its own signals, all at the same heap. */
static void *step_in_thread(void *arg)
{
	struct owned objects[64] = { 0 };
	struct rng rng;

	rng_seed(&rng, (uint64_t)(uintptr_t)arg);
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		size_t at = rng_below(&rng, 64);

		free(objects[at].start);
		objects[at].start = malloc(rng_size(&rng, 3, 14));
		if (!objects[at].start)
			abort();
		*objects[at].start = 1;
	}
	for (int i = 0; i < 64; i++)
		free(objects[i].start);
	return NULL;
}

static void allocate_in_handler(int sig)
{
	int saved = errno;
	void *p[20];

	for (int i = 0; i < 20; i++)
		p[i] = malloc((size_t)(i * 37 + sig));
	for (int i = 0; i < 20; i++)
		free(p[i]);
	errno = saved;
}

TEST_F(signal, threads_are_interrupted_one_by_one)
{
	struct sigaction action = {
		.sa_handler = allocate_in_handler,
		.sa_flags = SA_RESTART,
	};
	uint64_t until = now_ms() + RUN_MS;
	pthread_t threads[4];

	NEEDS_EBBMALLOC();
	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	for (uintptr_t i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, step_in_thread,
					    (void *)i));
	while (now_ms() < until) {
		for (int i = 0; i < 4; i++)
			pthread_kill(threads[i], SIGUSR1);
		usleep(50);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

TEST_HARNESS_MAIN
