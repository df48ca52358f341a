// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc stories - One timer, one loop
 *
 * One shared timer instead of a timer for each waiter; one loop that waits for
 * data, a change, or a timeout.  Here: one thread beside the program's, and all
 * three are heard by it, those that come from outside and those that are due.
 */
#include <dirent.h>
#include "harness.h"
#include "ctl/subject.h"

#define GARBAGE		(64 * MIB)	/* freed, and not given back at once */
#define PIECE		1000

/* Age alone has it given back; no other source says anything. */
#define CONF		CONF_THREAD ",decay_ms=200,lazy_ms=-1,dirty_max=0," \
			"low=0,tight=0,high=0,audit_ms=0,psi_us=0,log=off"

FIXTURE(one_timer) {
	struct subject subject;
	char program[PATH_MAX];
	char fifo[PATH_MAX + 16];
	int fifo_fd;
};

FIXTURE_SETUP(one_timer)
{
	char conf[PATH_MAX + 256], watched[PATH_MAX + 64];

	ASSERT_TRUE(make_base(self->subject.base));
	snprintf(self->fifo, sizeof(self->fifo), "%s/fifo", self->subject.base);
	ASSERT_EQ(0, mkfifo(self->fifo, 0600));
	self->fifo_fd = open(self->fifo, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fifo_fd);
	snprintf(conf, sizeof(conf), "control_dir=%s," CONF,
		 self->subject.base);
	snprintf(watched, sizeof(watched), "MEMORY_PRESSURE_WATCH=%s",
		 self->fifo);
	subject_program = beside(self->program, "../ctl/subject");
	ASSERT_TRUE(subject_start_as(&self->subject, conf, watched));
	ASSERT_TRUE(subject_appears(&self->subject, "trim"));
}

FIXTURE_TEARDOWN(one_timer)
{
	subject_kill(&self->subject);
	remove_tree(self->subject.base);
}

/* The one thread beside its first; 0: there is none, -1: there are more. */
static pid_t other_thread(pid_t pid)
{
	struct dirent *entry;
	pid_t found = 0;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir)))
		if (atoi(entry->d_name) > 0 && atoi(entry->d_name) != pid)
			found = found ? -1 : atoi(entry->d_name);
	if (dir)
		closedir(dir);
	return found;
}

static size_t rss(const struct subject *subject)
{
	return status_bytes_of(subject->pid, "\nVmRSS:");
}

static bool make_garbage(struct subject *subject)
{
	char command[64];

	snprintf(command, sizeof(command), "alloc %d %d",
		 (int)(GARBAGE / PIECE), PIECE);
	return subject_does(subject, command) && rss(subject) > GARBAGE &&
	       subject_does(subject, "free 0");
}

static bool is_given_back(const struct subject *subject)
{
	return WAIT_FOR(rss(subject) < GARBAGE / 2);
}

TEST_F(one_timer, one_loop_waits_for_data_change_and_timeout)
{
	struct subject *subject = &self->subject;
	pid_t thread = other_thread(subject->pid);

	ASSERT_LT(0, thread);
	/* A timeout: the program sleeps, and what it has freed gets old. */
	ASSERT_TRUE(make_garbage(subject));
	EXPECT_TRUE(is_given_back(subject));
	/* A change: from now on nothing gets old. */
	EXPECT_TRUE(subject_accepts(subject, "decay_ms", "-1"));
	/* Data: somebody tells of pressure. */
	ASSERT_TRUE(make_garbage(subject));
	EXPECT_LT(GARBAGE, rss(subject));
	ASSERT_EQ(1, write(self->fifo_fd, "!", 1));
	EXPECT_TRUE(is_given_back(subject));
	EXPECT_EQ(thread, other_thread(subject->pid));
}

TEST_HARNESS_MAIN
