/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ebbmalloc tests - The reclaimer thread, over a heap that only pretends
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "acct/account.h"
#include "base/atomic.h"
#include "base/log.h"
#include "base/param.h"
#include "reclaim/app.h"
#include "reclaim/purge.h"
#include "reclaim/reclaimer.h"
#include "reclaim/source.h"
#include "vm/run.h"
#include "harness.h"
#include "refuse.h"
#include "thread.h"
#include "backend/filter.h"
#include "reclaim/own_cgroup.h"

/* === A heap of one number === */

static uint64_t fake_dirty;		/* bytes, freed at fake_freed_ms */
static uint64_t fake_freed_ms;
static uint64_t freed_behind;		/* once, when a pass has looked */
static uint64_t nr_passes, nr_forced;
static uint64_t nr_audits;		/* passes that were to be one as well */
static bool audits_end;			/* and not cut */

uint64_t purge_dirty_estimate(void)
{
	return load_relaxed(&fake_dirty);
}

uint64_t purge_cached(void)
{
	return 0;
}

uint64_t purge_free_most(void)
{
	return purge_dirty_estimate();
}

uint64_t purge_retaken(void)
{
	return 0;
}

struct zone zones[ZONES_MAX];
uint32_t nr_zones = 1;

uint64_t large_unbacked(void)
{
	return 0;
}

int purge_run(const struct purge_order *order, struct purge_result *ret_result)
{
	uint64_t dirty = load_relaxed(&fake_dirty);
	uint64_t age_ms = now_ms() - load_relaxed(&fake_freed_ms);
	bool old = order->force || age_ms >= order->clean_age_ms;

	*ret_result = (struct purge_result){
		.clean_bytes = old ? dirty : 0,
		.dirty_left = old ? 0 : dirty,
		.live_bytes = GIB,
		.aging = !old && dirty,
		.audited = order->audit && load_relaxed(&audits_end),
	};
	if (order->audit)
		add_relaxed(&nr_audits, 1);
	if (old)
		store_relaxed(&fake_dirty, 0);
	/* As by another thread, which sees that the reclaimer is awake. */
	add_relaxed(&fake_dirty, xchg_acquire(&freed_behind, 0));
	add_relaxed(&nr_passes, 1);
	if (order->force)
		add_relaxed(&nr_forced, 1);
	return 0;
}

bool purge_hold(void)
{
	return false;
}

void purge_release(void)
{
}

static void fake_free(uint64_t len)
{
	store_relaxed(&fake_freed_ms, now_ms());
	add_relaxed(&fake_dirty, len);
	if (purge_dirty_estimate() >= load_relaxed(&account.wake_level))
		reclaimer_wake();
}

/* === The thread as the kernel shows it === */

/* "/proc/self/task/TID" of the reclaimer; false if there is none. */
static bool thread_dir(char *path, size_t size)
{
	pid_t tid = thread_named(getpid(), RECLAIMER);

	snprintf(path, size, "/proc/self/task/%d", (int)tid);
	return tid;
}

/* The text after "@key:\t" in the thread's status, as a number. */
static uint64_t thread_status(const char *key, int base)
{
	char path[128], text[4096];
	const char *at;

	if (!thread_dir(path, sizeof(path)))
		return 0;
	strcat(path, "/status");
	if (read_file(path, text, sizeof(text)) < 0)
		return 0;
	at = strstr(text, key);
	return at ? strtoull(at + strlen(key) + 1, NULL, base) : 0;
}

/* Whether one of the thread's descriptors is @target. */
static bool thread_has_file(const char *target)
{
	char path[128], link[384], text[256];
	struct dirent *entry;
	bool found = false;
	ssize_t len;
	DIR *dir;

	if (!thread_dir(path, sizeof(path)))
		return false;
	strcat(path, "/fd");
	dir = opendir(path);
	while (dir && !found && (entry = readdir(dir))) {
		snprintf(link, sizeof(link), "%s/%.16s", path, entry->d_name);
		len = readlink(link, text, sizeof(text) - 1);
		text[len < 0 ? 0 : len] = '\0';
		found = !strcmp(text, target);
	}
	if (dir)
		closedir(dir);
	return found;
}

/* === Tests === */

FIXTURE(reclaimer)
{
	char why[256];
};

FIXTURE_SETUP(reclaimer)
{
	log_init();
	/* The system's pressure would be somebody else's. */
	ASSERT_EQ(0, param_set("psi_us", "0", self->why, sizeof(self->why)));
}

FIXTURE_TEARDOWN(reclaimer)
{
}

static bool start(void)
{
	reclaimer_start();
	return WAIT_FOR(reclaimer_running());
}

/* As a seccomp profile would. */
static bool forbid(uint32_t a, uint32_t b)
{
	return refuse_call(a, EPERM) && refuse_call(b, EPERM);
}

/* In a v1 memory cgroup of its own, of @limit bytes. */
static bool enter_own(struct group *own, size_t limit)
{
	struct cgroup_view view;

	cgroup_find("", &view);
	return view.version == CGROUP_V1 &&
	       own_cgroup_make(own, &view.memory) &&
	       group_write_number(own->path, "memory.limit_in_bytes", limit);
}

TEST_F(reclaimer, is_named_and_blocks_all_signals)
{
	/* SIGKILL, SIGSTOP, and glibc's two own ones cannot be blocked. */
	uint64_t unblockable = 1ULL << 8 | 1ULL << 18 | 3ULL << 31;
	uint64_t before, after;		/* the kernel's signal set */

	syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, &before, 8);
	EXPECT_STREQ("not started", reclaimer_state());
	ASSERT_TRUE(start());
	EXPECT_STREQ("running", reclaimer_state());
	EXPECT_EQ(~unblockable, thread_status("SigBlk:", 16));
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, &after, 8);
	EXPECT_EQ(before, after);
}

TEST_F(reclaimer, a_wake_leads_to_clean_memory)
{
	uint64_t freed_ms;

	ASSERT_TRUE(start());
	sleep_ms(100);
	for (int i = 0; i < 3; i++) {
		freed_ms = now_ms();
		fake_free(10 * MIB);
		EXPECT_TRUE(WAIT_FOR(!purge_dirty_estimate()));
		EXPECT_LE(500u, now_ms() - freed_ms);
		EXPECT_GE(1500u, now_ms() - freed_ms);
	}
}

TEST_F(reclaimer, no_free_is_overlooked)
{
	ASSERT_EQ(0, param_set("decay_ms", "0", self->why, sizeof(self->why)));
	ASSERT_EQ(0, param_set("dirty_min", "0", self->why,
			       sizeof(self->why)));
	ASSERT_EQ(0, param_set("tick_max_ms", "10", self->why,
			       sizeof(self->why)));
	ASSERT_TRUE(start());
	for (int i = 0; i < 200; i++) {
		fake_free(4096);
		ASSERT_TRUE(WAIT_FOR(!purge_dirty_estimate()));
		if (i % 10 == 0)
			sleep_ms(20);
	}
}

/* Whether the pass that follows a free is to be an audit. */
static bool audits_next(void)
{
	uint64_t before = load_relaxed(&nr_audits);

	fake_free(4096);
	return WAIT_FOR(!purge_dirty_estimate()) &&
	       load_relaxed(&nr_audits) != before;
}

TEST_F(reclaimer, an_audit_is_gone_on_with_until_its_end)
{
	ASSERT_EQ(0, param_set("decay_ms", "0", self->why, sizeof(self->why)));
	ASSERT_EQ(0, param_set("dirty_min", "0", self->why,
			       sizeof(self->why)));
	ASSERT_EQ(0, param_set("audit_ms", "5s", self->why, sizeof(self->why)));
	ASSERT_TRUE(start());
	/* The machine may have been started just now. */
	ASSERT_TRUE(WAIT_FOR(audits_next()));
	for (int i = 0; i < 5; i++)
		EXPECT_TRUE(audits_next());
	store_relaxed(&audits_end, true);
	EXPECT_TRUE(audits_next());
	EXPECT_FALSE(audits_next());
	EXPECT_FALSE(audits_next());
}

TEST_F(reclaimer, what_is_freed_behind_a_pass_is_not_overlooked)
{
	ASSERT_EQ(0, param_set("decay_ms", "0", self->why, sizeof(self->why)));
	ASSERT_TRUE(start());
	for (uint64_t i = 1; i <= 3; i++) {
		store_relaxed(&freed_behind, MIB);
		fake_free(MIB);
		EXPECT_TRUE(WAIT_FOR(!load_relaxed(&freed_behind) &&
				     !purge_dirty_estimate()));
	}
}

TEST_F(reclaimer, crossing_dirty_max_does_not_wait_for_the_age)
{
	uint64_t freed_ms;

	ASSERT_EQ(0, param_set("decay_ms", "60s", self->why,
			       sizeof(self->why)));
	ASSERT_EQ(0, param_set("dirty_max", "8M", self->why,
			       sizeof(self->why)));
	ASSERT_TRUE(start());
	fake_free(4 * MIB);
	sleep_ms(400);
	EXPECT_EQ(4 * MIB, purge_dirty_estimate());
	freed_ms = now_ms();
	fake_free(8 * MIB);
	EXPECT_TRUE(WAIT_FOR(!purge_dirty_estimate()));
	EXPECT_GE(1000u, now_ms() - freed_ms);
}

TEST_F(reclaimer, an_idle_one_is_not_woken)
{
	uint64_t before = 0, after = 0;

	ASSERT_TRUE(start());
	fake_free(MIB);
	ASSERT_TRUE(WAIT_FOR(!purge_dirty_estimate()));
	/* One more look, and slow steps of a loaded machine, may follow. */
	for (int i = 0; i < 5 && (!i || before != after); i++) {
		before = thread_status("voluntary_ctxt_switches:", 10);
		ASSERT_NE(0u, before);
		sleep_ms(2500);
		after = thread_status("voluntary_ctxt_switches:", 10);
	}
	EXPECT_EQ(before, after);
}

TEST_F(reclaimer, shares_no_file_with_the_application)
{
	char byte, target[64];
	int ends[2];

	ASSERT_EQ(0, pipe(ends));
	snprintf(target, sizeof(target), "/proc/self/fd/%d", ends[1]);
	ASSERT_TRUE(start());
	close(ends[1]);
	EXPECT_EQ(0, read(ends[0], &byte, 1));

	syscall(SYS_close_range, 3, ~0U, 0);
	fake_free(MIB);
	EXPECT_TRUE(WAIT_FOR(!purge_dirty_estimate()));
	EXPECT_TRUE(thread_has_file("anon_inode:[signalfd]"));
}

TEST_F(reclaimer, leaves_the_table_without_close_range)
{
	int ends[2];
	char byte;

	ASSERT_EQ(0, pipe(ends));
	if (!forbid(SYS_close_range, SYS_close_range))
		SKIP(return, "no seccomp here");
	ASSERT_TRUE(start());
	close(ends[1]);
	EXPECT_EQ(0, read(ends[0], &byte, 1));
	EXPECT_TRUE(WAIT_FOR(thread_has_file("anon_inode:[signalfd]")));
	fake_free(MIB);
	EXPECT_TRUE(WAIT_FOR(!purge_dirty_estimate()));
}

/* For a message it would take the program's stderr; it does without. */
TEST_F(reclaimer, outlives_a_filter_that_kills_for_pidfd_getfd)
{
	static const long getfd[] = { SYS_pidfd_getfd };
	static const long uring[] = { SYS_io_uring_setup };

	if (!filter_calls(uring, 1, SECCOMP_RET_ERRNO | EPERM) ||
	    !filter_calls(getfd, 1, SECCOMP_RET_KILL_PROCESS))
		SKIP(return, "no seccomp here");
	/* So that there is something to say. */
	ASSERT_EQ(0, param_set("backend", "io_uring", self->why,
			       sizeof(self->why)));
	ASSERT_TRUE(start());
	fake_free(MIB);
	EXPECT_TRUE(WAIT_FOR(!purge_dirty_estimate()));
}

TEST_F(reclaimer, works_in_the_application_s_table_keeping_nothing_open)
{
	char report[2048];

	if (!forbid(SYS_close_range, SYS_unshare))
		SKIP(return, "no seccomp here");
	ASSERT_TRUE(start());
	fake_free(MIB);
	EXPECT_TRUE(WAIT_FOR(!purge_dirty_estimate()));
	EXPECT_FALSE(thread_has_file("anon_inode:[signalfd]"));
	source_report(report, sizeof(report));
	EXPECT_NE(NULL, strstr(report, "psi: unavailable: no private file "
			       "table (close_range and unshare fail)\n"));
}

TEST_F(reclaimer, a_forked_child_starts_its_own)
{
	int status;
	pid_t pid;

	if (UNDER_TSAN)
		SKIP(return, "ThreadSanitizer forbids threads after fork");
	ASSERT_TRUE(start());
	fake_free(MIB);
	reclaimer_prefork();
	pid = fork();
	if (!pid) {
		reclaimer_postfork_child();
		if (strcmp(reclaimer_state(), "not started"))
			_exit(1);
		reclaimer_wake();
		if (!start())
			_exit(2);
		fake_free(MIB);
		_exit(WAIT_FOR(!purge_dirty_estimate()) ? 0 : 3);
	}
	reclaimer_postfork_parent();
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
	EXPECT_TRUE(WAIT_FOR(!purge_dirty_estimate()));
}

TEST_F(reclaimer, is_not_started_between_the_fork_handlers)
{
	reclaimer_prefork();
	reclaimer_start();
	EXPECT_STREQ("not started", reclaimer_state());
	reclaimer_postfork_parent();
	EXPECT_TRUE(start());
}

TEST_F(reclaimer, off_is_off)
{
	ASSERT_EQ(0, param_set("reclaim", "off", self->why, sizeof(self->why)));
	reclaimer_start();
	EXPECT_STREQ("off", reclaimer_state());
	EXPECT_FALSE(reclaimer_running());
}

TEST_F(reclaimer, says_why_it_cannot_start)
{
	if (param_set("inject", "thread:1", self->why, sizeof(self->why)))
		SKIP(return, "needs CONFIG_INJECT");
	ASSERT_EQ(0, log_set_target("off"));
	reclaimer_start();
	EXPECT_STREQ("pthread_create fails (EAGAIN)", reclaimer_state());
	EXPECT_FALSE(reclaimer_running());
}

TEST_F(reclaimer, survives_failing_system_calls)
{
	if (param_set("inject", "all:3", self->why, sizeof(self->why)))
		SKIP(return, "needs CONFIG_INJECT");
	ASSERT_EQ(0, log_set_target("off"));
	if (!start())
		SKIP(return, "the thread's own start was hit");
	for (int i = 0; i < 5; i++) {
		fake_free(MIB);
		EXPECT_TRUE(WAIT_FOR(!purge_dirty_estimate()));
	}
}

TEST_F(reclaimer, setuid_does_not_hang)
{
	ASSERT_TRUE(start());
	EXPECT_EQ(0, setuid(getuid()));
}

/* Usage past a threshold of the cgroup's limit takes all, of any age. */
TEST_F(reclaimer, pressure_forces_a_pass)
{
	struct group own;
	uint64_t touched_ms;
	char *memory;

	if (!enter_own(&own, 64 * MIB))
		SKIP(return, "no v1 memory cgroup can be made here");
	ASSERT_EQ(0, param_set("decay_ms", "60s", self->why,
			       sizeof(self->why)));
	ASSERT_TRUE(start());
	fake_free(10 * MIB);
	sleep_ms(300);
	EXPECT_EQ(0u, load_relaxed(&nr_forced));

	memory = mmap(NULL, 64 * MIB, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	touched_ms = now_ms();
	memset(memory, 1, 58 * MIB);
	EXPECT_TRUE(WAIT_FOR(load_relaxed(&nr_forced)));
	EXPECT_GE(500u, now_ms() - touched_ms);
	EXPECT_EQ(0u, purge_dirty_estimate());
	EXPECT_TRUE(WAIT_FOR(load_relaxed(&cgroup1_source.nr_purges)));
	munmap(memory, 64 * MIB);
	group_remove(&own);
}

/* Asleep, with nothing that ages: only the kernel's word wakes it. */
TEST_F(reclaimer, a_limit_lowered_while_it_sleeps_is_noticed)
{
	struct reclaim_stats stats;
	struct group own;

	if (!enter_own(&own, 256 * MIB))
		SKIP(return, "no v1 memory cgroup can be made here");
	ASSERT_TRUE(start());
	sleep_ms(300);
	reclaimer_stats(&stats);
	EXPECT_EQ(256 * MIB, stats.limit);
	group_write_number(own.path, "memory.limit_in_bytes", 128 * MIB);
	EXPECT_TRUE(WAIT_FOR((reclaimer_stats(&stats),
			      stats.limit == 128 * MIB)));
	group_remove(&own);
}

TEST_F(reclaimer, an_alarm_is_heard_by_one_that_sleeps)
{
	ASSERT_EQ(0, param_set("decay_ms", "60s", self->why,
			       sizeof(self->why)));
	ASSERT_TRUE(start());
	for (uint64_t i = 1; i <= 20; i++) {
		fake_free(MIB);
		if (i % 4 == 0)
			sleep_ms(50);
		app_say(PRESSURE_SEVERE);
		reclaimer_alarm();
		ASSERT_TRUE(WAIT_FOR(!purge_dirty_estimate()));
		EXPECT_LE(i, load_relaxed(&nr_forced));
	}
	EXPECT_EQ(20u, load_relaxed(&app_source.nr_events));
}

TEST_F(reclaimer, what_was_said_before_it_started_is_heard)
{
	app_say(PRESSURE_SEVERE);
	reclaimer_alarm();
	ASSERT_TRUE(start());
	EXPECT_TRUE(WAIT_FOR(load_relaxed(&nr_forced)));
}

/* Its sources follow; it is awake for another reason. */
TEST_F(reclaimer, a_move_to_another_cgroup_is_noticed)
{
	struct reclaim_stats stats;
	struct group own;

	if (!enter_own(&own, 256 * MIB))
		SKIP(return, "no v1 memory cgroup can be made here");
	group_write(own.parent, "cgroup.procs", "0");
	ASSERT_TRUE(start());
	group_write(own.path, "cgroup.procs", "0");
	for (int i = 0; i < 400; i++) {
		fake_free(4096);
		sleep_ms(50);
		reclaimer_stats(&stats);
		if (stats.limit == 256 * MIB)
			break;
	}
	EXPECT_EQ(256 * MIB, stats.limit);
	EXPECT_EQ(1u, load_relaxed(&headroom_source.nr_found));
	group_remove(&own);
}

TEST_HARNESS_MAIN
