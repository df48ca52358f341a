// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - The directory below seccomp filters
 *
 * Calls that only it needs are refused, or kill: the process lives, says why
 * it has no directory, and ends as it wanted to.
 */
#include <sys/syscall.h>
#include "harness.h"
#include "ctl/subject.h"

static const long calls[] = {
	SYS_mkdirat, SYS_fchmodat, SYS_fchmod, SYS_unlinkat, SYS_renameat,
	SYS_getdents64, SYS_fstatfs, SYS_pwrite64, SYS_flock, SYS_kill,
	SYS_inotify_init1, SYS_inotify_add_watch,
};

/* What is free is given back at once: passes would be shown for seconds. */
#define CONF_PROMPT	CONF_THREAD ",lazy=off,decay_ms=10"

FIXTURE(filter) {
	struct subject subjects[ARRAY_LEN(calls)];
};

FIXTURE_VARIANT(filter) {
	const char *conf;
	const char *last_file;
	const char *action;
};

FIXTURE_VARIANT_ADD(filter, thread_error) {
	.conf = CONF_PROMPT,
	.last_file = LAST_BY_THREAD,
	.action = "error",
};

FIXTURE_VARIANT_ADD(filter, thread_kill) {
	.conf = CONF_PROMPT,
	.last_file = LAST_BY_THREAD,
	.action = "kill",
};

FIXTURE_VARIANT_ADD(filter, alone_error) {
	.conf = CONF_ALONE,
	.last_file = EBB_PAGE_FILE,
	.action = "error",
};

FIXTURE_VARIANT_ADD(filter, alone_kill) {
	.conf = CONF_ALONE,
	.last_file = EBB_PAGE_FILE,
	.action = "kill",
};

FIXTURE_SETUP(filter)
{
	ASSERT_TRUE(make_base(self->subjects[0].base));
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		strcpy(self->subjects[i].base, self->subjects[0].base);
		ASSERT_TRUE(subject_start(&self->subjects[i], variant->conf));
	}
}

FIXTURE_TEARDOWN(filter)
{
	for (size_t i = 0; i < ARRAY_LEN(calls); i++)
		subject_kill(&self->subjects[i]);
	remove_tree(self->subjects[0].base);
}

static bool filters(struct subject *subject, const char *action, long call)
{
	char command[64];

	snprintf(command, sizeof(command), "filter %s %ld", action, call);
	return subject_does(subject, command);
}

/*
 * All have their directories, and none is in the middle of a visit, which began
 * before there was a filter and is not protected from it.
 */
static bool all_have_made_it(struct subject *subjects, const char *last_file)
{
	for (size_t i = 0; i < ARRAY_LEN(calls); i++)
		if (!subject_appears(&subjects[i], last_file))
			return false;
	/* Who sees to itself does so between two answers. */
	return strcmp(last_file, LAST_BY_THREAD) ||
	       subjects_rest(subjects, ARRAY_LEN(calls));
}

TEST_F(filter, from_the_start)
{
	for (size_t i = 0; i < ARRAY_LEN(calls); i++)
		if (!filters(&self->subjects[i], variant->action, calls[i]))
			SKIP(return, "no seccomp here");
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		struct subject *subject = &self->subjects[i];

		/* It may have been seen to before. */
		EXPECT_TRUE(subject_says(subject, "control: none: a seccomp "
					 "filter ") ||
			    subject_shows(subject, EBB_PAGE_FILE)) {
			TH_LOG("call %ld", calls[i]);
		}
		EXPECT_TRUE(subject_does(subject, "work 10"));
		EXPECT_EQ(0, subject_end(subject)) {
			TH_LOG("call %ld", calls[i]);
		}
	}
}

/* When there is a directory already, which is used, and removed at the end. */
TEST_F(filter, that_comes_later)
{
	ASSERT_TRUE(all_have_made_it(self->subjects, variant->last_file));
	for (size_t i = 0; i < ARRAY_LEN(calls); i++)
		if (!filters(&self->subjects[i], variant->action, calls[i]))
			SKIP(return, "no seccomp here");
	for (size_t i = 0; i < ARRAY_LEN(calls); i++)
		subject_put_bytes(&self->subjects[i], "decay_ms", "5", 1);
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		struct subject *subject = &self->subjects[i];

		EXPECT_TRUE(subject_says(subject, "control: none: a seccomp "
					 "filter ")) {
			TH_LOG("call %ld", calls[i]);
		}
		EXPECT_TRUE(subject_does(subject, "work 10"));
		EXPECT_EQ(0, subject_end(subject)) {
			TH_LOG("call %ld", calls[i]);
		}
	}
}

/* It comes, and the process ends before anything is to be shown again. */
TEST_F(filter, that_comes_last)
{
	ASSERT_TRUE(all_have_made_it(self->subjects, variant->last_file));
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		struct subject *subject = &self->subjects[i];

		if (!filters(subject, variant->action, calls[i]))
			SKIP(return, "no seccomp here");
		EXPECT_EQ(0, subject_end(subject)) {
			TH_LOG("call %ld", calls[i]);
		}
	}
}

/* One that has nothing against the directory: the thread removes it. */
TEST_F(filter, for_something_else)
{
	struct subject *subject = &self->subjects[0];
	bool thread = !strcmp(variant->last_file, LAST_BY_THREAD);

	ASSERT_TRUE(subject_appears(subject, variant->last_file));
	if (!filters(subject, variant->action, SYS_swapon))
		SKIP(return, "no seccomp here");
	if (thread) {
		EXPECT_TRUE(subject_accepts(subject, "decay_ms", "5"));
		EXPECT_TRUE(subject_appears(subject, "metrics"));
	}
	EXPECT_EQ(0, subject_end(subject));
	EXPECT_EQ(thread ? -1 : 0, access(subject->dir, F_OK));
}

/* Of guard mode, by a process that goes on: the page stays as it is. */
TEST_F(filter, a_report_below_it_ends_nobody)
{
	struct subject *subject = &self->subjects[0];
	char conf[256];

	subject_kill(subject);
	snprintf(conf, sizeof(conf), "%s,guard=sampled,guard_size=4K,"
		 "guard_recover=on", variant->conf);
	ASSERT_TRUE(subject_start(subject, conf));
	ASSERT_TRUE(subject_appears(subject, variant->last_file));
	ASSERT_TRUE(strcmp(variant->last_file, LAST_BY_THREAD) ||
		    subjects_rest(subject, 1));
	if (!filters(subject, variant->action, SYS_pwrite64))
		SKIP(return, "no seccomp here");
	EXPECT_TRUE(subject_does(subject, "misuse 5000"));
	EXPECT_EQ(0, subject_end(subject));
}

TEST_HARNESS_MAIN
