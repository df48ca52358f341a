/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Confinement as in a container run with defaults
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include "bench/container.h"
#include "bench/frame.h"

#define MOST_MOUNTS	32

#define LOAD(field) \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define REFUSE(call, err) \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 1), \
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (err))

/* Mount points of the cgroup file systems. */
static unsigned int find_mounts(char paths[][256])
{
	FILE *file = fopen("/proc/self/mounts", "re");
	unsigned int nr = 0;
	char type[64];

	if (!file)
		die("/proc/self/mounts: %s", strerror(errno));
	while (nr < MOST_MOUNTS && fscanf(file, "%*s %255s %63s %*[^\n]",
					  paths[nr], type) == 2)
		if (!strcmp(type, "cgroup") || !strcmp(type, "cgroup2"))
			nr++;
	fclose(file);
	return nr;
}

static void make_read_only(void)
{
	static char paths[MOST_MOUNTS][256];
	unsigned int nr = find_mounts(paths);

	if (unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		die("a mount namespace: %s", strerror(errno));
	for (unsigned int i = 0; i < nr; i++)
		if (mount(paths[i], paths[i], NULL, MS_BIND, NULL) ||
		    mount(NULL, paths[i], NULL,
			  MS_BIND | MS_REMOUNT | MS_RDONLY, NULL))
			die("%s read-only: %s", paths[i], strerror(errno));
}

static void filter_calls(void)
{
	struct sock_filter code[] = {
		LOAD(nr),
		REFUSE(io_uring_setup, EPERM),
		REFUSE(io_uring_enter, EPERM),
		REFUSE(io_uring_register, EPERM),
		REFUSE(userfaultfd, EPERM),
		REFUSE(process_madvise, EPERM),
		REFUSE(clone3, ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {
		.len = sizeof(code) / sizeof(code[0]),
		.filter = code,
	};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		die("a seccomp filter: %s", strerror(errno));
}

void container_enter(void)
{
	make_read_only();
	filter_calls();
}
