// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - What a process shows: the page, and text made from it
 */
#include <ctype.h>
#include "ebb/abi.h"
#include "harness.h"
#include "ctl/metrics.h"
#include "ctl/subject.h"

#define NR_READERS	50

FIXTURE(page) {
	struct subject subject;
	struct ebb_page page;
};

FIXTURE_VARIANT(page) {
	const char *conf;
	const char *last_file;	/* when that is there, all is */
};

FIXTURE_VARIANT_ADD(page, by_the_thread) {
	.conf = CONF_THREAD ",accounts=live,decay_ms=-1,lazy=off",
	.last_file = LAST_BY_THREAD,
};

FIXTURE_VARIANT_ADD(page, by_who_allocates) {
	.conf = CONF_ALONE ",accounts=live",
	.last_file = EBB_PAGE_FILE,
};

FIXTURE_SETUP(page)
{
	ASSERT_TRUE(make_base(self->subject.base));
	ASSERT_TRUE(subject_start(&self->subject, variant->conf));
	ASSERT_TRUE(subject_appears(&self->subject, variant->last_file));
	ASSERT_TRUE(subject_page(&self->subject, &self->page));
}

FIXTURE_TEARDOWN(page)
{
	subject_kill(&self->subject);
	remove_tree(self->subject.base);
}

/* What there is with the thread alone. */
FIXTURE(text) {
	struct subject subject;
	struct ebb_page page;
};

FIXTURE_SETUP(text)
{
	ASSERT_TRUE(make_base(self->subject.base));
	ASSERT_TRUE(subject_start(&self->subject,
				  CONF_THREAD ",accounts=live"));
	ASSERT_TRUE(subject_appears(&self->subject, "metrics"));
}

FIXTURE_TEARDOWN(text)
{
	subject_kill(&self->subject);
	remove_tree(self->subject.base);
}

/* Wait for a page that was written, and counted, after now. */
static bool next_page(struct subject *subject, struct ebb_page *page)
{
	uint64_t after_ms;
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	after_ms = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
	return WAIT_FOR((subject_does(subject, "work 1"),
			 subject_page(subject, page) &&
				 page->head.walk_ms > after_ms));
}

/* === The head ============================================================= */

static uint64_t start_of_process(pid_t pid)
{
	char path[64], text[2048];
	uint64_t value = 0;
	char *at;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (read_file(path, text, sizeof(text)) <= 0)
		return 0;
	at = strrchr(text, ')') + 2;
	for (int field = 3; field < 22; field++)
		at = strchr(at, ' ') + 1;
	value = strtoull(at, NULL, 10);
	return value;
}

TEST_F(page, tells_whose_it_is)
{
	const struct ebb_page_head *head = &self->page.head;
	bool thread = !strcmp(variant->last_file, LAST_BY_THREAD);
	struct stat st;

	EXPECT_STREQ(EBB_PAGE_MAGIC, head->magic);
	EXPECT_EQ(EBB_ABI_VERSION, head->abi);
	EXPECT_EQ(sizeof(self->page), head->size);
	EXPECT_EQ((uint32_t)self->subject.pid, head->pid);
	EXPECT_EQ(geteuid(), head->uid);
	EXPECT_EQ(page_size(), head->page_size);
	EXPECT_STREQ("subject", head->comm);
	EXPECT_EQ(start_of_process(self->subject.pid), head->start_ticks);
	ASSERT_EQ(0, stat("/proc/self/ns/pid", &st));
	EXPECT_EQ(st.st_ino, head->pid_ns);
	EXPECT_EQ(thread ? EBB_PAGE_RUNNING : EBB_PAGE_INBAND, head->state);
	EXPECT_EQ(thread, !!(head->features & EBB_FEATURE_THREAD));
	EXPECT_EQ(thread, !!(head->features & EBB_FEATURE_HELD));
	EXPECT_STREQ(thread ? "running" : "off", head->reclaimer);
	EXPECT_EQ(EBB_NR_COUNTERS, head->counters.used);
	ASSERT_EQ(0, stat(subject_path(&self->subject, EBB_PAGE_FILE), &st));
	EXPECT_EQ((off_t)sizeof(self->page), st.st_size);
	EXPECT_EQ(0600, (int)st.st_mode & 07777);
	ASSERT_EQ(0, stat(self->subject.dir, &st));
	EXPECT_EQ(0700, (int)st.st_mode & 07777);
}

TEST_F(page, says_where_its_rows_are)
{
	const struct ebb_page_head *head = &self->page.head;
	const struct ebb_section *section = &head->counters;
	uint64_t end = sizeof(*head);

	for (; section <= &head->text; section++) {
		EXPECT_EQ(end, section->offset);
		EXPECT_LE(section->used, section->nr);
		EXPECT_GT(section->stride, 0u);
		end = section->offset +
		      (uint64_t)section->stride * section->nr;
	}
	EXPECT_EQ(offsetof(struct ebb_page, tail_seq), end);
}

/* === Numbers ============================================================== */

/* Bytes that may lie in caches, or are counted by one and not the other. */
static uint64_t caches(const struct ebb_page *page)
{
	return page->counters[EBB_COUNTER_CACHED] + 4 * MIB;
}

TEST_F(page, live_is_what_the_program_has)
{
	uint64_t live, counted, before;

	ASSERT_TRUE(next_page(&self->subject, &self->page));
	before = self->page.counters[EBB_COUNTER_LIVE];
	ASSERT_TRUE(subject_does(&self->subject, "alloc 30000 2000"));
	ASSERT_TRUE(next_page(&self->subject, &self->page));
	live = self->page.counters[EBB_COUNTER_LIVE];
	counted = subject_number(&self->subject, "live");
	EXPECT_LE(before + 30000ull * 2000, live + caches(&self->page));
	EXPECT_LE(live, counted + caches(&self->page));
	EXPECT_LE(counted, live + caches(&self->page));
	ASSERT_TRUE(subject_does(&self->subject, "alloc 4 10000000"));
	ASSERT_TRUE(next_page(&self->subject, &self->page));
	EXPECT_LE(40000000ull, self->page.counters[EBB_COUNTER_LARGE]);
	EXPECT_LE(live + 40000000, self->page.counters[EBB_COUNTER_LIVE] +
				   caches(&self->page));
	ASSERT_TRUE(subject_does(&self->subject, "free 0"));
	ASSERT_TRUE(next_page(&self->subject, &self->page));
	EXPECT_LE(self->page.counters[EBB_COUNTER_LIVE],
		  before + caches(&self->page));
}

TEST_F(page, classes_and_threads_sum_up)
{
	const struct ebb_page *page = &self->page;
	uint64_t taken = 0, by_thread = 0, slabs = 0, cached = 0;

	ASSERT_TRUE(subject_does(&self->subject, "alloc 20000 500"));
	ASSERT_TRUE(subject_does(&self->subject, "alloc 5000 5000"));
	ASSERT_TRUE(next_page(&self->subject, &self->page));
	for (unsigned int i = 0; i < page->head.classes.used; i++) {
		const struct ebb_class *row = &page->classes[i];

		EXPECT_LE(row->taken, row->slots);
		EXPECT_LE(row->slots * row->size, row->slabs * 64ull * KIB);
		if (i)
			EXPECT_LT(page->classes[i - 1].size, row->size);
		taken += row->taken * row->size;
		slabs += row->slabs;
	}
	for (unsigned int i = 0; i < page->head.threads.used; i++) {
		by_thread += page->threads[i].taken;
		cached += page->threads[i].cached;
	}
	EXPECT_EQ(slabs, page->counters[EBB_COUNTER_SLABS]);
	EXPECT_EQ(cached, page->counters[EBB_COUNTER_CACHED]);
	EXPECT_EQ(taken, by_thread);
	EXPECT_LE(20000ull * 500 + 5000ull * 5000, taken);
	EXPECT_EQ((uint32_t)self->subject.pid, page->threads[0].tid);
	EXPECT_STREQ("subject", page->threads[0].name);
	EXPECT_LE(20000ull * 500 + 5000ull * 5000, page->threads[0].live);
	EXPECT_EQ(page->threads[0].allocated,
		  page->threads[0].live + page->threads[0].freed_self +
			  page->threads[0].by_others);
}

TEST_F(page, totals_only_grow)
{
	static uint64_t before[EBB_NR_COUNTERS];

	for (int turn = 0; turn < 3; turn++) {
		ASSERT_TRUE(next_page(&self->subject, &self->page));
		for (int i = 0; i < EBB_NR_COUNTERS; i++) {
			if (ebb_counters[i].kind == EBB_TOTAL)
				EXPECT_GE(self->page.counters[i], before[i]) {
					TH_LOG("%s", ebb_counters[i].name);
				}
			before[i] = self->page.counters[i];
		}
	}
}

/* === Readers ============================================================== */

/* Exits with 0 if all that it sees is whole, or being written. */
static void read_all_the_time(const struct subject *subject, int until)
{
	static struct ebb_page page;
	uint64_t last = 0, whole = 0;
	char c;

	while (read(until, &c, 1) < 0) {
		int fd = open(subject_path(subject, EBB_PAGE_FILE),
			      O_RDONLY | O_CLOEXEC);

		if (fd < 0 || pread(fd, &page, sizeof(page), 0) !=
				      sizeof(page))
			_exit(1);
		close(fd);
		if (page.head.seq != page.tail_seq)
			continue;
		/* What is whole is of one writing: these are set together. */
		if (page.head.seq != page.head.nr_written ||
		    page.head.seq < last)
			_exit(2);
		last = page.head.seq;
		whole++;
	}
	_exit(whole && last > 1 ? 0 : 3);
}

TEST_F(text, page_is_whole_for_fifty_readers)
{
	pid_t readers[NR_READERS];
	int fds[2], status;

	ASSERT_EQ(0, pipe2(fds, O_CLOEXEC | O_NONBLOCK));
	ASSERT_TRUE(subject_does(&self->subject, "busy"));
	for (int i = 0; i < NR_READERS; i++) {
		readers[i] = fork();
		if (!readers[i]) {
			close(fds[1]);
			read_all_the_time(&self->subject, fds[0]);
		}
	}
	/* The page is also written for each answer. */
	for (int i = 0; i < 100; i++)
		EXPECT_TRUE(subject_accepts(&self->subject, "mild_ms", "30"));
	EXPECT_TRUE(next_page(&self->subject, &self->page));
	close(fds[1]);
	for (int i = 0; i < NR_READERS; i++) {
		ASSERT_EQ(readers[i], waitpid(readers[i], &status, 0));
		EXPECT_EQ(0, status);
	}
	EXPECT_TRUE(subject_does(&self->subject, "rest"));
}

/* === Text ================================================================= */

/* The number behind @key at the start of a line; UINT64_MAX: no such line. */
static uint64_t text_number(const char *text, const char *key)
{
	size_t len = strlen(key);

	for (const char *at = text; at; at = strchr(at, '\n')) {
		at += *at == '\n';
		if (!strncmp(at, key, len) && at[len] == ' ')
			return strtoull(at + len, NULL, 10);
	}
	return UINT64_MAX;
}

/* Page and text of the same moment: those between two equal pages. */
static bool page_and_text(struct subject *subject, struct ebb_page *page,
			  const char *name, char *text, size_t size)
{
	static struct ebb_page after;
	char stamp[64];

	return WAIT_FOR(({
		bool _got = subject_page(subject, page) &&
			    read_file(subject_path(subject, name), text,
				      size) > 0 &&
			    subject_page(subject, &after);

		snprintf(stamp, sizeof(stamp), "written at %llu ms",
			 (unsigned long long)page->head.time_ms);
		_got && after.head.seq == page->head.seq &&
			strstr(text, stamp);
	}));
}

TEST_F(text, says_the_same)
{
	static char text[64 * KIB];
	const struct ebb_page *page = &self->page;
	unsigned int lines = 0;

	ASSERT_TRUE(page_and_text(&self->subject, &self->page, "stat", text,
				  sizeof(text)));
	for (int i = 0; i < EBB_NR_COUNTERS; i++)
		EXPECT_EQ(page->counters[i],
			  text_number(text, ebb_counters[i].name));
	ASSERT_TRUE(page_and_text(&self->subject, &self->page, "classes", text,
				  sizeof(text)));
	for (unsigned int i = 0; i < page->head.classes.used; i++) {
		char row[128];
		const struct ebb_class *class = &page->classes[i];

		snprintf(row, sizeof(row), "\n%u %u %llu %llu %llu %llu\n",
			 class->size, class->slabs,
			 (unsigned long long)class->slots,
			 (unsigned long long)class->taken,
			 (unsigned long long)class->clean,
			 (unsigned long long)class->lazy);
		EXPECT_EQ(!!class->slabs, !!strstr(text, row)) {
			TH_LOG("row %s of %s", row, text);
		}
	}
	ASSERT_TRUE(page_and_text(&self->subject, &self->page, "threads", text,
				  sizeof(text)));
	for (const char *at = text; (at = strchr(at, '\n')); at++)
		lines++;
	EXPECT_EQ(page->head.threads.used + 3, lines);
	EXPECT_NE(NULL, strstr(text, "\n# most: subject ("));
}

TEST_F(text, every_file_is_there)
{
	struct stat st;

	/* They are made one after the other, and the fixture saw one of them. */
	for (size_t i = 0; i < ARRAY_LEN(ebb_files); i++) {
		const char *name = ebb_files[i].name;

		EXPECT_TRUE(subject_appears(&self->subject, name) &&
			    !stat(subject_path(&self->subject, name), &st)) {
			TH_LOG("%s", name);
		}
		EXPECT_EQ(0, (int)st.st_mode & 0177);
	}
}

/* Of counters alone; by their table, each once, and not less than they were. */
TEST_F(text, metrics_are_what_prometheus_reads)
{
	static char text[64 * KIB];
	static struct metrics metrics;

	ASSERT_TRUE(page_and_text(&self->subject, &self->page, "metrics", text,
				  sizeof(text)));
	EXPECT_TRUE(metrics_parse(&metrics, text)) {
		TH_LOG("%s at: %.60s", metrics.why, metrics.at);
	}
	for (int i = 0; i < EBB_NR_COUNTERS; i++) {
		const struct metric *metric =
			metrics_find(&metrics, ebb_counters[i].metric);
		bool total = ebb_counters[i].kind == EBB_TOTAL;
		double value = (double)self->page.counters[i];

		ASSERT_NE(NULL, metric);
		EXPECT_EQ(total ? METRIC_COUNTER : METRIC_GAUGE, metric->type);
		EXPECT_STREQ(ebb_counters[i].help, metric->help);
		if (*ebb_counters[i].unit == 'u')
			value /= 1e6;
		EXPECT_EQ(value, metric->value);
	}
	for (int i = 0; i < EBB_NR_HISTOGRAMS; i++) {
		const struct metric *metric =
			metrics_find(&metrics, ebb_histograms[i].metric);

		ASSERT_NE(NULL, metric);
		EXPECT_EQ(METRIC_HISTOGRAM, metric->type);
		EXPECT_EQ((double)self->page.histograms[i].nr, metric->value);
	}
}

TEST_HARNESS_MAIN
