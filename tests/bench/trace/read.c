/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Reading a trace, and memory that is not malloc's
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "bench/trace/read.h"

enum life { LIFE_NONE, LIFE_ALIVE, LIFE_GONE };
enum thread_state { THREAD_UNSEEN, THREAD_MADE, THREAD_SEEN };

struct checker {
	struct trace *trace;
	const char *path;
	uint64_t at;			/* the record that is looked at */
	uint8_t *life;			/* enum life, of each record's object */
	uint8_t *threads;		/* enum thread_state */
	uint64_t live;
};

void stop(int status, const char *format, ...)
{
	va_list args;

	fputs("replay: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(status);
}

void *own_memory(size_t bytes, bool now)
{
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		stop(1, "%zu bytes for the replay: %s", bytes,
		     strerror(errno));
	madvise(p, bytes, MADV_NOHUGEPAGE);
	for (size_t at = 0; now && at < bytes; at += 4096)
		*(volatile char *)(p + at) = 0;
	return p;
}

void own_memory_back(void *p, size_t bytes)
{
	munmap(p, bytes);
}

/* === What a record must be =============================================== */

static void wrong(const struct checker *checker, size_t member,
		  const char *name, uint64_t value, const char *expected)
{
	uint64_t offset = sizeof(struct trace_header) +
			  checker->at * sizeof(struct trace_record) + member;

	stop(1, "%s: offset %llu: %s %llu: expected %s", checker->path,
	     (unsigned long long)offset, name, (unsigned long long)value,
	     expected);
}

#define MEMBER_WRONG(checker, record, member, expected)			\
	wrong(checker, offsetof(struct trace_record, member), #member,	\
	      (record)->member, expected)

static void up_to(char *text, size_t size, uint64_t first, uint64_t last)
{
	snprintf(text, size, "%llu..%llu", (unsigned long long)first,
		 (unsigned long long)last);
}

/* Written only where it is wanted: there are millions of records. */
#define CHECK_MEMBER(checker, record, member, first, last) do {		\
	uint64_t value = (record)->member;				\
	char range[64];							\
									\
	if (value - (first) > (uint64_t)(last) - (first)) {		\
		up_to(range, sizeof(range), first, last);		\
		MEMBER_WRONG(checker, record, member, range);		\
	}								\
} while (0)

static void check_unused(struct checker *c, const struct trace_record *r)
{
	if (r->shift && r->kind != TRACE_MEMALIGN)
		MEMBER_WRONG(c, r, shift, "0");
	if (r->object && !trace_takes(r->kind))
		MEMBER_WRONG(c, r, object, "0");
	if (r->size && !trace_makes(r->kind) && r->kind != TRACE_THREAD)
		MEMBER_WRONG(c, r, size, "0");
}

static void check_ranges(struct checker *c, const struct trace_record *r)
{
	CHECK_MEMBER(c, r, kind, TRACE_NONE + 1, NR_TRACE_KINDS - 1);
	CHECK_MEMBER(c, r, shift, 0, TRACE_MOST_SHIFT);
	CHECK_MEMBER(c, r, thread, 0, c->trace->header->nr_threads - 1);
	CHECK_MEMBER(c, r, size, 0, TRACE_MOST_SIZE);
	check_unused(c, r);
}

static void check_thread(struct checker *c, const struct trace_record *r)
{
	uint32_t nr = c->trace->header->nr_threads;
	char range[64];

	c->threads[r->thread] = THREAD_SEEN;
	if (r->kind != TRACE_THREAD)
		return;
	if (!r->size || r->size >= nr || c->threads[r->size]) {
		snprintf(range, sizeof(range), "1..%u, of none that was there",
			 nr - 1);
		MEMBER_WRONG(c, r, size, range);
	}
	c->threads[r->size] = THREAD_MADE;
}

static void check_object(struct checker *c, const struct trace_record *r)
{
	const struct trace_record *maker = c->trace->records + r->object;

	if (!trace_takes(r->kind))
		return;
	if (r->object >= c->at || c->life[r->object] != LIFE_ALIVE)
		MEMBER_WRONG(c, r, object, "an object that is alive");
	c->life[r->object] = LIFE_GONE;
	c->live -= maker->size;
	c->trace->nr_left--;
	c->trace->nr_foreign += maker->thread != r->thread;
}

static void check_record(struct checker *c)
{
	const struct trace_record *r = c->trace->records + c->at;

	check_ranges(c, r);
	check_thread(c, r);
	check_object(c, r);
	c->trace->kinds[r->kind]++;
	if (!trace_makes(r->kind))
		return;
	c->life[c->at] = LIFE_ALIVE;
	c->live += r->size;
	c->trace->nr_left++;
	if (c->live > c->trace->live_peak)
		c->trace->live_peak = c->live;
}

static void check_records(struct trace *trace, const char *path)
{
	struct checker checker = { .trace = trace, .path = path };

	checker.life = own_memory(trace->nr + 1, false);
	checker.threads = own_memory(trace->header->nr_threads, false);
	checker.threads[0] = THREAD_SEEN;
	for (; checker.at < trace->nr; checker.at++)
		check_record(&checker);
	own_memory_back(checker.threads, trace->header->nr_threads);
	own_memory_back(checker.life, trace->nr + 1);
}

/* === The header ========================================================== */

static void header_number(const char *path, const char *name, uint64_t value,
			  uint64_t first, uint64_t last)
{
	char range[64];

	up_to(range, sizeof(range), first, last);
	if (value < first || value > last)
		stop(1, "%s: header: %s %llu: expected %s", path, name,
		     (unsigned long long)value, range);
}

static void check_header(struct trace *trace, const char *path)
{
	const struct trace_header *h = trace->header;
	uint64_t expected;

	if (memcmp(h->magic, TRACE_MAGIC, sizeof(h->magic)))
		stop(1, "%s: offset 0: no %s: not a trace, or one that was "
		     "not ended", path, TRACE_MAGIC);
	header_number(path, "version", h->version, TRACE_VERSION,
		      TRACE_VERSION);
	header_number(path, "header_bytes", h->header_bytes, sizeof(*h),
		      sizeof(*h));
	header_number(path, "record_bytes", h->record_bytes,
		      sizeof(struct trace_record), sizeof(struct trace_record));
	header_number(path, "nr_threads", h->nr_threads, 1,
		      TRACE_MOST_THREADS);
	header_number(path, "nr_records", h->nr_records, 1,
		      TRACE_MOST_RECORDS);
	expected = sizeof(*h) + h->nr_records * sizeof(struct trace_record);
	if (trace->file_bytes != expected)
		stop(1, "%s: %zu bytes: expected %llu, for %llu records", path,
		     trace->file_bytes, (unsigned long long)expected,
		     (unsigned long long)h->nr_records);
}

static int open_regular(const char *path, size_t *ret_bytes)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || fstat(fd, &st))
		stop(1, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		stop(1, "%s: not a regular file", path);
	if ((size_t)st.st_size < sizeof(struct trace_header))
		stop(1, "%s: %lld bytes: expected at least %zu, a header",
		     path, (long long)st.st_size, sizeof(struct trace_header));
	*ret_bytes = (size_t)st.st_size;
	return fd;
}

void trace_open(struct trace *trace, const char *path)
{
	int fd;

	*trace = (struct trace){ 0 };
	fd = open_regular(path, &trace->file_bytes);
	trace->header = mmap(NULL, trace->file_bytes, PROT_READ,
			     MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (trace->header == MAP_FAILED)
		stop(1, "%s: %s", path, strerror(errno));
	close(fd);
	check_header(trace, path);
	trace->records = (const struct trace_record *)(trace->header + 1);
	trace->nr = trace->header->nr_records;
	check_records(trace, path);
}

void trace_close(struct trace *trace)
{
	munmap((void *)trace->header, trace->file_bytes);
	trace->header = NULL;
	trace->records = NULL;
}
