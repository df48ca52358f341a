/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - Reading counters pages
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "ebb/abi.h"
#include "ebbctl.h"
#include "page.h"

#define RAW_MAX		(1 << 20)	/* of another ABI's page */
#define TRIES		200		/* while it is being written */
#define LEFT_S		2		/* no writing takes so long */

static bool read_whole(int fd, char *raw, size_t *ret_len)
{
	ssize_t ret;
	size_t len = 0;

	do {
		ret = pread(fd, raw + len, RAW_MAX - len, (off_t)len);
		len += ret > 0 ? (size_t)ret : 0;
	} while (ret > 0 && len < RAW_MAX);
	*ret_len = len;
	return ret >= 0;
}

/* Rows of @section into @nr rows of @size; how many of them are in use. */
static uint32_t copy_rows(const char *raw, size_t len,
			  const struct ebb_section *section, void *to,
			  const size_t row[2])
{
	const size_t size = row[0], nr = row[1];
	uint32_t used = section->used < nr ? section->used : (uint32_t)nr;

	for (uint32_t i = 0; i < used; i++) {
		uint64_t from = section->offset +
				(uint64_t)i * section->stride;
		size_t have = section->stride < size ? section->stride : size;

		if (from > len || have > len - from)
			return i;
		memcpy((char *)to + i * size, raw + from, have);
	}
	return used;
}

#define COPY_ROWS(member)						\
	(page->head.member.used = copy_rows(raw, len, &head->member,	\
		page->member, (const size_t[2]){			\
			sizeof(page->member[0]), ARRAY_SIZE(page->member) }))

/* Bytes of the character at @text; 0: not UTF-8, or one that acts. */
static size_t harmless(const unsigned char *text)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t len = text[0] < 0x80 ? 1 : text[0] < 0xc2 ? 0 :
		     text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 :
		     text[0] < 0xf5 ? 4 : 0;
	uint32_t code;

	if (len < 2)
		return text[0] < ' ' || text[0] == 0x7f ? 0 : len;
	code = text[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (text[i] & 0x3f);
	}
	/* C1 controls; surrogates; marks that turn the direction round. */
	if (code < least[len] || code > 0x10ffff || code < 0xa0 ||
	    (code >= 0xd800 && code < 0xe000) ||
	    (code >= 0x200e && code <= 0x200f) ||
	    (code >= 0x2028 && code <= 0x202e) ||
	    (code >= 0x2066 && code <= 0x2069))
		return 0;
	return len;
}

/* What the writer says of it, made harmless for terminals and JSON. */
static void clean(char *text, size_t size, char kept)
{
	size_t len;

	text[size - 1] = '\0';
	for (; *text; text += len) {
		len = *text == kept ? 1 :
		      harmless((const unsigned char *)text);
		if (!len) {
			*text = '?';
			len = 1;
		}
	}
}

static void clean_text(char *text, size_t size)
{
	clean(text, size, '\0');
}

void page_clean_lines(char *text, size_t size)
{
	clean(text, size, '\n');
}

static void clean_all(struct ebb_page *page)
{
	struct ebb_page_head *head = &page->head;

	clean_text(head->version, sizeof(head->version));
	clean_text(head->comm, sizeof(head->comm));
	clean_text(head->reclaimer, sizeof(head->reclaimer));
	page_clean_lines(head->cgroup, sizeof(head->cgroup));
	page_clean_lines(page->text, sizeof(page->text));
	for (unsigned int i = 0; i < EBB_NR_SIGNALS_MAX; i++) {
		clean_text(page->signals[i].name,
			   sizeof(page->signals[i].name));
		clean_text(page->signals[i].what,
			   sizeof(page->signals[i].what));
	}
	for (unsigned int i = 0; i < EBB_NR_BACKENDS_MAX; i++)
		clean_text(page->backends[i].line,
			   sizeof(page->backends[i].line));
	for (unsigned int i = 0; i < EBB_NR_VERDICTS; i++) {
		clean_text(page->verdicts[i].name,
			   sizeof(page->verdicts[i].name));
		clean_text(page->verdicts[i].text,
			   sizeof(page->verdicts[i].text));
	}
	for (unsigned int i = 0; i < EBB_NR_THREADS_MAX; i++)
		clean_text(page->threads[i].name,
			   sizeof(page->threads[i].name));
}

/* @raw into our layout; false if it is no page. */
static bool convert(const char *raw, size_t len, struct ebb_page *page)
{
	const struct ebb_page_head *head = &page->head;

	memset(page, 0, sizeof(*page));
	memcpy(&page->head, raw, sizeof(page->head));
	COPY_ROWS(counters);
	COPY_ROWS(histograms);
	COPY_ROWS(signals);
	COPY_ROWS(backends);
	COPY_ROWS(events);
	COPY_ROWS(verdicts);
	COPY_ROWS(classes);
	COPY_ROWS(threads);
	COPY_ROWS(text);
	clean_all(page);
	return true;
}

/* NULL if @raw is a page that can be read, else why not. */
static const char *check(const char *raw, size_t len, bool *ret_torn)
{
	struct ebb_page_head head;
	uint64_t tail;

	*ret_torn = false;
	if (len < sizeof(head))
		return "too short for a counters page";
	memcpy(&head, raw, sizeof(head));
	if (memcmp(head.magic, EBB_PAGE_MAGIC, sizeof(head.magic)))
		return "not a counters page";
	if (!head.abi || head.size < sizeof(head) + sizeof(tail))
		return "not a counters page that this tool knows";
	*ret_torn = head.size > len;
	if (*ret_torn)
		return "cut off";
	memcpy(&tail, raw + head.size - sizeof(tail), sizeof(tail));
	*ret_torn = tail != head.seq;
	return *ret_torn ? "being written all the time" : NULL;
}

/* One that was left half written stays so. */
static bool is_left(int fd)
{
	struct timespec now;
	struct stat st;

	return !fstat(fd, &st) && !clock_gettime(CLOCK_REALTIME, &now) &&
	       now.tv_sec - st.st_mtim.tv_sec > LEFT_S;
}

static bool read_from(int fd, char *raw, struct ebb_page *ret_page,
		      const char **ret_why)
{
	const struct timespec nap = { 0, 1000000 };
	bool torn = true;
	size_t len;

	for (int i = 0; i < TRIES && torn; i++) {
		if (i)
			nanosleep(&nap, NULL);
		if (!read_whole(fd, raw, &len)) {
			*ret_why = "cannot be read";
			return false;
		}
		errno = 0;
		*ret_why = check(raw, len, &torn);
		torn = torn && !is_left(fd);
	}
	return !*ret_why && convert(raw, len, ret_page);
}

int page_open(int dir_fd, const char *name)
{
	return openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK |
		      O_NOCTTY | O_CLOEXEC);
}

bool page_read(int dir_fd, const char *name, struct ebb_page *ret_page,
	       const char **ret_why)
{
	int fd = page_open(dir_fd, name);
	struct stat st;
	bool ok = false;
	char *raw;

	*ret_why = "cannot be opened";
	if (fd < 0)
		return false;
	raw = malloc(RAW_MAX);
	if (!raw || fstat(fd, &st)) {
		*ret_why = "cannot be read";
	} else if (!S_ISREG(st.st_mode)) {
		errno = 0;
		*ret_why = "not a regular file";
	} else {
		ok = read_from(fd, raw, ret_page, ret_why);
	}
	free(raw);
	close(fd);
	return ok;
}

bool page_seq(int dir_fd, const char *name, uint64_t *ret_seq)
{
	int fd = page_open(dir_fd, name);
	ssize_t len;

	if (fd < 0)
		return false;
	len = pread(fd, ret_seq, sizeof(*ret_seq),
		    offsetof(struct ebb_page_head, seq));
	close(fd);
	return len == (ssize_t)sizeof(*ret_seq);
}

unsigned int page_events(const struct ebb_page *page,
			 struct ebb_event rows[EBB_NR_EVENTS])
{
	unsigned int nr = 0;

	/* A ring: in order by their numbers. */
	for (unsigned int i = 0; i < page->head.events.used; i++) {
		const struct ebb_event *event = &page->events[i];
		unsigned int at = nr;

		if (!event->nr)
			continue;
		for (; at && rows[at - 1].nr > event->nr; at--)
			rows[at] = rows[at - 1];
		rows[at] = *event;
		nr++;
	}
	return nr;
}

uint64_t page_last_verdict(const struct ebb_page *page)
{
	uint64_t last = 0;

	for (unsigned int i = 0; i < EBB_NR_VERDICTS; i++)
		if (page->verdicts[i].nr > last)
			last = page->verdicts[i].nr;
	return last;
}

const struct ebb_verdict *page_verdict(const struct ebb_page *page,
				       const char *name, uint64_t after)
{
	const struct ebb_verdict *newest = NULL;

	for (unsigned int i = 0; i < EBB_NR_VERDICTS; i++) {
		const struct ebb_verdict *row = &page->verdicts[i];

		if (row->nr > after && !strcmp(row->name, name) &&
		    (!newest || row->nr > newest->nr))
			newest = row;
	}
	return newest;
}

bool page_option(const struct ebb_page *page, const char *name, char *value,
		 size_t size)
{
	size_t len = strlen(name), end;

	for (const char *line = page->text; *line; line += end) {
		end = strcspn(line, "\n");
		if (!strncmp(line, name, len) && line[len] == '=') {
			snprintf(value, size, "%.*s", (int)(end - len - 1),
				 line + len + 1);
			return true;
		}
		end += line[end] == '\n';
	}
	return false;
}

const char *page_askers(const struct ebb_page *page, uint32_t by_source,
			char *buf, size_t size)
{
	size_t len = 0;

	buf[0] = '\0';
	for (unsigned int i = 0; i < page->head.signals.used; i++)
		if (by_source >> i & 1 && len < size)
			len += (size_t)snprintf(buf + len, size - len, "%s%s",
						len ? "," : "",
						page->signals[i].name);
	return len ? buf : "age";
}

const char *page_pressure(unsigned int level)
{
	static const char *const names[] = { "none", "mild", "severe" };

	return level < ARRAY_SIZE(names) ? names[level] : "unknown";
}
