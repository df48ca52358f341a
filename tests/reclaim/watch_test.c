/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ebbmalloc tests - systemd's pressure protocol, each kind of target
 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "base/clock.h"
#include "reclaim/source.h"
#include "reclaim/watch.h"
#include "harness.h"
#include "reclaim/hear.h"
#include "reclaim/own_cgroup.h"

#define TRIGGER		"some 200000 2000000"	/* and a zero byte */
#define TRIGGER_BASE64	"c29tZSAyMDAwMDAgMjAwMDAwMAA="

enum kind { REGULAR, FIFO, UNIX, DEVNULL };

static struct cgroup_view view;

static void note(const char *path, const char *data, bool secure)
{
	char watch[600], write[1200];
	char *env[] = { (char *)"OTHER=1", watch, write, NULL };

	snprintf(watch, sizeof(watch), "MEMORY_PRESSURE_WATCH=%s", path);
	snprintf(write, sizeof(write), "MEMORY_PRESSURE_WRITE=%s", data ?: "");
	if (!data)
		env[2] = NULL;
	watch_note_environment(env, secure);
}

static void open_watch(const char *path, const char *data)
{
	note(path, data, false);
	cgroup_find("", &view);
	source_open_all(&view, NULL);
}

static bool is_live(void)
{
	return watch_source.state == SOURCE_LIVE;
}

/* What watch alone says: here the cgroup may have its own pressure. */
static enum pressure watch_says(int ms, uint64_t at_ms)
{
	uint64_t before = watch_source.nr_events;
	struct signals signals;
	enum pressure said;

	said = hear(ms, at_ms, &signals);
	return watch_source.nr_events > before ? said : PRESSURE_NONE;
}

/* What the path names, and the manager's end of it. */
struct target {
	char dir[64], path[128];
	int listener, peer;		/* -1: none */
	char got[64];
	ssize_t got_len;
};

static int listen_at(const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
	if (bind(fd, (struct sockaddr *)&to, sizeof(to)) || listen(fd, 4))
		abort();
	return fd;
}

static bool make_target(struct target *self, enum kind kind)
{
	self->listener = self->peer = -1;
	switch (kind) {
	case REGULAR:
		self->peer = open(self->path, O_RDWR | O_CREAT | O_CLOEXEC,
				  0600);
		return self->peer >= 0;
	case FIFO:
		if (mkfifo(self->path, 0600))
			return false;
		self->peer = open(self->path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
		return self->peer >= 0;
	case UNIX:
		self->listener = listen_at(self->path);
		return self->listener >= 0;
	case DEVNULL:
		strcpy(self->path, "/dev/null");
		return true;
	}
	return false;
}

static bool make_dir(struct target *self)
{
	strcpy(self->dir, "/tmp/ebb-test-XXXXXX");
	if (!mkdtemp(self->dir))
		return false;
	snprintf(self->path, sizeof(self->path), "%s/target", self->dir);
	return true;
}

static bool drop_target(struct target *self)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/target", self->dir);
	unlink(path);
	return !rmdir(self->dir);
}

/* What the source wrote, as the manager reads it. */
static void take_request(struct target *self, enum kind kind)
{
	if (kind == UNIX)
		self->peer = accept(self->listener, NULL, NULL);
	self->got_len = kind == REGULAR ?
			pread(self->peer, self->got, sizeof(self->got), 0) :
			read(self->peer, self->got, sizeof(self->got));
}

/* === Each kind === */

FIXTURE(watch)
{
	struct target target;
};

FIXTURE_VARIANT(watch)
{
	enum kind kind;
};

FIXTURE_VARIANT_ADD(watch, regular)
{
	.kind = REGULAR,
};

FIXTURE_VARIANT_ADD(watch, fifo)
{
	.kind = FIFO,
};

FIXTURE_VARIANT_ADD(watch, unix)
{
	.kind = UNIX,
};

FIXTURE_VARIANT_ADD(watch, devnull)
{
	.kind = DEVNULL,
};

FIXTURE_SETUP(watch)
{
	ASSERT_TRUE(make_dir(&self->target));
	ASSERT_TRUE(make_target(&self->target, variant->kind));
}

FIXTURE_TEARDOWN(watch)
{
	EXPECT_TRUE(drop_target(&self->target));
}

TEST_F(watch, writes_the_request_and_is_live)
{
	struct target *target = &self->target;

	open_watch(target->path, TRIGGER_BASE64);
	ASSERT_EQ(variant->kind != DEVNULL, is_live()) {
		TH_LOG("%s", watch_source.reason);
	}
	if (!is_live())
		return;
	take_request(target, variant->kind);
	ASSERT_EQ((ssize_t)sizeof(TRIGGER), target->got_len);
	EXPECT_EQ(0, memcmp(TRIGGER, target->got, sizeof(TRIGGER)));
}

TEST_F(watch, writes_nothing_unless_told_what)
{
	struct target *target = &self->target;

	open_watch(target->path, NULL);
	ASSERT_EQ(variant->kind != DEVNULL, is_live());
	if (!is_live())
		return;
	if (variant->kind == UNIX) {
		target->peer = accept4(target->listener, NULL, NULL,
				       SOCK_NONBLOCK);
		ASSERT_LE(0, target->peer);
	}
	target->got_len = read(target->peer, target->got, sizeof(target->got));
	EXPECT_EQ(variant->kind == REGULAR ? 0 : -1, target->got_len);
}

TEST_F(watch, what_comes_is_pressure_and_discarded)
{
	struct target *target = &self->target;
	bool talks = variant->kind == FIFO || variant->kind == UNIX;

	open_watch(target->path, TRIGGER_BASE64);
	if (variant->kind != DEVNULL)
		take_request(target, variant->kind);
	for (int i = 0; i < 3; i++) {
		EXPECT_TRUE(watch_says(0, clock_ms()) == PRESSURE_NONE);
		if (variant->kind != DEVNULL)
			ASSERT_EQ(5, write(target->peer, "hello", 5));
		EXPECT_EQ(talks ? PRESSURE_SEVERE : PRESSURE_NONE,
			  watch_says(talks ? 1000 : 0, clock_ms()));
		EXPECT_TRUE(watch_says(0, clock_ms()) == PRESSURE_NONE);
	}
	EXPECT_EQ(talks ? 3u : 0u, watch_source.nr_events);
}

TEST_F(watch, works_without_any_right)
{
	struct target *target = &self->target;

	if (variant->kind == DEVNULL)
		return;
	ASSERT_EQ(0, chmod(target->dir, 0755));
	ASSERT_EQ(0, chmod(target->path, 0666));
	if (geteuid() || seteuid(65534))
		SKIP(return, "not root");
	open_watch(target->path, TRIGGER_BASE64);
	EXPECT_TRUE(is_live()) {
		TH_LOG("%s", watch_source.reason);
	}
	source_reset_all();
	ASSERT_EQ(0, seteuid(0));
	ASSERT_EQ(0, chmod(target->path, 0400));
	ASSERT_EQ(0, seteuid(65534));
	open_watch(target->path, TRIGGER_BASE64);
	EXPECT_FALSE(is_live());
	EXPECT_EQ(-EACCES, watch_source.error);
	ASSERT_EQ(0, seteuid(0));
}

/* === One kind === */

FIXTURE(one)
{
	struct target target;
};

FIXTURE_SETUP(one)
{
	ASSERT_TRUE(make_dir(&self->target));
}

FIXTURE_TEARDOWN(one)
{
	EXPECT_TRUE(drop_target(&self->target));
}

TEST_F(one, a_regular_file_waits_for_pollpri_and_is_not_read)
{
	struct target *target = &self->target;
	struct pollfd pfd;

	ASSERT_TRUE(make_target(target, REGULAR));
	open_watch(target->path, NULL);
	ASSERT_TRUE(is_live());
	ASSERT_EQ(1u, watch_source.nr_fds);
	EXPECT_EQ(POLLPRI, watch_source.fd_events[0]);
	pfd = (struct pollfd){ watch_source.fds[0], POLLIN, 0 };
	ASSERT_EQ(5, write(target->peer, "hello", 5));
	EXPECT_TRUE(watch_says(0, clock_ms()) == PRESSURE_NONE);
	EXPECT_EQ(0, lseek(pfd.fd, 0, SEEK_CUR));
}

TEST_F(one, dev_null_turns_psi_off_as_well)
{
	struct target *target = &self->target;

	ASSERT_TRUE(make_target(target, DEVNULL));
	open_watch(target->path, NULL);
	EXPECT_FALSE(is_live());
	EXPECT_STREQ("turned off by $MEMORY_PRESSURE_WATCH=/dev/null",
		     watch_source.reason);
	EXPECT_FALSE(psi_source.state == SOURCE_LIVE);
	EXPECT_STREQ("turned off by $MEMORY_PRESSURE_WATCH=/dev/null",
		     psi_source.reason);
}

TEST_F(one, an_echo_of_the_request_is_no_pressure)
{
	struct target *target = &self->target;

	ASSERT_TRUE(make_target(target, FIFO));
	open_watch(target->path, TRIGGER_BASE64);
	ASSERT_TRUE(is_live());
	EXPECT_TRUE(watch_says(1000, clock_ms()) == PRESSURE_NONE);
	ASSERT_EQ(1, write(target->peer, "x", 1));
	EXPECT_TRUE(watch_says(1000, clock_ms()) == PRESSURE_SEVERE);
}

/* Writers of a FIFO come and go; of a socket there is one peer. */
TEST_F(one, the_other_end_closes_and_comes_back)
{
	struct target *target = &self->target;
	uint64_t t = clock_ms();

	ASSERT_TRUE(make_target(target, UNIX));
	open_watch(target->path, TRIGGER_BASE64);
	take_request(target, UNIX);
	ASSERT_EQ(1, write(target->peer, "x", 1));
	close(target->peer);
	EXPECT_TRUE(watch_says(1000, t) == PRESSURE_SEVERE);
	EXPECT_TRUE(watch_says(1000, t) == PRESSURE_NONE);
	EXPECT_FALSE(is_live());
	EXPECT_STREQ("the other end of $MEMORY_PRESSURE_WATCH was closed",
		     watch_source.reason);
	close(target->listener);
	unlink(target->path);
	watch_says(0, t + 1000);
	EXPECT_FALSE(is_live());
	EXPECT_EQ(-ENOENT, watch_source.error);

	target->listener = listen_at(target->path);
	watch_says(0, t + 2000);
	EXPECT_FALSE(is_live());
	watch_says(0, t + 3100);
	ASSERT_TRUE(is_live());
	EXPECT_EQ(1u, watch_source.nr_found);
	take_request(target, UNIX);
	EXPECT_EQ((ssize_t)sizeof(TRIGGER), target->got_len);
	ASSERT_EQ(1, write(target->peer, "x", 1));
	EXPECT_TRUE(watch_says(1000, t + 3100) == PRESSURE_SEVERE);
}

TEST_F(one, the_last_writer_of_a_fifo_leaves_and_another_comes)
{
	struct target *target = &self->target;

	ASSERT_TRUE(make_target(target, FIFO));
	open_watch(target->path, NULL);
	close(target->peer);
	EXPECT_TRUE(watch_says(0, clock_ms()) == PRESSURE_NONE);
	EXPECT_TRUE(is_live());
	target->peer = open(target->path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	ASSERT_LE(0, target->peer);
	ASSERT_EQ(1, write(target->peer, "x", 1));
	EXPECT_TRUE(watch_says(1000, clock_ms()) == PRESSURE_SEVERE);
}

/* === What is refused === */

FIXTURE_EMPTY(refusal);

struct refusal_case {
	const char *path, *data, *reason;
	int error;
};

static const struct refusal_case refusal_cases[] = {
	{ "relative/path", NULL, "$MEMORY_PRESSURE_WATCH is not absolute",
	  -EOPNOTSUPP },
	{ "", NULL, "$MEMORY_PRESSURE_WATCH is not absolute", -EOPNOTSUPP },
	{ "/tmp", NULL, "$MEMORY_PRESSURE_WATCH is a directory", -EISDIR },
	{ "/dev/zero", NULL, "$MEMORY_PRESSURE_WATCH is neither file, FIFO nor "
	  "socket", -EINVAL },
	{ "/dev/null/x", NULL, "cannot find $MEMORY_PRESSURE_WATCH",
	  -ENOTDIR },
	{ "/tmp/ebb-test-none", NULL, "cannot find $MEMORY_PRESSURE_WATCH",
	  -ENOENT },
	{ "/tmp/ebb-test-none", "abc", "$MEMORY_PRESSURE_WRITE is not Base64",
	  -EOPNOTSUPP },
};

TEST_F(refusal, each_has_its_reason)
{
	for (size_t i = 0; i < ARRAY_LEN(refusal_cases); i++) {
		const struct refusal_case *c = &refusal_cases[i];

		open_watch(c->path, c->data);
		EXPECT_FALSE(is_live());
		EXPECT_STREQ(c->reason, watch_source.reason);
		EXPECT_EQ(c->error, watch_source.error);
	}
}

TEST_F(refusal, not_set_is_said)
{
	char *env[] = { (char *)"MEMORY_PRESSURE_WATCHER=/tmp", NULL };

	watch_note_environment(env, false);
	source_open_all(&view, NULL);
	EXPECT_FALSE(is_live());
	EXPECT_STREQ("$MEMORY_PRESSURE_WATCH is not set", watch_source.reason);
}

TEST_F(refusal, the_environment_of_a_privileged_program_is_not_read)
{
	note("/dev/null", NULL, true);
	source_open_all(&view, NULL);
	EXPECT_FALSE(is_live());
	EXPECT_NE(NULL, strstr(watch_source.reason, "not trusted"));
	EXPECT_EQ(NULL, strstr(psi_source.reason, "/dev/null"));
}

TEST_F(refusal, a_request_too_long)
{
	char data[1001];

	memset(data, 'A', 1000);
	data[1000] = '\0';
	open_watch("/tmp/x", data);
	EXPECT_FALSE(is_live());
	EXPECT_NE(NULL, strstr(watch_source.reason, "longer than"));
}

struct base64_case {
	const char *text;
	long len;
	const char *data;
};

static const struct base64_case base64_cases[] = {
	{ "", 0, "" },
	{ "Zg==", 1, "f" },
	{ "Zm8=", 2, "fo" },
	{ "Zm9v", 3, "foo" },
	{ "Zm9vYg==", 4, "foob" },
	{ "+/+/", 3, "\373\377\277" },
	{ TRIGGER_BASE64, sizeof(TRIGGER), TRIGGER },
	{ "Zg", -EINVAL, "" },
	{ "Zg=", -EINVAL, "" },
	{ "Zg==Zg==", -EINVAL, "" },
	{ "Zh==", -EINVAL, "" },
	{ "Zm9=", -EINVAL, "" },
	{ "Z===", -EINVAL, "" },
	{ "====", -EINVAL, "" },
	{ "Z=g=", -EINVAL, "" },
	{ "Zm 9", -EINVAL, "" },
	{ "Zm9v\n", -EINVAL, "" },
	{ "-_-_", -EINVAL, "" },
};

TEST_F(refusal, base64_is_strict)
{
	unsigned char buf[64];

	for (size_t i = 0; i < ARRAY_LEN(base64_cases); i++) {
		const struct base64_case *c = &base64_cases[i];

		EXPECT_EQ(c->len, watch_decode(c->text, buf, sizeof(buf))) {
			TH_LOG("text '%s'", c->text);
		}
		if (c->len > 0)
			EXPECT_EQ(0, memcmp(c->data, buf, (size_t)c->len));
	}
	EXPECT_EQ(-ENAMETOOLONG, watch_decode("Zm9v", buf, 2));
	EXPECT_EQ(3, watch_decode("Zm9v", buf, 3));
}

/* === A real PSI file === */

FIXTURE(pressure)
{
	struct group own;
	struct cgroup_view here;
	char path[CGROUP_PATH_MAX + 128];
	bool made;
};

FIXTURE_SETUP(pressure)
{
	cgroup_find("", &self->here);
	self->made = !access("/proc/pressure/memory", R_OK) &&
		     own_cgroup_make(&self->own, &self->here.unified);
	if (!self->made)
		return;
	cgroup_find("", &self->here);
	snprintf(self->path, sizeof(self->path), "%s/memory.pressure",
		 self->own.path);
}

FIXTURE_TEARDOWN(pressure)
{
	if (self->made)
		group_remove(&self->own);
}

#define NEEDS_PSI() do {						\
	if (!self->made)						\
		SKIP(return, "no v2 cgroup can be made here, or PSI is off"); \
} while (0)

TEST_F(pressure, psi_gives_way_to_it)
{
	NEEDS_PSI();
	note(self->path, TRIGGER_BASE64, false);
	source_open_all(&self->here, NULL);
	ASSERT_TRUE(is_live()) {
		TH_LOG("%s", watch_source.reason);
	}
	EXPECT_FALSE(psi_source.state == SOURCE_LIVE);
	EXPECT_STREQ("$MEMORY_PRESSURE_WATCH is watched instead",
		     psi_source.reason);
}

TEST_F(pressure, without_a_trigger_it_is_left_to_psi)
{
	NEEDS_PSI();
	note(self->path, NULL, false);
	source_open_all(&self->here, NULL);
	EXPECT_FALSE(is_live());
	EXPECT_NE(NULL, strstr(watch_source.reason, "there is no trigger"));
	EXPECT_TRUE(psi_source.state == SOURCE_LIVE);
}

TEST_F(pressure, a_trigger_that_the_kernel_refuses)
{
	NEEDS_PSI();
	note(self->path, "eHl6", false);
	source_open_all(&self->here, NULL);
	EXPECT_FALSE(is_live());
	EXPECT_STREQ("cannot write $MEMORY_PRESSURE_WRITE",
		     watch_source.reason);
	EXPECT_EQ(-EINVAL, watch_source.error);
}

TEST_F(pressure, a_file_that_is_removed_dies_and_psi_takes_over)
{
	uint64_t t = clock_ms();

	NEEDS_PSI();
	note(self->path, TRIGGER_BASE64, false);
	source_open_all(&self->here, NULL);
	ASSERT_TRUE(is_live());
	group_remove(&self->own);
	EXPECT_TRUE(watch_says(1000, t) == PRESSURE_NONE);
	EXPECT_FALSE(is_live());
	watch_says(0, t + 1100);
	EXPECT_EQ(-ENOENT, watch_source.error);
	EXPECT_STRNE("$MEMORY_PRESSURE_WATCH is watched instead",
		     psi_source.reason);
	EXPECT_TRUE(source_settle());
	settle();
}

TEST_HARNESS_MAIN
