/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - A program that closes all files and opens its own
 *
 * daemon LIMIT_GROUP: as daemons do, it closes every descriptor above 2, opens
 * 64 socket pairs, and puts one end of another pair where stderr was.  Then it
 * comes under memory pressure for a while.  No byte may arrive on any of the
 * sockets, and all must still be what they were.  LIMIT_GROUP, if not "", is a
 * cgroup whose limit is set close to the usage.
 *
 * daemon LIMIT_GROUP CHILDREN: the same, and CHILDREN are forked meanwhile; to
 * each, the numbers that the library's own descriptors have in its parent are
 * its sockets.  They make passes of their own.
 *
 * Exit status 0: all were left alone; else what was wrong is told on stdout.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "cgroup.h"

#define NR_PAIRS	65u	/* the last one replaces stderr */
#define NR_BLOCKS	20000u
#define ROUNDS		8

static int fds[2 * NR_PAIRS];
static ino_t inodes[2 * NR_PAIRS];

static int wrong(const char *what, unsigned int i)
{
	char line[80];
	int len = snprintf(line, sizeof(line), "socket %u: %s\n", i, what);

	if (write(1, line, (size_t)len) < 0)
		return 3;
	return 1;
}

static ino_t inode_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? 0 : st.st_ino;
}

static bool open_all(void)
{
	for (unsigned int i = 0; i < NR_PAIRS; i++)
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, &fds[2 * i]))
			return false;
	if (dup2(fds[2 * NR_PAIRS - 1], 2) != 2)
		return false;
	close(fds[2 * NR_PAIRS - 1]);
	fds[2 * NR_PAIRS - 1] = 2;
	for (unsigned int i = 0; i < 2 * NR_PAIRS; i++)
		inodes[i] = inode_of(fds[i]);
	return true;
}

/* All but a few are freed, so that pages have to be picked out of slabs. */
static void fill_and_thin(char **blocks)
{
	for (unsigned int i = 0; i < NR_BLOCKS; i++) {
		size_t size = 100 + i % 40 * 100;

		blocks[i] = malloc(size);
		if (!blocks[i])
			abort();
		memset(blocks[i], 1, size);
	}
	for (unsigned int i = 0; i < NR_BLOCKS; i++)
		if (i % 50)
			free(blocks[i]);
}

static void free_rest(char **blocks)
{
	for (unsigned int i = 0; i < NR_BLOCKS; i += 50)
		free(blocks[i]);
}

static void churn(void)
{
	static char *blocks[NR_BLOCKS];

	fill_and_thin(blocks);
	sleep_ms(60);
	malloc_trim(0);
	free_rest(blocks);
	sleep_ms(20);
}

static int check_all(void)
{
	char byte;

	for (unsigned int i = 0; i < 2 * NR_PAIRS; i++) {
		if (inode_of(fds[i]) != inodes[i])
			return wrong("closed or replaced", i);
		if (recv(fds[i], &byte, 1, MSG_PEEK | MSG_DONTWAIT) != -1)
			return wrong("something was written to its peer, or "
				     "that was closed", i);
		if (errno != EAGAIN)
			return wrong(strerror(errno), i);
	}
	return 0;
}

static bool stop;

/* So that there is always a pass to fork in. */
static void *churn_on(void *arg)
{
	static char *blocks[NR_BLOCKS];

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		fill_and_thin(blocks);
		free_rest(blocks);
	}
	return arg;
}

static int be_child(void)
{
	char *object = malloc(MIB);

	if (!object)
		return 2;
	memset(object, 1, MIB);
	free(object);
	malloc_trim(0);
	return check_all();
}

static int fork_children(unsigned long nr)
{
	pthread_t thread;
	int status = 0;

	if (pthread_create(&thread, NULL, churn_on, NULL))
		return 2;
	while (nr-- && !status) {
		pid_t pid = fork();

		if (!pid)
			_exit(be_child());
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			status = 4;
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	return status != 0;
}

int main(int argc, char **argv)
{
	struct group group = { .v2 = false };

	if (argc != 2 && argc != 3)
		return 99;
	snprintf(group.path, sizeof(group.path), "%s", argv[1]);
	group.v2 = !strstr(group.path, "/memory/");
	free(malloc(1));
	closefrom(3);
	if (!open_all())
		return 2;
	if (*argv[1])
		group_set_limit(&group, group_usage(&group) + 90 * MIB);
	if (argc == 3 && fork_children(strtoul(argv[2], NULL, 10)))
		return wrong("see above, or a child was killed", 0);
	for (int i = 0; i < ROUNDS; i++)
		churn();
	return check_all();
}
