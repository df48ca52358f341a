// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Lazy memory is the net, and userfaultfd its witness
 *
 * reclaim/witness runs in a cgroup of its own that has no room for what it
 * takes, but for its lazy memory; it looks at each page.
 */
#include <sys/wait.h>
#include "harness.h"
#include "api/run.h"
#include "cgroup.h"

#define LIMIT_MIB	72

FIXTURE(witness) {
	char program[PATH_MAX];
	char library[PATH_MAX];
	char dir[64];
	struct group group;
};

FIXTURE_SETUP(witness)
{
	strcpy(self->dir, "/tmp/ebb-witness-XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->dir));
	group_make(&self->group);
}

FIXTURE_TEARDOWN(witness)
{
	group_remove(&self->group);
	rmdir(self->dir);
}

/* Everything free becomes lazy at once, and nothing is given back. */
static void exec_witness(const char *program, const char *library,
			 const char *dir)
{
	char conf[256], limit[16];

	snprintf(conf, sizeof(conf), "control_dir=%s,decay_ms=-1,lazy_ms=0,"
		 "thread_min=0,dirty_max=0,audit_ms=0", dir);
	snprintf(limit, sizeof(limit), "%d", LIMIT_MIB);
	setenv("LD_PRELOAD", library, 1);
	setenv("EBB_CONF", conf, 1);
	setenv("WITNESS_DIR", dir, 1);
	execl(program, program, limit, NULL);
	_exit(127);
}

TEST_F(witness, the_kernel_takes_lazy_pages_and_no_others)
{
	int status;
	pid_t pid;

	if (!self->group.path[0])
		SKIP(return, "cannot make a memory cgroup here");
	ASSERT_TRUE(group_set_limit(&self->group, LIMIT_MIB * MIB));
	beside(self->program, "witness");
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (!group_enter(&self->group))
			_exit(126);
		exec_witness(self->program, library_path(self->library),
			     self->dir);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 4)
		SKIP(return, "no userfaultfd here");
	EXPECT_EQ(0, status);
}

TEST_HARNESS_MAIN
