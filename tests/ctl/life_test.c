// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - A directory's life, and its process's
 */
#include <dirent.h>
#include "harness.h"
#include "ctl/subject.h"

FIXTURE(life) {
	struct subject subject;
	struct subject other;
	struct ebb_page page;
};

FIXTURE_VARIANT(life) {
	const char *conf;
	const char *last_file;
};

FIXTURE_VARIANT_ADD(life, by_the_thread) {
	.conf = CONF_THREAD,
	.last_file = LAST_BY_THREAD,
};

FIXTURE_VARIANT_ADD(life, by_who_allocates) {
	.conf = CONF_ALONE,
	.last_file = EBB_PAGE_FILE,
};

FIXTURE_SETUP(life)
{
	ASSERT_TRUE(make_base(self->subject.base));
	strcpy(self->other.base, self->subject.base);
}

FIXTURE_TEARDOWN(life)
{
	subject_kill(&self->subject);
	subject_kill(&self->other);
	remove_tree(self->subject.base);
}

/* Entries of a directory whose names begin so; -1: there is none. */
static int nr_entries(const char *path, const char *begin)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int nr = 0;

	if (!dir)
		return -1;
	while ((entry = readdir(dir)))
		nr += entry->d_name[0] != '.' &&
		      !strncmp(entry->d_name, begin, strlen(begin));
	closedir(dir);
	return nr;
}

static int nr_dead(const struct subject *subject)
{
	char path[PATH_MAX + 64];

	snprintf(path, sizeof(path), "%s/" EBB_DEAD_DIR "%u", subject->base,
		 geteuid());
	return nr_entries(path, "");
}

/* It sweeps when it makes its own. */
static bool sweeps(struct subject *subject)
{
	return subject_start(subject, CONF_THREAD) &&
	       subject_appears(subject, LAST_BY_THREAD);
}

/* Descriptors open in @pid's table, by the listing. */
static int nr_open(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	return nr_entries(path, "");
}

/* The child that runs in place of the process that was started. */
static int kill_as_seen(const struct subject *subject)
{
	char path[64], text[32];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children",
		 (int)subject->pid, (int)subject->pid);
	if (read_file(path, text, sizeof(text)) <= 0)
		return -1;
	return kill((pid_t)strtol(text, NULL, 10), SIGKILL);
}

/* === Short and long ======================================================= */

TEST_F(life, who_is_gone_in_a_second_leaves_and_makes_nothing)
{
	uint64_t start = now_ms();
	struct stat before, after;

	ASSERT_EQ(0, stat(self->subject.base, &before));
	ASSERT_TRUE(subject_start(&self->subject, variant->conf));
	ASSERT_TRUE(subject_does(&self->subject, "work 5"));
	EXPECT_EQ(0, subject_end(&self->subject));
	ASSERT_EQ(0, stat(self->subject.base, &after));
	EXPECT_EQ(0, nr_entries(self->subject.base, ""));
	if (now_ms() - start >= YOUTH_MS)
		SKIP(return, "it lived for longer than that here");
	EXPECT_EQ(before.st_mtim.tv_sec, after.st_mtim.tv_sec);
	EXPECT_EQ(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
}

TEST_F(life, who_ends_leaves_nothing)
{
	ASSERT_TRUE(subject_start(&self->subject, variant->conf));
	ASSERT_TRUE(subject_appears(&self->subject, variant->last_file));
	EXPECT_EQ(0, subject_end(&self->subject));
	EXPECT_EQ(0, nr_entries(self->subject.base, ""));
	ASSERT_TRUE(subject_start(&self->subject, variant->conf));
	ASSERT_TRUE(subject_appears(&self->subject, variant->last_file));
	/* exit(), with a thread at work. */
	ASSERT_TRUE(subject_does(&self->subject, "busy"));
	EXPECT_STREQ("", subject_ask(&self->subject, "exit"));
	EXPECT_EQ(0, subject_end(&self->subject));
	EXPECT_EQ(0, nr_entries(self->subject.base, ""));
}

TEST_F(life, nothing_is_open_in_the_program)
{
	int before;

	ASSERT_TRUE(subject_start(&self->subject, variant->conf));
	ASSERT_TRUE(subject_does(&self->subject, "work 1"));
	/* 0, 1, 2, and what the runner left open. */
	before = nr_open(self->subject.pid);
	ASSERT_LE(3, before);
	ASSERT_TRUE(subject_appears(&self->subject, variant->last_file));
	EXPECT_EQ(before, nr_open(self->subject.pid));
	for (int i = 0; i < 3; i++) {
		ASSERT_TRUE(subject_does(&self->subject, "work 100"));
		EXPECT_EQ(before, nr_open(self->subject.pid));
	}
}

TEST_F(life, malloc_leaves_errno_alone)
{
	uint64_t end;

	ASSERT_TRUE(subject_start(&self->subject, variant->conf));
	for (end = now_ms() + 3 * YOUTH_MS; now_ms() < end;)
		ASSERT_TRUE(subject_does(&self->subject, "errno 10"));
	EXPECT_TRUE(subject_shows(&self->subject, EBB_PAGE_FILE));
	/* Where it fails, too. */
	remove_tree(self->subject.base);
	for (end = now_ms() + 3 * YOUTH_MS; now_ms() < end;)
		ASSERT_TRUE(subject_does(&self->subject, "errno 10"));
}

/* === Sweeping ============================================================= */

TEST_F(life, who_is_killed_is_swept_and_its_page_is_kept)
{
	struct subject *subject = &self->subject;
	static struct ebb_page kept;
	char path[PATH_MAX + 256];
	int fd;

	ASSERT_TRUE(subject_start(subject, variant->conf));
	ASSERT_TRUE(subject_appears(subject, variant->last_file));
	ASSERT_TRUE(subject_page(subject, &self->page));
	subject_kill(subject);
	ASSERT_EQ(0, access(subject->dir, F_OK));
	/* What has no page is of nobody, if its number is nobody's. */
	snprintf(path, sizeof(path), "%s/99999999", subject->base);
	ASSERT_EQ(0, mkdir(path, 0700));
	ASSERT_TRUE(sweeps(&self->other));
	EXPECT_NE(0, access(subject->dir, F_OK));
	EXPECT_NE(0, access(path, F_OK));
	ASSERT_EQ(1, nr_dead(subject));
	ASSERT_TRUE(subject_page(&self->other, &kept));
	snprintf(path, sizeof(path), "%s/" EBB_DEAD_DIR "%u/%llu-%d",
		 subject->base, geteuid(),
		 (unsigned long long)self->page.head.time_ms,
		 (int)self->page.head.pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		/* It was written again, before it was killed. */
		EXPECT_EQ(1, nr_dead(subject));
	} else {
		ASSERT_EQ((ssize_t)sizeof(kept),
			  read(fd, &kept, sizeof(kept)));
		EXPECT_EQ(0, memcmp(&kept, &self->page, sizeof(kept)));
		close(fd);
	}
	EXPECT_EQ(0, subject_end(&self->other));
}

TEST_F(life, eight_dead_pages_are_kept)
{
	struct subject subjects[EBB_DEAD_MAX + 3];

	for (size_t i = 0; i < ARRAY_LEN(subjects); i++) {
		strcpy(subjects[i].base, self->subject.base);
		ASSERT_TRUE(subject_start(&subjects[i], variant->conf));
	}
	for (size_t i = 0; i < ARRAY_LEN(subjects); i++)
		EXPECT_TRUE(subject_appears(&subjects[i], EBB_PAGE_FILE));
	for (size_t i = 0; i < ARRAY_LEN(subjects); i++)
		subject_kill(&subjects[i]);
	ASSERT_TRUE(sweeps(&self->other));
	EXPECT_EQ(EBB_DEAD_MAX, nr_dead(&self->other));
	EXPECT_EQ(2, nr_entries(self->other.base, ""));
	EXPECT_EQ(0, subject_end(&self->other));
}

/* Its own user's, whatever is there: it ends, and in time. */
TEST_F(life, a_strange_graveyard_holds_nobody_up)
{
	char dead[PATH_MAX + 32], path[PATH_MAX + 300];

	ASSERT_TRUE(subject_start(&self->subject, variant->conf));
	ASSERT_TRUE(subject_appears(&self->subject, EBB_PAGE_FILE));
	subject_kill(&self->subject);
	snprintf(dead, sizeof(dead), "%s/" EBB_DEAD_DIR "%u",
		 self->subject.base, geteuid());
	ASSERT_EQ(0, mkdir(dead, 0700));
	for (int i = 0; i < 200; i++) {
		snprintf(path, sizeof(path), "%s/%d%s", dead, i, i % 2 ? "" :
			 "-a-name-that-is-longer-than-any-that-we-would-make");
		close(open(path, O_CREAT | O_WRONLY, 0600));
	}
	ASSERT_TRUE(subject_start(&self->other, variant->conf));
	EXPECT_TRUE(subject_appears(&self->other, variant->last_file));
	EXPECT_EQ(0, subject_end(&self->other));
}

/* Whose page is a giant: it is not kept. */
TEST_F(life, a_giant_page_is_not_kept)
{
	ASSERT_TRUE(subject_start(&self->subject, variant->conf));
	ASSERT_TRUE(subject_appears(&self->subject, EBB_PAGE_FILE));
	kill(self->subject.pid, SIGSTOP);
	ASSERT_EQ(0, truncate(subject_path(&self->subject, EBB_PAGE_FILE),
			      (off_t)100 * (off_t)MIB));
	subject_kill(&self->subject);
	ASSERT_TRUE(sweeps(&self->other));
	EXPECT_NE(0, access(self->subject.dir, F_OK));
	EXPECT_GE(0, nr_dead(&self->other));
}

/* === fork, exec =========================================================== */

TEST_F(life, a_child_has_a_directory_of_its_own)
{
	struct subject *subject = &self->subject;
	char parent[PATH_MAX + 16];
	struct stat before, after;

	ASSERT_TRUE(subject_start(subject, variant->conf));
	ASSERT_TRUE(subject_appears(subject, variant->last_file));
	ASSERT_EQ(0, stat(subject_path(subject, EBB_PAGE_FILE), &before));
	strcpy(parent, subject->dir);
	ASSERT_TRUE(subject_does(subject, "fork"));
	/* The only other one that appears is the child's. */
	EXPECT_TRUE(WAIT_FOR((subject_does(subject, "work 1"),
			      nr_entries(subject->base, "") == 2)));
	EXPECT_EQ(0, stat(parent, &after));
	EXPECT_STREQ("", subject_ask(subject, "exit") + 2);
	EXPECT_TRUE(WAIT_FOR(nr_entries(subject->base, "") == 1));
	EXPECT_EQ(0, access(parent, F_OK));
	/* The parent goes on. */
	EXPECT_TRUE(subject_does(subject, "work 1"));
	ASSERT_TRUE(subject_page(subject, &self->page));
	EXPECT_EQ((uint32_t)subject->pid, self->page.head.pid);
	EXPECT_EQ(0, subject_end(subject));
	EXPECT_EQ(0, nr_entries(subject->base, ""));
}

/* A thread that has something to show is busy with it as others fork. */
TEST_F(life, children_find_nothing_open)
{
	struct subject *subject = &self->subject;

	ASSERT_TRUE(subject_start(subject, variant->conf));
	ASSERT_TRUE(subject_does(subject, "busy"));
	EXPECT_TRUE(subject_does(subject, "forks 2500"));
	EXPECT_TRUE(subject_does(subject, "rest"));
	EXPECT_EQ(0, subject_end(subject));
	EXPECT_EQ(0, nr_entries(subject->base, ""));
}

TEST_F(life, a_child_that_ran_no_handlers_removes_nothing)
{
	ASSERT_TRUE(subject_start(&self->subject, variant->conf));
	ASSERT_TRUE(subject_appears(&self->subject, variant->last_file));
	EXPECT_TRUE(subject_does(&self->subject, "raw-fork"));
	EXPECT_EQ(0, access(subject_path(&self->subject, EBB_PAGE_FILE),
			    F_OK));
	EXPECT_EQ(0, subject_end(&self->subject));
	EXPECT_EQ(0, nr_entries(self->subject.base, ""));
}

TEST_F(life, another_program_takes_over)
{
	struct subject *subject = &self->subject;
	uint64_t time_ms;

	ASSERT_TRUE(subject_start(subject, variant->conf));
	ASSERT_TRUE(subject_appears(subject, variant->last_file));
	ASSERT_TRUE(subject_page(subject, &self->page));
	time_ms = self->page.head.time_ms;
	ASSERT_TRUE(subject_put_bytes(subject, "stale", "1", 1));
	ASSERT_EQ(6, write(subject->to, "exec\n\n", 6));
	/* The empty line is the new program's first command. */
	EXPECT_TRUE(WAIT_FOR((subject_ask(subject, "work 1"),
			      !subject_shows(subject, "stale") &&
				      page_is_whole(subject, &self->page) &&
				      self->page.head.time_ms > time_ms)));
	EXPECT_EQ((uint32_t)subject->pid, self->page.head.pid);
	EXPECT_EQ(-1, nr_dead(subject));
	subject_end(subject);
	EXPECT_EQ(0, nr_entries(subject->base, ""));
}

/* === Namespaces =========================================================== */

/*
 * Processes 1 and 2 (or 3) of a namespace whose /proc is still the outer one,
 * where these numbers are others': they leave each other alone, and so does
 * who sweeps outside.
 */
TEST_F(life, numbers_of_another_namespace_say_nothing)
{
	struct subject *subject = &self->subject;
	struct stat before, after;

	ASSERT_TRUE(subject_start(subject, variant->conf));
	if (!subject_does(subject, "unshare-pid"))
		SKIP(return, "no pid namespace can be made");
	ASSERT_TRUE(subject_does(subject, "fork"));
	snprintf(subject->dir, sizeof(subject->dir), "%s/1", subject->base);
	ASSERT_TRUE(subject_appears(subject, variant->last_file));
	ASSERT_TRUE(subject_page(subject, &self->page));
	EXPECT_EQ(1u, self->page.head.pid);
	ASSERT_EQ(0, stat(subject->dir, &before));
	ASSERT_TRUE(subject_does(subject, "fork"));
	EXPECT_TRUE(WAIT_FOR((subject_does(subject, "work 1"),
			      nr_entries(subject->base, "") == 2)));
	ASSERT_TRUE(sweeps(&self->other));
	EXPECT_EQ(3, nr_entries(subject->base, ""));
	snprintf(subject->dir, sizeof(subject->dir), "%s/1", subject->base);
	EXPECT_TRUE(subject_shows(subject, EBB_PAGE_FILE));
	ASSERT_EQ(0, stat(subject->dir, &after));
	EXPECT_EQ(before.st_ino, after.st_ino);
	EXPECT_EQ(-1, nr_dead(subject));
}

/* As two containers with one directory, each with a process 1. */
TEST(the_same_number_in_two_namespaces)
{
	struct subject first = { 0 }, second = { 0 };
	static struct ebb_page page;
	struct stat before, after;

	ASSERT_TRUE(make_base(first.base));
	strcpy(second.base, first.base);
	ASSERT_TRUE(subject_start(&first, CONF_THREAD));
	ASSERT_TRUE(subject_start(&second, CONF_THREAD));
	if (!subject_does(&first, "unshare-pid")) {
		subject_kill(&first);
		subject_kill(&second);
		remove_tree(first.base);
		SKIP(return, "no pid namespace can be made");
	}
	ASSERT_TRUE(subject_does(&second, "unshare-pid"));
	ASSERT_TRUE(subject_does(&first, "fork"));
	snprintf(first.dir, sizeof(first.dir), "%s/1", first.base);
	EXPECT_TRUE(subject_appears(&first, LAST_BY_THREAD));
	ASSERT_EQ(0, stat(first.dir, &before));
	/* The first is alive: it is left alone. */
	ASSERT_TRUE(subject_does(&second, "fork"));
	EXPECT_TRUE(subject_says(&second, "control: none: "));
	EXPECT_TRUE(subject_accepts(&first, "decay_ms", "7"));
	ASSERT_EQ(0, stat(first.dir, &after));
	EXPECT_EQ(before.st_ino, after.st_ino);
	EXPECT_EQ(-1, nr_dead(&first));
	/* It ends without a word: its number may be had, its page is kept. */
	ASSERT_EQ(0, kill_as_seen(&first));
	EXPECT_TRUE(subject_says(&second, "control: /"));
	EXPECT_TRUE(WAIT_FOR(page_is_whole(&first, &page)));
	EXPECT_EQ(1, nr_dead(&first));
	subject_kill(&first);
	subject_kill(&second);
	remove_tree(first.base);
}

TEST_HARNESS_MAIN
