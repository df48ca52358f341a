/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Which pages are backed
 */
#include <fcntl.h>
#include <sys/ioctl.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/sys.h"
#include "os/map.h"
#include "os/probe.h"
#include "os/resident.h"

#define MINCORE_PAGES	256u
#define MAX_REGIONS	128u
#define SPAN_GAP	MIB	/* ranges so near are scanned in one go */

/* linux/fs.h of 6.7, which older headers lack. */
struct scan_arg {
	uint64_t size, flags, start, end, walk_end;
	uint64_t vec, vec_len, max_pages;
	uint64_t inverted, all_of, any_of, return_mask;
};

struct scan_region {
	uint64_t start, end, categories;
};

#define SCAN			_IOWR('f', 16, struct scan_arg)
#define SCAN_IS_PRESENT		(1u << 3)
#define SCAN_IS_PFNZERO		(1u << 5)
#define SCAN_IS_HUGE		(1u << 6)

_Static_assert(sizeof(struct scan_arg) == 96, "as the kernel has it");

/* Some present regions from @arg->start on; their number or -errno. */
static int scan(int fd, struct scan_arg *arg, struct scan_region *regions)
{
	arg->size = sizeof(*arg);
	arg->vec = (uintptr_t)regions;
	arg->vec_len = MAX_REGIONS;
	arg->inverted = SCAN_IS_PFNZERO;
	arg->all_of = SCAN_IS_PRESENT | SCAN_IS_PFNZERO;
	arg->return_mask = SCAN_IS_PRESENT | SCAN_IS_HUGE;
	return (int)sys_call3(SYS_ioctl, fd, (long)SCAN, (long)arg);
}

void resident_open(struct resident *resident)
{
	static bool refused;		/* the kernel has no PAGEMAP_SCAN */
	struct scan_region regions[MAX_REGIONS];
	uintptr_t here = ALIGN_DOWN((uintptr_t)regions, map_page_size);
	struct scan_arg arg = { .start = here, .end = here + map_page_size };

	resident->fd = -1;
	if (load_relaxed(&refused))
		return;
	resident->fd = sys_open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0);
	if (resident->fd < 0) {
		resident->fd = -1;
		return;
	}
	if (scan(resident->fd, &arg, regions) >= 0)
		return;
	store_relaxed(&refused, true);
	resident_close(resident);
}

void resident_close(struct resident *resident)
{
	if (resident->fd >= 0)
		sys_close(resident->fd);
	resident->fd = -1;
}

/* systemd's sets of allowed calls lack mincore, and kill for what they lack. */
static bool may_mincore(void)
{
	return !probe_filters(-1);
}

static uint64_t count_mincore(char *start, size_t len, char **ret_first)
{
	unsigned char vec[MINCORE_PAGES];
	uint64_t pages = 0;

	for (size_t at = 0; at < len;) {
		size_t part = min(len - at,
				  (size_t)MINCORE_PAGES << map_page_shift);

		if (sys_call3(SYS_mincore, (long)(start + at), (long)part,
			      (long)vec))
			return len >> map_page_shift;
		for (size_t i = 0; i < part >> map_page_shift; i++) {
			if (!(vec[i] & 1))
				continue;
			if (!pages++ && ret_first)
				*ret_first = start + at +
					     (i << map_page_shift);
		}
		at += part;
	}
	return pages;
}

uint64_t resident_mincore(char *start, size_t len, char **ret_first)
{
	return may_mincore() ? count_mincore(start, len, ret_first) :
			       len >> map_page_shift;
}

/* Ranges, and what is found of them. */
struct cursor {
	const struct advise_range *ranges;
	size_t nr;
	uint64_t *bytes;
	bool *huge;		/* or NULL */
};

static void skip(struct cursor *at, size_t nr)
{
	at->ranges += nr;
	at->bytes += nr;
	if (at->huge)
		at->huge += nr;
	at->nr -= nr;
}

/* Credit the ranges from @at on with what of them lies in @region. */
static uint64_t credit(const struct scan_region *region,
		       const struct cursor *at)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < at->nr; i++) {
		uint64_t start = (uintptr_t)at->ranges[i].start;
		uint64_t end = start + at->ranges[i].len;

		if (start >= region->end)
			break;
		start = max(start, region->start);
		end = min(end, region->end);
		if (start >= end)
			continue;
		at->bytes[i] += end - start;
		sum += end - start;
		if (at->huge && region->categories & SCAN_IS_HUGE)
			at->huge[i] = true;
	}
	return sum;
}

/* Skip the ranges that end at or before @until. */
static size_t first_beyond(const struct advise_range *ranges, size_t nr,
			   uint64_t until)
{
	size_t i = 0;

	while (i < nr && (uintptr_t)ranges[i].start + ranges[i].len <= until)
		i++;
	return i;
}

/* All in one walk over their span; -errno: not counted. */
static int64_t scan_span(int fd, struct cursor at)
{
	const struct advise_range *last = &at.ranges[at.nr - 1];
	struct scan_arg arg = { .start = (uintptr_t)at.ranges->start,
				.end = (uintptr_t)last->start + last->len };
	struct scan_region regions[MAX_REGIONS];
	uint64_t sum = 0;

	while (at.nr && arg.start < arg.end) {
		int found = scan(fd, &arg, regions);

		if (found < 0)
			return found;
		for (int i = 0; i < found; i++) {
			skip(&at, first_beyond(at.ranges, at.nr,
					       regions[i].start));
			sum += credit(&regions[i], &at);
		}
		if (arg.walk_end <= arg.start)
			break;
		arg.start = arg.walk_end;
	}
	return (int64_t)sum;
}

/* How many of @ranges, from the first, lie close together. */
static size_t span_of(const struct advise_range *ranges, size_t nr)
{
	size_t i = 1;

	while (i < nr && (size_t)(ranges[i].start - ranges[i - 1].start) <
			 ranges[i - 1].len + SPAN_GAP)
		i++;
	return i;
}

static uint64_t mincore_all(const struct cursor *at)
{
	bool may = may_mincore();
	uint64_t sum = 0;

	for (size_t i = 0; i < at->nr; i++) {
		at->bytes[i] = at->ranges[i].len;
		if (may)
			at->bytes[i] = count_mincore(at->ranges[i].start,
						     at->ranges[i].len,
						     NULL) << map_page_shift;
		sum += at->bytes[i];
	}
	return sum;
}

uint64_t resident_count(struct resident *resident,
			const struct advise_range *ranges, size_t nr,
			uint64_t *ret_bytes, bool *ret_huge)
{
	struct cursor at = { ranges, nr, ret_bytes, ret_huge };
	uint64_t sum = 0;

	for (size_t i = 0; i < nr; i++) {
		ret_bytes[i] = 0;
		if (ret_huge)
			ret_huge[i] = false;
	}
	while (at.nr) {
		struct cursor part = at;
		int64_t got = -1;

		part.nr = span_of(at.ranges, at.nr);
		if (resident->fd >= 0)
			got = scan_span(resident->fd, part);
		sum += got >= 0 ? (uint64_t)got : mincore_all(&part);
		skip(&at, part.nr);
	}
	return sum;
}
