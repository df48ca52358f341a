/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - A program whose lazy memory is watched by userfaultfd
 *
 * witness LIMIT_MIB, in a cgroup with that limit and with a control directory
 * in $WITNESS_DIR.  Frees every other page of what it has, waits until the
 * library has made it lazy, turns the library off, and takes memory that the
 * cgroup has no room for: so the kernel takes lazy pages.  Then it writes to
 * the last byte of each page that it had freed, with a userfaultfd on them:
 *
 * - a message came for a page if and only if the page was taken: the rest of it
 *   reads as zero, where it else has what was written before it was freed.  A
 *   page that was written to is not taken any more, so nothing races;
 * - pages that it kept had no message, and their content.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include "common.h"

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY	1
#endif

#define KEPT_MIB	16u

static size_t nr_pages;		/* half of them are freed */
static char **pages;
static unsigned char *told;		/* messages for each */
static char *low, *high;
static uint64_t nr_told;
static int uffd;

static int fail(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	return 1;
}

/* Pages of memory that is not malloc's, so that nothing moves in it. */
static void *map(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static bool fill(void)
{
	nr_pages = 2 * KEPT_MIB * MIB / page_size();
	pages = map(nr_pages * sizeof(*pages));
	told = map(nr_pages);
	if (!pages || !told)
		return false;
	for (size_t i = 0; i < nr_pages; i++) {
		char *p = pages[i] = hide(aligned_alloc(page_size(),
							page_size()));

		if (!p)
			return false;
		pattern_fill(p, page_size(), i);
		low = !low || p < low ? p : low;
		high = p + page_size() > high ? p + page_size() : high;
	}
	for (size_t i = 1; i < nr_pages; i += 2)
		free(pages[i]);
	return true;
}

/* All but what a thread's cache may hold. */
static bool is_lazy(void)
{
	struct ebb_heap_counts counts;

	return !heap_count()(&counts) &&
	       counts.lazy_bytes >= KEPT_MIB * MIB - MIB;
}

static ino_t inode_of(const char *path)
{
	struct stat st;

	return stat(path, &st) ? 0 : st.st_ino;
}

/*
 * The thread that makes passes reads the option's file, and puts another in its
 * place: from then on it makes none.
 */
static bool turn_off(void)
{
	char path[600];
	ino_t before;
	int fd;

	snprintf(path, sizeof(path), "%s/%d/reclaim", getenv("WITNESS_DIR"),
		 (int)getpid());
	if (!WAIT_FOR(!access(path, W_OK)))
		return false;
	before = inode_of(path);
	fd = open(path, O_WRONLY | O_TRUNC);
	if (fd < 0 || write(fd, "off\n", 4) != 4 || close(fd))
		return false;
	return WAIT_FOR(inode_of(path) != before);
}

static size_t index_of(const char *page)
{
	for (size_t i = 0; i < nr_pages; i++)
		if (pages[i] == page)
			return i;
	return nr_pages;
}

static void *hear(void *arg)
{
	struct uffd_msg msg;

	while (read(uffd, &msg, sizeof(msg)) == sizeof(msg)) {
		char *page = (char *)(uintptr_t)(msg.arg.pagefault.address &
						 ~(page_size() - 1));
		struct uffdio_zeropage zero = {
			.range = { (uintptr_t)page, page_size() },
		};
		size_t i = index_of(page);

		if (msg.event == UFFD_EVENT_PAGEFAULT && i < nr_pages)
			__atomic_add_fetch(&told[i], 1, __ATOMIC_RELAXED);
		__atomic_add_fetch(&nr_told, 1, __ATOMIC_RELAXED);
		ioctl(uffd, UFFDIO_ZEROPAGE, &zero);
	}
	return arg;
}

static bool watch(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { (uintptr_t)low, (size_t)(high - low) },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	pthread_t thread;

	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) ||
	    ioctl(uffd, UFFDIO_REGISTER, &reg))
		return false;
	return !pthread_create(&thread, NULL, hear, NULL);
}

/* Memory beyond the limit: what is lazy has to make room. */
static bool press(size_t bytes)
{
	char *p = map(bytes);

	if (!p)
		return false;
	memset(p, 1, bytes);
	return !munmap(p, bytes);
}

/* The library has put a word of its own, the second, into what is free. */
static bool is_whole(size_t i, size_t len)
{
	for (size_t at = 0; at < len; at += 8) {
		uint64_t word = pattern_word(i, at / 8);

		if (at != 8 && memcmp(pages[i] + at, &word, 8))
			return false;
	}
	return true;
}

/* Returns how many pages were taken; -1: something is not as it should be. */
static long look(void)
{
	size_t rest = page_size() - 8;
	long nr_taken = 0;

	for (size_t i = 1; i < nr_pages; i += 2) {
		bool zero, whole;

		*(volatile char *)(pages[i] + page_size() - 1) = 1;
		zero = all_zero(pages[i], rest);
		whole = is_whole(i, rest);
		if (zero == whole || told[i] != zero) {
			printf("page %zu of %zu: %u messages, %s\n", i,
			       nr_pages, told[i], zero ? "it is zero" :
			       whole ? "it is whole" : "it is neither");
			return -1;
		}
		nr_taken += zero;
	}
	for (size_t i = 0; i < nr_pages; i += 2)
		if (!pattern_holds(pages[i], page_size(), i) || told[i]) {
			printf("kept page %zu: %u messages\n", i, told[i]);
			return -1;
		}
	return nr_taken;
}

int main(int argc, char **argv)
{
	size_t limit = argc > 1 ? strtoul(argv[1], NULL, 10) * MIB : 0;
	long nr_taken;

	/* Its buffer would be one of the pages. */
	setvbuf(stdout, NULL, _IONBF, 0);
	if (!heap_count() || !limit)
		return 2;
	if (!fill())
		return fail("fill");
	if (!WAIT_FOR(is_lazy()))
		return fail("it does not get lazy");
	if (!turn_off())
		return fail("it cannot be turned off");
	if (!watch()) {
		printf("no userfaultfd: %s\n", strerror(errno));
		return 4;
	}
	/* Beside what is kept: with half of the lazy memory there is no room. */
	if (!press(limit - KEPT_MIB * MIB - KEPT_MIB / 2 * MIB))
		return fail("press");
	nr_taken = look();
	if (nr_taken < 0)
		return 1;
	printf("taken %ld of %zu, messages %llu\n", nr_taken, nr_pages / 2,
	       (unsigned long long)__atomic_load_n(&nr_told,
						   __ATOMIC_RELAXED));
	return 0;
}
