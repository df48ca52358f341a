// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Memory that was given back traps, and the report says what
 *
 * api/toucher touches, this looks at what came of it.
 */
#include <signal.h>
#include "harness.h"
#include "match.h"
#include "api/run.h"

FIXTURE(given) {
	char toucher[PATH_MAX];
	char library[PATH_MAX];
	struct run run;
};

FIXTURE_VARIANT(given) {
	const char *conf;
	bool inherited;		/* by forked children */
};

FIXTURE_VARIANT_ADD(given, by_markers) {
	.conf = "guard=decommitted,guard_trap=marker,verbose=1,reclaim=off",
	.inherited = true,
};

FIXTURE_VARIANT_ADD(given, by_userfaultfd) {
	.conf = "guard=decommitted,guard_trap=userfaultfd,verbose=1,"
		"reclaim=off",
};

FIXTURE_SETUP(given)
{
	self->run.program = beside(self->toucher, "toucher");
	self->run.preload = library_path(self->library);
	self->run.conf = variant->conf;
	self->run.argv[0] = self->toucher;
}

FIXTURE_TEARDOWN(given)
{
}

static bool has(const struct run *run, const char *words)
{
	return text_fits(run->output, words, 0);
}

/* Run the toucher; skips where there is no such trap. */
#define RUN(how, child) do {						\
	self->run.argv[1] = (char *)(how);				\
	self->run.argv[2] = (char *)(child);				\
	ASSERT_TRUE(run_program(&self->run));				\
	if (strstr(self->run.output, "guard: unavailable"))		\
		SKIP(return, "no such trap here");			\
} while (0)

#define EXPECT_REPORT(words) do {					\
	EXPECT_EQ(256 + SIGABRT, self->run.status);			\
	EXPECT_TRUE(has(&self->run, words))				\
		TH_LOG("%s", self->run.output);				\
} while (0)

#define EXPECT_ALIVE() do {						\
	EXPECT_EQ(0, self->run.status)					\
		TH_LOG("%s", self->run.output);				\
	EXPECT_NE(NULL, strstr(self->run.output, "alive"));		\
} while (0)

TEST_F(given, a_read_is_reported)
{
	RUN("read-slot", NULL);
	EXPECT_REPORT("read\\(0x[0-9a-f]+\\): use after free: 100 bytes into "
		      "the object of [0-9]+ bytes at 0x[0-9a-f]+, given back "
		      "[0-9]+ ms ago\n"
		      "[^\n]*  use by thread [0-9]+ \\(toucher\\)\n"
		      "[^\n]*    #0 0x[0-9a-f]+ in peek");
}

TEST_F(given, a_write_is_reported)
{
	RUN("write-slot", NULL);
	EXPECT_REPORT("write\\(0x[0-9a-f]+\\): use after free: 100 bytes into "
		      "the object of [0-9]+ bytes at .*, given back ");
}

TEST_F(given, a_second_free_is_called_one)
{
	RUN("free-slot", NULL);
	EXPECT_REPORT("free\\(0x[0-9a-f]+\\): double free: .*3072 bytes");
}

/* Nothing unwinds here, and what led from free() to it has no frames. */
TEST_F(given, a_second_free_of_what_is_there_has_no_made_up_stack)
{
	RUN("free-twice", NULL);
	EXPECT_REPORT("free\\(0x[0-9a-f]+\\): double free: slot of [0-9]+ bytes"
		      "[^\n]*\n"
		      "[^\n]*  use by thread [0-9]+ \\(toucher\\)\n"
		      "[^\n]*  end of report 1\n");
}

TEST_F(given, a_large_object_is_part_of_what_is_free)
{
	RUN("read-large", NULL);
	EXPECT_REPORT("read\\(.*\\): use after free: in a free part of the "
		      "heap, given back [0-9]+ ms ago");
}

TEST_F(given, a_handler_of_the_program_does_not_hide_it)
{
	RUN("read-with-handler", NULL);
	EXPECT_REPORT("use after free");
	EXPECT_EQ(NULL, strstr(self->run.output, "handler\n"));
}

TEST_F(given, handlers_of_older_functions_do_not_hide_it)
{
	RUN("read-with-old-handlers", NULL);
	EXPECT_REPORT("use after free");
	EXPECT_EQ(NULL, strstr(self->run.output, "handler\n"));
}

TEST_F(given, other_faults_are_the_program_s)
{
	RUN("fault-elsewhere", NULL);
	EXPECT_EQ(7, self->run.status);
	EXPECT_NE(NULL, strstr(self->run.output, "handler\n"));
	EXPECT_EQ(NULL, strstr(self->run.output, "use after free"));
}

TEST_F(given, pages_that_the_program_protects_are_its_own)
{
	RUN("fault-in-own", NULL);
	EXPECT_EQ(7, self->run.status);
	EXPECT_NE(NULL, strstr(self->run.output, "handler\n"));
	EXPECT_EQ(NULL, strstr(self->run.output, "use after free"));
}

TEST_F(given, the_program_may_give_back_what_it_has)
{
	RUN("advise-own", NULL);
	EXPECT_ALIVE();
}

TEST_F(given, no_mapping_is_split)
{
	RUN("count-mappings", NULL);
	EXPECT_ALIVE();
}

TEST_F(given, costs_no_resident_memory)
{
	RUN("count-resident", NULL);
	EXPECT_ALIVE();
}

TEST_F(given, the_kernel_gets_an_error)
{
	RUN("read-into", NULL);
	EXPECT_ALIVE();
}

TEST_F(given, objects_grow_into_what_was_given_back)
{
	RUN("grow", NULL);
	EXPECT_ALIVE();
}

TEST_F(given, children_inherit_markers_only)
{
	RUN("read-slot", "in-child");
	if (variant->inherited) {
		EXPECT_EQ(100 + SIGABRT, self->run.status);
		EXPECT_TRUE(has(&self->run, "use after free"));
		return;
	}
	EXPECT_ALIVE();
	EXPECT_TRUE(has(&self->run, "guard: lost: a userfaultfd is not "
				    "inherited by a fork"));
}

TEST_HARNESS_MAIN
