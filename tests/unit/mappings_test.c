/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ebbmalloc tests - Mappings, out of whatever reads bring
 */
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include "base/mappings.h"
#include "harness.h"

#define LIBRARY	"7f0000001000-7f0000203000 r-xp 0000a000 fe:01 1234567890" \
		"                 /usr/lib/libx.so\n"
#define UNNAMED	"7f0000203000-7f0000204000 rw-p 00000000 00:00 0 \n"
#define DELETED	"7f0000204000-7f0000205000 r--s ffffffffff000 00:01 1027" \
		"                     /memfd:a b c (deleted)\n"
#define ANON	"7f0000205000-7f0000305000 ---p 00000000 00:00 0" \
		"                          [anon:ebbmalloc: heap]\n"
#define ALL	LIBRARY UNNAMED DELETED ANON

#define SMALL	MAPPINGS_BUF_MIN
#define LARGE	4096u

FIXTURE(mappings)
{
	int to;			/* the other end of a socket, or -1 */
	struct mappings maps;
	struct mapping map;
	char buf[LARGE];
};

FIXTURE_SETUP(mappings)
{
	self->to = -1;
	self->maps.fd = -1;
}

FIXTURE_TEARDOWN(mappings)
{
	close(self->to);
	close(self->maps.fd);
}

typedef FIXTURE_DATA(mappings) reader;

/* Each packet of this socket is what one read() brings. */
static bool open_socket(reader *self, int flags)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | flags, 0, ends))
		return false;
	self->to = ends[1];
	mappings_from(&self->maps, ends[0], self->buf, LARGE);
	return true;
}

static bool put(const reader *self, const char *text, size_t len)
{
	return send(self->to, text, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static void end(reader *self)
{
	close(self->to);
	self->to = -1;
}

/* A file that has room for more than a socket has. */
static bool open_file(reader *self, const char *text, size_t size)
{
	int fd = memfd_create("maps", MFD_CLOEXEC);
	size_t len = strlen(text);

	if (fd < 0)
		return false;
	mappings_from(&self->maps, fd, self->buf, size);
	return pwrite(fd, text, len, 0) == (ssize_t)len;
}

static bool next(reader *self)
{
	return mappings_next(&self->maps, &self->map);
}

/* Whether what comes is ALL, and all. */
static bool has_all(reader *self)
{
	static const char *const names[] = {
		"/usr/lib/libx.so", "", "/memfd:a b c (deleted)",
		"[anon:ebbmalloc: heap]",
	};
	static const uintptr_t starts[] = {
		0x7f0000001000, 0x7f0000203000, 0x7f0000204000, 0x7f0000205000,
		0x7f0000305000,
	};

	for (unsigned int i = 0; i < ARRAY_LEN(names); i++)
		if (!next(self) || strcmp(names[i], self->map.name) ||
		    starts[i] != self->map.start ||
		    (i && starts[i + 1] != self->map.end))
			return false;
	return !next(self) && !self->maps.err;
}

TEST_F(mappings, each_field_is_told)
{
	ASSERT_TRUE(open_file(self, ALL, LARGE));
	ASSERT_TRUE(next(self));
	EXPECT_EQ(0x7f0000001000u, self->map.start);
	EXPECT_EQ(0x7f0000203000u, self->map.end);
	EXPECT_TRUE(self->map.readable);
	EXPECT_FALSE(self->map.writable);
	EXPECT_EQ(0xa000u, self->map.offset);
	EXPECT_EQ(1234567890u, self->map.inode);
	EXPECT_STREQ("/usr/lib/libx.so", self->map.name);

	ASSERT_TRUE(next(self));
	EXPECT_TRUE(self->map.readable);
	EXPECT_TRUE(self->map.writable);
	EXPECT_EQ(0u, self->map.inode);

	ASSERT_TRUE(next(self));
	EXPECT_EQ(0xffffffffff000u, self->map.offset);
	EXPECT_EQ(1027u, self->map.inode);

	ASSERT_TRUE(next(self));
	EXPECT_FALSE(self->map.readable);
}

TEST_F(mappings, names_may_have_spaces_or_be_missing)
{
	ASSERT_TRUE(open_file(self, ALL, LARGE));
	EXPECT_TRUE(has_all(self));
}

TEST_F(mappings, are_the_same_in_a_buffer_that_does_not_hold_all)
{
	ASSERT_LT(SMALL, strlen(ALL));
	ASSERT_TRUE(open_file(self, ALL, SMALL));
	EXPECT_TRUE(has_all(self));
}

/* Wherever that is. */
TEST_F(mappings, are_the_same_where_a_line_comes_in_two_reads)
{
	for (size_t at = 1; at < strlen(ALL); at++) {
		ASSERT_TRUE(open_socket(self, 0));
		ASSERT_TRUE(put(self, ALL, at));
		ASSERT_TRUE(put(self, ALL + at, strlen(ALL) - at));
		end(self);
		EXPECT_TRUE(has_all(self)) {
			TH_LOG("the second read begins at %zu", at);
		}
		EXPECT_EQ(0, mappings_close(&self->maps));
	}
}

TEST_F(mappings, of_an_empty_file_there_are_none)
{
	ASSERT_TRUE(open_file(self, "", LARGE));
	EXPECT_FALSE(next(self));
	EXPECT_FALSE(next(self));
	EXPECT_EQ(0u, mappings_text(&self->maps));
	EXPECT_EQ(0, self->maps.err);
}

TEST_F(mappings, what_has_no_address_or_no_end_is_none)
{
	ASSERT_TRUE(open_file(self, "\nno mapping\n" UNNAMED
			      "7f0000204000-7f0000205000 rw-p", LARGE));
	ASSERT_TRUE(next(self));
	EXPECT_EQ(0x7f0000203000u, self->map.start);
	EXPECT_FALSE(next(self));
	EXPECT_EQ(0, self->maps.err);
}

/* === Lines that are longer than the buffer === */

/* A line of @len, its newline included, and others around it. */
static bool open_with_long(reader *self, size_t len)
{
	static const char start[] = "1000-2000 rw-p 00003000 00:01 5 ";
	char text[4 * LARGE] = UNNAMED;
	size_t before = strlen(text), at = before;

	/* What follows where it is cut is no mapping, whatever it looks like. */
	while (at < before + len)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s",
				       start);
	snprintf(text + before + len - 1, LARGE, "\n" ANON);
	return open_file(self, text, SMALL);
}

TEST_F(mappings, the_name_of_an_overlong_line_is_cut)
{
	static const size_t lens[] = {
		SMALL - 1, SMALL, SMALL + 1, SMALL + 2, 2 * SMALL - 1,
		2 * SMALL, 2 * SMALL + 1, 2 * LARGE,
	};

	for (unsigned int i = 0; i < ARRAY_LEN(lens); i++) {
		size_t held = lens[i] < SMALL ? lens[i] : SMALL;

		ASSERT_TRUE(open_with_long(self, lens[i]));
		EXPECT_TRUE(next(self));
		EXPECT_TRUE(next(self));
		EXPECT_EQ(0x1000u, self->map.start);
		EXPECT_EQ(0x3000u, self->map.offset);
		EXPECT_EQ(5u, self->map.inode);
		/* The line's beginning is as long as what stands in its name. */
		EXPECT_EQ(held - 1 - 32, strlen(self->map.name));
		EXPECT_EQ(0, strncmp("1000-2000 rw-p", self->map.name, 14));
		EXPECT_TRUE(next(self));
		EXPECT_STREQ("[anon:ebbmalloc: heap]", self->map.name);
		EXPECT_FALSE(next(self));
		EXPECT_EQ(0, mappings_close(&self->maps));
	}
}

TEST_F(mappings, text_is_the_same_to_the_byte)
{
	char want[4 * LARGE], got[4 * LARGE];
	size_t len = 0, piece;

	ASSERT_TRUE(open_with_long(self, LARGE));
	while ((piece = mappings_text(&self->maps))) {
		ASSERT_GE(SMALL, piece);
		memcpy(got + len, self->buf, piece);
		len += piece;
	}
	EXPECT_EQ(0, self->maps.err);
	ASSERT_EQ((ssize_t)len, pread(self->maps.fd, want, sizeof(want), 0));
	EXPECT_EQ(0, memcmp(want, got, len));
}

/* === Errors === */

TEST_F(mappings, an_error_ends_them_and_is_told)
{
	ASSERT_TRUE(open_socket(self, SOCK_NONBLOCK));
	ASSERT_TRUE(put(self, UNNAMED "7f0000204000-7f00", 64));
	ASSERT_TRUE(next(self));
	EXPECT_FALSE(next(self));
	EXPECT_EQ(-EAGAIN, mappings_close(&self->maps));
}

TEST_F(mappings, an_error_ends_the_text_and_is_told)
{
	ASSERT_TRUE(open_socket(self, SOCK_NONBLOCK));
	ASSERT_TRUE(put(self, UNNAMED, strlen(UNNAMED)));
	EXPECT_EQ(strlen(UNNAMED), mappings_text(&self->maps));
	EXPECT_EQ(0u, mappings_text(&self->maps));
	EXPECT_EQ(-EAGAIN, mappings_close(&self->maps));
}

TEST_F(mappings, without_a_descriptor_there_are_none)
{
	struct rlimit some, none;

	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &some));
	none = (struct rlimit){ 0, some.rlim_max };
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &none));
	EXPECT_EQ(-EMFILE, mappings_open(&self->maps, self->buf, LARGE));
	EXPECT_EQ(0, setrlimit(RLIMIT_NOFILE, &some));
}

static reader *waiting;
static volatile sig_atomic_t nr_ticks;

/* The third one brings what is waited for. */
static void tick(int sig)
{
	(void)sig;
	if (++nr_ticks == 3) {
		put(waiting, UNNAMED, strlen(UNNAMED));
		end(waiting);
	}
}

TEST_F(mappings, an_interrupted_read_is_repeated)
{
	struct itimerval every = { { 0, 5000 }, { 0, 5000 } }, never = { 0 };
	struct sigaction action = { .sa_handler = tick };

	ASSERT_TRUE(open_socket(self, 0));
	waiting = self;
	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &every, NULL));
	EXPECT_TRUE(next(self));
	EXPECT_FALSE(next(self));
	EXPECT_EQ(0, setitimer(ITIMER_REAL, &never, NULL));
	EXPECT_LE(3, nr_ticks);
	EXPECT_EQ(0, self->maps.err);
}

/* === The kernel's === */

/* Of the file with all mappings, the one that @at lies in. */
static bool find(reader *self, const void *at)
{
	bool found = false;

	if (mappings_open(&self->maps, self->buf, LARGE))
		return false;
	while (!found && next(self))
		found = (uintptr_t)at - self->map.start <
			self->map.end - self->map.start;
	return !mappings_close(&self->maps) && found;
}

TEST_F(mappings, of_this_process_are_found)
{
	size_t page = page_size();
	int fd = memfd_create("two words", MFD_CLOEXEC);
	char *file, *none;

	ASSERT_EQ(0, ftruncate(fd, (off_t)(4 * page)));
	file = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		    (off_t)(3 * page));
	ASSERT_NE(MAP_FAILED, file);
	none = mmap(NULL, 4 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0);
	ASSERT_NE(MAP_FAILED, none);

	ASSERT_TRUE(find(self, file));
	EXPECT_EQ((uintptr_t)file, self->map.start);
	EXPECT_EQ((uintptr_t)file + page, self->map.end);
	EXPECT_EQ(3 * page, self->map.offset);
	EXPECT_NE(0u, self->map.inode);
	EXPECT_TRUE(self->map.writable);
	EXPECT_STREQ("/memfd:two words (deleted)", self->map.name);

	ASSERT_TRUE(find(self, none + page));
	EXPECT_FALSE(self->map.readable);
	EXPECT_EQ(0u, self->map.inode);

	ASSERT_TRUE(find(self, __builtin_frame_address(0)));
	EXPECT_STREQ("[stack]", self->map.name);

	ASSERT_EQ(0, munmap(none, 4 * page));
	EXPECT_FALSE(find(self, none + page));
}

TEST_F(mappings, nothing_stays_open)
{
	ASSERT_EQ(0, mappings_open(&self->maps, self->buf, LARGE));
	EXPECT_TRUE(next(self));
	EXPECT_EQ(0, mappings_close(&self->maps));
	EXPECT_EQ(-1, fcntl(self->maps.fd, F_GETFD));
}

TEST_HARNESS_MAIN
