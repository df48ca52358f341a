/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ebbmalloc tests - The roster, by processes that come, go and are killed
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "base/atomic.h"
#include "reclaim/roster.h"
#include "harness.h"
#include "tree.h"

#define NAME	"1f-2a"
#define CROWD	6
#define TURNS	400

FIXTURE(roster)
{
	char dir[64];
	struct roster a, b, c;
	struct roster_row rows[ROSTER_ROWS];
	uint32_t uid;
};

static void begin(struct roster *roster, const char *dir)
{
	*roster = (struct roster){ .fd = -1, .bell_fd = -1 };
	snprintf(roster->path, sizeof(roster->path), "%s/" NAME, dir);
}

FIXTURE_SETUP(roster)
{
	strcpy(self->dir, "/tmp/ebb-roster-XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->dir));
	self->uid = (uint32_t)geteuid();
	begin(&self->a, self->dir);
	begin(&self->b, self->dir);
	begin(&self->c, self->dir);
}

FIXTURE_TEARDOWN(roster)
{
	roster_close(&self->a);
	roster_close(&self->b);
	roster_close(&self->c);
	remove_tree(self->dir);
}

static int join(struct roster *roster)
{
	return roster_join(roster, (uint32_t)geteuid(), (uint32_t)getpid());
}

static int ask(struct roster *from, uint64_t want, uint64_t least,
	       struct roster_request *request, struct roster_row *rows)
{
	*request = (struct roster_request){
		.own_row = from->row,
		.want = want,
		.least = least,
	};
	return roster_ask(from->path, (uint32_t)geteuid(), request, rows);
}

TEST_F(roster, those_who_join_see_each_other)
{
	ASSERT_EQ(0, join(&self->a));
	EXPECT_EQ(0, roster_count(&self->a));
	ASSERT_EQ(0, join(&self->b));
	ASSERT_EQ(0, join(&self->c));
	EXPECT_NE(self->a.row, self->b.row);
	EXPECT_EQ(2, roster_count(&self->a));
	EXPECT_EQ(2, roster_count(&self->c));
	roster_close(&self->b);
	EXPECT_EQ(1, roster_count(&self->a));
	/* The row is free again. */
	ASSERT_EQ(0, join(&self->b));
	EXPECT_EQ(2, roster_count(&self->a));
	EXPECT_EQ(2u, self->b.row);
}

TEST_F(roster, one_leads_and_another_when_it_is_gone)
{
	ASSERT_EQ(0, join(&self->a));
	ASSERT_EQ(0, join(&self->b));
	EXPECT_TRUE(roster_lead(&self->a));
	EXPECT_FALSE(roster_lead(&self->b));
	EXPECT_TRUE(roster_lead(&self->a));
	roster_close(&self->a);
	EXPECT_TRUE(roster_lead(&self->b));
}

/* Not by what it says, nor by its number: the kernel has taken its lock. */
TEST_F(roster, who_is_killed_is_buried)
{
	int status, ready[2];
	struct stat st;
	char bell[128];
	pid_t pid;

	ASSERT_EQ(0, join(&self->a));
	ASSERT_EQ(0, pipe(ready));
	pid = fork();
	if (!pid) {
		if (join(&self->b) || roster_tell(&self->b, 1, 100 * MIB) ||
		    write(ready[1], "!", 1) != 1)
			_exit(1);
		pause();
	}
	ASSERT_EQ(1, read(ready[0], bell, 1));
	EXPECT_EQ(1, roster_count(&self->a));
	snprintf(bell, sizeof(bell), "%s.2", self->a.path);
	EXPECT_EQ(0, stat(bell, &st));
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	EXPECT_EQ(0, roster_count(&self->a));
	EXPECT_EQ(-1, stat(bell, &st));
	/* Its word is forgotten, too. */
	EXPECT_EQ((ssize_t)sizeof(self->rows[2]),
		  pread(self->a.fd, &self->rows[2], sizeof(self->rows[2]),
			2 * sizeof(self->rows[2])));
	EXPECT_EQ(0u, self->rows[2].pid);
}

TEST_F(roster, those_with_the_most_are_asked_and_no_more_than_needed)
{
	struct roster_request request;

	ASSERT_EQ(0, join(&self->a));
	ASSERT_EQ(0, join(&self->b));
	ASSERT_EQ(0, join(&self->c));
	ASSERT_EQ(0, roster_tell(&self->a, 1, 90 * MIB));
	ASSERT_EQ(0, roster_tell(&self->b, 2, 10 * MIB));
	ASSERT_EQ(0, roster_tell(&self->c, 3, 20 * MIB));

	/* Who asks is not asked, whatever it has. */
	ASSERT_EQ(0, ask(&self->a, 15 * MIB, MIB, &request, self->rows));
	EXPECT_EQ(1u, request.nr_asked);
	EXPECT_EQ(15 * MIB, request.hoped);
	EXPECT_EQ(0, roster_hear(&self->a));
	EXPECT_EQ(0, roster_hear(&self->b));
	EXPECT_EQ((int64_t)(15 * MIB), roster_hear(&self->c));
	EXPECT_EQ(0, roster_hear(&self->c));

	ASSERT_EQ(0, ask(&self->a, 25 * MIB, MIB, &request, self->rows));
	EXPECT_EQ(2u, request.nr_asked);
	EXPECT_EQ(30 * MIB, request.hoped);
	EXPECT_EQ((int64_t)(25 * MIB), roster_hear(&self->b));

	/* Who has too little is left in peace. */
	ASSERT_EQ(0, ask(&self->a, 90 * MIB, 15 * MIB, &request, self->rows));
	EXPECT_EQ(1u, request.nr_asked);
	EXPECT_EQ(20 * MIB, request.hoped);
}

TEST_F(roster, who_is_gone_is_not_hoped_for)
{
	struct roster_request request;

	ASSERT_EQ(0, join(&self->a));
	ASSERT_EQ(0, join(&self->b));
	ASSERT_EQ(0, roster_tell(&self->b, 2, 10 * MIB));
	roster_close(&self->b);
	ASSERT_EQ(0, ask(&self->a, MIB, MIB, &request, self->rows));
	EXPECT_EQ(0u, request.nr_asked);
	EXPECT_EQ(0u, request.hoped);
}

TEST_F(roster, who_has_no_row_may_ask)
{
	struct roster_request request;

	EXPECT_EQ(-ENOENT, ask(&self->b, MIB, 0, &request, self->rows));
	ASSERT_EQ(0, join(&self->a));
	ASSERT_EQ(0, roster_tell(&self->a, 1, 3 * MIB));
	ASSERT_EQ(0, ask(&self->b, MIB, MIB, &request, self->rows));
	EXPECT_EQ(1u, request.nr_asked);
	/* Many ask, and none waits for a bell that is full. */
	for (int i = 0; i < 2000; i++)
		ASSERT_EQ(0, ask(&self->b, 2 * MIB, MIB, &request, self->rows));
	EXPECT_EQ(1u, request.nr_asked);
	EXPECT_EQ((int64_t)(2 * MIB), roster_hear(&self->a));
	EXPECT_EQ(0, roster_hear(&self->a));
}

/* What others put there is asked for at most, and breaks nothing. */
TEST_F(roster, nonsense_is_harmless)
{
	struct roster_request request;
	char path[128];
	int fd;

	ASSERT_EQ(0, join(&self->a));
	ASSERT_EQ(0, join(&self->b));
	memset(self->rows, 0xff, sizeof(self->rows));
	ASSERT_EQ((ssize_t)sizeof(self->rows),
		  pwrite(self->b.fd, self->rows, sizeof(self->rows), 0));
	ASSERT_EQ(0, ask(&self->a, MIB, 0, &request, self->rows));
	EXPECT_EQ(0u, request.nr_asked);
	ASSERT_EQ(0, roster_tell(&self->b, 2, UINT64_MAX));
	ASSERT_EQ(0, ask(&self->a, MIB, 0, &request, self->rows));
	EXPECT_EQ(MIB, request.hoped);
	/* Cut short, and half a row. */
	ASSERT_EQ(0, ftruncate(self->b.fd, 100));
	EXPECT_EQ(0, ask(&self->a, MIB, 0, &request, self->rows));
	EXPECT_EQ(0u, request.nr_asked);
	ASSERT_EQ(0, roster_tell(&self->b, 2, 5 * MIB));
	ASSERT_EQ(0, ask(&self->a, MIB, 0, &request, self->rows));
	EXPECT_EQ(1u, request.nr_asked);
	/* Something else in the place of a bell. */
	snprintf(path, sizeof(path), "%s.%u", self->b.path, self->b.row);
	ASSERT_EQ(0, unlink(path));
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	ASSERT_LE(0, fd);
	close(fd);
	ASSERT_EQ(0, ask(&self->a, MIB, 0, &request, self->rows));
	EXPECT_EQ(0u, request.nr_asked);
	EXPECT_TRUE(roster_is_lost(&self->b));
}

TEST_F(roster, what_others_may_write_to_is_not_used)
{
	struct roster_request request;
	char other[128];

	snprintf(other, sizeof(other), "%s/other", self->dir);
	ASSERT_EQ(0, symlink(other, self->a.path));
	EXPECT_EQ(-ELOOP, join(&self->a));
	ASSERT_EQ(0, unlink(self->a.path));
	ASSERT_EQ(0, join(&self->a));
	ASSERT_EQ(0, chmod(self->a.path, 0666));
	EXPECT_EQ(-EPERM, join(&self->b));
	EXPECT_EQ(-EPERM, ask(&self->c, MIB, 0, &request, self->rows));
	EXPECT_EQ(-1, self->b.fd);
}

TEST_F(roster, who_was_removed_notices_and_joins_anew)
{
	ASSERT_EQ(0, join(&self->a));
	EXPECT_FALSE(roster_is_lost(&self->a));
	ASSERT_EQ(0, unlink(self->a.path));
	EXPECT_TRUE(roster_is_lost(&self->a));
	ASSERT_EQ(0, join(&self->b));
	EXPECT_EQ(0, roster_count(&self->b));
	/* What one leaves behind then is the other's. */
	roster_clean(self->a.path, self->a.row, self->a.ino);
	EXPECT_FALSE(roster_is_lost(&self->b));
	roster_close(&self->a);
	ASSERT_EQ(0, join(&self->a));
	EXPECT_EQ(1, roster_count(&self->b));
}

TEST_F(roster, the_last_one_removes_the_file)
{
	struct stat st;

	ASSERT_EQ(0, join(&self->a));
	ASSERT_EQ(0, join(&self->b));
	roster_clean(self->b.path, self->b.row, self->b.ino);
	roster_close(&self->b);
	EXPECT_EQ(0, stat(self->a.path, &st));
	roster_clean(self->a.path, self->a.row, self->a.ino);
	EXPECT_EQ(-1, stat(self->a.path, &st));
	EXPECT_EQ(0, rmdir(self->dir));
	ASSERT_EQ(0, mkdir(self->dir, 0700));
}

/* Those who were killed could not remove theirs. */
TEST_F(roster, the_last_one_removes_the_bells_of_the_dead)
{
	ASSERT_EQ(0, join(&self->a));
	ASSERT_EQ(0, join(&self->b));
	roster_close(&self->b);
	roster_clean(self->a.path, self->a.row, self->a.ino);
	EXPECT_EQ(0, rmdir(self->dir));
	ASSERT_EQ(0, mkdir(self->dir, 0700));
}

TEST_F(roster, who_cannot_join_leaves_nothing)
{
	struct rlimit none = { 0, RLIM_INFINITY };

	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &none);
	EXPECT_EQ(-EFBIG, join(&self->a));
	EXPECT_EQ(-1, self->a.fd);
	EXPECT_EQ(0, rmdir(self->dir));
	ASSERT_EQ(0, mkdir(self->dir, 0700));
}

TEST_F(roster, only_what_nobody_uses_is_abandoned)
{
	int dir = open(self->dir, O_RDONLY | O_DIRECTORY), held;

	ASSERT_EQ(0, join(&self->a));
	EXPECT_FALSE(roster_is_abandoned(dir, NAME, &held));
	close(held);
	EXPECT_FALSE(roster_is_abandoned(dir, NAME ".1", &held));
	close(held);
	roster_close(&self->a);
	EXPECT_TRUE(roster_is_abandoned(dir, NAME ".1", &held));
	/* As long as it is held nobody joins who would be removed with it. */
	EXPECT_EQ(-ESTALE, join(&self->a));
	close(held);
	EXPECT_EQ(0, join(&self->a));
	EXPECT_TRUE(roster_is_abandoned(dir, "77-88.3", &held));
	EXPECT_EQ(-1, held);
	close(dir);
}

TEST_F(roster, who_comes_when_all_rows_are_taken_is_told)
{
	static struct roster many[ROSTER_ROWS];
	struct rlimit limit = { 1024, 1024 };

	setrlimit(RLIMIT_NOFILE, &limit);
	for (unsigned int i = 1; i < ROSTER_ROWS; i++) {
		begin(&many[i], self->dir);
		ASSERT_EQ(0, join(&many[i]));
		ASSERT_EQ(i, many[i].row);
	}
	EXPECT_EQ(-EMFILE, join(&self->a));
	EXPECT_EQ(ROSTER_ROWS - 2, roster_count(&many[1]));
	for (unsigned int i = 1; i < ROSTER_ROWS; i++)
		roster_close(&many[i]);
}

/* === All at once ========================================================== */

/* Who has which row of which file; all processes see it. */
static struct claim {
	uint64_t ino_and_row;
	uint32_t owner;
} *claims;

#define NR_CLAIMS	4096u

/* The entry of @roster's row: no two rows have the same, but for a new file. */
static struct claim *claim_of(const struct roster *roster)
{
	uint64_t key = roster->ino << 8 | roster->row;
	unsigned int at = (unsigned int)(key * 0x9e3779b97f4a7c15ull >> 52);

	for (;; at = (at + 1) % NR_CLAIMS) {
		uint64_t seen = load_relaxed(&claims[at].ino_and_row);

		if (seen == key)
			return &claims[at];
		if (!seen && cas_relaxed(&claims[at].ino_and_row, &seen, key))
			return &claims[at];
		if (seen == key)
			return &claims[at];
	}
}

/* Nobody else has that row as long as we do. */
static bool is_mine_alone(struct roster *roster, uint64_t spare)
{
	struct claim *claim = claim_of(roster);
	uint32_t nobody = 0;

	if (!cas_acq_rel(&claim->owner, &nobody, (uint32_t)getpid()))
		return false;
	if (roster_tell(roster, (uint32_t)getpid(), spare) ||
	    roster_count(roster) < 0)
		return false;
	return load_acquire(&claim->owner) == (uint32_t)getpid();
}

static void let_go(struct roster *roster, bool clean)
{
	store_release(&claim_of(roster)->owner, 0);
	if (clean)
		roster_clean(roster->path, roster->row, roster->ino);
	roster_close(roster);
}

static int come_and_go(struct roster *roster, unsigned int seed)
{
	static struct roster_row rows[ROSTER_ROWS];
	struct roster_request request;
	struct rng rng;

	rng_seed(&rng, seed);
	for (int turn = 0; turn < TURNS; turn++) {
		int err = join(roster);

		/* Another one is made anew just then, time and again. */
		if (err == -ESTALE || err == -EMFILE)
			continue;
		if (err)
			return 2;
		if (!is_mine_alone(roster, rng_below(&rng, 4 * MIB)))
			return 3;
		roster_lead(roster);
		if (ask(roster, MIB, MIB, &request, rows) && errno)
			return 4;
		if (roster_hear(roster) < 0)
			return 5;
		let_go(roster, rng_below(&rng, 2));
	}
	return 0;
}

/* Who sweeps, as who begins in the directory does. */
static int sweep_on(const char *dir)
{
	int dir_fd = open(dir, O_RDONLY | O_DIRECTORY);

	for (int turn = 0; turn < TURNS; turn++) {
		int held;

		if (roster_is_abandoned(dir_fd, NAME, &held))
			unlinkat(dir_fd, NAME, 0);
		if (held >= 0)
			close(held);
	}
	return 0;
}

/* In the end all find each other, whatever became of the file meanwhile. */
static int settle(struct roster *roster)
{
	for (int i = 0; i < 3000; i++) {
		if (roster->fd >= 0 && roster_is_lost(roster))
			roster_close(roster);
		if (roster->fd < 0 && join(roster))
			roster_close(roster);
		else if (roster_count(roster) == CROWD - 1)
			return 0;
		sleep_ms(10);
	}
	return 6;
}

TEST_F(roster, no_row_has_two_owners_and_all_meet_in_the_end)
{
	pid_t pids[CROWD + 1];
	int status;

	claims = mmap(NULL, NR_CLAIMS * sizeof(*claims), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, claims);
	for (unsigned int i = 0; i <= CROWD; i++) {
		pids[i] = fork();
		if (!pids[i] && i == CROWD)
			_exit(sweep_on(self->dir));
		if (!pids[i])
			_exit(come_and_go(&self->a, i + 1));
	}
	for (unsigned int i = 0; i <= CROWD; i++) {
		waitpid(pids[i], &status, 0);
		EXPECT_EQ(0, status);
	}
	for (unsigned int i = 0; i < CROWD; i++) {
		pids[i] = fork();
		if (!pids[i]) {
			status = settle(&self->a);
			/* Until the others have seen us. */
			sleep_ms(status ? 0 : 1000);
			_exit(status);
		}
	}
	for (unsigned int i = 0; i < CROWD; i++) {
		waitpid(pids[i], &status, 0);
		EXPECT_EQ(0, status);
	}
}

TEST_HARNESS_MAIN
