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
 * Exit status 0: all were left alone; else what was wrong is told on stdout.
 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include "cgroup.h"

#define NR_PAIRS	65u	/* the last one replaces stderr */
#define NR_BLOCKS	20000u
#define ROUNDS		8

static int fds[2 * NR_PAIRS];
static ino_t inodes[2 * NR_PAIRS];
static char *blocks[NR_BLOCKS];

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

static void churn(void)
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
	sleep_ms(60);
	malloc_trim(0);
	for (unsigned int i = 0; i < NR_BLOCKS; i += 50)
		free(blocks[i]);
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

int main(int argc, char **argv)
{
	struct group group = { .v2 = false };

	if (argc != 2)
		return 99;
	snprintf(group.path, sizeof(group.path), "%s", argv[1]);
	group.v2 = !strstr(group.path, "/memory/");
	free(malloc(1));
	closefrom(3);
	if (!open_all())
		return 2;
	if (*argv[1])
		group_set_limit(&group, group_usage(&group) + 90 * MIB);
	for (int i = 0; i < ROUNDS; i++)
		churn();
	return check_all();
}
