/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Confinement as in a container run with defaults
 */
#ifndef EBB_BENCH_CONTAINER_H
#define EBB_BENCH_CONTAINER_H

/*
 * For the calling process and what it runs: all cgroup file systems read-only,
 * and a seccomp filter that answers EPERM to io_uring, userfaultfd and
 * process_madvise, and ENOSYS to clone3.  Ends the process where that cannot
 * be had: a measurement without it would be one of something else.
 */
void container_enter(void);

#endif
