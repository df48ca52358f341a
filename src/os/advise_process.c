/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Giving many ranges back in one call: process_madvise(2) on self
 *
 * What it is: a vector of ranges costs one TLB shootdown where madvise pays
 * one for each range.  MADV_DONTNEED and MADV_FREE are taken for the own
 * process since Linux 6.13.
 *
 * Model: the result is the number of bytes advised, always a whole number of
 * ranges; it stops before the first range that fails (EINVAL: locked, ENOMEM:
 * a hole).  That one is left for madvise to learn its own error, and the next
 * call begins behind it.
 *
 * The process is named PIDFD_SELF, which any thread may use and which a
 * forked child understands as itself.  Where the kernel does not know that, a
 * pidfd is kept in the reclaimer's file table, for that thread alone: a child
 * that used its copy would advise its parent's memory.
 *
 * Lock: the kernel holds mmap_lock, shared, for a whole call, and whoever
 * maps memory waits; so a call takes a bounded number of ranges and bytes.
 */
#include <sys/mman.h>
#include <sys/uio.h>

#include "base/err.h"
#include "base/sys.h"
#include "os/advise_backend.h"
#include "os/probe.h"

#define CALL_RANGES	256
#define CALL_BYTES	(4 * MIB)

/* PIDFD_SELF_THREAD_GROUP of linux/pidfd.h: no header has it before 6.15. */
#define SELF		(-10001)

_Static_assert(sizeof(struct advise_range) == sizeof(struct iovec) &&
	       offsetof(struct advise_range, start) ==
	       offsetof(struct iovec, iov_base) &&
	       offsetof(struct advise_range, len) ==
	       offsetof(struct iovec, iov_len),
	       "ranges are handed to the kernel as they are");

static int self = SELF;		/* or a pidfd; changed by open and forget */

static int open_pidfd(struct advise_backend *backend, bool keep_fds)
{
	const struct probe_call call = { SYS_pidfd_open, { -1, 0 } };
	int err;

	if (!keep_fds) {
		backend->reason = "no private file table to keep a pidfd in";
		return -EBADF;
	}
	err = probe_allowed(&call, &backend->reason);
	if (err)
		return err;
	/* It is made close-on-exec. */
	self = (int)sys_call2(SYS_pidfd_open, sys_getpid(), 0);
	if (self >= 0)
		return 0;
	err = self;
	self = SELF;
	return err;
}

static int process_open(struct advise_backend *backend, bool keep_fds)
{
	const struct probe_call call = {
		SYS_process_madvise, { SELF, 0, 0, MADV_DONTNEED, 0 },
	};			/* of no range at all */
	int err;

	err = probe_allowed(&call, &backend->reason);
	if (err)
		return err;
	backend->any_thread = true;
	if (sys_call5(SYS_process_madvise, SELF, 0, 0, MADV_DONTNEED, 0) !=
	    -EBADF)
		return 0;
	backend->any_thread = false;
	return open_pidfd(backend, keep_fds);
}

static void process_close(void)
{
	if (self >= 0)
		sys_close(self);
	self = SELF;
}

static void process_forget(void)
{
	self = SELF;
}

/* How many ranges the next call takes; at least one, whatever its length. */
static size_t call_size(const struct advise_range *ranges, size_t nr)
{
	size_t bytes = ranges[0].len, n = 1;

	while (n < nr && n < CALL_RANGES &&
	       bytes + ranges[n].len <= CALL_BYTES)
		bytes += ranges[n++].len;
	return n;
}

/* The ranges that @bytes cover are done; returns how many. */
static size_t mark_done(const struct advise_range *ranges, size_t nr,
			size_t bytes, bool *ok)
{
	size_t n;

	for (n = 0; n < nr && bytes >= ranges[n].len; n++) {
		bytes -= ranges[n].len;
		ok[n] = true;
	}
	return n;
}

static bool is_final(long err)
{
	return err == -EPERM || err == -ENOSYS || err == -EBADF;
}

/*
 * One call for @nr ranges.  Returns how many are behind us, the one it
 * stopped at included; *ret_err is the error if it did nothing.
 */
static size_t advise_some(struct advise_backend *backend,
			  const struct advise_range *ranges, size_t nr,
			  int advice, bool *ok, long *ret_err)
{
	long done = sys_process_madvise(self, ranges, nr, advice);
	size_t n;

	backend_count(&backend->counters.calls, 1);
	*ret_err = done < 0 ? done : 0;
	n = mark_done(ranges, nr, done < 0 ? 0 : (size_t)done, ok);
	if (n == nr)
		return nr;
	if (n)
		backend_count(&backend->counters.partial, 1);
	backend_count(&backend->counters.fallbacks, 1);
	return n + 1;
}

static int process_advise(struct advise_backend *backend,
			  const struct advise_range *ranges, size_t nr,
			  int advice, bool *ok)
{
	long first_err = 0, err;
	bool any = false;

	for (size_t at = 0; at < nr;) {
		size_t n = call_size(ranges + at, nr - at);

		/* Alone, a range gains nothing by being a vector of one. */
		if (n == 1) {
			at++;
			continue;
		}
		at += advise_some(backend, ranges + at, n, advice, ok + at,
				  &err);
		any |= !err;
		if (err && !first_err)
			first_err = err;
		if (is_final(err))
			break;
	}
	return any ? 0 : (int)first_err;
}

struct advise_backend process_backend = {
	.name = "process_madvise",
	.open = process_open,
	.advise = process_advise,
	.close = process_close,
	.forget = process_forget,
};
