/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ebbmalloc tests - Log lines
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/err.h"
#include "base/log.h"
#include "refuse.h"
#include "kselftest_harness.h"

/* FIXTURE_SETUP() and FIXTURE_TEARDOWN() define functions that are global. */
#pragma GCC diagnostic ignored "-Wmissing-prototypes"

TEST(format_knows_its_conversions)
{
	char got[256], expected[256];
	size_t len;

	len = fmt_line(got, sizeof(got), "%d %i %u %ld %lu %lld %llu %zu %x "
		       "%lx %llx %p %c%% %s", -5, 0, 7u, -8L, 9UL,
		       -9223372036854775807LL - 1, ~0ULL, (size_t)10, 0xabcu,
		       0xdefUL, 0x123456789abcULL, (void *)0x7f00, 'c', "text");
	snprintf(expected, sizeof(expected), "%d %i %u %ld %lu %lld %llu %zu "
		 "%x %lx %llx %p %c%% %s", -5, 0, 7u, -8L, 9UL,
		 -9223372036854775807LL - 1, ~0ULL, (size_t)10, 0xabcu,
		 0xdefUL, 0x123456789abcULL, (void *)0x7f00, 'c', "text");
	EXPECT_STREQ(expected, got);
	EXPECT_EQ(strlen(expected), len);
}

TEST(format_cuts_at_the_end_of_the_buffer)
{
	char got[4] = "zzz";

	EXPECT_EQ(3u, fmt_line(got, sizeof(got), "%s", "abcdef"));
	EXPECT_STREQ("abc", got);
	EXPECT_EQ(0u, fmt_line(got, 1, "%d", 12));
	EXPECT_STREQ("", got);
}

/*
 * fd 2 is replaced by the variant's kind of file before log_init(); what is
 * written there is read from fd in.  The real fd 2 is kept for the harness.
 */
FIXTURE(stderr)
{
	int real;
	int in;
	char text[2048];
};

FIXTURE_VARIANT(stderr)
{
	enum { KIND_PIPE, KIND_SOCKET, KIND_FILE } kind;
};

FIXTURE_VARIANT_ADD(stderr, pipe) { .kind = KIND_PIPE };
FIXTURE_VARIANT_ADD(stderr, socket) { .kind = KIND_SOCKET };
FIXTURE_VARIANT_ADD(stderr, file) { .kind = KIND_FILE };

/* Two ends: what goes into [1] can be read from [0]. */
static int make_pair(int kind, int fds[2])
{
	char path[] = "/tmp/ebb-log-XXXXXX";

	if (kind == KIND_PIPE)
		return pipe(fds);
	if (kind == KIND_SOCKET)
		return socketpair(AF_UNIX, SOCK_STREAM, 0, fds);
	fds[1] = mkstemp(path);
	fds[0] = open(path, O_RDONLY);
	unlink(path);
	return fds[0] < 0 || fds[1] < 0 ? -1 : 0;
}

FIXTURE_SETUP(stderr)
{
	int fds[2];

	ASSERT_EQ(0, make_pair(variant->kind, fds));
	self->real = dup(2);
	self->in = fds[0];
	dup2(fds[1], 2);
	close(fds[1]);
	fcntl(self->in, F_SETFL, O_NONBLOCK);
	log_init();
}

FIXTURE_TEARDOWN(stderr)
{
	dup2(self->real, 2);
	close(self->real);
	close(self->in);
}

static const char *get_text(int fd, char *buf, size_t size)
{
	ssize_t ret = read(fd, buf, size - 1);

	buf[ret < 0 ? 0 : ret] = '\0';
	return buf;
}

TEST_F(stderr, a_line_has_prefix_and_end)
{
	char expected[64];

	errno = 123;
	log_line("%s is %d", "answer", 42);
	EXPECT_EQ(123, errno);
	snprintf(expected, sizeof(expected), "ebbmalloc[%d]: answer is 42\n",
		 getpid());
	EXPECT_STREQ(expected,
		     get_text(self->in, self->text, sizeof(self->text)));
	EXPECT_EQ(0u, log_dropped());
}

TEST_F(stderr, a_long_line_is_cut)
{
	char big[2 * LOG_LINE_MAX];

	memset(big, 'x', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	log_line("%s", big);
	get_text(self->in, self->text, sizeof(self->text));
	EXPECT_EQ((size_t)LOG_LINE_MAX - 1, strlen(self->text));
	EXPECT_EQ('\n', self->text[LOG_LINE_MAX - 2]);
}

TEST_F(stderr, no_byte_goes_to_a_stranger)
{
	char text[64];
	int fds[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	dup2(fds[1], 2);
	log_line("lost");
	EXPECT_STREQ("", get_text(fds[0], text, sizeof(text)));
	EXPECT_STREQ("", get_text(self->in, self->text, sizeof(self->text)));
	EXPECT_EQ(1u, log_dropped());
	close(2);
	log_line("lost, too");
	EXPECT_EQ(2u, log_dropped());
}

TEST_F(stderr, off_writes_nothing_and_drops_nothing)
{
	ASSERT_EQ(0, log_set_target("off"));
	log_line("silence");
	EXPECT_STREQ("", get_text(self->in, self->text, sizeof(self->text)));
	EXPECT_EQ(0u, log_dropped());
	ASSERT_EQ(0, log_set_target("stderr"));
	log_line("sound");
	EXPECT_NE(NULL, strstr(get_text(self->in, self->text,
					sizeof(self->text)), "sound"));
}

TEST_F(stderr, a_full_one_does_not_block)
{
	char block[4096] = "";

	if (variant->kind == KIND_FILE)
		SKIP(return, "a regular file is never full");
	fcntl(2, F_SETFL, O_NONBLOCK);
	while (write(2, block, sizeof(block)) > 0)
		;
	fcntl(2, F_SETFL, 0);
	log_line("no room");
	EXPECT_EQ(1u, log_dropped());
}

TEST_F(stderr, a_reader_that_has_gone_raises_no_signal)
{
	if (variant->kind == KIND_FILE)
		SKIP(return, "a regular file needs no reader");
	signal(SIGPIPE, SIG_DFL);
	close(self->in);
	log_line("nobody reads");
	EXPECT_EQ(1u, log_dropped());
}

/* As the reclaimer does: a thread with an empty file table of its own. */
static void *log_from_private_table(void *unused)
{
	(void)unused;
	if (close_range(0, ~0U, CLOSE_RANGE_UNSHARE))
		return (void *)"close_range";
	log_use_private_table(getpid(), true);
	log_line("from afar");
	if (fcntl(0, F_GETFD) != -1)
		return (void *)"a descriptor stayed open";
	return NULL;
}

TEST_F(stderr, a_private_table_is_no_obstacle)
{
	pthread_t thread;
	void *error;

	ASSERT_EQ(7, write(2, "before\n", 7));
	ASSERT_EQ(0, pthread_create(&thread, NULL, log_from_private_table,
				    NULL));
	ASSERT_EQ(0, pthread_join(thread, &error));
	EXPECT_EQ(NULL, error);
	ASSERT_EQ(6, write(2, "after\n", 6));
	EXPECT_EQ(0u, log_dropped());
	get_text(self->in, self->text, sizeof(self->text));
	EXPECT_NE(NULL, strstr(self->text, "from afar\nafter\n"));
}

TEST_F(stderr, a_private_table_works_without_pidfd_getfd)
{
	bool can_be_opened = variant->kind != KIND_SOCKET;
	pthread_t thread;

	/* As seccomp profiles of containers do. */
	if (!refuse_call(SYS_pidfd_getfd, EPERM))
		SKIP(return, "no seccomp filters here");
	ASSERT_EQ(0, pthread_create(&thread, NULL, log_from_private_table,
				    NULL));
	pthread_join(thread, NULL);
	EXPECT_EQ(can_be_opened ? 0u : 1u, log_dropped());
	get_text(self->in, self->text, sizeof(self->text));
	EXPECT_EQ(can_be_opened, strstr(self->text, "from afar\n") != NULL);
}

TEST_F(stderr, a_private_table_does_not_reach_strangers)
{
	pthread_t thread;
	char text[64];
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	dup2(fds[1], 2);
	ASSERT_EQ(0, pthread_create(&thread, NULL, log_from_private_table,
				    NULL));
	pthread_join(thread, NULL);
	EXPECT_STREQ("", get_text(fds[0], text, sizeof(text)));
	EXPECT_EQ(1u, log_dropped());
}

/* The harness takes SIGABRT for an ASSERT, so the test's child has a child. */
TEST_F(stderr, a_bug_aborts_and_says_why_even_if_log_is_off)
{
	int status;

	ASSERT_EQ(0, log_set_target("off"));
	if (!fork())
		ebb_bug("pointer %p", (void *)16);
	wait(&status);
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGABRT, WTERMSIG(status));
	EXPECT_NE(NULL, strstr(get_text(self->in, self->text,
					sizeof(self->text)),
			       "pointer 0x10\n"));
}

FIXTURE(path)
{
	char dir[32];
	char path[48];
	char text[2048];
};

FIXTURE_SETUP(path)
{
	strcpy(self->dir, "/tmp/ebb-log-XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->dir));
	snprintf(self->path, sizeof(self->path), "%s/log", self->dir);
	log_init();
}

FIXTURE_TEARDOWN(path)
{
	unlink(self->path);
	rmdir(self->dir);
}

TEST_F(path, lines_are_appended_and_private)
{
	struct stat st;
	int fd;

	umask(0);
	ASSERT_EQ(0, log_set_target(self->path));
	log_line("one");
	log_line("two");
	ASSERT_EQ(0, stat(self->path, &st));
	EXPECT_EQ(0600u, st.st_mode & 07777);
	fd = open(self->path, O_RDONLY);
	ASSERT_LE(0, fd);
	get_text(fd, self->text, sizeof(self->text));
	close(fd);
	EXPECT_NE(NULL, strstr(self->text, "]: one\nebbmalloc["));
	EXPECT_NE(NULL, strstr(self->text, "]: two\n"));
	EXPECT_EQ(0u, log_dropped());
}

TEST_F(path, symbolic_links_are_not_followed)
{
	ASSERT_EQ(0, symlink("/dev/null", self->path));
	ASSERT_EQ(0, log_set_target(self->path));
	log_line("lost");
	EXPECT_EQ(1u, log_dropped());
}

TEST_F(path, a_fifo_without_reader_does_not_block)
{
	ASSERT_EQ(0, mkfifo(self->path, 0600));
	ASSERT_EQ(0, log_set_target(self->path));
	log_line("lost");
	EXPECT_EQ(1u, log_dropped());
}

TEST(targets_are_checked)
{
	char big[300];

	memset(big, '/', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	EXPECT_EQ(0, log_check_target("stderr"));
	EXPECT_EQ(0, log_check_target("off"));
	EXPECT_EQ(0, log_check_target("/x"));
	EXPECT_EQ(-EINVAL, log_check_target("stdout"));
	EXPECT_EQ(-EINVAL, log_check_target(""));
	EXPECT_EQ(-EINVAL, log_check_target("relative/path"));
	EXPECT_EQ(-ENAMETOOLONG, log_check_target(big));
}

TEST_HARNESS_MAIN
