// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Every option, written to from outside
 *
 * Over the table of ebb/control.h: what is valid is in force and reads back in
 * its canonical form, which is computed here anew; what is not changes nothing,
 * and the answer names the option, the value and the range.
 */
#include "harness.h"
#include "ctl/subject.h"

#define VALUE_MAX	512

FIXTURE(attr) {
	struct subject subject;
	struct ebb_page page;
};

FIXTURE_SETUP(attr)
{
	ASSERT_TRUE(make_base(self->subject.base));
	ASSERT_TRUE(subject_start(&self->subject, CONF_THREAD));
	ASSERT_TRUE(subject_appears(&self->subject, "stat"));
	ASSERT_TRUE(WAIT_FOR(subject_shows(&self->subject, LAST_BY_THREAD)));
}

FIXTURE_TEARDOWN(attr)
{
	subject_kill(&self->subject);
	remove_tree(self->subject.base);
}

/* === What texts mean ====================================================== */

static bool is_number(const struct ebb_attr *attr)
{
	return attr->type == EBB_TYPE_MS || attr->type == EBB_TYPE_US ||
	       attr->type == EBB_TYPE_COUNT || attr->type == EBB_TYPE_BYTES ||
	       attr->type == EBB_TYPE_BYTES_OR_PERCENT;
}

static bool is_size(const struct ebb_attr *attr)
{
	return attr->type == EBB_TYPE_BYTES ||
	       attr->type == EBB_TYPE_BYTES_OR_PERCENT;
}

/* A number as the process is to show it. */
static const char *canonical(const struct ebb_attr *attr, int64_t value)
{
	static char text[VALUE_MAX];
	static const char suffixes[] = "\0KMGT";
	unsigned int at = 0;

	while (is_size(attr) && at < 4 && value && !(value % 1024)) {
		value /= 1024;
		at++;
	}
	snprintf(text, sizeof(text), "%lld%c", (long long)value, suffixes[at]);
	return text;
}

static bool in_range(const struct ebb_attr *attr, int64_t value)
{
	return value >= attr->min && value <= attr->max;
}

/* === Writing ============================================================== */

/* Accepted, in force, and read back as @expected. */
static bool accepts(struct subject *subject, const char *name, const char *text,
		    const char *expected)
{
	const struct ebb_verdict *verdict = subject_set(subject, name, text);
	static struct ebb_page page;
	char line[VALUE_MAX + 32];
	bool good;

	if (!verdict) {
		note("%s=%s: no answer", name, text);
		return false;
	}
	good = !verdict->error && !strcmp(verdict->name, name) &&
	       !strcmp(verdict->text, expected);
	if (!good)
		note("%s=%s: %u %s: %s", name, text, verdict->error,
		       verdict->name, verdict->text);
	/* The file is put in place before the verdict is told. */
	if (!subject_has(subject, name, expected)) {
		note("%s=%s reads %s", name, text,
		       subject_get(subject, name));
		good = false;
	}
	snprintf(line, sizeof(line), "%s=%s\n", name, expected);
	if (!subject_page(subject, &page) || !strstr(page.text, line)) {
		note("the page does not say %s", line);
		good = false;
	}
	return good;
}

static bool has_text(const char *where, const char *text, const char *what)
{
	if (strstr(where, what))
		return true;
	note("\"%s\" is not in \"%s\", of \"%s\"", what, where, text);
	return false;
}

/* The range, as the answer is to name it. */
static const char *range_of(const struct ebb_attr *attr)
{
	static char text[VALUE_MAX];
	char low[64];

	if (attr->type == EBB_TYPE_BOOL)
		return "on or off";
	if (attr->accepts)
		return attr->accepts;
	snprintf(low, sizeof(low), "%s", canonical(attr, attr->min));
	snprintf(text, sizeof(text), "%s..%s", low, canonical(attr, attr->max));
	return text;
}

/* Refused: all is as before, and the answer names what was written. */
static bool refuses(struct subject *subject, const struct ebb_attr *attr,
		    const char *text, const char *shown)
{
	char before[VALUE_MAX];
	const struct ebb_verdict *verdict;
	bool good = true;

	snprintf(before, sizeof(before), "%s",
		 subject_get(subject, attr->name));
	verdict = subject_set(subject, attr->name, text);
	if (!verdict || !verdict->error) {
		note("%s=%s: %s", attr->name, text,
		       verdict ? verdict->text : "no answer");
		return false;
	}
	good &= !strcmp(verdict->name, attr->name);
	good &= has_text(verdict->text, text, shown);
	if (!(attr->flags & EBB_FLAG_START))
		good &= has_text(verdict->text, text, range_of(attr));
	good &= has_text(verdict->text, text, before);
	if (!subject_has(subject, attr->name, before)) {
		note("%s=%s: was %s, is %s", attr->name, text, before,
		       subject_get(subject, attr->name));
		good = false;
	}
	good &= subject_has(subject, "error", verdict->text);
	return good;
}

/* === Valid ================================================================ */

static bool accepts_number(struct subject *subject,
			   const struct ebb_attr *attr, int64_t value)
{
	char text[VALUE_MAX];

	snprintf(text, sizeof(text), "%lld", (long long)value);
	return accepts(subject, attr->name, text, canonical(attr, value));
}

/* A number with a suffix, where it is in the range. */
static bool accepts_suffixed(struct subject *subject,
			     const struct ebb_attr *attr, const char *text,
			     int64_t value)
{
	return !in_range(attr, value) ||
	       accepts(subject, attr->name, text, canonical(attr, value));
}

static bool accepts_suffixes(struct subject *subject,
			     const struct ebb_attr *attr)
{
	static const struct {
		const char *text;
		int64_t value;
	} sizes[] = {
		{ "3K", 3 << 10 }, { "3k", 3 << 10 }, { "2048K", 2 << 20 },
		{ "5m", 5 << 20 }, { "1G", 1 << 30 }, { "1T", 1LL << 40 },
		{ " 6M \n", 6 << 20 },
	}, times[] = {
		{ "7ms", 7000 }, { "1s", 1000000 }, { "3000us", 3000 },
		{ "\t8ms\r\n", 8000 },
	};
	int64_t unit_us = attr->type == EBB_TYPE_US ? 1 : 1000;
	bool good = true;

	for (size_t i = 0; is_size(attr) && i < ARRAY_LEN(sizes); i++)
		good &= accepts_suffixed(subject, attr, sizes[i].text,
					 sizes[i].value);
	for (size_t i = 0; (attr->type == EBB_TYPE_MS ||
			    attr->type == EBB_TYPE_US) &&
			   i < ARRAY_LEN(times); i++)
		good &= accepts_suffixed(subject, attr, times[i].text,
					 times[i].value / unit_us);
	return good;
}

static bool accepts_valid(struct subject *subject, const struct ebb_attr *attr)
{
	bool good = true;

	if (attr->type == EBB_TYPE_BOOL) {
		good &= accepts(subject, attr->name, "0", "off");
		good &= accepts(subject, attr->name, "1", "on");
		good &= accepts(subject, attr->name, "off\n", "off");
		good &= accepts(subject, attr->name, "on", "on");
	}
	if (is_number(attr)) {
		good &= accepts_number(subject, attr, attr->min);
		good &= accepts_number(subject, attr, attr->max);
		good &= accepts_number(subject, attr,
				       (attr->min + attr->max) / 2);
		good &= accepts_suffixes(subject, attr);
	}
	if (attr->type == EBB_TYPE_BYTES_OR_PERCENT) {
		good &= accepts(subject, attr->name, "0%", "0%");
		good &= accepts(subject, attr->name, "1000%", "1000%");
		good &= accepts(subject, attr->name, "007%", "7%");
	}
	good &= accepts(subject, attr->name,
			*attr->def_text ? attr->def_text : "\n",
			attr->def_text);
	return good;
}

TEST_F_TIMEOUT(attr, valid_values_are_in_force_and_read_back_canonical, 300)
{
	for (int id = 0; id < EBB_NR_ATTRS; id++) {
		if (ebb_attrs[id].flags & EBB_FLAG_START)
			continue;
		EXPECT_TRUE(accepts_valid(&self->subject, &ebb_attrs[id])) {
			TH_LOG("option %s", ebb_attrs[id].name);
		}
	}
}

/* === Invalid ============================================================== */

static bool refuses_number(struct subject *subject,
			   const struct ebb_attr *attr, int64_t value)
{
	char text[VALUE_MAX];

	snprintf(text, sizeof(text), "%lld", (long long)value);
	return refuses(subject, attr, text, text);
}

static bool refuses_invalid(struct subject *subject,
			    const struct ebb_attr *attr)
{
	static const char *const never[] = {
		"nonsense", "-", "1x", "--1", "+1", "0x10", "1.5", "1,5",
		"1 2", "on off", "%", "1%%", "-1%", "1001%", "ON", "1e3",
		"99999999999999999999", "-99999999999999999999",
		"9223372036854775807K",
	};
	bool good = true;

	for (size_t i = 0; i < ARRAY_LEN(never); i++)
		good &= refuses(subject, attr, never[i], never[i]);
	if (is_number(attr)) {
		good &= refuses_number(subject, attr, attr->min - 1);
		good &= refuses_number(subject, attr, attr->max + 1);
	}
	if (attr->type != EBB_TYPE_BYTES_OR_PERCENT)
		good &= refuses(subject, attr, "5%", "5%");
	if (is_size(attr))
		good &= refuses(subject, attr, "5ms", "5ms");
	else
		good &= refuses(subject, attr, "5K", "5K");
	return good;
}

TEST_F_TIMEOUT(attr, invalid_values_change_nothing_and_are_explained, 400)
{
	for (int id = 0; id < EBB_NR_ATTRS; id++) {
		if (ebb_attrs[id].flags & EBB_FLAG_START)
			continue;
		EXPECT_TRUE(refuses_invalid(&self->subject, &ebb_attrs[id])) {
			TH_LOG("option %s", ebb_attrs[id].name);
		}
	}
}

/* What is no text at all, for any option: the range says nothing here. */
static bool refuses_bytes(struct subject *subject, const struct ebb_attr *attr,
			  const void *bytes, size_t len)
{
	char before[VALUE_MAX];
	const struct ebb_verdict *verdict;

	snprintf(before, sizeof(before), "%s",
		 subject_get(subject, attr->name));
	verdict = subject_set_bytes(subject, attr->name, bytes, len);
	if (!verdict || !verdict->error || strcmp(verdict->name, attr->name)) {
		note("%s, %zu bytes: %s", attr->name, len,
		       verdict ? verdict->text : "no answer");
		return false;
	}
	return has_text(verdict->text, "bytes", "refused") &&
	       has_text(verdict->text, "bytes", before) &&
	       subject_has(subject, attr->name, before) &&
	       subject_has(subject, "error", verdict->text);
}

TEST_F_TIMEOUT(attr, what_is_no_text_is_refused, 300)
{
	static char bytes[3000];

	for (int id = 0; id < EBB_NR_ATTRS; id++) {
		const struct ebb_attr *attr = &ebb_attrs[id];

		memset(bytes, '1', sizeof(bytes));
		EXPECT_TRUE(refuses_bytes(&self->subject, attr, "", 0));
		/* A blank line is a value where the default is none. */
		if (attr->flags & EBB_FLAG_START || *attr->def_text)
			EXPECT_TRUE(refuses_bytes(&self->subject, attr,
						  " \n\t", 3));
		EXPECT_TRUE(refuses_bytes(&self->subject, attr, "1\n2", 3));
		EXPECT_TRUE(refuses_bytes(&self->subject, attr, "1\0", 2));
		EXPECT_TRUE(refuses_bytes(&self->subject, attr, "1\0002", 3));
		EXPECT_TRUE(refuses_bytes(&self->subject, attr, "\0", 1));
		EXPECT_TRUE(refuses_bytes(&self->subject, attr, "\x01\xff", 2));
		EXPECT_TRUE(refuses_bytes(&self->subject, attr, bytes,
					  EBB_STRING_MAX + 1));
		EXPECT_TRUE(refuses_bytes(&self->subject, attr, bytes,
					  sizeof(bytes)));
	}
}

TEST_F_TIMEOUT(attr, what_is_read_at_start_only_refuses_all, 100)
{
	for (int id = 0; id < EBB_NR_ATTRS; id++) {
		const struct ebb_attr *attr = &ebb_attrs[id];
		struct stat st;

		ASSERT_EQ(0, stat(subject_path(&self->subject, attr->name),
				  &st));
		EXPECT_EQ(attr->flags & EBB_FLAG_START ? 0400 : 0600,
			  (int)st.st_mode & 07777) {
			TH_LOG("option %s", attr->name);
		}
		if (!(attr->flags & EBB_FLAG_START) || !*attr->def_text)
			continue;
		EXPECT_TRUE(refuses(&self->subject, attr, attr->def_text,
				    "at start only"));
		EXPECT_TRUE(refuses(&self->subject, attr, "on", "=on"));
	}
}

/* The next write is not taken for what was left by the answer to the last. */
TEST_F_TIMEOUT(attr, writes_may_follow_each_other_at_once, 200)
{
	char text[32];

	for (int i = 0; i < 1000; i++) {
		snprintf(text, sizeof(text), "%d", i % 7 * 100);
		ASSERT_TRUE(accepts(&self->subject, "decay_ms", text, text));
	}
}

/*
 * Somebody else closes the file while it is empty between open and write.  That
 * takes longer than it is waited for where the machine is slow: once is enough.
 */
static bool survives_a_look(struct subject *subject, const char *text)
{
	const char *path = subject_path(subject, "decay_ms");
	int writer = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	int other = open(path, O_WRONLY | O_CLOEXEC);
	bool good = writer >= 0 && other >= 0;

	close(other);
	sleep_ms(30);
	good &= write(writer, text, strlen(text)) == (ssize_t)strlen(text);
	close(writer);
	return good && WAIT_FOR(!subject_has(subject, "decay_ms", "") &&
				strchr(subject_get(subject, "decay_ms"),
				       'm') == NULL) &&
	       subject_has(subject, "decay_ms", "2000");
}

TEST_F_TIMEOUT(attr, what_is_half_written_is_waited_for, 100)
{
	bool good = false;

	for (int i = 0; i < 10 && !good; i++) {
		ASSERT_TRUE(subject_accepts(&self->subject, "decay_ms", "9"));
		good = survives_a_look(&self->subject, "2000ms");
	}
	EXPECT_TRUE(good);
}

TEST_F_TIMEOUT(attr, a_file_moved_into_place_is_as_good_as_a_write, 60)
{
	uint64_t before = nr_verdicts(&self->subject);

	ASSERT_TRUE(subject_put_bytes(&self->subject, "other", "77", 2));
	ASSERT_EQ(0, rename(subject_path(&self->subject, "other"),
			    subject_path(&self->subject, "decay_ms")));
	EXPECT_TRUE(WAIT_FOR(nr_verdicts(&self->subject) > before));
	EXPECT_TRUE(subject_has(&self->subject, "decay_ms", "77"));
}

TEST_F_TIMEOUT(attr, a_removed_file_comes_back_as_it_was, 60)
{
	ASSERT_TRUE(subject_accepts(&self->subject, "decay_ms", "78"));
	ASSERT_EQ(0, unlink(subject_path(&self->subject, "decay_ms")));
	EXPECT_TRUE(WAIT_FOR(subject_has(&self->subject, "decay_ms", "78")));
}

TEST_HARNESS_MAIN
