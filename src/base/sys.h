/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Raw system calls
 *
 * Why raw: glibc's wrappers set errno, and many are cancellation points; an
 * application's thread cancelled inside malloc would die holding our locks.
 * Every call returns its result or -errno.  Calls that have an injection
 * site can be made to fail there (base/inject.h).
 */
#ifndef EBB_BASE_SYS_H
#define EBB_BASE_SYS_H

#include <errno.h>
#include <sys/syscall.h>
#include "base/compiler.h"
#include "base/inject.h"

#if defined(__x86_64__)
static inline long sys_call6(long nr, long a, long b, long c, long d, long e,
			     long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ __volatile__("syscall"
			     : "=a"(ret)
			     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10),
			       "r"(r8), "r"(r9)
			     : "rcx", "r11", "memory");
	return ret;
}
#elif defined(__aarch64__)
static inline long sys_call6(long nr, long a, long b, long c, long d, long e,
			     long f)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ __volatile__("svc #0"
			     : "+r"(x0)
			     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4),
			       "r"(x5)
			     : "memory");
	return x0;
}
#else
#error "ebbmalloc knows the system call convention of x86-64 and arm64 only"
#endif

#define sys_call5(nr, a, b, c, d, e)	sys_call6(nr, a, b, c, d, e, 0)
#define sys_call4(nr, a, b, c, d)	sys_call6(nr, a, b, c, d, 0, 0)
#define sys_call3(nr, a, b, c)		sys_call6(nr, a, b, c, 0, 0, 0)
#define sys_call2(nr, a, b)		sys_call6(nr, a, b, 0, 0, 0, 0)
#define sys_call1(nr, a)		sys_call6(nr, a, 0, 0, 0, 0, 0)
#define sys_call0(nr)			sys_call6(nr, 0, 0, 0, 0, 0, 0)

static inline bool sys_is_err(long ret)
{
	return ret < 0 && ret >= -4095;
}

/* An address, or -errno as a long; test with sys_is_err(). */
static inline long sys_mmap(void *addr, size_t len, int prot, int flags)
{
	if (inject_hit(INJECT_MMAP))
		return -ENOMEM;
	return sys_call6(SYS_mmap, (long)addr, (long)len, prot, flags, -1, 0);
}

static inline int sys_munmap(void *addr, size_t len)
{
	return (int)sys_call2(SYS_munmap, (long)addr, (long)len);
}

static inline int sys_mprotect(void *addr, size_t len, int prot)
{
	if (inject_hit(INJECT_MPROTECT))
		return -ENOMEM;
	return (int)sys_call3(SYS_mprotect, (long)addr, (long)len, prot);
}

static inline long sys_mremap(void *old, size_t old_len, size_t new_len,
			      int flags, void *new_addr)
{
	if (inject_hit(INJECT_MREMAP))
		return -ENOMEM;
	return sys_call5(SYS_mremap, (long)old, (long)old_len, (long)new_len,
			 flags, (long)new_addr);
}

static inline int sys_madvise(void *addr, size_t len, int advice)
{
	if (inject_hit(INJECT_MADVISE))
		return -EAGAIN;
	return (int)sys_call3(SYS_madvise, (long)addr, (long)len, advice);
}

#ifndef SYS_process_madvise
#define SYS_process_madvise	440
#endif
#ifndef SYS_io_uring_setup
#define SYS_io_uring_setup	425
#define SYS_io_uring_enter	426
#define SYS_io_uring_register	427
#endif

/* Bytes advised, or -errno; @iov are @nr struct iovec. */
static inline long sys_process_madvise(int pidfd, const void *iov, size_t nr,
				       int advice)
{
	if (inject_hit(INJECT_PROCESS_MADVISE))
		return -EINVAL;
	return sys_call5(SYS_process_madvise, pidfd, (long)iov, (long)nr,
			 advice, 0);
}

struct io_uring_params;
static inline int sys_io_uring_setup(unsigned int nr,
				     struct io_uring_params *params)
{
	if (inject_hit(INJECT_URING))
		return -ENOMEM;
	return (int)sys_call2(SYS_io_uring_setup, nr, (long)params);
}

/* Requests taken, or -errno if none was. */
static inline int sys_io_uring_enter(int fd, unsigned int submit,
				     unsigned int wait_for, unsigned int flags)
{
	if (inject_hit(INJECT_URING))
		return -EAGAIN;
	return (int)sys_call6(SYS_io_uring_enter, fd, submit, wait_for, flags,
			      0, 0);
}

static inline int sys_membarrier(int cmd)
{
	if (inject_hit(INJECT_MEMBARRIER))
		return -ENOSYS;
	return (int)sys_call3(SYS_membarrier, cmd, 0, 0);
}

static inline int sys_open(const char *path, int flags, int mode)
{
	if (inject_hit(INJECT_OPEN))
		return -EMFILE;
	return (int)sys_call4(SYS_openat, -100, (long)path, flags, mode);
}

static inline long sys_read(int fd, void *buf, size_t len)
{
	if (inject_hit(INJECT_READ))
		return -EIO;
	return sys_call3(SYS_read, fd, (long)buf, (long)len);
}

static inline long sys_pread(int fd, void *buf, size_t len, int64_t off)
{
	if (inject_hit(INJECT_READ))
		return -EIO;
	return sys_call4(SYS_pread64, fd, (long)buf, (long)len, (long)off);
}

static inline long sys_write(int fd, const void *buf, size_t len)
{
	return sys_call3(SYS_write, fd, (long)buf, (long)len);
}

static inline int sys_close(int fd)
{
	return (int)sys_call1(SYS_close, fd);
}

/* struct stat of the kernel ABI equals glibc's on the 64-bit machines here. */
struct stat;
static inline int sys_fstat(int fd, struct stat *st)
{
	return (int)sys_call2(SYS_fstat, fd, (long)st);
}

struct pollfd;
struct timespec;
static inline int sys_ppoll(struct pollfd *fds, unsigned int nr,
			    const struct timespec *timeout)
{
	if (inject_hit(INJECT_POLL))
		return -ENOMEM;
	return (int)sys_call5(SYS_ppoll, (long)fds, nr, (long)timeout, 0, 8);
}

static inline int sys_futex_wait(const uint32_t *word, uint32_t expected,
				 const struct timespec *timeout)
{
	return (int)sys_call4(SYS_futex, (long)word, 0 | 128, expected,
			      (long)timeout);
}

static inline int sys_futex_wake(const uint32_t *word, int nr)
{
	return (int)sys_call3(SYS_futex, (long)word, 1 | 128, nr);
}

static inline int sys_gettid(void)
{
	return (int)sys_call0(SYS_gettid);
}

static inline int sys_getpid(void)
{
	return (int)sys_call0(SYS_getpid);
}

static inline int sys_tgkill(int pid, int tid, int sig)
{
	return (int)sys_call3(SYS_tgkill, pid, tid, sig);
}

#endif
