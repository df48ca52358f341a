/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Own memory cgroup
 *
 * What it is: finds the directories in which the kernel shows the cgroups of
 * this process, from /proc/self/cgroup (which cgroup) and mountinfo (where
 * hierarchies are mounted, and which part of them).
 *
 * Model: a mount shows the hierarchy from its root field R down; the process
 * is at path P.  Both are relative to the root of the cgroup namespace, and
 * ".." components lead above it.  After the common leading components are
 * taken away,
 *	R is empty		P is the way below the mount point;
 *	R is only ".."		the mount point is above the namespace's root,
 *				and the directories between have names that
 *				the namespace hides: they are searched for the
 *				one whose cgroup.procs has this process;
 *	anything else		this mount does not show the process.
 * Of several mounts the one that shows most levels is taken.
 *
 * Hybrid: memory is on v1 where /proc/thread-self/cgroup has a memory
 * hierarchy of its own; the v2 tree, if mounted, is then good for
 * memory.pressure only.
 *
 * Locking: find_lock (rank 5, after inband_lock), since the reclaimer and
 * threads that look in-band both come here; what is read meanwhile lies in
 * buffers that it guards.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/inotify.h>
#include "base/err.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/number.h"
#include "base/sys.h"
#include "reclaim/cgroup.h"

#define LINE_SIZE	8192	/* longer lines (huge overlay mounts): skipped */
#define SEARCH_DEPTH	8	/* hidden directories in a row */
#define SEARCH_BUDGET	1024	/* directories looked at in all */
#define NAMES_SIZE	1024	/* of directory entries read at once */
#define NUMBER_SIZE	32
#define V1_NO_LIMIT	(1ULL << 62)

/* === Text ============================================================= */

int cgroup_parse_number(const char *text, uint64_t *ret_value)
{
	uint64_t value;

	if (!strncmp(text, "max", 3)) {
		*ret_value = CGROUP_NO_LIMIT;
		return 0;
	}
	if (number_take(&text, 10, &value))
		return -EINVAL;
	*ret_value = value >= V1_NO_LIMIT ? CGROUP_NO_LIMIT : value;
	return 0;
}

uint64_t cgroup_parse_key(const char *text, const char *key)
{
	size_t len = strlen(key);
	uint64_t value;

	while (text) {
		if (!strncmp(text, key, len) && text[len] == ' ')
			return cgroup_parse_number(text + len + 1, &value) ?
				0 : value;
		text = strchr(text, '\n');
		text = text ? text + 1 : NULL;
	}
	return 0;
}

/* Whether the comma-separated @list has @word. */
static bool list_has(const char *list, const char *word)
{
	size_t len = strlen(word);

	while (list) {
		if (!strncmp(list, word, len) &&
		    (list[len] == ',' || !list[len]))
			return true;
		list = strchr(list, ',');
		list = list ? list + 1 : NULL;
	}
	return false;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Undo mountinfo's \ooo escapes, in place. */
static void unescape(char *text)
{
	char *out = text;

	while (*text) {
		if (text[0] == '\\' && is_digit(text[1]) &&
		    is_digit(text[2]) && is_digit(text[3])) {
			*out++ = (char)((text[1] - '0') << 6 |
					(text[2] - '0') << 3 |
					(text[3] - '0'));
			text += 4;
		} else {
			*out++ = *text++;
		}
	}
	*out = '\0';
}

enum cgroup_version cgroup_parse_self(char *line, char **ret_path)
{
	char *controllers = strchr(line, ':');
	char *path = controllers ? strchr(controllers + 1, ':') : NULL;

	if (!path || path[1] != '/')
		return CGROUP_NONE;
	*controllers++ = '\0';
	*path++ = '\0';
	if (!strcmp(line, "0") && !*controllers) {
		*ret_path = path;
		return CGROUP_V2;
	}
	if (list_has(controllers, "memory")) {
		*ret_path = path;
		return CGROUP_V1;
	}
	return CGROUP_NONE;
}

/* Cut the next space-separated field off *@rest; NULL at the end. */
static char *field_next(char **rest)
{
	char *field = *rest;
	char *space;

	if (!field)
		return NULL;
	space = strchr(field, ' ');
	if (space)
		*space++ = '\0';
	*rest = space;
	return field;
}

/* "31 23 0:28 ROOT POINT OPTIONS [OPTIONAL...] - TYPE SOURCE SUPER" */
int cgroup_parse_mount(char *line, struct cgroup_mount *ret_mount)
{
	char *tail = strstr(line, " - ");
	char *type, *super, *root, *point;
	enum cgroup_version version;

	if (!tail)
		return -ENOENT;
	*tail = '\0';
	tail += strlen(" - ");
	type = field_next(&tail);
	field_next(&tail);
	super = field_next(&tail);
	if (!strcmp(type, "cgroup2"))
		version = CGROUP_V2;
	else if (!strcmp(type, "cgroup") && super && list_has(super, "memory"))
		version = CGROUP_V1;
	else
		return -ENOENT;

	for (int i = 0; i < 3; i++)
		field_next(&line);
	root = field_next(&line);
	point = field_next(&line);
	if (!root || *root != '/' || !point || *point != '/')
		return -ENOENT;
	unescape(root);
	unescape(point);
	*ret_mount = (struct cgroup_mount){ version, root, point };
	return 0;
}

/* Length of the first component with its slash: 4 of "/a-b/c"; 0 of "/". */
static size_t component_len(const char *path)
{
	if (path[0] != '/' || !path[1])
		return 0;
	return 1 + strcspn(path + 1, "/");
}

static bool component_is_up(const char *path)
{
	return component_len(path) == 3 && path[1] == '.' && path[2] == '.';
}

int cgroup_locate(const char *root, const char *path, const char **ret_rest)
{
	int nr_hidden = 0;
	size_t len;

	for (;;) {
		len = component_len(root);
		if (!len || len != component_len(path) ||
		    strncmp(root, path, len))
			break;
		root += len;
		path += len;
	}
	for (; component_is_up(root); root += 3)
		nr_hidden++;
	if (component_len(root) || (!nr_hidden && component_is_up(path)))
		return -ENOENT;
	*ret_rest = component_len(path) ? path : "";
	return nr_hidden;
}

/* === Files ============================================================ */

long cgroup_read_text(int fd, char *buf, size_t size)
{
	long len = sys_pread(fd, buf, size - 1, 0);

	if (len < 0)
		return len;
	buf[len] = '\0';
	return len;
}

int cgroup_read_number(int fd, uint64_t *ret_value)
{
	char text[NUMBER_SIZE];
	long len = cgroup_read_text(fd, text, sizeof(text));

	return len < 0 ? (int)len : cgroup_parse_number(text, ret_value);
}

int cgroup_path(const struct cgroup_dir *dir, unsigned int level,
		const char *file, char *buf, size_t size)
{
	size_t len = strlen(dir->path);
	size_t file_len = strlen(file);

	if (!len)
		return -ENOENT;
	for (; level; level--) {
		if (len <= dir->top_len)
			return -ENOENT;
		while (dir->path[--len] != '/')
			;
	}
	if (len + 1 + file_len + 1 > size)
		return -ENAMETOOLONG;
	memcpy(buf, dir->path, len);
	buf[len] = '/';
	memcpy(buf + len + 1, file, file_len + 1);
	return 0;
}

int cgroup_open(const struct cgroup_dir *dir, unsigned int level,
		const char *file, int flags)
{
	char path[CGROUP_PATH_MAX + 64];
	int err = cgroup_path(dir, level, file, path, sizeof(path));

	return err ? err : sys_open(path, flags | O_CLOEXEC, 0);
}

/* === Being told of writes ============================================= */

#define NOTES_SIZE	1024

int cgroup_notes_open(void)
{
	return (int)sys_call1(SYS_inotify_init1, IN_CLOEXEC | IN_NONBLOCK);
}

int cgroup_notes_add(int notes_fd, const struct cgroup_dir *dir,
		     unsigned int level, const char *file)
{
	char path[CGROUP_PATH_MAX + 64];
	int err = cgroup_path(dir, level, file, path, sizeof(path));
	int watch;

	if (err)
		return err;
	watch = (int)sys_call3(SYS_inotify_add_watch, notes_fd, (long)path,
			       IN_MODIFY);
	return watch < 0 ? watch : 0;
}

bool cgroup_notes_drain(int notes_fd)
{
	char notes[NOTES_SIZE] __aligned_(8);
	bool any = false;

	while (sys_read(notes_fd, notes, sizeof(notes)) > 0)
		any = true;
	return any;
}

/* === Lines ============================================================ */

static struct line_reader {
	int fd;
	size_t pos, len;
	bool cut;			/* the line at pos lacks its beginning */
	char buf[LINE_SIZE];
} reader;

static int reader_open(struct line_reader *r, const char *prefix,
		       const char *path)
{
	char full[CGROUP_PATH_MAX];

	fmt_line(full, sizeof(full), "%s%s", prefix, path);
	r->pos = r->len = 0;
	r->cut = false;
	r->fd = sys_open(full, O_RDONLY | O_CLOEXEC, 0);
	return r->fd < 0 ? r->fd : 0;
}

/* Read more behind what is left; false at the end of the file. */
static bool reader_fill(struct line_reader *r)
{
	long nr;

	if (r->pos == 0 && r->len == sizeof(r->buf)) {
		r->len = 0;
		r->cut = true;
	}
	memmove(r->buf, r->buf + r->pos, r->len - r->pos);
	r->len -= r->pos;
	r->pos = 0;
	nr = sys_read(r->fd, r->buf + r->len, sizeof(r->buf) - r->len);
	if (nr <= 0)
		return false;
	r->len += (size_t)nr;
	return true;
}

/* The next whole line, without its end; NULL at the end of the file. */
static char *reader_line(struct line_reader *r)
{
	for (;;) {
		char *line = r->buf + r->pos;
		char *end = memchr(line, '\n', r->len - r->pos);
		bool cut = r->cut;

		if (!end) {
			if (!reader_fill(r))
				return NULL;
			continue;
		}
		*end = '\0';
		r->pos = (size_t)(end + 1 - r->buf);
		r->cut = false;
		if (!cut)
			return line;
	}
}

/* === Search below a mount that starts above the namespace ============= */

struct search {
	char path[CGROUP_PATH_MAX];
	const char *rest;		/* way below the hidden directories */
	unsigned int budget;
};

struct dir_entry {			/* struct linux_dirent64 */
	uint64_t ino;
	int64_t off;
	unsigned short len;
	unsigned char type;
	char name[];
};

#define ENTRY_IS_DIR	4		/* DT_DIR */

/* Whether cgroup.procs in @dir/@rest has this process. */
static bool holds_self(const char *dir, const char *rest)
{
	char path[CGROUP_PATH_MAX + 64];
	char self[NUMBER_SIZE];
	bool found = false;
	char *line;

	fmt_line(path, sizeof(path), "%s%s/cgroup.procs", dir, rest);
	fmt_line(self, sizeof(self), "%d", sys_getpid());
	if (reader_open(&reader, "", path))
		return false;
	while (!found && (line = reader_line(&reader)))
		found = !strcmp(line, self);
	sys_close(reader.fd);
	return found;
}

static int search_below(struct search *s, size_t len, int depth);

static int search_entries(struct search *s, size_t len, int depth, char *names,
			  long nr)
{
	for (long at = 0; at < nr; ) {
		struct dir_entry *entry = (struct dir_entry *)(names + at);
		size_t name_len = strlen(entry->name);

		at += entry->len;
		if (entry->type != ENTRY_IS_DIR || entry->name[0] == '.' ||
		    len + 1 + name_len + 1 > sizeof(s->path))
			continue;
		s->path[len] = '/';
		memcpy(s->path + len + 1, entry->name, name_len + 1);
		if (!search_below(s, len + 1 + name_len, depth - 1))
			return 0;
		if (!s->budget)
			break;
	}
	return -ENOENT;
}

/*
 * Extend s->path, of which @len bytes are in use, by @depth directories so
 * that it leads to the process.  Recursion is bounded by SEARCH_DEPTH, each
 * level with NAMES_SIZE of stack.
 */
static int search_below(struct search *s, size_t len, int depth)
{
	char names[NAMES_SIZE] __aligned_(8);
	int fd, err = -ENOENT;
	long nr;

	s->path[len] = '\0';
	if (!s->budget)
		return -ENOENT;
	s->budget--;
	if (!depth)
		return holds_self(s->path, s->rest) ? 0 : -ENOENT;
	fd = sys_open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	while (err && (nr = sys_call3(SYS_getdents64, fd, (long)names,
				      sizeof(names))) > 0)
		err = search_entries(s, len, depth, names, nr);
	sys_close(fd);
	return err;
}

/* === Finding oneself ================================================== */

/* The best mount so far for one hierarchy. */
struct candidate {
	char path[CGROUP_PATH_MAX];	/* own cgroup, of /proc/thread-self/cgroup */
	char point[CGROUP_PATH_MAX];
	char rest[CGROUP_PATH_MAX];
	int nr_hidden;			/* -1: no mount seen that shows it */
};

static struct lock find_lock = LOCK_INIT(5);
static struct candidate candidate_v1, candidate_v2;

static void copy_text(char *dst, size_t size, const char *src)
{
	fmt_line(dst, size, "%s", src);
}

static void candidate_offer(struct candidate *c, const char *prefix,
			    const struct cgroup_mount *mount)
{
	const char *rest;
	int nr_hidden;

	if (!c->path[0] || strlen(prefix) + strlen(mount->point) +
	    strlen(c->path) + 1 > CGROUP_PATH_MAX)
		return;
	nr_hidden = cgroup_locate(mount->root, c->path, &rest);
	if (nr_hidden < 0 || nr_hidden > SEARCH_DEPTH)
		return;
	if (c->nr_hidden >= 0 &&
	    (nr_hidden > c->nr_hidden ||
	     (nr_hidden == c->nr_hidden && strlen(rest) < strlen(c->rest))))
		return;
	c->nr_hidden = nr_hidden;
	fmt_line(c->point, sizeof(c->point), "%s%s", prefix, mount->point);
	copy_text(c->rest, sizeof(c->rest), rest);
}

static void candidate_resolve(const struct candidate *c, struct cgroup_dir *dir)
{
	static struct search search;
	int err = 0;

	dir->path[0] = '\0';
	if (!c->path[0] || c->nr_hidden < 0)
		return;
	copy_text(search.path, sizeof(search.path), c->point);
	if (c->nr_hidden) {
		search.rest = c->rest;
		search.budget = SEARCH_BUDGET;
		err = search_below(&search, strlen(search.path), c->nr_hidden);
	}
	if (err || strlen(search.path) + strlen(c->rest) >= sizeof(dir->path))
		return;
	fmt_line(dir->path, sizeof(dir->path), "%s%s", search.path, c->rest);
	dir->top_len = strlen(c->point);
}

/* The own cgroups' paths, "" where there is none; false: cannot be read. */
static bool read_paths(const char *prefix, char *v1, char *v2)
{
	enum cgroup_version version;
	char *line, *path;

	*v1 = *v2 = '\0';
	if (reader_open(&reader, prefix, "/proc/thread-self/cgroup"))
		return false;
	while ((line = reader_line(&reader))) {
		version = cgroup_parse_self(line, &path);
		if (version == CGROUP_NONE || strlen(path) >= CGROUP_PATH_MAX)
			continue;
		copy_text(version == CGROUP_V1 ? v1 : v2, CGROUP_PATH_MAX,
			  path);
	}
	sys_close(reader.fd);
	return *v1 || *v2;
}

/* FNV-1a, of the string with its end. */
static uint64_t hash_text(uint64_t hash, const char *text)
{
	do {
		hash = (hash ^ (unsigned char)*text) * 0x100000001b3ULL;
	} while (*text++);
	return hash;
}

static uint64_t hash_paths(const char *v1, const char *v2)
{
	return hash_text(hash_text(0xcbf29ce484222325ULL, v1), v2);
}

bool cgroup_has_moved(const char *prefix, const struct cgroup_view *view)
{
	static char v1[CGROUP_PATH_MAX], v2[CGROUP_PATH_MAX];
	bool moved;

	lock_take(&find_lock);
	/* What cannot be read, out of files or memory, did not move. */
	moved = read_paths(prefix, v1, v2) &&
		hash_paths(v1, v2) != view->place;
	lock_release(&find_lock);
	return moved;
}

static void find_mounts(const char *prefix)
{
	struct cgroup_mount mount;
	char *line;

	if (reader_open(&reader, prefix, "/proc/thread-self/mountinfo"))
		return;
	while ((line = reader_line(&reader))) {
		if (cgroup_parse_mount(line, &mount))
			continue;
		candidate_offer(mount.version == CGROUP_V1 ? &candidate_v1 :
				&candidate_v2, prefix, &mount);
	}
	sys_close(reader.fd);
}

static bool dir_equals(const struct cgroup_dir *a, const struct cgroup_dir *b)
{
	return a->top_len == b->top_len && !strcmp(a->path, b->path);
}

bool cgroup_view_equals(const struct cgroup_view *a,
			const struct cgroup_view *b)
{
	return a->version == b->version && a->why == b->why &&
	       dir_equals(&a->memory, &b->memory) &&
	       dir_equals(&a->unified, &b->unified);
}

void cgroup_find(const char *prefix, struct cgroup_view *ret_view)
{
	bool on_v1;

	lock_take(&find_lock);
	memset(ret_view, 0, sizeof(*ret_view));
	memset(&candidate_v1, 0, sizeof(candidate_v1));
	memset(&candidate_v2, 0, sizeof(candidate_v2));
	candidate_v1.nr_hidden = candidate_v2.nr_hidden = -1;
	if (read_paths(prefix, candidate_v1.path, candidate_v2.path))
		find_mounts(prefix);
	ret_view->place = hash_paths(candidate_v1.path, candidate_v2.path);
	candidate_resolve(&candidate_v2, &ret_view->unified);
	on_v1 = candidate_v1.path[0];
	if (on_v1)
		candidate_resolve(&candidate_v1, &ret_view->memory);
	else
		ret_view->memory = ret_view->unified;

	if (ret_view->memory.path[0])
		ret_view->version = on_v1 ? CGROUP_V1 : CGROUP_V2;
	else if (on_v1)
		ret_view->why = "no mount shows the own v1 memory cgroup";
	else if (candidate_v2.path[0])
		ret_view->why = "no mount shows the own v2 cgroup";
	else
		ret_view->why = "/proc/thread-self/cgroup names none";
	lock_release(&find_lock);
}

void cgroup_postfork_child(void)
{
	if (!lock_is_mine(&find_lock))
		lock_reset(&find_lock);
}
