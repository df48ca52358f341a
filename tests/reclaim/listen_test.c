// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Functions that are told of pressure: who, when, by whom
 *
 * Real pressure may come at any time and is told as well, so nothing here
 * counts on being the only one; a function is told of each level once, since
 * notify_ms is longer than any test.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "cgroup.h"
#include "harness.h"

extern const char *ebb_conf;
const char *ebb_conf = "notify_ms=3600000,control_dir=off";

FIXTURE_EMPTY(listen);

/* What a function was told, and how it was there. */
struct heard {
	int nr[EBB_PRESSURE_SEVERE + 1];
	pid_t tid;
	char name[16];
	sigset_t blocked;
};

static int nr_of(const int *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static void hear(void *arg, enum ebb_pressure_level level)
{
	struct heard *heard = arg;

	heard->tid = (pid_t)syscall(SYS_gettid);
	prctl(PR_GET_NAME, heard->name);
	pthread_sigmask(SIG_SETMASK, NULL, &heard->blocked);
	__atomic_add_fetch(&heard->nr[level], 1, __ATOMIC_RELEASE);
}

static bool has_heard(const struct heard *heard, enum ebb_pressure_level level)
{
	return WAIT_FOR(nr_of(&heard->nr[level]));
}

#define NEEDS_THREADS() do {						\
	if (UNDER_TSAN)							\
		SKIP(return, "ThreadSanitizer forbids threads after fork"); \
} while (0)

#define EXPECT_ERRNO(error, call) do {					\
	errno = 0;							\
	EXPECT_EQ(-1, call);						\
	EXPECT_EQ(error, errno);					\
} while (0)

TEST_F(listen, what_is_wrong_is_refused)
{
	enum ebb_pressure_level mild = EBB_PRESSURE_MILD;
	struct heard heard[EBB_PRESSURE_LISTENERS + 1] = { 0 };
	int nr = EBB_PRESSURE_LISTENERS;

	NEEDS_THREADS();
	EXPECT_ERRNO(EINVAL, ebb_pressure_register(NULL, NULL, mild));
	EXPECT_ERRNO(EINVAL, ebb_pressure_register(hear, NULL,
						   EBB_PRESSURE_NONE));
	EXPECT_ERRNO(EINVAL, ebb_pressure_register(hear, NULL,
					(enum ebb_pressure_level)3));
	EXPECT_ERRNO(EINVAL, ebb_pressure_unregister(NULL, NULL));
	EXPECT_ERRNO(ENOENT, ebb_pressure_unregister(hear, NULL));
	errno = 77;
	for (int i = 0; i < nr; i++)
		ASSERT_EQ(0, ebb_pressure_register(hear, &heard[i], mild));
	EXPECT_EQ(77, errno);
	EXPECT_ERRNO(EEXIST, ebb_pressure_register(hear, &heard[3], mild));
	EXPECT_ERRNO(ENOSPC, ebb_pressure_register(hear, &heard[nr], mild));
	EXPECT_ERRNO(ENOENT, ebb_pressure_unregister(hear, &heard[nr]));
	ASSERT_EQ(0, ebb_pressure_unregister(hear, &heard[3]));
	EXPECT_ERRNO(ENOENT, ebb_pressure_unregister(hear, &heard[3]));
	EXPECT_EQ(0, ebb_pressure_register(hear, &heard[nr], mild));
}

TEST_F(listen, is_told_on_a_thread_of_its_own)
{
	struct heard heard = { 0 };

	NEEDS_THREADS();
	ASSERT_EQ(0, ebb_pressure_register(hear, &heard, EBB_PRESSURE_SEVERE));
	ASSERT_EQ(0, ebb_pressure(EBB_PRESSURE_SEVERE));
	ASSERT_TRUE(has_heard(&heard, EBB_PRESSURE_SEVERE));
	EXPECT_NE(getpid(), heard.tid);
	EXPECT_EQ(0, strcmp("ebb-pressure", heard.name));
	for (int sig = 1; sig < 32; sig++)
		if (sig != SIGKILL && sig != SIGSTOP)
			EXPECT_TRUE(sigismember(&heard.blocked, sig));
}

/* Whatever pressure there is besides: what is mild is not for all. */
TEST_F(listen, is_told_from_its_level_on)
{
	struct heard mild = { 0 }, severe = { 0 };

	NEEDS_THREADS();
	ASSERT_EQ(0, ebb_pressure_register(hear, &severe, EBB_PRESSURE_SEVERE));
	ASSERT_EQ(0, ebb_pressure_register(hear, &mild, EBB_PRESSURE_MILD));
	ASSERT_EQ(0, ebb_pressure(EBB_PRESSURE_MILD));
	ASSERT_TRUE(has_heard(&mild, EBB_PRESSURE_MILD) ||
		    nr_of(&mild.nr[EBB_PRESSURE_SEVERE]));
	/* Greater pressure does not wait until notify_ms are over. */
	ASSERT_EQ(0, ebb_pressure(EBB_PRESSURE_SEVERE));
	EXPECT_TRUE(has_heard(&mild, EBB_PRESSURE_SEVERE));
	EXPECT_TRUE(has_heard(&severe, EBB_PRESSURE_SEVERE));
	EXPECT_EQ(0, nr_of(&severe.nr[EBB_PRESSURE_MILD]));
}

/* Each later one shows that the pressure was told, and not to the first. */
TEST_F(listen, is_not_told_again_too_soon)
{
	struct heard first = { 0 }, later[EBB_PRESSURE_LISTENERS - 1] = { 0 };

	NEEDS_THREADS();
	ASSERT_EQ(0, ebb_pressure_register(hear, &first, EBB_PRESSURE_SEVERE));
	ASSERT_EQ(0, ebb_pressure(EBB_PRESSURE_SEVERE));
	ASSERT_TRUE(has_heard(&first, EBB_PRESSURE_SEVERE));
	for (int i = 0; i < EBB_PRESSURE_LISTENERS - 1; i++) {
		ASSERT_EQ(0, ebb_pressure_register(hear, &later[i],
						   EBB_PRESSURE_SEVERE));
		ASSERT_EQ(0, ebb_pressure(EBB_PRESSURE_SEVERE));
		ASSERT_TRUE(has_heard(&later[i], EBB_PRESSURE_SEVERE));
	}
	EXPECT_EQ(1, nr_of(&first.nr[EBB_PRESSURE_SEVERE]));
}

#define LIMIT	(64 * MIB)

/* Touch memory that is not malloc's until the group holds @usage. */
static bool fill_group(const struct group *group, size_t usage)
{
	size_t step = 256 * KIB;
	char *p = mmap(NULL, LIMIT, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || madvise(p, LIMIT, MADV_NOHUGEPAGE))
		return false;
	for (size_t at = 0; at < LIMIT && group_usage(group) < usage;
	     at += step)
		memset(p + at, 1, step);
	return group_usage(group) >= usage;
}

/* The kernel's, though the allocator has nothing to give back. */
TEST_F(listen, is_told_that_the_limit_is_near)
{
	struct heard heard = { 0 };
	struct group group;
	bool is_full, is_told;

	NEEDS_THREADS();
	if (!group_make(&group))
		SKIP(return, "cannot make a memory cgroup here");
	ASSERT_TRUE(group_set_limit(&group, LIMIT));
	ASSERT_TRUE(group_enter(&group));
	ASSERT_EQ(0, ebb_pressure_register(hear, &heard, EBB_PRESSURE_SEVERE));
	is_full = fill_group(&group, LIMIT - 2 * MIB);
	is_told = is_full && has_heard(&heard, EBB_PRESSURE_SEVERE);
	ASSERT_TRUE(group_write(group.parent, "cgroup.procs", "0"));
	group_remove(&group);
	EXPECT_TRUE(is_full);
	EXPECT_TRUE(is_told);
}

/* === What a function may do =============================================== */

struct cache {
	void *all[1000];
	int nr_left;
	struct heard next;
	sem_t done;
};

static void give_up(void *arg, enum ebb_pressure_level level)
{
	struct cache *cache = arg;

	(void)level;
	for (int i = 0; i < 1000; i++)
		free(cache->all[i]);
	cache->all[0] = malloc(100);
	free(cache->all[0]);
	if (ebb_pressure_register(hear, &cache->next, EBB_PRESSURE_MILD) ||
	    ebb_pressure_unregister(give_up, cache) ||
	    ebb_pressure_unregister(give_up, cache) != -1 ||
	    ebb_purge(NULL))
		abort();
	sem_post(&cache->done);
}

TEST_F(listen, may_free_purge_register_and_unregister_itself)
{
	static struct cache cache;
	size_t full;

	NEEDS_THREADS();
	sem_init(&cache.done, 0, 0);
	for (int i = 0; i < 1000; i++)
		memset(cache.all[i] = malloc(20000), 1, 20000);
	full = rss_bytes();
	ASSERT_EQ(0, ebb_pressure_register(give_up, &cache,
					   EBB_PRESSURE_SEVERE));
	ASSERT_EQ(0, ebb_pressure(EBB_PRESSURE_SEVERE));
	while (sem_wait(&cache.done) && errno == EINTR)
		;
	EXPECT_GE(full - 15 * MIB, rss_bytes());
	EXPECT_ERRNO(ENOENT, ebb_pressure_unregister(give_up, &cache));
	ASSERT_EQ(0, ebb_pressure(EBB_PRESSURE_SEVERE));
	EXPECT_TRUE(has_heard(&cache.next, EBB_PRESSURE_SEVERE));
}

struct slow {
	sem_t begun, go;
	int has_ended;
};

static void take_long(void *arg, enum ebb_pressure_level level)
{
	struct slow *slow = arg;

	(void)level;
	sem_post(&slow->begun);
	while (sem_wait(&slow->go) && errno == EINTR)
		;
	__atomic_store_n(&slow->has_ended, 1, __ATOMIC_RELEASE);
}

/* A call of @fn, which take_long() is a part of, is in progress. */
static bool begins(ebb_pressure_fn fn, struct slow *slow)
{
	sem_init(&slow->begun, 0, 0);
	sem_init(&slow->go, 0, 0);
	if (ebb_pressure_register(fn, slow, EBB_PRESSURE_SEVERE) ||
	    ebb_pressure(EBB_PRESSURE_SEVERE))
		return false;
	while (sem_wait(&slow->begun) && errno == EINTR)
		;
	return true;
}

/* What unregister() saw when it returned, and its thread. */
struct leaver {
	struct slow *slow;
	pid_t tid;
	int saw_end;
	int is_back;
};

static void *leave(void *arg)
{
	struct leaver *leaver = arg;

	__atomic_store_n(&leaver->tid, (pid_t)syscall(SYS_gettid),
			 __ATOMIC_RELEASE);
	if (ebb_pressure_unregister(take_long, leaver->slow))
		abort();
	leaver->saw_end = nr_of(&leaver->slow->has_ended);
	__atomic_store_n(&leaver->is_back, 1, __ATOMIC_RELEASE);
	return NULL;
}

static bool sleeps(const struct leaver *leaver)
{
	pid_t tid = __atomic_load_n(&leaver->tid, __ATOMIC_ACQUIRE);
	char path[64], stat[512];
	const char *end;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	if (!tid || read_file(path, stat, sizeof(stat)) <= 0)
		return false;
	end = strrchr(stat, ')');
	return end && end[2] == 'S';
}

TEST_F(listen, unregister_waits_for_a_call_in_progress)
{
	struct slow slow = { .has_ended = 0 };
	struct leaver leaver = { .slow = &slow };
	pthread_t thread;

	NEEDS_THREADS();
	ASSERT_TRUE(begins(take_long, &slow));
	ASSERT_EQ(0, pthread_create(&thread, NULL, leave, &leaver));
	EXPECT_TRUE(WAIT_FOR(sleeps(&leaver) || nr_of(&leaver.is_back)));
	EXPECT_EQ(0, nr_of(&leaver.is_back));
	sem_post(&slow.go);
	pthread_join(thread, NULL);
	EXPECT_EQ(1, leaver.saw_end);
}

/* Of others, and of no call: at once, while that one takes its time. */
TEST_F(listen, unregister_waits_for_no_other)
{
	struct slow slow = { .has_ended = 0 };
	struct heard heard = { 0 };

	NEEDS_THREADS();
	ASSERT_TRUE(begins(take_long, &slow));
	ASSERT_EQ(0, ebb_pressure_register(hear, &heard, EBB_PRESSURE_MILD));
	EXPECT_EQ(0, ebb_pressure_unregister(hear, &heard));
	EXPECT_EQ(0, slow.has_ended);
	sem_post(&slow.go);
	EXPECT_TRUE(WAIT_FOR(nr_of(&slow.has_ended)));
}

static struct heard successor;

/* Another one takes its place while it runs. */
static void hand_over(void *arg, enum ebb_pressure_level level)
{
	if (ebb_pressure_unregister(hand_over, arg) ||
	    ebb_pressure_register(hear, &successor, EBB_PRESSURE_SEVERE))
		abort();
	take_long(arg, level);
}

TEST_F(listen, who_takes_a_place_does_not_take_the_call)
{
	struct slow slow = { .has_ended = 0 };

	NEEDS_THREADS();
	ASSERT_TRUE(begins(hand_over, &slow));
	EXPECT_EQ(0, ebb_pressure_unregister(hear, &successor));
	EXPECT_EQ(0, slow.has_ended);
	sem_post(&slow.go);
	EXPECT_TRUE(WAIT_FOR(nr_of(&slow.has_ended)));
}

/* === Fork ================================================================= */

/* In the child of a process that listens: it is told of what it sees itself. */
static int listens_in_child(struct heard *heard)
{
	if (ebb_pressure(EBB_PRESSURE_SEVERE))
		return 1;
	/* Slow paths: of large objects, which no cache of the thread keeps. */
	if (!WAIT_FOR(({ free(hide(malloc(MIB)));
			 nr_of(&heard->nr[EBB_PRESSURE_SEVERE]); })))
		return 2;
	if (heard->tid == getpid())
		return 3;
	return ebb_pressure_unregister(hear, heard) ? 4 : 0;
}

TEST_F(listen, a_child_is_told_as_well)
{
	struct heard heard = { 0 };
	int status;
	pid_t pid;

	NEEDS_THREADS();
	ASSERT_EQ(0, ebb_pressure_register(hear, &heard, EBB_PRESSURE_SEVERE));
	for (int i = 0; i < 3; i++) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid)
			_exit(listens_in_child(&heard));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
	}
	EXPECT_EQ(0, ebb_pressure_unregister(hear, &heard));
}

struct forker {
	sem_t done;
	int status;
};

static void fork_here(void *arg, enum ebb_pressure_level level)
{
	struct forker *forker = arg;
	struct heard heard = { 0 };
	pid_t pid = fork();

	(void)level;
	if (pid < 0)
		abort();
	if (!pid) {
		/* It is the thread, and may leave as such. */
		if (ebb_pressure_unregister(fork_here, forker))
			_exit(1);
		if (ebb_pressure_register(hear, &heard, EBB_PRESSURE_MILD))
			_exit(2);
		if (ebb_pressure_unregister(hear, &heard))
			_exit(3);
		_exit(0);
	}
	if (waitpid(pid, &forker->status, 0) != pid)
		abort();
	sem_post(&forker->done);
}

TEST_F(listen, may_fork)
{
	struct forker forker = { .status = -1 };

	NEEDS_THREADS();
	sem_init(&forker.done, 0, 0);
	ASSERT_EQ(0, ebb_pressure_register(fork_here, &forker,
					   EBB_PRESSURE_SEVERE));
	ASSERT_EQ(0, ebb_pressure(EBB_PRESSURE_SEVERE));
	while (sem_wait(&forker.done) && errno == EINTR)
		;
	EXPECT_EQ(0, forker.status);
	EXPECT_EQ(0, ebb_pressure_unregister(fork_here, &forker));
}

TEST_HARNESS_MAIN
