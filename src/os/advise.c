/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Giving ranges of pages back
 *
 * What it is: what the chosen backend (advise_choose.c) does not take is tried
 * with madvise, whose verdict on a range is final; so a backend may be as
 * partial as it likes.
 *
 * Degrading: a backend that did nothing where madvise then could is given up
 * for good, with one line in the log.
 *
 * Threads: what the reclaimer opened it alone may use.  A pass on another
 * thread takes process_madvise, if that needs no descriptor, else madvise.
 *
 * Seccomp: a filter that is installed while the process runs may kill for
 * what was allowed before, the trial in a throwaway child included.  Filters
 * cannot be removed, so their number tells; it is looked at before each list
 * that is not madvise's, and what is more than madvise is given up then.
 *
 * Locking: none; callers exclude passes and the choosing from each other.
 * Whoever reports reads each field whole.
 */
#include <sys/mman.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/log.h"
#include "base/sys.h"
#include "os/advise_backend.h"
#include "os/map.h"
#include "os/probe.h"
#include "os/resident.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102	/* Linux 6.13 */
#endif

#define VECTOR_MIN	8u	/* ranges, for a thread that must open /proc */

/* === Advising ========================================================== */

/* For a pass on another thread than the reclaimer. */
static struct advise_backend *pick_shared(size_t nr)
{
	struct advise_backend *process =
		advise_backends[EBB_BACKEND_PROCESS - 1];
	int filters;

	if (!process || nr < VECTOR_MIN ||
	    backend_get_state(process) != BACKEND_LIVE ||
	    !load_relaxed(&process->any_thread))
		return &madvise_backend;
	filters = probe_filters(-1);
	if (filters < 0 || filters != load_relaxed(&advise_owner.filters))
		return &madvise_backend;
	return process;
}

static struct advise_backend *pick(size_t nr)
{
	struct advise_backend *backend = backend_chosen();

	if (backend == &madvise_backend || nr < 2)
		return &madvise_backend;
	if (!advise_is_owner)
		return pick_shared(nr);
	if (probe_filters(advise_owner.status_fd) != advise_owner.filters)
		advise_filtered();
	return backend_chosen();
}

struct sum {
	uint64_t ranges, bytes;
};

static struct sum sum_taken(const struct advise_range *ranges, size_t nr,
			    const bool *ok)
{
	struct sum sum = { 0, 0 };

	for (size_t i = 0; i < nr; i++) {
		if (!ok[i])
			continue;
		sum.ranges++;
		sum.bytes += ranges[i].len;
	}
	return sum;
}

static void count_taken(struct advise_backend *backend, struct sum all,
			struct sum before)
{
	backend_count(&backend->counters.ranges, all.ranges - before.ranges);
	backend_count(&backend->counters.bytes, all.bytes - before.bytes);
}

static void degrade(struct advise_backend *backend, int err)
{
	backend_choose(&madvise_backend);
	backend_give_up(backend, "refused what madvise then took", err);
	log_line("backend %s fails with %s and is given up; madvise is used",
		 backend->name, err_name(err));
}

static bool is_passing(int err)
{
	return err == -EAGAIN || err == -ENOMEM || err == -EINTR ||
	       err == -EBUSY || err == -ECANCELED;
}

/* ok[] is all false.  Returns what was taken. */
static struct sum advise_all(const struct advise_range *ranges, size_t nr,
			     int advice, bool *ok)
{
	struct advise_backend *backend = pick(nr);
	struct sum first = { 0, 0 }, all;
	int err = 0;

	if (backend != &madvise_backend) {
		err = backend->advise(backend, ranges, nr, advice, ok);
		first = sum_taken(ranges, nr, ok);
		count_taken(backend, first, (struct sum){ 0, 0 });
	}
	if (first.ranges < nr)
		madvise_backend.advise(&madvise_backend, ranges, nr, advice,
				       ok);
	all = sum_taken(ranges, nr, ok);
	count_taken(&madvise_backend, all, first);
	/* A range that madvise refuses, too, explains the backend's error. */
	if (err && !is_passing(err) && all.ranges == nr)
		degrade(backend, err);
	return all;
}

static uint64_t nr_calls(void)
{
	uint64_t calls = 0;

	for (unsigned int i = 0; i < NR_BACKENDS; i++)
		if (advise_backends[i])
			calls += advise_backends[i]->counters.calls;
	return calls;
}

static uint64_t length_of(const struct advise_range *ranges, size_t nr)
{
	uint64_t len = 0;

	for (size_t i = 0; i < nr; i++)
		len += ranges[i].len;
	return len;
}

void advise_ranges(const struct advise_range *ranges, size_t nr,
		   enum advise_kind kind, bool *ok,
		   struct advise_result *result)
{
	static const int advices[] = {
		[ADVISE_LAZY] = MADV_FREE,
		[ADVISE_CLEAN] = MADV_DONTNEED,
		[ADVISE_GUARD] = MADV_GUARD_INSTALL,
	};
	int advice = advices[kind];
	uint64_t calls = nr_calls();
	struct sum taken;

	for (size_t i = 0; i < nr; i++)
		ok[i] = false;
	taken = advise_all(ranges, nr, advice, ok);
	result->done_bytes += taken.bytes;
	result->refused_bytes += length_of(ranges, nr) - taken.bytes;
	result->nr_calls += nr_calls() - calls;
}

/*
 * MADV_COLD on any page that is left makes the kernel split the folio at
 * once, which needs no swap and leaves the page where it is.
 */
unsigned int advise_split(char *start, size_t len, size_t unit)
{
	unsigned int nr = 0;

	for (char *at = start, *next; at < start + len; at = next) {
		char *first = at;
		uint64_t pages;

		next = (char *)ALIGN_DOWN((uintptr_t)at, unit) + unit;
		next = min(next, start + len);
		pages = resident_mincore(at, (size_t)(next - at), &first);
		if (!pages || pages == (size_t)(next - at) >> map_page_shift)
			continue;
		if (!sys_madvise(first, map_page_size, MADV_COLD))
			nr++;
	}
	return nr;
}
