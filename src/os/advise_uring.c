/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Giving ranges back through io_uring: IORING_OP_MADVISE
 *
 * What it is: a small ring of our own, filled, submitted and waited for in
 * one call a batch.  The kernel hands each of these requests to a worker
 * thread ("iou-wrk-TID"), of which exactly one is allowed: several would
 * only fight over mmap_lock, and where they cannot be limited (before 5.15)
 * there is no ring.
 *
 * Raw system calls, not liburing: one opcode, one thread and no polling need
 * two mappings and one loop, which is less than the library would add to
 * every program that preloads this one; and nothing is linked or allocated.
 *
 * Invariants:
 * (1) Nothing is returned to the caller while a request is in flight: it
 *     would take memory away that is in use again.  So a wait that fails is
 *     repeated for as long as it takes.
 * (2) Only the thread that opened the ring uses it, and it never waits with
 *     requests of two batches in it: the completion queue cannot overflow.
 * (3) Requests are shorter than 4 GiB (their length has 32 bits); a range
 *     counts as taken if all its parts are.
 *
 * Fork: a child that used the ring would have its own memory advised and its
 * results sent to the parent.  The mappings are not inherited
 * (MADV_DONTFORK), the descriptor lies in the reclaimer's file table, which
 * no child copies.
 *
 * Exit: the ring is left to the kernel.
 */
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <time.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/sys.h"
#include "os/advise_backend.h"
#include "os/probe.h"

#define RING_ENTRIES	64u
#define PART_MAX	((size_t)1 << 31)
#define FAILED_WAIT_NS	1000000

#ifndef IORING_REGISTER_IOWQ_MAX_WORKERS
#define IORING_REGISTER_IOWQ_MAX_WORKERS	19
#endif

/* Addresses lie in @rings and @sqes, which the kernel shares. */
static struct {
	int fd;				/* -1: closed */
	char *rings;
	size_t rings_len;
	struct io_uring_sqe *sqes;
	size_t sqes_len;
	uint32_t *sq_head, *sq_tail;
	uint32_t sq_mask;
	uint32_t *cq_head, *cq_tail;
	uint32_t cq_mask;
	struct io_uring_cqe *cqes;
} ring = { .fd = -1 };

/* === Opening ============================================================== */

static const struct probe_call harmless[] = {
	{ SYS_io_uring_setup, { 0, 0 } },
	{ SYS_io_uring_enter, { -1, 0, 0, 0, 0, 0 } },
	{ SYS_io_uring_register, { -1, 0, 0, 0 } },
};

static long map_ring(size_t len, long off)
{
	return sys_call6(SYS_mmap, 0, (long)len, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_POPULATE, ring.fd, off);
}

static void close_ring(void)
{
	if (ring.sqes)
		sys_munmap(ring.sqes, ring.sqes_len);
	if (ring.rings)
		sys_munmap(ring.rings, ring.rings_len);
	if (ring.fd >= 0)
		sys_close(ring.fd);
	ring.sqes = NULL;
	ring.rings = NULL;
	ring.fd = -1;
}

static void find_fields(const struct io_uring_params *params)
{
	const struct io_sqring_offsets *sq = &params->sq_off;
	const struct io_cqring_offsets *cq = &params->cq_off;
	uint32_t *array = (uint32_t *)(ring.rings + sq->array);

	ring.sq_head = (uint32_t *)(ring.rings + sq->head);
	ring.sq_tail = (uint32_t *)(ring.rings + sq->tail);
	ring.sq_mask = *(uint32_t *)(ring.rings + sq->ring_mask);
	ring.cq_head = (uint32_t *)(ring.rings + cq->head);
	ring.cq_tail = (uint32_t *)(ring.rings + cq->tail);
	ring.cq_mask = *(uint32_t *)(ring.rings + cq->ring_mask);
	ring.cqes = (struct io_uring_cqe *)(ring.rings + cq->cqes);
	for (uint32_t i = 0; i < params->sq_entries; i++)
		array[i] = i;
}

static int map_rings(const struct io_uring_params *params)
{
	size_t sq_len = params->sq_off.array +
			params->sq_entries * sizeof(uint32_t);
	size_t cq_len = params->cq_off.cqes +
			params->cq_entries * sizeof(struct io_uring_cqe);
	long addr;

	ring.rings_len = max(sq_len, cq_len);
	addr = map_ring(ring.rings_len, IORING_OFF_SQ_RING);
	if (sys_is_err(addr))
		return (int)addr;
	ring.rings = (char *)addr;
	ring.sqes_len = params->sq_entries * sizeof(struct io_uring_sqe);
	addr = map_ring(ring.sqes_len, IORING_OFF_SQES);
	if (sys_is_err(addr))
		return (int)addr;
	ring.sqes = (struct io_uring_sqe *)addr;
	find_fields(params);
	return 0;
}

static int limit_workers(struct advise_backend *backend)
{
	uint32_t workers[2] = { 1, 1 };	/* of either kind the kernel has */
	int err;

	err = (int)sys_call4(SYS_io_uring_register, ring.fd,
			     IORING_REGISTER_IOWQ_MAX_WORKERS, (long)workers,
			     2);
	if (err)
		backend->reason = "its workers cannot be limited to one";
	return err;
}

static int open_ring(struct advise_backend *backend)
{
	struct io_uring_params params = { 0 };
	int err;

	ring.fd = sys_io_uring_setup(RING_ENTRIES, &params);
	if (ring.fd < 0)
		return ring.fd;
	if (!(params.features & IORING_FEAT_SINGLE_MMAP)) {
		backend->reason = "the kernel is too old";
		return -EOPNOTSUPP;
	}
	err = limit_workers(backend);
	if (!err)
		err = map_rings(&params);
	if (!err)
		err = (int)sys_call3(SYS_madvise, (long)ring.rings,
				     (long)ring.rings_len, MADV_DONTFORK);
	if (!err)
		err = (int)sys_call3(SYS_madvise, (long)ring.sqes,
				     (long)ring.sqes_len, MADV_DONTFORK);
	return err;
}

static int uring_open(struct advise_backend *backend, bool keep_fds)
{
	int err;

	if (!keep_fds) {
		backend->reason = "no private file table to keep a ring in";
		return -EBADF;
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(harmless); i++) {
		err = probe_allowed(&harmless[i], &backend->reason);
		if (err)
			return err;
	}
	err = open_ring(backend);
	if (err)
		close_ring();
	return err;
}

static void uring_forget(void)
{
	ring.fd = -1;
	ring.rings = NULL;
	ring.sqes = NULL;
}

/* === Advising ============================================================= */

/* What is still to be submitted. */
struct cursor {
	const struct advise_range *ranges;
	size_t nr, at;
	size_t done;		/* bytes of ranges[at] */
	int advice;
};

/* The @i-th request from now on. */
static struct io_uring_sqe *request_at(unsigned int i)
{
	return &ring.sqes[(*ring.sq_tail + i) & ring.sq_mask];
}

static void fill_one(struct io_uring_sqe *sqe, struct cursor *cursor)
{
	const struct advise_range *range = &cursor->ranges[cursor->at];
	size_t len = min(range->len - cursor->done, PART_MAX);

	*sqe = (struct io_uring_sqe){
		.opcode = IORING_OP_MADVISE,
		.fd = -1,
		.addr = (uintptr_t)range->start + cursor->done,
		.len = (uint32_t)len,
		.fadvise_advice = (uint32_t)cursor->advice,
		.user_data = cursor->at,
	};
	cursor->done += len;
	if (cursor->done == range->len) {
		cursor->at++;
		cursor->done = 0;
	}
}

/* Take what has completed; returns how many, and the last error of them. */
static unsigned int reap(bool *ok, int *err)
{
	/* The kernel releases the tail after the entries. */
	uint32_t tail = load_acquire(ring.cq_tail);
	uint32_t head = *ring.cq_head;
	unsigned int nr = tail - head;

	for (; head != tail; head++) {
		struct io_uring_cqe *cqe = &ring.cqes[head & ring.cq_mask];

		if (cqe->res >= 0)
			continue;
		ok[cqe->user_data] = false;
		*err = cqe->res;
	}
	/* And acquires our head before it writes there again. */
	store_release(ring.cq_head, head);
	return nr;
}

static void wait_for(unsigned int nr)
{
	struct timespec ts = { .tv_nsec = FAILED_WAIT_NS };
	int ret;

	ret = sys_io_uring_enter(ring.fd, 0, nr, IORING_ENTER_GETEVENTS);
	if (ret < 0 && ret != -EINTR)
		sys_call2(SYS_nanosleep, (long)&ts, 0);
}

/*
 * Submit the @nr requests that were filled in and wait for all of those that
 * the kernel took.  Returns 0 or the last error.
 */
static int run_batch(unsigned int nr, bool *ok)
{
	unsigned int taken, seen = 0;
	int ret, err = 0;

	store_release(ring.sq_tail, *ring.sq_tail + nr);
	ret = sys_io_uring_enter(ring.fd, nr, nr, IORING_ENTER_GETEVENTS);
	taken = ret < 0 ? 0 : (unsigned int)ret;
	/* What it did not take is no request any more. */
	store_release(ring.sq_tail, *ring.sq_tail - (nr - taken));
	for (unsigned int i = taken; i < nr; i++)
		ok[ring.sqes[(*ring.sq_tail + i - taken) &
			     ring.sq_mask].user_data] = false;
	if (taken < nr)
		err = ret < 0 ? ret : -EAGAIN;
	for (;;) {
		seen += reap(ok, &err);
		if (seen >= taken)
			return err;
		wait_for(taken - seen);
	}
}

static size_t count_ok(const bool *ok, size_t nr)
{
	size_t n = 0;

	for (size_t i = 0; i < nr; i++)
		n += ok[i];
	return n;
}

static int uring_advise(struct advise_backend *backend,
			const struct advise_range *ranges, size_t nr,
			int advice, bool *ok)
{
	struct cursor cursor = { ranges, nr, 0, 0, advice };
	int first_err = 0, err;
	size_t nr_ok;

	while (cursor.at < nr) {
		unsigned int n = 0;

		for (; n < RING_ENTRIES && cursor.at < nr; n++) {
			if (!cursor.done)
				ok[cursor.at] = true;
			fill_one(request_at(n), &cursor);
		}
		err = run_batch(n, ok);
		backend_count(&backend->counters.calls, 1);
		if (err && !first_err)
			first_err = err;
	}
	nr_ok = count_ok(ok, nr);
	backend_count(&backend->counters.partial, nr_ok && nr_ok < nr);
	backend_count(&backend->counters.fallbacks, nr - nr_ok);
	return nr_ok ? 0 : first_err;
}

struct advise_backend uring_backend = {
	.name = "io_uring",
	.open = uring_open,
	.advise = uring_advise,
	.close = close_ring,
	.forget = uring_forget,
};
