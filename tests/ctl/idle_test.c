// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - To be seen costs nothing but the page
 *
 * What a process does is told by its threads' context switches: who sleeps and
 * is not switched to makes no system call.
 */
#include <dirent.h>
#include "harness.h"
#include "ctl/subject.h"

#define NR_READERS	50
#define LOOK_MS		3000
#define NR_TRIES	5	/* the kernel may tell of real pressure */

FIXTURE(idle) {
	struct subject subject;
	struct ebb_page page;
};

FIXTURE_VARIANT(idle) {
	const char *conf;
	const char *last_file;
};

FIXTURE_VARIANT_ADD(idle, by_the_thread) {
	.conf = CONF_THREAD ",psi_us=0",
	.last_file = LAST_BY_THREAD,
};

FIXTURE_VARIANT_ADD(idle, by_who_allocates) {
	.conf = CONF_ALONE,
	.last_file = EBB_PAGE_FILE,
};

FIXTURE_VARIANT_ADD(idle, too_small_for_the_thread) {
	.conf = "thread_min=1T",
	.last_file = EBB_PAGE_FILE,
};

FIXTURE_SETUP(idle)
{
	ASSERT_TRUE(make_base(self->subject.base));
	ASSERT_TRUE(subject_start(&self->subject, variant->conf));
	ASSERT_TRUE(subject_appears(&self->subject, variant->last_file));
}

FIXTURE_TEARDOWN(idle)
{
	subject_kill(&self->subject);
	remove_tree(self->subject.base);
}

/* The number behind @key in the status of thread @tid. */
static uint64_t status_number(pid_t pid, const char *tid, const char *key)
{
	char path[128], text[8192], *at;

	snprintf(path, sizeof(path), "/proc/%d/task/%s/status", (int)pid, tid);
	if (read_file(path, text, sizeof(text)) < 0)
		return 0;
	at = strstr(text, key);
	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

/* Of all its threads, voluntary or not. */
static uint64_t switches(pid_t pid)
{
	char path[64];
	struct dirent *entry;
	uint64_t sum = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			sum += status_number(pid, entry->d_name,
					     "\nvoluntary_ctxt_switches:\t") +
			       status_number(pid, entry->d_name,
					     "\nnonvoluntary_ctxt_switches:\t");
	if (dir)
		closedir(dir);
	return sum;
}

/* Wait until it has done what there was to do. */
static bool comes_to_rest(pid_t pid)
{
	uint64_t until = now_ms() + PATIENCE_MS;

	while (now_ms() < until) {
		uint64_t before = switches(pid);

		sleep_ms(LOOK_MS / 2);
		if (switches(pid) == before)
			return true;
	}
	return false;
}

/* Whether it sleeps on while @fn runs; what that does wakes it each time. */
static bool sleeps_while(struct subject *subject,
			 bool (*fn)(struct subject *subject))
{
	for (int i = 0; i < NR_TRIES; i++) {
		uint64_t before;
		bool good;

		if (!comes_to_rest(subject->pid))
			return false;
		before = switches(subject->pid);
		good = fn(subject);
		if (switches(subject->pid) == before)
			return good;
	}
	return false;
}

/* Nothing. */
static bool wait_for_a_while(struct subject *subject)
{
	static struct ebb_page page;
	uint64_t before;

	if (!subject_page(subject, &page))
		return false;
	before = page.head.nr_written;
	sleep_ms(LOOK_MS);
	return subject_page(subject, &page) &&
	       page.head.nr_written == before;
}

TEST_F(idle, an_idle_process_sleeps)
{
	EXPECT_TRUE(sleeps_while(&self->subject, wait_for_a_while));
}

/* 10 times a second, what there is to be read. */
static void read_until(const struct subject *subject, uint64_t end_ms)
{
	static char text[64 * KIB];

	while (now_ms() < end_ms) {
		for (size_t i = 0; i < ARRAY_LEN(ebb_files); i++)
			if (read_file(subject_path(subject,
						   ebb_files[i].name),
				      text, sizeof(text)) < 0 &&
			    !strcmp(ebb_files[i].name, EBB_PAGE_FILE))
				_exit(1);
		if (read_file(subject_path(subject, "limit"), text,
			      sizeof(text)) < 0 && errno != ENOENT)
			_exit(1);
		sleep_ms(100);
	}
	_exit(0);
}

static bool read_by_fifty(struct subject *subject)
{
	uint64_t end = now_ms() + LOOK_MS;
	bool good = true;
	int status;

	for (int i = 0; i < NR_READERS; i++)
		if (!fork())
			read_until(subject, end);
	for (int i = 0; i < NR_READERS; i++)
		good &= wait(&status) > 0 && !status;
	return good;
}

TEST_F(idle, fifty_readers_do_not_wake_it)
{
	EXPECT_TRUE(sleeps_while(&self->subject, read_by_fifty));
}

/* As often as it may be, and no more: the time is measured around it. */
TEST_F(idle, the_page_is_written_once_a_second)
{
	uint64_t before, start, took;

	ASSERT_TRUE(subject_page(&self->subject, &self->page));
	before = self->page.head.nr_written;
	start = now_ms();
	ASSERT_TRUE(subject_does(&self->subject, "busy"));
	sleep_ms(2 * LOOK_MS);
	ASSERT_TRUE(subject_does(&self->subject, "rest"));
	ASSERT_TRUE(subject_page(&self->subject, &self->page));
	took = now_ms() - start;
	/* Under pressure it may be more. */
	if (self->page.counters[EBB_COUNTER_NR_FORCED])
		SKIP(return, "there is pressure on this machine");
	EXPECT_GE(took / 1000 + 1, self->page.head.nr_written - before);
	EXPECT_TRUE(WAIT_FOR((subject_does(&self->subject, "work 1"),
			      subject_page(&self->subject, &self->page),
			      self->page.head.nr_written > before + 1)));
}

TEST_HARNESS_MAIN
