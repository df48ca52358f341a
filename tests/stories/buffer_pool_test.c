// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc stories - TakeBuffer and ReturnBuffer
 *
 * A pool of buffers that in debug mode stops the program on a buffer that
 * leaked, and prints the stack that took it.  In release the same program is
 * let be, and says nothing.
 */
#include <signal.h>
#include "harness.h"
#include "api/run.h"

#define RELEASE	"0"
#define STRICT	"3"

FIXTURE(buffer_pool) {
	char program[PATH_MAX];
	struct run run;
};

/* api/leaker takes 5001 buffers and returns all but one of them. */
FIXTURE_SETUP(buffer_pool)
{
	self->run.program = beside(self->program, "../api/leaker");
	self->run.argv[0] = self->program;
	self->run.argv[1] = (char *)"drop";
	self->run.argv[3] = (char *)"100";
}

FIXTURE_TEARDOWN(buffer_pool)
{
}

TEST_F(buffer_pool, a_leak_stops_the_program_and_names_who_took_it)
{
	static const char *const words[] = {
		"ebb_pool_take(0x", "): leaked buffer: "
		"object of 1000 bytes at 0x",
		", taken from pool reporting, ", " ms old\n",
		"taken by thread ", " (leaker), ", " ms before\n",
		"#0 0x", "in take_and_drop+0x", "leaker",
		"in drop_one_and_go_on+0x", "end of report 1\n",
	};
	const char *at = self->run.output;

	self->run.argv[2] = (char *)STRICT;
	ASSERT_TRUE(run_program(&self->run));
	EXPECT_EQ(256 + SIGABRT, self->run.status);
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		at = strstr(at, words[i]);
		ASSERT_NE(NULL, at)
			TH_LOG("no \"%s\" in: %s", words[i], self->run.output);
		at += strlen(words[i]);
	}
	EXPECT_EQ(NULL, strstr(self->run.output, "end of report 2"));
}

TEST_F(buffer_pool, a_release_goes_on)
{
	self->run.argv[2] = (char *)RELEASE;
	ASSERT_TRUE(run_program(&self->run));
	EXPECT_EQ(0, self->run.status);
	EXPECT_STREQ("", self->run.output);
}

TEST_HARNESS_MAIN
