/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Reserving, taking into use and renewing address space
 *
 * Everything is private anonymous memory; see huge.h for what may back it.
 */
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/err.h"
#include "base/number.h"
#include "base/small_file.h"
#include "base/sys.h"
#include "os/huge.h"
#include "os/map.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE	0x100000
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP	4
#endif

#define MOVE_MIN	(64 * KIB)	/* smaller mappings are not moved */

#define MAP_KIND		(MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)

__startup_data size_t map_page_size;
__startup_data unsigned int map_page_shift;

__startup void map_init(void)
{
	map_page_size = getauxval(AT_PAGESZ);
	if (!is_pow2(map_page_size))
		map_page_size = 4 * KIB;
	map_page_shift = bit_lowest(map_page_size);
	huge_init(HUGE_DIR, map_page_size);
}

bool map_strict_commit(void)
{
	char text[8];

	return small_file_read("/proc/sys/vm/overcommit_memory", text,
			       sizeof(text)) > 0 && text[0] == '2';
}

void map_no_huge(char *addr, size_t len)
{
	(void)sys_madvise(addr, len, MADV_NOHUGEPAGE);
}

__startup int map_reserve(size_t len, size_t align, char **ret_addr)
{
	size_t whole = len + align;
	size_t head;
	long addr;

	if (whole < len)
		return -ENOMEM;
	addr = sys_mmap(NULL, whole, PROT_NONE, MAP_KIND);
	if (sys_is_err(addr))
		return (int)addr;
	head = ALIGN_UP((size_t)addr, align) - (size_t)addr;
	if (head)
		sys_munmap((char *)addr, head);
	if (align - head)
		sys_munmap((char *)addr + head + len, align - head);
	*ret_addr = (char *)addr + head;
	huge_advise(*ret_addr, len);
	return 0;
}

int map_reserve_at(char *addr, size_t len)
{
	long got = sys_mmap(addr, len, PROT_NONE,
			    MAP_KIND | MAP_FIXED_NOREPLACE);

	if (sys_is_err(got))
		return (int)got;
	if ((char *)got != addr) {
		/* Before Linux 4.17 the flag is unknown and a mere hint. */
		sys_munmap((char *)got, len);
		return -EEXIST;
	}
	huge_advise(addr, len);
	return 0;
}

__startup int map_commit(char *addr, size_t len)
{
	return sys_mprotect(addr, len, PROT_READ | PROT_WRITE);
}

static int map_over(char *addr, size_t len, int prot)
{
	long got = sys_mmap(addr, len, prot, MAP_KIND | MAP_FIXED);

	if (sys_is_err(got))
		return (int)got;
	huge_advise(addr, len);
	return 0;
}

int map_renew(char *addr, size_t len)
{
	return map_over(addr, len, PROT_READ | PROT_WRITE);
}

int map_uncommit(char *addr, size_t len)
{
	return map_over(addr, len, PROT_NONE);
}

void map_discard(char *addr, size_t len)
{
	(void)sys_madvise(addr, len, MADV_DONTNEED);
}

/*
 * Whether [@addr, @addr + @len) is one mapping.  The kernel is asked to let the
 * part before the last page grow in place, which it cannot, since that page is
 * mapped; EFAULT says that not even the part is one.
 */
static bool is_one_mapping(char *addr, size_t len)
{
	return sys_mremap(addr, len - map_page_size, len, 0, NULL) != -EFAULT;
}

/* How much from @addr on is one mapping, or a part of it; 0: under MOVE_MIN. */
static size_t movable_part(char *addr, size_t len)
{
	while (!is_one_mapping(addr, len)) {
		len = ALIGN_UP(len / 2, (size_t)MOVE_MIN);
		if (len == MOVE_MIN && !is_one_mapping(addr, len))
			return 0;
	}
	return len;
}

bool map_may_move(char *from, size_t len)
{
	for (size_t at = 0; at < len;) {
		size_t part = movable_part(from + at, len - at);

		if (!part)
			return false;
		at += part;
	}
	return true;
}

static int move_part(char *from, char *to, size_t len)
{
	long got = sys_mremap(from, len, len, MREMAP_MAYMOVE | MREMAP_FIXED |
			      MREMAP_DONTUNMAP, to);

	return sys_is_err(got) ? (int)got : 0;
}

int map_move(char *from, char *to, size_t len)
{
	for (size_t at = 0; at < len;) {
		size_t part = movable_part(from + at, len - at);
		int err = part ? move_part(from + at, to + at, part) : -EFAULT;

		if (err) {
			/*
			 * What has moved left its place mapped and empty, and
			 * lies in pages that nobody asks for again.
			 */
			memcpy(from, to, at);
			map_discard(to, at);
			return err;
		}
		at += part;
	}
	return 0;
}

/* The address space in use, in bytes, from the first field of statm. */
static size_t space_used(void)
{
	char text[64];
	const char *at = text;

	if (small_file_read("/proc/self/statm", text, sizeof(text)) < 0)
		return 0;
	return number_or_0(&at, 10) << map_page_shift;
}

__startup size_t map_space_left(void)
{
	struct rlimit limit = { 0 };
	size_t used;

	if (sys_call4(SYS_prlimit64, 0, RLIMIT_AS, 0, (long)&limit) ||
	    limit.rlim_cur == RLIM_INFINITY)
		return SIZE_MAX;
	used = space_used();
	return limit.rlim_cur > used ? limit.rlim_cur - used : 0;
}

/* === What refers to objects, and does not count ============================ */

static struct private {
	uintptr_t start, end;
} privates[MAP_PRIVATE_MAX];

static uint32_t nr_privates;

void map_note_private(const void *start, size_t len)
{
	uint32_t nth = add_relaxed(&nr_privates, 1);

	if (nth >= MAP_PRIVATE_MAX)
		return;
	store_relaxed(&privates[nth].start, (uintptr_t)start);
	/* Pairs with map_private(). */
	store_release(&privates[nth].end, (uintptr_t)start + len);
}

bool map_private(unsigned int nth, uintptr_t *ret_start, uintptr_t *ret_end)
{
	if (nth >= min(load_relaxed(&nr_privates), MAP_PRIVATE_MAX))
		return false;
	/* Pairs with map_note_private(); until then it is empty. */
	*ret_end = load_acquire(&privates[nth].end);
	*ret_start = load_relaxed(&privates[nth].start);
	return true;
}
