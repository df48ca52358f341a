/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - A seccomp filter for a few system calls, without a library
 */
#ifndef EBB_TESTS_BACKEND_FILTER_H
#define EBB_TESTS_BACKEND_FILTER_H

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FILTER_MAX	8

/* In all threads of the process. */
static inline bool filter_install(const struct sock_fprog *program)
{
	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       !syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			SECCOMP_FILTER_FLAG_TSYNC, program);
}

/* Answer calls @nrs with @action. */
static inline bool filter_calls(const long *nrs, unsigned int nr,
				uint32_t action)
{
	struct sock_filter code[FILTER_MAX + 3] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
	};
	struct sock_fprog program = { (unsigned short)(nr + 3), code };

	for (unsigned int i = 0; i < nr && i < FILTER_MAX; i++)
		code[1 + i] = (struct sock_filter)
			BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nrs[i],
				 (unsigned char)(nr - i), 0);
	code[1 + nr] = (struct sock_filter)
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	code[2 + nr] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action);
	return filter_install(&program);
}

/* Answer call @nr with @action if its first argument is @arg. */
static inline bool filter_argument(long nr, int arg, uint32_t action)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, args)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)arg, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

	return filter_install(&program);
}

#endif
