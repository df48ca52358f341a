// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Where the directory of a process is, and where it is not
 *
 * In a mount namespace of the test's own, with a tmpfs on /run and /dev/shm, so
 * that nobody else's directories are seen or touched.
 */
#include <sched.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <linux/magic.h>
#include "harness.h"
#include "ctl/subject.h"

#define NOBODY		65534
#define SHM_BASE	"/dev/shm/ebb-0"

FIXTURE(place) {
	struct subject subject;
	struct ebb_page page;
	char dir[PATH_MAX];
	const char *why;		/* NULL: it can be tested */
};

FIXTURE_VARIANT(place) {
	const char *conf;
	const char *last_file;
};

FIXTURE_VARIANT_ADD(place, by_the_thread) {
	.conf = CONF_THREAD,
	.last_file = LAST_BY_THREAD,
};

FIXTURE_VARIANT_ADD(place, by_who_allocates) {
	.conf = CONF_ALONE,
	.last_file = EBB_PAGE_FILE,
};

/* NULL, or why not. */
static const char *own_mounts(void)
{
	if (unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return "no mount namespace of one's own can be made";
	if (mount("run", "/run", "tmpfs", 0, "mode=755") ||
	    mount("shm", "/dev/shm", "tmpfs", 0, "mode=1777"))
		return "no tmpfs can be mounted";
	return NULL;
}

FIXTURE_SETUP(place)
{
	ASSERT_TRUE(make_base(self->dir));
	self->why = geteuid() ? "root alone can make mounts" : own_mounts();
}

FIXTURE_TEARDOWN(place)
{
	subject_kill(&self->subject);
	if (!self->why) {
		umount2("/dev/shm", MNT_DETACH);
		umount2("/run", MNT_DETACH);
	}
	remove_tree(self->dir);
}

#define NEEDS_MOUNTS() do {						\
	if (self->why)							\
		SKIP(return, "%s", self->why);				\
} while (0)

/* Start it as @conf says, and expect its directory in @base. */
static bool start_in(struct subject *subject, const char *base,
		     const char *conf, const char *env)
{
	snprintf(subject->base, sizeof(subject->base), "%s", base);
	return subject_start_as(subject, conf, env);
}

static bool read_only(const char *path)
{
	return !mount(NULL, path, NULL, MS_REMOUNT | MS_RDONLY, NULL);
}

/* Whether it appears in @base, and is gone from there when it has ended. */
static bool lives_in(struct subject *subject, const char *base,
		     const char *conf, const char *env)
{
	char expected[PATH_MAX + 64];

	if (!start_in(subject, base, conf, env))
		return false;
	snprintf(expected, sizeof(expected), "control: %s", subject->dir);
	return subject_says(subject, expected) &&
	       subject_appears(subject, EBB_PAGE_FILE) &&
	       !subject_end(subject) && access(subject->dir, F_OK);
}

/* Whether it has none, says that, and lives on. */
static bool has_none(struct subject *subject, const char *conf)
{
	return start_in(subject, "/nowhere", conf, NULL) &&
	       subject_says(subject, "control: none: ") &&
	       subject_does(subject, "work 10") && !subject_end(subject);
}

/* === The places, in their order =========================================== */

TEST_F(place, run_goes_first)
{
	struct stat st;

	NEEDS_MOUNTS();
	EXPECT_TRUE(lives_in(&self->subject, EBB_DIR_RUN, variant->conf,
			     NULL));
	ASSERT_EQ(0, stat(EBB_DIR_RUN, &st));
	EXPECT_EQ(0755, (int)st.st_mode & 07777);
	ASSERT_EQ(0, chmod(EBB_DIR_RUN, 01777));
	EXPECT_TRUE(lives_in(&self->subject, EBB_DIR_RUN, variant->conf,
			     NULL));
}

TEST_F(place, run_is_not_used_where_others_may_rename)
{
	NEEDS_MOUNTS();
	ASSERT_EQ(0, mkdir(EBB_DIR_RUN, 0777));
	ASSERT_EQ(0, chmod(EBB_DIR_RUN, 0777));
	EXPECT_TRUE(lives_in(&self->subject, SHM_BASE, variant->conf, NULL));
	ASSERT_EQ(0, chmod(EBB_DIR_RUN, 0775));
	EXPECT_TRUE(lives_in(&self->subject, SHM_BASE, variant->conf, NULL));
	ASSERT_EQ(0, chmod(EBB_DIR_RUN, 0755));
	ASSERT_EQ(0, chown(EBB_DIR_RUN, NOBODY, NOBODY));
	EXPECT_TRUE(lives_in(&self->subject, SHM_BASE, variant->conf, NULL));
	ASSERT_EQ(0, rmdir(EBB_DIR_RUN));
	ASSERT_EQ(0, symlink("/tmp", EBB_DIR_RUN));
	EXPECT_TRUE(lives_in(&self->subject, SHM_BASE, variant->conf, NULL));
}

/* A directory made there would stay, on a disk. */
TEST_F(place, nothing_is_made_on_a_disk)
{
	struct statfs fs;

	NEEDS_MOUNTS();
	ASSERT_EQ(0, statfs(self->dir, &fs));
	if (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC)
		SKIP(return, "/tmp is no disk here");
	ASSERT_EQ(0, mount(self->dir, "/run", NULL, MS_BIND, NULL));
	EXPECT_TRUE(lives_in(&self->subject, SHM_BASE, variant->conf, NULL));
	EXPECT_NE(0, access(EBB_DIR_RUN, F_OK));
	ASSERT_EQ(0, umount("/run"));
}

TEST_F(place, runtime_directory_goes_second)
{
	NEEDS_MOUNTS();
	ASSERT_EQ(0, mkdir("/dev/shm/runtime", 0700));
	ASSERT_TRUE(read_only("/run"));
	EXPECT_TRUE(lives_in(&self->subject, "/dev/shm/runtime/ebb",
			     variant->conf, "XDG_RUNTIME_DIR=/dev/shm/runtime"));
	EXPECT_TRUE(lives_in(&self->subject, SHM_BASE, variant->conf,
			     "XDG_RUNTIME_DIR=dev/shm/runtime"));
	ASSERT_EQ(0, chown("/dev/shm/runtime", NOBODY, NOBODY));
	EXPECT_TRUE(lives_in(&self->subject, SHM_BASE, variant->conf,
			     "XDG_RUNTIME_DIR=/dev/shm/runtime"));
}

TEST_F(place, what_others_took_is_left_to_them)
{
	struct stat st;

	NEEDS_MOUNTS();
	ASSERT_TRUE(read_only("/run"));
	ASSERT_EQ(0, mkdir(SHM_BASE, 0777));
	ASSERT_EQ(0, chown(SHM_BASE, NOBODY, NOBODY));
	EXPECT_TRUE(has_none(&self->subject, variant->conf));
	ASSERT_EQ(0, chown(SHM_BASE, 0, 0));
	ASSERT_EQ(0, chmod(SHM_BASE, 0777));
	EXPECT_TRUE(has_none(&self->subject, variant->conf));
	ASSERT_EQ(0, rmdir(SHM_BASE));
	ASSERT_EQ(0, symlink(self->dir, SHM_BASE));
	EXPECT_TRUE(has_none(&self->subject, variant->conf));
	ASSERT_EQ(0, stat(self->dir, &st));
	EXPECT_EQ(2, (int)st.st_nlink);
}

TEST_F(place, no_place_at_all_is_no_harm)
{
	NEEDS_MOUNTS();
	ASSERT_TRUE(read_only("/run"));
	ASSERT_TRUE(read_only("/dev/shm"));
	EXPECT_TRUE(has_none(&self->subject, variant->conf));
}

TEST_F(place, a_full_tmpfs_is_no_harm)
{
	struct subject *subject = &self->subject;
	static char bytes[64 * KIB];
	char conf[256];
	int fd;

	NEEDS_MOUNTS();
	ASSERT_EQ(0, mount("full", self->dir, "tmpfs", 0, "size=64k"));
	snprintf(conf, sizeof(conf), "control_dir=%s,%s", self->dir,
		 variant->conf);
	snprintf(subject->base, sizeof(subject->base), "%s/filler", self->dir);
	fd = open(subject->base, O_CREAT | O_WRONLY, 0600);
	ASSERT_LE(0, fd);
	while (write(fd, bytes, sizeof(bytes)) > 0)
		;
	close(fd);
	ASSERT_TRUE(start_in(subject, self->dir, conf, NULL));
	EXPECT_TRUE(subject_says(subject, "control: none: "));
	EXPECT_TRUE(subject_does(subject, "work 10"));
	EXPECT_EQ(0, access(subject->dir, F_OK));
	EXPECT_EQ(0, subject_end(subject));
	/* What could be made is removed all the same. */
	EXPECT_NE(0, access(subject->dir, F_OK));
	umount2(self->dir, MNT_DETACH);
}

/* === control_dir ========================================================== */

static bool lives_in_dir(struct subject *subject, const char *dir,
			 const char *conf)
{
	char all[PATH_MAX + 256];

	snprintf(all, sizeof(all), "control_dir=%s,%s", dir, conf);
	return lives_in(subject, dir, all, NULL);
}

static bool has_none_in(struct subject *subject, const char *dir,
			const char *conf)
{
	char all[PATH_MAX + 256];

	snprintf(all, sizeof(all), "control_dir=%s,%s", dir, conf);
	return has_none(subject, all);
}

TEST_F(place, control_dir_is_where_it_says)
{
	char link[PATH_MAX + 16];

	NEEDS_MOUNTS();
	EXPECT_TRUE(lives_in_dir(&self->subject, self->dir, variant->conf));
	ASSERT_EQ(0, chmod(self->dir, 01777));
	EXPECT_TRUE(lives_in_dir(&self->subject, self->dir, variant->conf));
	ASSERT_EQ(0, chmod(self->dir, 0777));
	EXPECT_TRUE(has_none_in(&self->subject, self->dir, variant->conf));
	ASSERT_EQ(0, chmod(self->dir, 0755));
	snprintf(link, sizeof(link), "%s/link", self->dir);
	ASSERT_EQ(0, symlink(self->dir, link));
	EXPECT_TRUE(has_none_in(&self->subject, link, variant->conf));
	EXPECT_TRUE(has_none_in(&self->subject, "/missing/dir",
				variant->conf));
	EXPECT_TRUE(has_none_in(&self->subject, "/dev/null", variant->conf));
	ASSERT_EQ(0, chown(self->dir, NOBODY, NOBODY));
	EXPECT_TRUE(has_none_in(&self->subject, self->dir, variant->conf));
}

/* What is no path is refused as any other value, and the default holds. */
TEST_F(place, control_dir_is_a_path_or_off)
{
	char conf[256];

	NEEDS_MOUNTS();
	snprintf(conf, sizeof(conf), "control_dir=tmp,%s", variant->conf);
	EXPECT_TRUE(lives_in(&self->subject, EBB_DIR_RUN, conf, NULL));
	snprintf(conf, sizeof(conf), "control_dir=off,%s", variant->conf);
	ASSERT_TRUE(start_in(&self->subject, EBB_DIR_RUN, conf, NULL));
	EXPECT_TRUE(subject_says(&self->subject, "control: off"));
	for (uint64_t end = now_ms() + YOUTH_MS + 500; now_ms() < end;)
		EXPECT_TRUE(subject_does(&self->subject, "work 1"));
	EXPECT_NE(0, access(self->subject.dir, F_OK));
	EXPECT_EQ(0, subject_end(&self->subject));
}

/* === Users ================================================================ */

TEST_F(place, another_user_has_another_directory)
{
	struct subject *subject = &self->subject;
	char command[64];

	NEEDS_MOUNTS();
	ASSERT_TRUE(read_only("/run"));
	ASSERT_TRUE(start_in(subject, SHM_BASE, variant->conf, NULL));
	ASSERT_TRUE(subject_appears(subject, variant->last_file));
	snprintf(command, sizeof(command), "setuid %d", NOBODY);
	ASSERT_TRUE(subject_does(subject, command));
	snprintf(subject->dir, sizeof(subject->dir), "/dev/shm/ebb-%d/%d",
		 NOBODY, (int)subject->pid);
	EXPECT_TRUE(subject_appears(subject, variant->last_file));
	ASSERT_TRUE(subject_page(subject, &self->page));
	EXPECT_EQ((uint32_t)NOBODY, self->page.head.uid);
	EXPECT_EQ(0, subject_end(subject));
	EXPECT_NE(0, access(subject->dir, F_OK));
}

TEST_F(place, umask_does_not_decide_who_sees_it)
{
	struct stat st;

	NEEDS_MOUNTS();
	ASSERT_TRUE(start_in(&self->subject, EBB_DIR_RUN, variant->conf,
			     NULL));
	ASSERT_TRUE(subject_does(&self->subject, "umask 0777"));
	ASSERT_TRUE(subject_appears(&self->subject, variant->last_file));
	ASSERT_EQ(0, stat(EBB_DIR_RUN, &st));
	EXPECT_EQ(0755, (int)st.st_mode & 07777);
	ASSERT_EQ(0, stat(self->subject.dir, &st));
	EXPECT_EQ(0700, (int)st.st_mode & 07777);
	ASSERT_EQ(0, stat(subject_path(&self->subject, EBB_PAGE_FILE), &st));
	EXPECT_EQ(0600, (int)st.st_mode & 07777);
}

/* Below another root, and there without /proc. */
TEST_F(place, another_root_has_places_of_its_own)
{
	struct subject *subject = &self->subject;
	char command[PATH_MAX + 16], base[PATH_MAX + 16];
	char conf[256];

	NEEDS_MOUNTS();
	snprintf(base, sizeof(base), "%s/c", self->dir);
	ASSERT_EQ(0, mkdir(base, 0700));
	snprintf(conf, sizeof(conf), "control_dir=/c,%s", variant->conf);
	ASSERT_TRUE(start_in(subject, base, conf, NULL));
	snprintf(command, sizeof(command), "chroot %s", self->dir);
	ASSERT_TRUE(subject_does(subject, command));
	if (!strcmp(variant->last_file, LAST_BY_THREAD)) {
		EXPECT_TRUE(subject_appears(subject, LAST_BY_THREAD));
		EXPECT_TRUE(subject_accepts(subject, "decay_ms", "3"));
	} else {
		EXPECT_TRUE(subject_says(subject, "control: none: it cannot "
					 "be told, without /proc"));
	}
	EXPECT_EQ(0, subject_end(subject));
	EXPECT_NE(0, access(subject->dir, F_OK));
}

/* === Programs with privileges of their own ================================ */

/* subject-static, where nobody's group is given to whoever runs it. */
static bool install_setgid(const char *to)
{
	static char bytes[8 * MIB];
	char from[PATH_MAX];
	ssize_t len = read_file(beside(from, "subject-static"), bytes,
				sizeof(bytes));
	int fd = open(to, O_CREAT | O_WRONLY | O_CLOEXEC, 0700);
	bool good = len > 0 && write(fd, bytes, (size_t)len) == len;

	close(fd);
	return good && !chown(to, 0, NOBODY) && !chmod(to, 02755);
}

/* Whoever runs it may write to its files, not choose where it does. */
TEST_F(place, a_program_with_privileges_keeps_its_log)
{
	struct subject *subject = &self->subject;
	char path[PATH_MAX + 16], log[PATH_MAX + 16], seen[PATH_MAX + 16];
	struct statvfs fs;

	NEEDS_MOUNTS();
	ASSERT_EQ(0, statvfs(self->dir, &fs));
	if (fs.f_flag & ST_NOSUID)
		SKIP(return, "programs are given no privileges in /tmp");
	snprintf(path, sizeof(path), "%s/program", self->dir);
	snprintf(log, sizeof(log), "%s/log", self->dir);
	if (!install_setgid(path))
		SKIP(return, "there is no static program in this build");
	snprintf(subject->base, sizeof(subject->base), "%s", EBB_DIR_RUN);
	subject_program = path;
	ASSERT_TRUE(subject_start_as(subject, "", NULL));
	ASSERT_TRUE(subject_appears(subject, EBB_PAGE_FILE));
	ASSERT_TRUE(subject_put_bytes(subject, "log", log, strlen(log)));
	EXPECT_TRUE(WAIT_FOR((subject_does(subject, "work 1"),
			      subject_has(subject, "log", "stderr"))));
	snprintf(seen, sizeof(seen), "%s", subject_get(subject, "error"));
	EXPECT_NE(NULL, strstr(seen, "refused: it is read at start only"));
	EXPECT_EQ(0, subject_end(subject));
	/* Without them it may be set. */
	ASSERT_EQ(0, chmod(path, 0755));
	ASSERT_TRUE(subject_start_as(subject, "", NULL));
	ASSERT_TRUE(subject_appears(subject, EBB_PAGE_FILE));
	ASSERT_TRUE(subject_put_bytes(subject, "log", log, strlen(log)));
	snprintf(seen, sizeof(seen), "log=%s\n", log);
	EXPECT_TRUE(WAIT_FOR((subject_does(subject, "work 1"),
			      page_is_whole(subject, &self->page) &&
				      strstr(self->page.text, seen))));
	EXPECT_EQ(0, subject_end(subject));
}

TEST_HARNESS_MAIN
