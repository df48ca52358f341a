/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Compressed swap in memory, for the time of a run
 */
#include <sys/swap.h>
#include "bench/frame.h"
#include "bench/swap.h"

#define CONTROL	"/sys/class/zram-control"

static int number = -1;			/* of the device; -1: none */
static bool swapping;

static void refuse(const char *what)
{
	fprintf(stderr, "%s: no zram swap here: %s: %s\n", frame.scenario,
		what, strerror(errno));
	exit(4);
}

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool good;

	if (fd < 0)
		return false;
	good = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return good;
}

/* The first page of a swap area, as mkswap(8) leaves it. */
static bool write_header(const char *path, size_t bytes)
{
	struct {
		char boot[1024];
		uint32_t version;
		uint32_t last_page;
		uint32_t nr_bad;
	} head = { .version = 1 };
	size_t page = page_size();
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool good;

	if (fd < 0)
		return false;
	head.last_page = (uint32_t)(bytes / page - 1);
	good = pwrite(fd, &head, sizeof(head), 0) == sizeof(head) &&
	       pwrite(fd, "SWAPSPACE2", 10, (off_t)page - 10) == 10 &&
	       !fsync(fd);
	close(fd);
	return good;
}

void swap_begin(size_t bytes)
{
	char text[64], path[64];

	if (read_file(CONTROL "/hot_add", text, sizeof(text)) <= 0)
		refuse(CONTROL "/hot_add");
	number = atoi(text);
	snprintf(path, sizeof(path), "/sys/block/zram%d/disksize", number);
	snprintf(text, sizeof(text), "%zu", bytes);
	if (!write_text(path, text))
		refuse(path);
	snprintf(path, sizeof(path), "/dev/zram%d", number);
	if (!write_header(path, bytes) || swapon(path, 0))
		refuse(path);
	swapping = true;
}

void swap_end(void)
{
	char text[64];

	if (number < 0)
		return;
	snprintf(text, sizeof(text), "/dev/zram%d", number);
	if (swapping)
		swapoff(text);
	snprintf(text, sizeof(text), "/sys/block/zram%d/reset", number);
	write_text(text, "1");
	snprintf(text, sizeof(text), "%d", number);
	write_text(CONTROL "/hot_remove", text);
	number = -1;
}
