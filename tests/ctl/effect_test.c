// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - What is set while a process runs has its effect
 */
#include "harness.h"
#include "ctl/subject.h"

#define GARBAGE		(64 * MIB)	/* freed, and not given back */
#define PIECE		1000

FIXTURE(effect) {
	struct subject subject;
	struct ebb_page page;
	char log[PATH_MAX + 16];
};

/* Memory is kept for ever, unless somebody says otherwise. */
FIXTURE_SETUP(effect)
{
	ASSERT_TRUE(make_base(self->subject.base));
	snprintf(self->log, sizeof(self->log), "%s/log", self->subject.base);
	ASSERT_TRUE(subject_start(&self->subject, CONF_THREAD
				  ",decay_ms=-1,lazy_ms=-1,dirty_max=0,"
				  "low=0,tight=0,high=0,audit_ms=0"));
	ASSERT_TRUE(subject_appears(&self->subject, LAST_BY_THREAD));
}

FIXTURE_TEARDOWN(effect)
{
	subject_kill(&self->subject);
	remove_tree(self->subject.base);
}

static size_t rss(const struct subject *subject)
{
	return status_bytes_of(subject->pid, "\nVmRSS:");
}

/* Returns RSS with @bytes of it free; 0: something failed. */
static size_t make_free(struct subject *subject, size_t bytes)
{
	char command[64];

	snprintf(command, sizeof(command), "alloc %d %d",
		 (int)(bytes / PIECE), PIECE);
	if (!subject_does(subject, command) ||
	    !subject_does(subject, "free 0"))
		return 0;
	return rss(subject);
}

static size_t make_garbage(struct subject *subject)
{
	return make_free(subject, GARBAGE);
}

TEST_F(effect, limit_is_where_malloc_fails)
{
	struct subject *subject = &self->subject;

	ASSERT_TRUE(subject_does(subject, "try 200000000"));
	ASSERT_TRUE(subject_accepts(subject, "limit", "64M"));
	EXPECT_TRUE(subject_does(subject, "try 10000000"));
	EXPECT_FALSE(subject_does(subject, "try 200000000"));
	EXPECT_FALSE(subject_does(subject, "alloc 1000000 1000"));
	EXPECT_TRUE(subject_does(subject, "free 0"));
	EXPECT_TRUE(subject_does(subject, "alloc 10000 1000"));
	ASSERT_TRUE(subject_accepts(subject, "limit", "0"));
	EXPECT_TRUE(subject_does(subject, "try 200000000"));
	EXPECT_TRUE(subject_does(subject, "alloc 100000 1000"));
}

TEST_F(effect, decay_gives_back_what_is_kept)
{
	size_t full = make_garbage(&self->subject);

	ASSERT_LT(GARBAGE, full);
	ASSERT_TRUE(subject_accepts(&self->subject, "decay_ms", "10"));
	EXPECT_TRUE(WAIT_FOR(rss(&self->subject) < full - GARBAGE / 10 * 8)) {
		TH_LOG("%zu of %zu", rss(&self->subject), full);
	}
}

TEST_F(effect, reclaim_off_keeps_and_on_gives_back)
{
	size_t full;

	ASSERT_TRUE(subject_accepts(&self->subject, "reclaim", "off"));
	ASSERT_TRUE(subject_accepts(&self->subject, "decay_ms", "1"));
	full = make_garbage(&self->subject);
	ASSERT_LT(GARBAGE, full);
	ASSERT_TRUE(WAIT_FOR(subject_page(&self->subject, &self->page) &&
			     self->page.counters[EBB_COUNTER_DIRTY] >
				     GARBAGE / 10 * 8));
	EXPECT_STREQ("off", self->page.head.reclaimer);
	EXPECT_LT(full - GARBAGE / 10, rss(&self->subject));
	ASSERT_TRUE(subject_accepts(&self->subject, "reclaim", "on"));
	EXPECT_TRUE(WAIT_FOR(rss(&self->subject) < full - GARBAGE / 10 * 8));
	EXPECT_TRUE(WAIT_FOR(subject_page(&self->subject, &self->page) &&
			     !strcmp("running", self->page.head.reclaimer)));
}

TEST_F(effect, lazy_tells_whether_memory_is_made_lazy)
{
	ASSERT_TRUE(subject_accepts(&self->subject, "lazy", "off"));
	ASSERT_TRUE(subject_accepts(&self->subject, "lazy_ms", "1"));
	ASSERT_LT(GARBAGE, make_garbage(&self->subject));
	/* It looks for what is old, but nothing is made lazy. */
	ASSERT_TRUE(subject_accepts(&self->subject, "mild_ms", "1"));
	ASSERT_TRUE(subject_page(&self->subject, &self->page));
	EXPECT_EQ(0ull, self->page.counters[EBB_COUNTER_MADE_LAZY]);
	ASSERT_TRUE(subject_accepts(&self->subject, "lazy", "on"));
	EXPECT_TRUE(WAIT_FOR(subject_page(&self->subject, &self->page) &&
			     self->page.counters[EBB_COUNTER_MADE_LAZY] >
				     GARBAGE / 10 * 8));
}

TEST_F(effect, log_is_where_messages_go)
{
	char text[4096];

	ASSERT_TRUE(subject_accepts(&self->subject, "log", self->log));
	/* Of no limit a share is none: that is worth a line, or it is one. */
	ASSERT_TRUE(subject_accepts(&self->subject, "limit", "1000%"));
	EXPECT_TRUE(WAIT_FOR((subject_does(&self->subject, "work 10"),
			      subject_page(&self->subject, &self->page),
			      self->page.counters[EBB_COUNTER_LIMIT] ||
				      read_file(self->log, text,
						sizeof(text)) > 0)));
	if (self->page.counters[EBB_COUNTER_LIMIT])
		SKIP(return, "the cgroup has a limit: nothing to be said");
	EXPECT_NE(NULL, strstr(text, "limit=1000% is not in force"));
}

/* === trim ================================================================= */

TEST_F(effect, trim_all_gives_all_back)
{
	size_t full = make_garbage(&self->subject), given;

	ASSERT_LT(GARBAGE, full);
	ASSERT_TRUE(subject_accepts(&self->subject, "trim", "all\n"));
	EXPECT_TRUE(WAIT_FOR(rss(&self->subject) < full - GARBAGE / 10 * 9));
	given = strtoul(subject_get(&self->subject, "trim"), NULL, 10);
	EXPECT_LE(GARBAGE / 10 * 9, given);
	EXPECT_LE(given, full);
}

TEST_F(effect, trim_gives_back_what_is_asked_for_and_not_all)
{
	size_t full = make_garbage(&self->subject), given;
	const struct ebb_verdict *verdict;

	ASSERT_LT(GARBAGE, full);
	verdict = subject_set(&self->subject, "trim", "16M");
	ASSERT_NE(NULL, verdict);
	EXPECT_EQ(0u, verdict->error);
	given = strtoul(subject_get(&self->subject, "trim"), NULL, 10);
	EXPECT_EQ(given, strtoul(verdict->text, NULL, 10));
	EXPECT_LE(16 * MIB, given);
	EXPECT_GE(20 * MIB, given);
	EXPECT_TRUE(WAIT_FOR(rss(&self->subject) <= full - 15 * MIB));
	EXPECT_LE(full - 22 * MIB, rss(&self->subject));
}

TEST_F(effect, trim_refuses_what_is_no_size)
{
	static const char *const wrong[] = { "0", "-1", "ALL", "some", "5%",
					     "99999999999999999999", "2048T" };

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		const struct ebb_verdict *verdict =
			subject_set(&self->subject, "trim", wrong[i]);

		ASSERT_NE(NULL, verdict);
		EXPECT_NE(0u, verdict->error);
		EXPECT_NE(NULL, strstr(verdict->text, wrong[i]));
		EXPECT_NE(NULL, strstr(verdict->text, "all or 1..1024T"));
		EXPECT_TRUE(subject_has(&self->subject, "error",
					verdict->text));
	}
}

/* === dump ================================================================= */

TEST_F(effect, dump_refuses_what_it_cannot_write)
{
	static const char *const wrong[] = { "", "heap", "profile now", "0" };
	const struct ebb_verdict *verdict;

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		verdict = subject_set(&self->subject, "dump", wrong[i]);
		ASSERT_NE(NULL, verdict);
		EXPECT_NE(0u, verdict->error);
		EXPECT_NE(NULL, strstr(verdict->text, "accepts profile"));
	}
	/* It was started without one. */
	verdict = subject_set(&self->subject, "dump", "profile");
	ASSERT_NE(NULL, verdict);
	EXPECT_NE(0u, verdict->error);
	EXPECT_NE(NULL, strstr(verdict->text, "was 0 at start"));
	EXPECT_TRUE(subject_has(&self->subject, "error", verdict->text));
	EXPECT_TRUE(subject_has(&self->subject, "heap_profile", ""));
	EXPECT_TRUE(WAIT_FOR(subject_has(&self->subject, "dump", "0")));
}

/* === Without the thread =================================================== */

FIXTURE(alone) {
	struct subject subject;
	struct ebb_page page;
};

FIXTURE_SETUP(alone)
{
	ASSERT_TRUE(make_base(self->subject.base));
	ASSERT_TRUE(subject_start(&self->subject, CONF_ALONE));
	ASSERT_TRUE(subject_appears(&self->subject, EBB_PAGE_FILE));
}

FIXTURE_TEARDOWN(alone)
{
	subject_kill(&self->subject);
	remove_tree(self->subject.base);
}

/* Written, and in force once it has worked for a while. */
static bool works_until(struct subject *subject, const char *name,
			const char *value, const char *canonical)
{
	return subject_put_bytes(subject, name, value, strlen(value)) &&
	       WAIT_FOR((subject_does(subject, "work 1"),
			 subject_has(subject, name, canonical)));
}

TEST_F(alone, what_is_written_waits_for_who_allocates)
{
	struct subject *subject = &self->subject;

	EXPECT_FALSE(subject_shows(subject, "limit"));
	EXPECT_TRUE(works_until(subject, "limit", "65536K\n", "64M"));
	EXPECT_FALSE(subject_does(subject, "try 200000000"));
	EXPECT_TRUE(works_until(subject, "limit", "nonsense", "64M"));
	ASSERT_TRUE(subject_page(subject, &self->page));
	EXPECT_NE(0u, last_verdict(&self->page)->error);
	EXPECT_NE(NULL, strstr(subject_get(subject, "error"), "nonsense"));
	EXPECT_TRUE(works_until(subject, "limit", "00", "0"));
	EXPECT_TRUE(subject_does(subject, "try 200000000"));
}

TEST_F(alone, trim_is_made_by_who_allocates)
{
	size_t full, given;

	full = make_garbage(&self->subject);
	ASSERT_LT(GARBAGE, full);
	ASSERT_TRUE(subject_put_bytes(&self->subject, "trim", "all", 3));
	EXPECT_TRUE(WAIT_FOR((subject_does(&self->subject, "work 1"),
			      !subject_has(&self->subject, "trim", "all"))));
	given = strtoul(subject_get(&self->subject, "trim"), NULL, 10);
	EXPECT_LE(GARBAGE / 10 * 8, given);
	EXPECT_GT(full - GARBAGE / 10 * 8, rss(&self->subject));
}

/* reclaim=on has the thread started, which takes over the directory. */
TEST_F(alone, the_thread_takes_over)
{
	struct subject *subject = &self->subject;

	ASSERT_TRUE(subject_put_bytes(subject, "thread_min", "0", 1));
	ASSERT_TRUE(subject_put_bytes(subject, "reclaim", "on", 2));
	EXPECT_TRUE(subject_appears(subject, "metrics"));
	EXPECT_TRUE(WAIT_FOR(subject_shows(subject, LAST_BY_THREAD)));
	EXPECT_TRUE(subject_has(subject, "reclaim", "on"));
	EXPECT_TRUE(subject_has(subject, "thread_min", "0"));
	EXPECT_TRUE(subject_accepts(subject, "decay_ms", "9s"));
	EXPECT_TRUE(WAIT_FOR(subject_page(subject, &self->page) &&
			     self->page.head.state == EBB_PAGE_RUNNING));
}

/* thread_min, written to a process that is too small for the thread. */
TEST_F(alone, thread_min_starts_the_thread)
{
	struct subject *subject = &self->subject;

	ASSERT_EQ(0, subject_end(subject));
	ASSERT_TRUE(subject_start(subject, "thread_min=1T"));
	ASSERT_TRUE(subject_appears(subject, EBB_PAGE_FILE));
	ASSERT_TRUE(subject_page(subject, &self->page));
	EXPECT_STREQ("not started", self->page.head.reclaimer);
	ASSERT_TRUE(subject_put_bytes(subject, "thread_min", "0", 1));
	EXPECT_TRUE(subject_appears(subject, LAST_BY_THREAD));
	EXPECT_TRUE(WAIT_FOR(subject_page(subject, &self->page) &&
			     !strcmp("running", self->page.head.reclaimer)));
}

TEST_HARNESS_MAIN
