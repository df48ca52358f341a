/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ebbmalloc stories - Siblings
 *
 * Siblings that find each other, notice failure and choose a master.  Here: the
 * processes of a cgroup.  None of them gives anything back by itself: no age,
 * no bound, no distance to the limit has them do it.
 */
#include <dirent.h>
#include <pthread.h>
#include <sys/syscall.h>
#include "base/compiler.h"
#include "harness.h"
#include "bench/container.h"
#include "cgroup.h"
#include "ctl/subject.h"
#include "reclaim/roster.h"

#define NR		3
#define PIECE		1000
#define ROOMY		(400 * MIB)
#define GARBAGE		(48 * MIB)	/* what one of them has free */
#define NEED		(36 * MIB)	/* what another one wants */
#define NARROW		(72 * MIB)	/* too little for both */
#define SHORT_MS	300		/* that one may wait at a time */

/* Looks are frequent, so that what happens is seen soon. */
#define CONF		CONF_THREAD ",decay_ms=-1,lazy_ms=-1,dirty_max=0,low=0," \
			"tight=0,high=0,audit_ms=0,psi_us=0,tick_max_ms=50," \
			"log=off"

FIXTURE(siblings) {
	struct subject subjects[NR];
	char base[PATH_MAX];
	char program[PATH_MAX];
	char fifos[NR][PATH_MAX + 16];
	struct group group;
};

FIXTURE_SETUP(siblings)
{
	ASSERT_TRUE(make_base(self->base));
	/* Who is killed is asked, too. */
	signal(SIGPIPE, SIG_IGN);
	subject_program = beside(self->program, "../ctl/subject");
	subject_prepare = NULL;
	for (unsigned int i = 0; i < NR; i++) {
		memcpy(self->subjects[i].base, self->base, sizeof(self->base));
		snprintf(self->fifos[i], sizeof(self->fifos[i]), "%s/fifo-%u",
			 self->base, i);
		ASSERT_EQ(0, mkfifo(self->fifos[i], 0600));
	}
	group_make(&self->group);
}

FIXTURE_TEARDOWN(siblings)
{
	for (unsigned int i = 0; i < NR; i++)
		subject_kill(&self->subjects[i]);
	group_write(self->group.parent, "cgroup.procs", "0");
	group_remove(&self->group);
	remove_tree(self->base);
}

#define NEEDS_GROUP() do {						\
	if (!self->group.path[0])					\
		SKIP(return, "cannot make a memory cgroup here");	\
	if (!IS_ENABLED(CONFIG_HEADROOM))				\
		SKIP(return, "needs CONFIG_HEADROOM");			\
} while (0)

static bool start(struct __test_metadata *_metadata,
		  FIXTURE_DATA(siblings) *self, unsigned int i,
		  const char *more)
{
	char conf[PATH_MAX + 512], watched[PATH_MAX + 64];
	struct subject *subject = &self->subjects[i];

	(void)_metadata;
	snprintf(conf, sizeof(conf), "control_dir=%s,log=off%s%s", self->base,
		 *more ? "," : "", more);
	snprintf(watched, sizeof(watched), "MEMORY_PRESSURE_WATCH=%s",
		 self->fifos[i]);
	return subject_start_as(subject, conf, watched);
}

/* It has memory that it does not use, and keeps. */
static bool make_garbage(struct subject *subject)
{
	char command[64];

	snprintf(command, sizeof(command), "alloc %d %d",
		 (int)(GARBAGE / PIECE), PIECE);
	return subject_does(subject, command) &&
	       subject_does(subject, "free 0");
}

static size_t rss(const struct subject *subject)
{
	return status_bytes_of(subject->pid, "\nVmRSS:");
}

static uint64_t nr_seen(struct subject *subject)
{
	return subject_number(subject, "counter siblings");
}

static bool leads(struct subject *subject)
{
	return subject_number(subject, "counter siblings_led");
}

static unsigned int nr_leading(struct subject *subjects)
{
	unsigned int nr = 0;

	for (unsigned int i = 0; i < NR; i++)
		nr += subjects[i].pid && leads(&subjects[i]);
	return nr;
}

static void roster_dir(const char *base, char path[PATH_MAX + 64])
{
	snprintf(path, PATH_MAX + 64, "%s/" EBB_ROSTER_DIR "%u", base,
		 (unsigned int)geteuid());
}

/* What @subject has told the others that it could give back. */
static uint64_t told_spare(const char *base, const struct subject *subject)
{
	struct roster_row rows[NR + 1];
	char path[PATH_MAX + 64];
	uint64_t ret = 0;
	struct dirent *entry;
	DIR *dir;

	roster_dir(base, path);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		int fd = entry->d_type != DT_REG ? -1 :
			 openat(dirfd(dir), entry->d_name, O_RDONLY | O_CLOEXEC);
		ssize_t len = fd < 0 ? 0 : pread(fd, rows, sizeof(rows), 0);

		for (size_t i = 1; len >= 0 && i < (size_t)len / sizeof(rows[0]);
		     i++)
			if (rows[i].pid == (uint32_t)subject->pid)
				ret = rows[i].spare;
		if (fd >= 0)
			close(fd);
	}
	if (dir)
		closedir(dir);
	return ret;
}

/* Who has not told yet what he has is not asked, however slow he is. */
static bool wait_until_told(const char *base, const struct subject *subject)
{
	return WAIT_FOR(told_spare(base, subject) >= GARBAGE / 2);
}

static bool start_all(struct __test_metadata *_metadata,
		      FIXTURE_DATA(siblings) *self)
{
	bool good = group_set_limit(&self->group, ROOMY) &&
		    group_enter(&self->group);

	for (unsigned int i = 0; good && i < NR; i++)
		good = start(_metadata, self, i, CONF);
	group_write(self->group.parent, "cgroup.procs", "0");
	for (unsigned int i = 0; good && i < NR; i++)
		good = make_garbage(&self->subjects[i]) &&
		       WAIT_FOR(nr_seen(&self->subjects[i]) == i) &&
		       wait_until_told(self->base, &self->subjects[i]);
	return good;
}

TEST_F(siblings, they_find_each_other_notice_failure_and_choose_a_master)
{
	struct subject *subjects = self->subjects;
	unsigned int master = 0;
	char dir[PATH_MAX + 64];

	NEEDS_GROUP();
	ASSERT_TRUE(start_all(_metadata, self));
	for (unsigned int i = 0; i < NR; i++)
		EXPECT_TRUE(WAIT_FOR(nr_seen(&subjects[i]) == NR - 1));
	EXPECT_EQ(1u, nr_leading(subjects));
	/* It is killed, as by the OOM killer: it cannot say so. */
	while (!leads(&subjects[master]))
		master++;
	subject_kill(&subjects[master]);
	for (unsigned int i = 0; i < NR; i++)
		if (i != master)
			EXPECT_TRUE(WAIT_FOR(nr_seen(&subjects[i]) == NR - 2));
	EXPECT_TRUE(WAIT_FOR(nr_leading(subjects) == 1));
	/* Who ends by itself leaves nothing, the last one not even the file. */
	for (unsigned int i = 0; i < NR; i++)
		if (i != master)
			EXPECT_EQ(0, subject_end(&subjects[i]));
	roster_dir(self->base, dir);
	EXPECT_NE(0, access(dir, F_OK));
}

TEST_F(siblings, the_master_passes_on_what_it_hears)
{
	struct subject *subjects = self->subjects;
	unsigned int master = 0;
	int fifo;

	if (!IS_ENABLED(CONFIG_WATCH))
		SKIP(return, "needs CONFIG_WATCH");
	NEEDS_GROUP();
	ASSERT_TRUE(start_all(_metadata, self));
	while (master < NR - 1 && !leads(&subjects[master]))
		master++;
	for (unsigned int i = 0; i < NR; i++)
		EXPECT_LT(GARBAGE, rss(&subjects[i]));
	fifo = open(self->fifos[master], O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fifo);
	ASSERT_EQ(1, write(fifo, "!", 1));
	/* An eighth of the limit is asked for: one has so much. */
	EXPECT_TRUE(WAIT_FOR(rss(&subjects[master]) < GARBAGE / 2));
	EXPECT_TRUE(WAIT_FOR(rss(&subjects[(master + 1) % NR]) < GARBAGE / 2 ||
			     rss(&subjects[(master + 2) % NR]) < GARBAGE / 2));
	EXPECT_LT(0u, subject_number(&subjects[master],
				     "counter siblings_asked"));
	close(fifo);
}

/* What it then must not do it leaves, whoever comes and goes. */
TEST_F(siblings, who_confines_itself_later_goes_on)
{
	struct subject *subjects = self->subjects;
	char command[96];

	NEEDS_GROUP();
	ASSERT_TRUE(start_all(_metadata, self));
	EXPECT_TRUE(WAIT_FOR(nr_seen(&subjects[0]) == NR - 1));
	/* In the middle of a visit of its directory it would be too late. */
	ASSERT_TRUE(subjects_rest(subjects, 1));
	snprintf(command, sizeof(command), "filter kill %d %d %d", SYS_unlinkat,
		 SYS_fcntl, SYS_pwrite64);
	ASSERT_TRUE(subject_does(&subjects[0], command));
	subject_kill(&subjects[1]);
	/* The other one has buried it; so would this one have. */
	EXPECT_TRUE(WAIT_FOR(nr_seen(&subjects[2]) < NR - 1));
	for (unsigned int i = 0; i < 15; i++) {
		EXPECT_TRUE(make_garbage(&subjects[0]));
		sleep_ms(100);
	}
	EXPECT_EQ(0u, nr_seen(&subjects[0]));
}

/* A limit that is far: nobody is asked, whatever was handed out untouched. */
TEST_F(siblings, nobody_is_asked_while_there_is_room)
{
	NEEDS_GROUP();
	ASSERT_TRUE(group_set_limit(&self->group, ROOMY) &&
		    group_enter(&self->group));
	ASSERT_TRUE(start(_metadata, self, 0, CONF));
	ASSERT_TRUE(start(_metadata, self, 1, ""));
	group_write(self->group.parent, "cgroup.procs", "0");
	ASSERT_TRUE(make_garbage(&self->subjects[0]));
	ASSERT_TRUE(WAIT_FOR(leads(&self->subjects[0])));
	ASSERT_TRUE(subject_does(&self->subjects[1], "reserve 1000000000"));
	ASSERT_TRUE(make_garbage(&self->subjects[1]));
	EXPECT_LT(0u, subject_number(&self->subjects[1],
				     "counter inband_near"));
	EXPECT_EQ(0u, subject_number(&self->subjects[1],
				     "counter siblings_asked"));
	EXPECT_LT(GARBAGE, rss(&self->subjects[0]));
}

/* Cgroup files are read-only, so that no threshold of v1 is set. */
static bool let_one_hold(struct __test_metadata *_metadata,
			 FIXTURE_DATA(siblings) *self, const char *conf)
{
	struct subject *holder = &self->subjects[0];

	if (!group_set_limit(&self->group, NARROW) ||
	    !group_enter(&self->group))
		return false;
	subject_prepare = container_enter;
	if (!start(_metadata, self, 0, CONF) ||
	    !start(_metadata, self, 1, conf) || !make_garbage(holder))
		return false;
	group_write(self->group.parent, "cgroup.procs", "0");
	if (!WAIT_FOR(leads(holder)))
		return false;
	EXPECT_LT(GARBAGE, rss(holder));
	return wait_until_told(self->base, holder);
}

static bool grow(struct subject *grower)
{
	char command[64];

	snprintf(command, sizeof(command), "alloc %d %d",
		 (int)(NEED / PIECE), PIECE);
	return subject_does(grower, command) && subject_does(grower, "free 0");
}

static bool have_one_grow(struct __test_metadata *_metadata,
			  FIXTURE_DATA(siblings) *self, const char *conf)
{
	return let_one_hold(_metadata, self, conf) && grow(&self->subjects[1]);
}

TEST_F(siblings, who_only_grew_is_given_what_another_one_has)
{
	struct subject *holder = &self->subjects[0];

	NEEDS_GROUP();
	if (geteuid())
		SKIP(return, "needs root");
	/* However long the other one takes, on whatever machine. */
	ASSERT_TRUE(have_one_grow(_metadata, self, "inband_ms=1000"));
	EXPECT_GT(GARBAGE / 2, rss(holder));
	EXPECT_LT(0u, subject_number(&self->subjects[1],
				     "counter siblings_asked"));
	EXPECT_LT(0u, subject_number(holder, "counter nr_forced_passes"));
}

/* As by a quota: for longer than one may wait at a time. */
static void *stop_for_a_while(void *holder)
{
	sleep_ms(4 * SHORT_MS);
	kill(((struct subject *)holder)->pid, SIGCONT);
	return NULL;
}

TEST_F(siblings, who_has_no_cpu_for_a_while_is_waited_for)
{
	struct subject *holder = &self->subjects[0];
	struct subject *grower = &self->subjects[1];
	pthread_t waker;
	char conf[32];

	NEEDS_GROUP();
	if (geteuid())
		SKIP(return, "needs root");
	snprintf(conf, sizeof(conf), "inband_ms=%d", SHORT_MS);
	ASSERT_TRUE(let_one_hold(_metadata, self, conf));
	ASSERT_EQ(0, kill(holder->pid, SIGSTOP));
	ASSERT_EQ(0, pthread_create(&waker, NULL, stop_for_a_while, holder));
	EXPECT_TRUE(grow(grower));
	ASSERT_EQ(0, pthread_join(waker, NULL));
	EXPECT_GT(GARBAGE / 2, rss(holder));
	EXPECT_TRUE(subject_does(holder, "work 1"));
}

/* Else the tests above show nothing. */
TEST_F(siblings, without_asking_one_of_them_is_killed)
{
	NEEDS_GROUP();
	if (geteuid())
		SKIP(return, "needs root");
	EXPECT_FALSE(have_one_grow(_metadata, self, "siblings=off") &&
		     subject_does(&self->subjects[0], "work 1"));
}

TEST_HARNESS_MAIN
