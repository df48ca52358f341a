// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Whatever lies in the directory, the process is unharmed
 *
 * It allocates all the time, checks what it has, and says in the end whether
 * all went well.
 */
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include "harness.h"
#include "ctl/subject.h"

#define NR_WRITES	10000
#define NR_WRITERS	4
#define HUGE_SIZE	(256 * KIB)
#define PATIENCE_TIMES	4	/* see goes_on() */

FIXTURE(hostile) {
	struct subject subject;
	struct ebb_page page;
	char victim[PATH_MAX + 16];
};

FIXTURE_VARIANT(hostile) {
	const char *conf;
	const char *last_file;
};

FIXTURE_VARIANT_ADD(hostile, to_the_thread) {
	.conf = CONF_THREAD,
	.last_file = LAST_BY_THREAD,
};

FIXTURE_VARIANT_ADD(hostile, to_who_allocates) {
	.conf = CONF_ALONE,
	.last_file = EBB_PAGE_FILE,
};

FIXTURE_SETUP(hostile)
{
	struct subject *subject = &self->subject;

	ASSERT_TRUE(make_base(subject->base));
	snprintf(self->victim, sizeof(self->victim), "%s/victim",
		 subject->base);
	ASSERT_TRUE(subject_start(subject, variant->conf));
	ASSERT_TRUE(subject_appears(subject, variant->last_file));
	ASSERT_TRUE(subject_does(subject, "busy"));
	close(open(self->victim, O_CREAT | O_WRONLY, 0644));
}

FIXTURE_TEARDOWN(hostile)
{
	subject_kill(&self->subject);
	remove_tree(self->subject.base);
}

static const char *some_file(struct rng *rng)
{
	uint64_t nr_files = ARRAY_LEN(ebb_files);
	uint64_t at = rng_below(rng, EBB_NR_ATTRS + nr_files);

	return at < nr_files ? ebb_files[at].name :
			       ebb_attrs[at - nr_files].name;
}

/* Never with a '/' in front: a log would go there. */
static size_t some_bytes(struct rng *rng, char *bytes)
{
	size_t len = 0;

	switch (rng_below(rng, 5)) {
	case 0:
		return 0;
	case 1:
		return (size_t)sprintf(bytes, "%lld",
				       (long long)rng_next(rng) >>
					       rng_below(rng, 63));
	case 2:
		return (size_t)sprintf(bytes, "%u%c",
				       (unsigned int)rng_below(rng, 2000),
				       "KMGT%s\n"[rng_below(rng, 7)]);
	case 3:
		len = rng_below(rng, 600);
		break;
	default:
		len = rng_below(rng, 50) ? 300 : HUGE_SIZE;
		break;
	}
	for (size_t i = 0; i < len; i++)
		bytes[i] = (char)rng_next(rng);
	if (bytes[0] == '/')
		bytes[0] = '1';
	return len;
}

static void write_some(const struct subject *subject, uint64_t seed,
		       unsigned int nr)
{
	static char bytes[HUGE_SIZE];
	struct rng rng;

	rng_seed(&rng, seed);
	while (nr--) {
		const char *name = some_file(&rng);
		size_t len = some_bytes(&rng, bytes);
		int fd;

		if (rng_below(&rng, 100) == 0)
			unlink(subject_path(subject, name));
		/* Not always truncated, not always from the start. */
		fd = open(subject_path(subject, name), O_WRONLY | O_CREAT |
			  (rng_below(&rng, 2) ? O_TRUNC : 0) |
			  (rng_below(&rng, 8) ? 0 : O_APPEND), 0600);
		if (fd < 0)
			continue;
		if (write(fd, bytes, len) < 0)
			note("%s: %s", name, strerror(errno));
		close(fd);
	}
}

/* === What holds in the end ================================================ */

static int64_t number_of(const char *text, char *ret_suffix)
{
	char *end;
	int64_t value = strtoll(text, &end, 10);
	const char *at = *end ? strchr("KMGT", *end) : NULL;

	*ret_suffix = *end;
	if (at)
		value <<= 10 * (at - "KMGT" + 1);
	return value;
}

/* The value that is in force is one that may be. */
static bool in_range(const struct ebb_attr *attr, const char *text)
{
	char suffix;
	int64_t value = number_of(text, &suffix);

	if (attr->type == EBB_TYPE_BOOL)
		return !strcmp(text, "on") || !strcmp(text, "off");
	if (attr->type == EBB_TYPE_STRING || attr->type == EBB_TYPE_CHOICE)
		return true;
	if (suffix == '%')
		return attr->type == EBB_TYPE_BYTES_OR_PERCENT && value >= 0 &&
		       value <= EBB_PERCENT_MAX;
	return value >= attr->min && value <= attr->max;
}

static bool all_in_range(struct ebb_page *page)
{
	char *line = page->text, *end;

	for (int id = 0; id < EBB_NR_ATTRS; id++, line = end + 1) {
		size_t len = strlen(ebb_attrs[id].name);

		end = strchr(line, '\n');
		if (!end)
			return false;
		*end = '\0';
		if (strncmp(line, ebb_attrs[id].name, len) ||
		    line[len] != '=' ||
		    !in_range(&ebb_attrs[id], line + len + 1)) {
			note("in force: %s", line);
			return false;
		}
		/* What is read at start only is what it was. */
		if (ebb_attrs[id].flags & EBB_FLAG_START &&
		    id != EBB_ATTR_CONTROL_DIR &&
		    strcmp(line + len + 1, ebb_attrs[id].def_text)) {
			note("in force: %s", line);
			return false;
		}
	}
	return true;
}

/*
 * It writes a page that is newer than now.  What failed is tried again after 5
 * seconds, then 10, then 20.
 */
static bool goes_on(struct subject *subject, struct ebb_page *page)
{
	struct timespec ts;
	uint64_t now;

	clock_gettime(CLOCK_REALTIME, &ts);
	now = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
	for (int i = 0; i < PATIENCE_TIMES; i++) {
		if (WAIT_FOR((subject_does(subject, "work 1"),
			      page_is_whole(subject, page) &&
				      page->head.time_ms > now)))
			return true;
		note("no newer page for %d ms", (i + 1) * PATIENCE_MS);
	}
	return false;
}

/* Its own checks of memory, and its end, are as if nothing had been. */
static bool is_unharmed(struct subject *subject)
{
	int status;

	if (!subject_does(subject, "rest"))
		return false;
	status = subject_end(subject);
	if (status)
		note("status %x", status);
	return !status;
}

TEST_F(hostile, ten_thousand_writes)
{
	write_some(&self->subject, 1, NR_WRITES);
	ASSERT_TRUE(goes_on(&self->subject, &self->page));
	EXPECT_TRUE(all_in_range(&self->page));
	EXPECT_TRUE(is_unharmed(&self->subject));
	EXPECT_NE(0, access(self->subject.dir, F_OK));
}

TEST_F(hostile, writers_that_race)
{
	int status;

	for (uint64_t i = 0; i < NR_WRITERS; i++)
		if (!fork()) {
			write_some(&self->subject, 100 + i,
				   NR_WRITES / NR_WRITERS);
			_exit(0);
		}
	for (int i = 0; i < NR_WRITERS; i++) {
		ASSERT_LT(0, wait(&status));
		EXPECT_EQ(0, status);
	}
	ASSERT_TRUE(goes_on(&self->subject, &self->page));
	EXPECT_TRUE(all_in_range(&self->page));
	EXPECT_TRUE(is_unharmed(&self->subject));
	EXPECT_NE(0, access(self->subject.dir, F_OK));
}

/* === Other things in place of a file ====================================== */

static void put_link(const char *path, const char *victim)
{
	if (symlink(victim, path))
		note("%s: %s", path, strerror(errno));
}

static void put_loop(const char *path, const char *victim)
{
	(void)victim;
	put_link(path, path);
}

static void put_hard_link(const char *path, const char *victim)
{
	if (link(victim, path))
		note("%s: %s", path, strerror(errno));
}

static void put_dir(const char *path, const char *victim)
{
	(void)victim;
	mkdir(path, 0700);
}

static void put_fifo(const char *path, const char *victim)
{
	(void)victim;
	mkfifo(path, 0600);
}

static void put_device(const char *path, const char *victim)
{
	(void)victim;
	/* Not only root may: else it is a file that is removed. */
	if (mknod(path, S_IFCHR | 0600, makedev(1, 5)))
		close(open(path, O_CREAT | O_WRONLY, 0600));
}

static void put_socket(const char *path, const char *victim)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)victim;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
		note("%s: %s", path, strerror(errno));
	close(fd);
}

static void put_giant(const char *path, const char *victim)
{
	int fd = open(path, O_CREAT | O_WRONLY, 0600);

	(void)victim;
	if (ftruncate(fd, (off_t)1 << 40) && ftruncate(fd, 1 << 30))
		note("%s: %s", path, strerror(errno));
	close(fd);
}

static void put_locked(const char *path, const char *victim)
{
	(void)victim;
	close(open(path, O_CREAT | O_WRONLY, 0));
}

static void put_nothing(const char *path, const char *victim)
{
	(void)path;
	(void)victim;
}

TEST_F(hostile, other_things_in_place_of_files)
{
	static void (*const put[])(const char *, const char *) = {
		put_link, put_loop, put_hard_link, put_dir, put_fifo,
		put_device, put_socket, put_giant, put_locked, put_nothing,
	};
	static const char *const names[] = {
		EBB_PAGE_FILE, "limit", "decay_ms", "stat", "error", "trim",
	};
	struct stat st;

	for (size_t i = 0; i < ARRAY_LEN(put); i++) {
		for (size_t k = 0; k < ARRAY_LEN(names); k++) {
			const char *path = subject_path(&self->subject,
							names[k]);

			remove(path);
			put[i](path, self->victim);
		}
		/* One that is moved into place is seen at once. */
		put[i](subject_path(&self->subject, "other"), self->victim);
		rename(subject_path(&self->subject, "other"),
		       subject_path(&self->subject, "young_ms"));
		EXPECT_TRUE(goes_on(&self->subject, &self->page)) {
			TH_LOG("thing %zu", i);
		}
		EXPECT_TRUE(all_in_range(&self->page));
	}
	ASSERT_EQ(0, stat(self->victim, &st));
	EXPECT_EQ(0, st.st_size);
	EXPECT_EQ(0644, (int)st.st_mode & 07777);
	EXPECT_TRUE(is_unharmed(&self->subject));
}

/* The directory itself, and what is made in it for a moment. */
TEST_F(hostile, a_directory_that_is_taken_away)
{
	for (int i = 0; i < 2; i++) {
		remove_tree(self->subject.dir);
		EXPECT_TRUE(goes_on(&self->subject, &self->page));
	}
	EXPECT_TRUE(is_unharmed(&self->subject));
	EXPECT_NE(0, access(self->subject.dir, F_OK));
}

TEST_F(hostile, a_link_in_place_of_the_directory)
{
	char aside[PATH_MAX + 32];

	snprintf(aside, sizeof(aside), "%s/aside", self->subject.base);
	ASSERT_EQ(0, rename(self->subject.dir, aside));
	ASSERT_EQ(0, symlink(self->subject.base, self->subject.dir));
	for (int i = 0; i < 5; i++)
		EXPECT_TRUE(subject_does(&self->subject, "work 10"));
	EXPECT_TRUE(is_unharmed(&self->subject));
	EXPECT_EQ(0, access(self->victim, F_OK));
}

TEST_F(hostile, more_files_than_it_looks_at)
{
	char name[64];

	for (int i = 0; i < 3000; i++) {
		snprintf(name, sizeof(name), "%s-%d", i % 2 ? "limit" :
			 "a_name_that_is_longer_than_any_of_ours", i);
		ASSERT_TRUE(subject_put_bytes(&self->subject, name, "1", 1));
	}
	ASSERT_EQ(0, unlink(subject_path(&self->subject, EBB_PAGE_FILE)));
	EXPECT_TRUE(goes_on(&self->subject, &self->page));
	EXPECT_TRUE(is_unharmed(&self->subject));
}

/*
 * A directory with something in it cannot be removed for the file. It is
 * moved into place whole, again while the process puts its file there first.
 */
static bool put_full_dir(const struct subject *subject, const char *name)
{
	char dir[PATH_MAX + 64], file[PATH_MAX + 80], path[PATH_MAX + 64];

	snprintf(dir, sizeof(dir), "%s/full", subject->base);
	snprintf(file, sizeof(file), "%s/file", dir);
	snprintf(path, sizeof(path), "%s/%s", subject->dir, name);
	if (mkdir(dir, 0700))
		return false;
	close(open(file, O_CREAT | O_WRONLY, 0600));
	return WAIT_FOR((unlink(path), !rename(dir, path)));
}

TEST_F(hostile, full_directories_in_place_of_files)
{
	static const char *const names[] = { "stat", "limit", "metrics" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		ASSERT_TRUE(put_full_dir(&self->subject, names[i]));
	EXPECT_TRUE(goes_on(&self->subject, &self->page));
	ASSERT_TRUE(put_full_dir(&self->subject, ".new"));
	for (int i = 0; i < 5; i++)
		EXPECT_TRUE(subject_does(&self->subject, "work 10"));
	EXPECT_TRUE(is_unharmed(&self->subject));
}

TEST_HARNESS_MAIN
