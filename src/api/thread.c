/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Accounts of threads, for the program itself
 */
#include <errno.h>
#include <string.h>
#include <sys/prctl.h>

#include "api/init.h"
#include "base/lock.h"
#include "base/small_file.h"
#include "base/sys.h"
#include "ebb/ebb.h"
#include "heap/heap.h"
#include "heap/ledger.h"

/* What the first release had. */
#define SIZE_MIN	(offsetof(struct ebb_thread_counts, cached) +	\
			 sizeof(uint64_t))

struct wanted {
	char *rows;		/* the first @max of them, sorted */
	size_t stride;		/* from one to the next */
	size_t size;		/* of each, as far as we know it */
	unsigned int max;
	int nr;			/* accounts seen */
	int tid;		/* only this one; -1: all */
};

/* Which of two accounts with one tid is meant: the living thread's. */
static void put_only(const struct wanted *wanted,
		     const struct ebb_thread_counts *row)
{
	const struct ebb_thread_counts *there = (const void *)wanted->rows;

	if (!wanted->nr || there->flags & EBB_THREAD_ENDED)
		memcpy(wanted->rows, row, wanted->size);
}

/* Those with most live bytes first; who does not fit falls out. */
static void put_sorted(const struct wanted *wanted,
		       const struct ebb_thread_counts *row)
{
	unsigned int at = min((unsigned int)wanted->nr, wanted->max);

	for (; at; at--) {
		char *before = wanted->rows + (at - 1) * wanted->stride;

		if (((struct ebb_thread_counts *)(void *)before)->live >=
		    row->live)
			break;
		if (at < wanted->max)
			memcpy(before + wanted->stride, before, wanted->size);
	}
	if (at < wanted->max)
		memcpy(wanted->rows + at * wanted->stride, row, wanted->size);
}

static cold void put_row(const struct ledger_row *from, void *arg)
{
	struct wanted *wanted = arg;
	struct ebb_thread_counts row = {
		.size = (uint32_t)wanted->size,
		.tid = from->tid,
		.live = from->live,
		.allocated = from->allocated,
		.freed_self = from->freed_self,
		.freed_by_others = from->by_others,
		.freed_for_others = from->for_others,
		.cached = from->cached,
	};

	if (from->ended)
		row.flags |= EBB_THREAD_ENDED;
	if (charge_counts_frees)
		row.flags |= EBB_THREAD_TOTALS;
	memcpy(row.name, from->name, sizeof(row.name));
	if (wanted->tid < 0)
		put_sorted(wanted, &row);
	else if (wanted->tid == from->tid)
		put_only(wanted, &row);
	else
		return;
	wanted->nr++;
}

/* Not under a lock; that of the calling thread without a file. */
static void name_row(struct ebb_thread_counts *row)
{
	char name[COMM_SIZE];

	if (row->flags & EBB_THREAD_ENDED || !row->tid)
		return;
	if (row->tid == sys_gettid()) {
		(void)prctl(PR_GET_NAME, row->name);
		return;
	}
	_Static_assert(sizeof(row->name) == sizeof(name), "the kernel's size");
	small_file_comm(row->tid, name);
	if (name[0])
		memcpy(row->name, name, sizeof(name));
}

static cold int read_rows(struct wanted *wanted)
{
	unsigned int nr;

	if (!charge_keeps_accounts)
		return -EOPNOTSUPP;
	if (wanted->max && wanted->stride < SIZE_MIN)
		return -EINVAL;
	if (tcb.busy || lock_holds_any())
		return -EDEADLK;
	if (!init_ready())
		return -ENOMEM;
	wanted->size = min(wanted->stride, sizeof(struct ebb_thread_counts));
	if (!ledger_for_each(put_row, wanted))
		return -EAGAIN;
	nr = min((unsigned int)wanted->nr, wanted->max);
	for (unsigned int i = 0; i < nr; i++)
		name_row((void *)(wanted->rows + i * wanted->stride));
	return wanted->nr;
}

static int answer(int ret)
{
	if (ret >= 0)
		return ret;
	errno = -ret;
	return -1;
}

__export int ebb_thread_stats(int tid, struct ebb_thread_counts *ret_stats,
			      size_t size)
{
	struct ebb_thread_counts stats = { 0 };
	struct wanted wanted = {
		.rows = (char *)&stats, .stride = size, .max = 1,
		.tid = tid ? tid : sys_gettid(),
	};
	int nr = tid < 0 ? -ESRCH : read_rows(&wanted);

	if (nr <= 0)
		return answer(nr ? nr : -ESRCH);
	memcpy(ret_stats, &stats, wanted.size);
	return 0;
}

__export int ebb_thread_stats_all(struct ebb_thread_counts *ret_rows,
				  size_t size, unsigned int max)
{
	struct wanted wanted = {
		.rows = (char *)ret_rows, .stride = size, .max = max,
		.tid = -1,
	};

	return answer(read_rows(&wanted));
}
