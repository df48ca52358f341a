/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ebbmalloc tests - A program below a container-like seccomp filter
 *
 * The filter refuses what the default profile of containers refuses, with an
 * error or, as systemd's filters do, by killing.  It is installed before the
 * reclaimer starts; the program lives, gives memory back, and tells why it
 * does so in this way.
 */
#include <errno.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/wait.h>
#include "base/compiler.h"
#include "harness.h"

#define OBJECT		1000
#define NR_OBJECTS	(64 * MIB / OBJECT)

const char *ebb_conf = "thread_min=1M,lazy_ms=20,decay_ms=50,verbose=0";

static const int refused[] = {
	SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_enter),
	SCMP_SYS(io_uring_register), SCMP_SYS(userfaultfd),
	SCMP_SYS(process_madvise),
};

/* These, too, systemd's sets of allowed calls leave out. */
static const int left_out[] = {
	SCMP_SYS(mincore), SCMP_SYS(pidfd_getfd), SCMP_SYS(close_range),
};

#define PAGEMAP_SCAN_NR	0xc0606610u	/* linux/fs.h of 6.7 */
#define SET_VMA_NR	0x53564d41u	/* PR_SET_VMA: names of mappings */

FIXTURE(seccomp)
{
	char report[8192];
	void **objects;
};

FIXTURE_VARIANT(seccomp)
{
	uint32_t action;
	const char *reason;
	bool strict;		/* left_out, and a kernel before 6.7 */
};

FIXTURE_VARIANT_ADD(seccomp, error) {
	.action = SCMP_ACT_ERRNO(EPERM),
	.reason = "the kernel refuses (EPERM)",
};

FIXTURE_VARIANT_ADD(seccomp, kill_process) {
	.action = SCMP_ACT_KILL_PROCESS,
	.reason = "killed by the seccomp filter (EPERM)",
};

FIXTURE_VARIANT_ADD(seccomp, kill_as_services_do) {
	.action = SCMP_ACT_KILL_PROCESS,
	.reason = "killed by the seccomp filter (EPERM)",
	.strict = true,
};

FIXTURE_VARIANT_ADD(seccomp, trap) {
	.action = SCMP_ACT_TRAP,
	.reason = "killed by the seccomp filter (EPERM)",
};

FIXTURE_SETUP(seccomp)
{
}

FIXTURE_TEARDOWN(seccomp)
{
}

/* Without PAGEMAP_SCAN there is only mincore to ask. */
static int add_left_out(scmp_filter_ctx ctx, uint32_t action)
{
	int err = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOTTY), SCMP_SYS(ioctl),
				   1, SCMP_A1(SCMP_CMP_EQ, PAGEMAP_SCAN_NR, 0));

	for (size_t i = 0; !err && i < ARRAY_LEN(left_out); i++)
		err = seccomp_rule_add(ctx, action, left_out[i], 0);
	return err;
}

static bool install(uint32_t action, bool strict)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int err = ctx ? seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1) :
			-ENOMEM;

	for (size_t i = 0; !err && i < ARRAY_LEN(refused); i++)
		err = seccomp_rule_add(ctx, action, refused[i], 0);
	if (!err)
		err = seccomp_rule_add(ctx, action, SCMP_SYS(prctl), 1,
				       SCMP_A0(SCMP_CMP_EQ, SET_VMA_NR, 0));
	if (!err && strict)
		err = add_left_out(ctx, action);
	if (!err)
		err = seccomp_load(ctx);
	seccomp_release(ctx);
	return !err;
}

/* What malloc_stats() prints. */
static void get_report(char *report, size_t size)
{
	int saved = dup(2), file = memfd_create("report", MFD_CLOEXEC);
	ssize_t len;

	fflush(stderr);
	dup2(file, 2);
	malloc_stats();
	fflush(stderr);
	dup2(saved, 2);
	len = pread(file, report, size - 1, 0);
	report[len > 0 ? len : 0] = '\0';
	close(saved);
	close(file);
}

static bool fill(void **objects)
{
	for (size_t i = 0; i < NR_OBJECTS; i++) {
		objects[i] = malloc(OBJECT);
		if (!objects[i])
			return false;
		memset(objects[i], 1, OBJECT);
	}
	return true;
}

/* Every hundredth stays, so that pages have to be picked out of slabs. */
static void free_most(void **objects)
{
	for (size_t i = 0; i < NR_OBJECTS; i++)
		if (i % 100)
			free(objects[i]);
}

static unsigned int nr_signals;

static void count_signal(int sig)
{
	(void)sig;
	nr_signals++;
}

TEST_F(seccomp, memory_is_given_back_and_the_reason_is_shown)
{
	char line[200];
	size_t full;

	NEEDS_EBBMALLOC();
	signal(SIGCHLD, count_signal);
	signal(SIGSYS, count_signal);
	if (!install(variant->action, variant->strict))
		SKIP(return, "no seccomp here");
	self->objects = calloc(NR_OBJECTS, sizeof(void *));
	ASSERT_NE(NULL, self->objects);
	ASSERT_TRUE(fill(self->objects));
	full = rss_bytes();
	free_most(self->objects);
	EXPECT_TRUE(WAIT_FOR(rss_bytes() < full - 40 * MIB)) {
		TH_LOG("%zu of %zu KiB", rss_bytes() / KIB, full / KIB);
	}
	malloc_trim(0);
	get_report(self->report, sizeof(self->report));
	EXPECT_NE(NULL, strstr(self->report, "\nmadvise: chosen, ")) {
		TH_LOG("%s", self->report);
	}
	snprintf(line, sizeof(line), "\nprocess_madvise: unavailable: %s\n",
		 IS_ENABLED(CONFIG_PROCESS_MADVISE) ? variant->reason :
			"not built in (CONFIG_PROCESS_MADVISE)");
	EXPECT_NE(NULL, strstr(self->report, line)) {
		TH_LOG("%s", self->report);
	}
	snprintf(line, sizeof(line), "\nio_uring: unavailable: %s\n",
		 IS_ENABLED(CONFIG_URING) ? variant->reason :
					    "not built in (CONFIG_URING)");
	EXPECT_NE(NULL, strstr(self->report, line));
	if (IS_ENABLED(CONFIG_VMA_NAME))
		EXPECT_NE(NULL, strstr(self->report, "names of mappings: not "
				       "given below a seccomp filter"));
	EXPECT_EQ(0u, nr_signals);
	EXPECT_EQ(-1, waitpid(-1, NULL, WNOHANG | __WALL));
	EXPECT_EQ(ECHILD, errno);
	for (size_t i = 0; i < NR_OBJECTS; i += 100)
		EXPECT_EQ(1, ((char *)self->objects[i])[OBJECT - 1]);
}

/* The filter comes while the reclaimer runs, in all threads. */
TEST_F(seccomp, one_that_comes_later_is_survived)
{
	size_t full;

	NEEDS_EBBMALLOC();
	self->objects = calloc(NR_OBJECTS, sizeof(void *));
	ASSERT_NE(NULL, self->objects);
	ASSERT_TRUE(fill(self->objects));
	full = rss_bytes();
	free_most(self->objects);
	ASSERT_TRUE(WAIT_FOR(rss_bytes() < full - 40 * MIB));
	for (size_t i = 0; i < NR_OBJECTS; i += 100)
		free(self->objects[i]);
	ASSERT_TRUE(fill(self->objects));

	if (!install(variant->action, variant->strict))
		SKIP(return, "no seccomp here");
	free_most(self->objects);
	EXPECT_TRUE(WAIT_FOR(rss_bytes() < full - 40 * MIB));
	malloc_trim(0);
	EXPECT_GT(full - 40 * MIB, rss_bytes());
}

TEST_HARNESS_MAIN
