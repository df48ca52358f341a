/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ebbmalloc tests - Options
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/inject.h"
#include "base/log.h"
#include "base/param.h"
#include "kselftest_harness.h"

/* FIXTURE_SETUP() and FIXTURE_TEARDOWN() define functions that are global. */
#pragma GCC diagnostic ignored "-Wmissing-prototypes"

extern char **environ;

/* With this variable the binary loads its options without libc's environ. */
#define EARLY_ENV	"PARAM_TEST_EARLY"

__attribute__((constructor)) static void load_without_environ(void)
{
	if (!getenv(EARLY_ENV))
		return;
	log_init();
	environ = NULL;
	param_load();
	dprintf(1, "%lld", (long long)param_int(EBB_ATTR_DECAY_MS));
	_exit(0);
}

struct parse_case {
	enum ebb_attr_id id;
	const char *text;
	int err;
	int64_t value;
};

static const struct parse_case parse_cases[] = {
	{ EBB_ATTR_RECLAIM, "on", 0, 1 },
	{ EBB_ATTR_RECLAIM, "1", 0, 1 },
	{ EBB_ATTR_RECLAIM, "off", 0, 0 },
	{ EBB_ATTR_RECLAIM, "0", 0, 0 },
	{ EBB_ATTR_RECLAIM, "yes", -EINVAL, 0 },
	{ EBB_ATTR_RECLAIM, "On", -EINVAL, 0 },
	{ EBB_ATTR_RECLAIM, "", -EINVAL, 0 },
	{ EBB_ATTR_RECLAIM, "2", -EINVAL, 0 },
	{ EBB_ATTR_THREAD_MIN, "0", 0, 0 },
	{ EBB_ATTR_THREAD_MIN, "4096", 0, 4096 },
	{ EBB_ATTR_THREAD_MIN, "3k", 0, 3072 },
	{ EBB_ATTR_THREAD_MIN, "16M", 0, 16 << 20 },
	{ EBB_ATTR_THREAD_MIN, "1T", 0, INT64_C(1) << 40 },
	{ EBB_ATTR_THREAD_MIN, "2T", -ERANGE, 0 },
	{ EBB_ATTR_THREAD_MIN, "-1", -ERANGE, 0 },
	{ EBB_ATTR_THREAD_MIN, "9223372036854775807T", -ERANGE, 0 },
	{ EBB_ATTR_THREAD_MIN, "99999999999999999999", -ERANGE, 0 },
	{ EBB_ATTR_THREAD_MIN, "16MB", -EINVAL, 0 },
	{ EBB_ATTR_THREAD_MIN, "16 M", -EINVAL, 0 },
	{ EBB_ATTR_THREAD_MIN, "+1", -EINVAL, 0 },
	{ EBB_ATTR_THREAD_MIN, "0x10", -EINVAL, 0 },
	{ EBB_ATTR_THREAD_MIN, "50%", -EINVAL, 0 },
	{ EBB_ATTR_THREAD_MIN, "M", -EINVAL, 0 },
	{ EBB_ATTR_DECAY_MS, "-1", 0, -1 },
	{ EBB_ATTR_DECAY_MS, "0", 0, 0 },
	{ EBB_ATTR_DECAY_MS, "250ms", 0, 250 },
	{ EBB_ATTR_DECAY_MS, "2s", 0, 2000 },
	{ EBB_ATTR_DECAY_MS, "5000us", 0, 5 },
	{ EBB_ATTR_DECAY_MS, "5001us", -EINVAL, 0 },
	{ EBB_ATTR_DECAY_MS, "5m", -EINVAL, 0 },
	{ EBB_ATTR_DECAY_MS, "3600000", 0, 3600000 },
	{ EBB_ATTR_DECAY_MS, "3601s", -ERANGE, 0 },
	{ EBB_ATTR_DECAY_MS, "-2", -ERANGE, 0 },
	{ EBB_ATTR_DECAY_MS, "--1", -EINVAL, 0 },
	{ EBB_ATTR_PSI_US, "100ms", 0, 100000 },
	{ EBB_ATTR_PSI_US, "2s", 0, 2000000 },
	{ EBB_ATTR_PSI_US, "2000001", -ERANGE, 0 },
	{ EBB_ATTR_PSI_SOME, "0", 0, 0 },
	{ EBB_ATTR_PSI_SOME, "100", 0, 100 },
	{ EBB_ATTR_PSI_FULL, "101", -ERANGE, 0 },
	{ EBB_ATTR_DEBOUNCE_MS, "1s", 0, 1000 },
	{ EBB_ATTR_DEBOUNCE_MS, "61s", -ERANGE, 0 },
	{ EBB_ATTR_OVER_PART, "1", 0, 1 },
	{ EBB_ATTR_OVER_PART, "0", -ERANGE, 0 },
	{ EBB_ATTR_INBAND_WANT, "0", 0, 0 },
	{ EBB_ATTR_MARGIN_CPU, "1M", 0, 1048576 },
	{ EBB_ATTR_MARGIN_CPU, "1025M", -ERANGE, 0 },
	{ EBB_ATTR_MARGIN_THREAD, "64K", 0, 65536 },
	{ EBB_ATTR_DIRTY_MAX, "0", 0, 0 },
	{ EBB_ATTR_DIRTY_MAX, "50%", 0, EBB_PERCENT(50) },
	{ EBB_ATTR_DIRTY_MAX, "1000%", 0, EBB_PERCENT(1000) },
	{ EBB_ATTR_DIRTY_MAX, "1001%", -ERANGE, 0 },
	{ EBB_ATTR_DIRTY_MAX, "-1%", -ERANGE, 0 },
	{ EBB_ATTR_DIRTY_MAX, "%", -EINVAL, 0 },
	{ EBB_ATTR_DIRTY_MAX, "5M%", -EINVAL, 0 },
	{ EBB_ATTR_BACKEND, "auto", 0, EBB_BACKEND_AUTO },
	{ EBB_ATTR_BACKEND, "madvise", 0, EBB_BACKEND_MADVISE },
	{ EBB_ATTR_BACKEND, "process_madvise", 0, EBB_BACKEND_PROCESS },
	{ EBB_ATTR_BACKEND, "io_uring", 0, EBB_BACKEND_URING },
	{ EBB_ATTR_BACKEND, "process", -EINVAL, 0 },
	{ EBB_ATTR_BACKEND, "madvise2", -EINVAL, 0 },
	{ EBB_ATTR_BACKEND, "madvise, process_madvise", -EINVAL, 0 },
	{ EBB_ATTR_BACKEND, "", -EINVAL, 0 },
	{ EBB_ATTR_BACKEND, ",", -EINVAL, 0 },
	{ EBB_ATTR_BACKEND, "1", -EINVAL, 0 },
	{ EBB_ATTR_RESERVE, "64M", 0, 64 << 20 },
	{ EBB_ATTR_RESERVE, "96M", -ERANGE, 0 },
	{ EBB_ATTR_RESERVE, "32M", -ERANGE, 0 },
};

TEST(parse_takes_what_is_exact_and_refuses_the_rest)
{
	int64_t value;
	int err;

	for (size_t i = 0; i < ARRAY_SIZE(parse_cases); i++) {
		const struct parse_case *c = &parse_cases[i];

		value = 77;
		err = param_parse(&ebb_attrs[c->id], c->text, &value);
		EXPECT_EQ(c->err, err) {
			TH_LOG("%s=%s", ebb_attrs[c->id].name, c->text);
		}
		EXPECT_EQ(c->err ? 77 : c->value, value) {
			TH_LOG("%s=%s", ebb_attrs[c->id].name, c->text);
		}
	}
}

TEST(parse_reads_back_what_format_wrote)
{
	int64_t value;
	char text[32];

	for (size_t i = 0; i < ARRAY_SIZE(parse_cases); i++) {
		const struct parse_case *c = &parse_cases[i];

		if (c->err)
			continue;
		param_format(&ebb_attrs[c->id], c->value, text, sizeof(text));
		ASSERT_EQ(0, param_parse(&ebb_attrs[c->id], text, &value));
		EXPECT_EQ(c->value, value) {
			TH_LOG("%s=%s", ebb_attrs[c->id].name, text);
		}
	}
}

TEST(table_rows_are_complete_and_their_defaults_in_range)
{
	int64_t value;
	char text[32];

	for (int i = 0; i < EBB_NR_ATTRS; i++) {
		const struct ebb_attr *a = &ebb_attrs[i];

		ASSERT_NE(NULL, a->name);
		ASSERT_NE(NULL, a->unit);
		ASSERT_NE(NULL, a->since);
		ASSERT_NE(NULL, a->help);
		ASSERT_NE(NULL, a->def_text);
		EXPECT_EQ(i, param_find(a->name));
		if (a->type == EBB_TYPE_STRING) {
			EXPECT_NE(NULL, a->accepts);
			continue;
		}
		EXPECT_EQ(0, param_parse(a, a->def_text, &value));
		EXPECT_EQ(a->def, value);
		param_format(a, a->def, text, sizeof(text));
		EXPECT_STREQ(a->def_text, text);
	}
}

TEST(values_are_the_defaults_before_anything_is_loaded)
{
	EXPECT_EQ(1, param_int(EBB_ATTR_RECLAIM));
	EXPECT_EQ(500, param_int(EBB_ATTR_DECAY_MS));
	EXPECT_EQ(1000u, param_bytes(EBB_ATTR_DIRTY_MAX, 2000));
	EXPECT_STREQ("stderr", param_str(EBB_ATTR_LOG));
	EXPECT_STREQ("", param_str(EBB_ATTR_INJECT));
}

TEST(percentages_do_not_overflow)
{
	char why[200];

	ASSERT_EQ(0, param_set("dirty_max", "1000%", why, sizeof(why)));
	EXPECT_EQ(UINT64_C(10) << 50,
		  param_bytes(EBB_ATTR_DIRTY_MAX, UINT64_C(1) << 50));
	EXPECT_EQ(1990u, param_bytes(EBB_ATTR_DIRTY_MAX, 199));
}

TEST(set_names_value_and_range_and_keeps_the_old)
{
	char why[200];

	ASSERT_EQ(-EINVAL, param_set("decay_ms", "99h", why, sizeof(why)));
	EXPECT_STREQ("decay_ms=99h refused: not a time, or not a whole one; "
		     "accepts -1..3600000 ms; stays 500", why);
	ASSERT_EQ(-ERANGE, param_set("reserve", "65M", why, sizeof(why)));
	EXPECT_STREQ("reserve=65M refused: out of range; "
		     "accepts 64M..1T bytes, a power of two; stays 1T", why);
	ASSERT_EQ(-ERANGE, param_set("dirty_max", "1001%", why, sizeof(why)));
	EXPECT_STREQ("dirty_max=1001% refused: out of range; "
		     "accepts 0..1T or 0%..1000%; stays 50%", why);
	ASSERT_EQ(-EINVAL, param_set("backend", "uring", why, sizeof(why)));
	EXPECT_STREQ("backend=uring refused: no such choice; accepts auto, "
		     "madvise, process_madvise, io_uring; stays auto", why);
	ASSERT_EQ(-EINVAL, param_set("log", "file", why, sizeof(why)));
	EXPECT_STREQ("log=file refused: not understood; accepts stderr, off, "
		     "or an absolute path; stays \"stderr\"", why);
	ASSERT_EQ(-ENOENT, param_set("decay", "1", why, sizeof(why)));
	EXPECT_STREQ("decay=1 refused: there is no such option; "
		     "`ebbctl options` lists them", why);
}

TEST(strings_stay_readable_while_the_next_is_set)
{
	const char *old;
	char why[200];

	ASSERT_EQ(0, param_set("log", "/a", why, sizeof(why)));
	old = param_str(EBB_ATTR_LOG);
	ASSERT_EQ(0, param_set("log", "/bb", why, sizeof(why)));
	EXPECT_STREQ("/a", old);
	EXPECT_STREQ("/bb", param_str(EBB_ATTR_LOG));
}

TEST(strings_have_a_bound)
{
	char text[EBB_STRING_MAX + 2], why[200];

	memset(text, '/', sizeof(text));
	text[EBB_STRING_MAX + 1] = '\0';
	EXPECT_EQ(-ERANGE, param_set("log", text, why, sizeof(why)));
	text[EBB_STRING_MAX] = '\0';
	EXPECT_EQ(0, param_set("log", text, why, sizeof(why)));
}

TEST(inject_is_refused_where_it_is_not_built)
{
	char why[200];
	int err;

	err = param_set("inject", "madvise:2", why, sizeof(why));
	if (!IS_ENABLED(CONFIG_INJECT)) {
		EXPECT_EQ(-EOPNOTSUPP, err);
		EXPECT_NE(NULL, strstr(why, "this build cannot"));
		return;
	}
	EXPECT_EQ(0, err);
	EXPECT_FALSE(inject_hit(INJECT_MADVISE));
	EXPECT_TRUE(inject_hit(INJECT_MADVISE));
	EXPECT_FALSE(inject_hit(INJECT_MADVISE));
	EXPECT_FALSE(inject_hit(INJECT_MMAP));
	EXPECT_EQ(-EINVAL, param_set("inject", "madvise:0", why, sizeof(why)));
	EXPECT_EQ(-EINVAL, param_set("inject", "mad:1", why, sizeof(why)));
	EXPECT_EQ(-EINVAL, param_set("inject", "madvise", why, sizeof(why)));
	EXPECT_EQ(0, param_set("inject", "", why, sizeof(why)));
	EXPECT_FALSE(inject_hit(INJECT_MADVISE));
}

FIXTURE(load)
{
	char dir[32];
	char conf[48];
	char log[48];
	char set_log[64];
	char text[4096];
};

FIXTURE_SETUP(load)
{
	strcpy(self->dir, "/tmp/ebb-param-XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->dir));
	snprintf(self->conf, sizeof(self->conf), "%s/conf", self->dir);
	snprintf(self->log, sizeof(self->log), "%s/log", self->dir);
	snprintf(self->set_log, sizeof(self->set_log), "log=%s", self->log);
	log_init();
}

FIXTURE_TEARDOWN(load)
{
	unlink(self->conf);
	unlink(self->log);
	rmdir(self->dir);
}

static void put_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		abort();
	close(fd);
}

/* What was logged, without the prefixes. */
static const char *get_log(const char *path, char *text, size_t size)
{
	FILE *file = fopen(path, "r");
	char line[600];
	const char *rest;

	*text = '\0';
	while (file && fgets(line, sizeof(line), file)) {
		rest = strstr(line, "]: ");
		strncat(text, rest ? rest + 3 : line, size - strlen(text) - 1);
	}
	if (file)
		fclose(file);
	return text;
}

static int nr_lines(const char *text)
{
	int nr = 0;

	while (*text)
		nr += *text++ == '\n';
	return nr;
}

TEST_F(load, the_later_source_wins)
{
	struct param_sources s = {
		.program = "decay_ms=1,lazy_ms=1,check=1",
		.file = self->conf,
		.environment = " decay_ms = 3 ,,",
	};

	put_file(self->conf, "# comment\n\n  decay_ms=2\r\nlazy_ms = 2");
	param_load_from(&s);
	EXPECT_EQ(3, param_int(EBB_ATTR_DECAY_MS));
	EXPECT_EQ(2, param_int(EBB_ATTR_LAZY_MS));
	EXPECT_EQ(1, param_int(EBB_ATTR_CHECK));
	EXPECT_EQ(0, param_int(EBB_ATTR_VERBOSE));
}

TEST_F(load, a_missing_file_is_no_error)
{
	struct param_sources s = {
		.file = self->conf, .environment = self->set_log,
	};

	param_load_from(&s);
	EXPECT_STREQ("", get_log(self->log, self->text, sizeof(self->text)));
}

TEST_F(load, an_unreadable_file_is_one_line)
{
	struct param_sources s = {
		.file = self->conf, .environment = self->set_log,
	};
	char expected[100];

	ASSERT_EQ(0, symlink("conf", self->conf));
	param_load_from(&s);
	snprintf(expected, sizeof(expected),
		 "%s: cannot be read: error %d\n", self->conf, ELOOP);
	EXPECT_STREQ(expected,
		     get_log(self->log, self->text, sizeof(self->text)));
}

TEST_F(load, a_bad_one_is_one_line_where_the_last_log_says)
{
	struct param_sources s = {
		.program = "nonsense,log=stdout", .file = self->conf,
		.environment = self->set_log,
	};
	char expected[400];

	put_file(self->conf, "decay_ms=5\n\nlazy_ms=never\nlog=/dev/null\n");
	param_load_from(&s);
	snprintf(expected, sizeof(expected),
		 "ebb_conf: \"nonsense\" refused: not name=value\n"
		 "ebb_conf: log=stdout refused: not understood; accepts "
		 "stderr, off, or an absolute path; stays \"%s\"\n"
		 "%s:3: lazy_ms=never refused: not a time, or not a whole one; "
		 "accepts -1..3600000 ms; stays 150\n", self->log, self->conf);
	EXPECT_STREQ(expected,
		     get_log(self->log, self->text, sizeof(self->text)));
	EXPECT_EQ(5, param_int(EBB_ATTR_DECAY_MS));
	EXPECT_EQ(150, param_int(EBB_ATTR_LAZY_MS));
}

TEST_F(load, a_line_of_any_length_is_one_line)
{
	struct param_sources s = {
		.file = self->conf, .environment = self->set_log,
	};
	static const size_t lens[] = { 287, 288, 1023, 1024, 1025, 5000 };
	char line[5200], expected[100];

	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		memset(line, 'x', sizeof(line));
		strcpy(line + lens[i], "\ndecay_ms=4\n#");
		memset(line + lens[i] + 13, 'x', 100);
		line[lens[i] + 113] = '\0';
		put_file(self->conf, line);
		unlink(self->log);
		param_load_from(&s);
		EXPECT_EQ(4, param_int(EBB_ATTR_DECAY_MS));
		get_log(self->log, self->text, sizeof(self->text));
		EXPECT_EQ(1, nr_lines(self->text));
		snprintf(expected, sizeof(expected), "%s:1: ", self->conf);
		EXPECT_EQ(0, strncmp(self->text, expected, strlen(expected)));
	}
}

TEST_F(load, control_characters_do_not_reach_the_log)
{
	struct param_sources s = { .program = self->set_log };

	s.environment = "check=\x1b[31m\nfalse";
	param_load_from(&s);
	EXPECT_STREQ("EBB_CONF: check=?[31m?false refused: not a switch; "
		     "accepts on or off; stays off\n",
		     get_log(self->log, self->text, sizeof(self->text)));
}

/* Run this binary with EBB_CONF=@conf; what it then has for decay_ms. */
static int early_decay(const char *conf)
{
	char out[32] = "";
	int fds[2];

	if (pipe(fds))
		return -2;
	if (!fork()) {
		dup2(fds[1], 1);
		setenv(EARLY_ENV, "1", 1);
		setenv("EBB_CONF", conf, 1);
		execl("/proc/self/exe", "param_test", NULL);
		_exit(127);
	}
	close(fds[1]);
	if (read(fds[0], out, sizeof(out) - 1) < 0)
		return -2;
	close(fds[0]);
	wait(NULL);
	return atoi(out);
}

TEST(environment_is_found_before_libc_has_it)
{
	char *big = malloc(100001);

	ASSERT_NE(NULL, big);
	memset(big, 'x', 100000);
	big[100000] = '\0';
	setenv("A_LONG_ONE", big, 1);
	free(big);
	EXPECT_EQ(42, early_decay("verbose=0,decay_ms=42"));
	EXPECT_EQ(500, early_decay(""));
}

TEST_HARNESS_MAIN
