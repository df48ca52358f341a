/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ebbmalloc tests - What a whole program says, and what its environment says
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include "reclaim/own_cgroup.h"
#include "harness.h"

#define BYTES	(12 * MIB)	/* below thread_min: nothing starts by itself */
#define SIZE	1024

FIXTURE_EMPTY(app);

/* Free pages that nothing but pressure gives back soon. */
static bool make_dirty(void)
{
	static void *all[BYTES / SIZE];
	size_t nr = ARRAY_LEN(all);

	for (size_t i = 0; i < nr; i++) {
		all[i] = malloc(SIZE);
		if (!all[i])
			return false;
		memset(all[i], 1, SIZE);
	}
	for (size_t i = 0; i < nr; i++)
		free(all[i]);
	return true;
}

static uint64_t free_and_backed(void)
{
	struct ebb_heap_counts counts;

	if (ebb_heap_count(&counts))
		return UINT64_MAX;
	return counts.dirty_bytes + counts.lazy_bytes + counts.cached_bytes;
}

/* The line of malloc_info() about the source. */
static bool info_says(const char *text)
{
	char buf[8192] = "";
	FILE *file = fmemopen(buf, sizeof(buf) - 1, "w");

	malloc_info(0, file);
	fclose(file);
	return strstr(buf, text);
}

TEST_F(app, a_level_that_is_none_is_refused)
{
	errno = 0;
	EXPECT_EQ(-1, ebb_pressure((enum ebb_pressure_level)3));
	EXPECT_EQ(EINVAL, errno);
	errno = 0;
	EXPECT_EQ(-1, ebb_pressure((enum ebb_pressure_level)-1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_FALSE(info_says("reclaimer state=\"running\""));
}

TEST_F(app, severe_starts_the_reclaimer_and_gives_all_back)
{
	if (UNDER_TSAN)
		SKIP(return, "ThreadSanitizer forbids threads after fork");
	ASSERT_TRUE(make_dirty());
	EXPECT_LE(BYTES / 2, free_and_backed());
	errno = 77;
	ASSERT_EQ(0, ebb_pressure(EBB_PRESSURE_SEVERE));
	EXPECT_EQ(77, errno);
	EXPECT_TRUE(WAIT_FOR(free_and_backed() < MIB));
	EXPECT_TRUE(WAIT_FOR(info_says("app: live (ebb_pressure()), 1 events, "
				       "1 passes, last ")));
}

TEST_F(app, each_call_is_heard_by_a_reclaimer_that_sleeps)
{
	if (UNDER_TSAN)
		SKIP(return, "ThreadSanitizer forbids threads after fork");
	for (int i = 0; i < 20; i++) {
		ASSERT_TRUE(make_dirty());
		ASSERT_EQ(0, ebb_pressure(EBB_PRESSURE_SEVERE));
		ASSERT_TRUE(WAIT_FOR(free_and_backed() < MIB));
	}
}

TEST_F(app, mild_takes_what_has_been_free_for_a_moment)
{
	if (UNDER_TSAN)
		SKIP(return, "ThreadSanitizer forbids threads after fork");
	ASSERT_TRUE(make_dirty());
	ASSERT_EQ(0, ebb_pressure(EBB_PRESSURE_MILD));
	EXPECT_TRUE(WAIT_FOR(info_says("app: live (ebb_pressure()), 1 events, "
				       "1 passes")));
}

TEST_F(app, none_wakes_nobody)
{
	ASSERT_EQ(0, ebb_pressure(EBB_PRESSURE_NONE));
	EXPECT_FALSE(info_says("reclaimer state=\"running\""));
}

static void call_it(int sig)
{
	(void)sig;
	ebb_pressure(EBB_PRESSURE_SEVERE);
}

/* Handlers that interrupt malloc at any place, once the reclaimer runs. */
TEST_F(app, may_be_called_in_handlers)
{
	struct sigaction act = {
		.sa_handler = call_it,
		.sa_flags = SA_RESTART,
	};
	pid_t parent = getpid(), pid;
	int status;

	if (UNDER_TSAN)
		SKIP(return, "ThreadSanitizer forbids threads after fork");
	ASSERT_EQ(0, ebb_pressure(EBB_PRESSURE_SEVERE));
	ASSERT_TRUE(WAIT_FOR(info_says("reclaimer state=\"running\"")));
	ASSERT_EQ(0, sigaction(SIGUSR1, &act, NULL));
	pid = fork();
	if (!pid) {
		for (int i = 0; i < 300; i++) {
			kill(parent, SIGUSR1);
			sleep_ms(1);
		}
		_exit(0);
	}
	while (!waitpid(pid, &status, WNOHANG))
		ASSERT_TRUE(make_dirty());
	EXPECT_EQ(0, status);
	ASSERT_EQ(0, ebb_pressure(EBB_PRESSURE_SEVERE));
	EXPECT_TRUE(WAIT_FOR(free_and_backed() < MIB));
}

TEST_F(app, a_forked_child_starts_its_own)
{
	int status;
	pid_t pid;

	if (UNDER_TSAN)
		SKIP(return, "ThreadSanitizer forbids threads after fork");
	ASSERT_EQ(0, ebb_pressure(EBB_PRESSURE_SEVERE));
	ASSERT_TRUE(WAIT_FOR(info_says("reclaimer state=\"running\"")));
	pid = fork();
	if (!pid) {
		if (!make_dirty() || ebb_pressure(EBB_PRESSURE_SEVERE))
			_exit(1);
		_exit(WAIT_FOR(free_and_backed() < MIB) ? 0 : 2);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* === The environment, of a program that is started with it === */

#define CHILD_ENV	"EBB_TEST_CHILD"
#define NOT_SECURE	5		/* its exit status */

/* Whether this program is such a child; it ends here. */
__attribute__((constructor)) static void be_child(void)
{
	const char *what = getenv(CHILD_ENV);
	const char *wanted = "watch: live ($MEMORY_PRESSURE_WATCH, a socket), "
			     "1 events";

	if (!what)
		return;
	if (!strcmp(what, "secure")) {
		if (!getauxval(AT_SECURE))
			_exit(NOT_SECURE);
		wanted = "watch: unavailable: the environment of a privileged "
			 "program is not trusted";
	}
	if (ebb_pressure(EBB_PRESSURE_MILD))
		_exit(1);
	_exit(WAIT_FOR(info_says(wanted)) ? 0 : 2);
}

FIXTURE(environment)
{
	char dir[64], program[PATH_MAX];
	struct sockaddr_un to;
	int listener;
};

FIXTURE_SETUP(environment)
{
	strcpy(self->dir, "/tmp/ebb-test-XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->dir));
	ASSERT_EQ(0, chmod(self->dir, 0755));
	self->to.sun_family = AF_UNIX;
	snprintf(self->to.sun_path, sizeof(self->to.sun_path), "%s/socket",
		 self->dir);
	self->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ASSERT_EQ(0, bind(self->listener, (struct sockaddr *)&self->to,
			  sizeof(self->to)));
	ASSERT_EQ(0, chmod(self->to.sun_path, 0777));
	ASSERT_EQ(0, listen(self->listener, 1));
}

FIXTURE_TEARDOWN(environment)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/program", self->dir);
	unlink(path);
	unlink(self->to.sun_path);
	EXPECT_EQ(0, rmdir(self->dir));
}

/* Start @program as such a child, of user @uid. */
static pid_t start_child(const struct sockaddr_un *to, const char *program,
			 const char *what, uid_t uid)
{
	char watch[200], child[64];
	char *argv[] = { (char *)"app_test", NULL };
	char *env[] = { watch, (char *)"MEMORY_PRESSURE_WRITE=Zm9v", child,
			NULL };
	pid_t pid = fork();

	if (pid)
		return pid;
	snprintf(watch, sizeof(watch), "MEMORY_PRESSURE_WATCH=%s",
		 to->sun_path);
	snprintf(child, sizeof(child), CHILD_ENV "=%s", what);
	if (!setuid(uid))
		execve(program, argv, env);
	_exit(127);
}

TEST_F(environment, names_what_to_watch)
{
	int status, peer;
	char got[8];
	pid_t pid;

	if (UNDER_TSAN)
		SKIP(return, "ThreadSanitizer forbids threads after fork");
	pid = start_child(&self->to, "/proc/self/exe", "watch", getuid());
	peer = accept(self->listener, NULL, NULL);
	ASSERT_LE(0, peer);
	ASSERT_EQ(3, read(peer, got, sizeof(got)));
	EXPECT_EQ(0, memcmp("foo", got, 3));
	ASSERT_EQ(1, write(peer, "!", 1));
	/* It is heard in the round that it wakes the reclaimer for. */
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* This program once more, with root's rights for everybody. */
static bool copy_setuid(const char *to)
{
	char buf[65536];
	int in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	ssize_t len = -1;

	while (in >= 0 && out >= 0 && (len = read(in, buf, sizeof(buf))) > 0)
		if (write(out, buf, (size_t)len) != len)
			return false;
	return !len && !fchmod(out, 04755) && !close(out) && !close(in);
}

TEST_F(environment, is_nothing_to_a_setuid_program)
{
	int status;
	pid_t pid;

	if (getuid() || UNDER_TSAN)
		SKIP(return, "not root");
	snprintf(self->program, sizeof(self->program), "%s/program",
		 self->dir);
	ASSERT_TRUE(copy_setuid(self->program));
	pid = start_child(&self->to, self->program, "secure", 65534);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	if (WEXITSTATUS(status) == NOT_SECURE || WEXITSTATUS(status) == 127)
		SKIP(return, "no setuid program can be run here");
	EXPECT_EQ(0, status);
}

TEST_HARNESS_MAIN
