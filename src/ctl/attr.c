/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Attributes: files whose contents can be written
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/param.h"
#include "base/sys.h"
#include "ctl/attr.h"
#include "ctl/board.h"
#include "ctl/file.h"
#include "debug/profile.h"
#include "heap/heap.h"
#include "reclaim/inband.h"
#include "reclaim/purge.h"
#include "reclaim/reclaimer.h"

#define VALUE_SIZE	(EBB_STRING_MAX + 1)
#define READ_SIZE	(VALUE_SIZE + 2)	/* one too many, and a newline */
#define WHY_SIZE	256
#define SHOWN_SIZE	48	/* of a refused value so much is repeated */
#define NAMES_MAX	512	/* in the directory, that are looked at */
#define WRITING_NS	20000000	/* so long ago, its writer is done */
#define EMPTY_MS	100	/* what is empty for longer is meant to be */
#define ERROR_FILE	"error"

/* What is no option; each reads as the bytes that came of the last time. */
static const struct ebb_attr actions[] = {
	[ATTR_TRIM - EBB_NR_ATTRS] = {
		.name = "trim", .type = EBB_TYPE_BYTES, .unit = "bytes",
		.min = 1, .max = INT64_C(1) << 50,
	},
	[ATTR_DUMP - EBB_NR_ATTRS] = {
		.name = "dump", .type = EBB_TYPE_CHOICE, .unit = "",
		.accepts = "profile",
	},
};

_Static_assert(ARRAY_SIZE(actions) == NR_FILES - EBB_NR_ATTRS, "all of them");

/* What we put there; of another inode or time it is somebody else's. */
static struct file_mark marks[NR_FILES];
static uint64_t last_bytes[ARRAY_SIZE(actions)];
static uint64_t hollow;		/* files found empty, a bit each, */
static uint64_t hollow_ms[NR_FILES];	/* and since when */
static bool secure;		/* set once, at start */

static bool is_action(unsigned int file)
{
	return file >= EBB_NR_ATTRS;
}

static const struct ebb_attr *row_of(unsigned int file)
{
	return is_action(file) ? &actions[file - EBB_NR_ATTRS] :
				 param_attr((enum ebb_attr_id)file);
}

static uint64_t *bytes_of(unsigned int file)
{
	return &last_bytes[file - EBB_NR_ATTRS];
}

static const char *name_of(unsigned int file)
{
	return row_of(file)->name;
}

uint64_t attr_bit(const char *name)
{
	int id = param_find(name);

	if (id >= 0)
		return 1ULL << id;
	for (unsigned int file = EBB_NR_ATTRS; file < NR_FILES; file++)
		if (!strcmp(name, row_of(file)->name))
			return 1ULL << file;
	return 0;
}

void attr_note_secure(void)
{
	secure = true;
}

void attr_reset(void)
{
	memset(marks, 0, sizeof(marks));
	hollow = 0;
}

uint64_t attr_hollow(void)
{
	return hollow;
}

/* === Writing ============================================================== */

static size_t format_value(unsigned int file, char *buf, size_t size)
{
	if (is_action(file))
		return fmt_line(buf, size, "%llu",
				(unsigned long long)*bytes_of(file));
	if (row_of(file)->type == EBB_TYPE_STRING)
		return fmt_line(buf, size, "%s",
				param_str((enum ebb_attr_id)file));
	return param_format(row_of(file), param_int((enum ebb_attr_id)file),
			    buf, size);
}

static bool is_read_only(unsigned int file)
{
	if (secure && file == EBB_ATTR_LOG)
		return true;
	return row_of(file)->flags & EBB_FLAG_START;
}

static int put_one(int dir_fd, unsigned int file)
{
	char text[VALUE_SIZE + 1];
	size_t len = format_value(file, text, VALUE_SIZE);

	text[len++] = '\n';
	return file_put(dir_fd, name_of(file), is_read_only(file) ? 0400 : 0600,
			text, len, &marks[file]);
}

int attr_put(int dir_fd, uint64_t which)
{
	int first_err = 0;

	for (unsigned int file = 0; file < NR_FILES; file++) {
		int err = which >> file & 1 ? put_one(dir_fd, file) : 0;

		first_err = first_err ?: err;
	}
	return first_err;
}

/* === Reading ============================================================== */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Without blanks at both ends; NULL where it is no text. */
static char *trimmed(char *text, size_t len)
{
	while (len && is_blank(text[len - 1]))
		len--;
	text[len] = '\0';
	while (is_blank(*text)) {
		text++;
		len--;
	}
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			return NULL;
	return text;
}

/* Its length, cut at what fits, or -errno. */
static long read_value(int dir_fd, unsigned int file, uint32_t uid,
		       char buf[READ_SIZE], struct file_mark *ret_mark)
{
	struct stat st;
	long len;
	int fd = file_open(dir_fd, name_of(file), O_RDONLY);

	if (fd < 0)
		return fd;
	len = sys_fstat(fd, &st);
	if (!len && (!S_ISREG(st.st_mode) || (st.st_uid && st.st_uid != uid)))
		len = -EINVAL;
	if (!len)
		*ret_mark = file_mark_of(&st);
	if (!len)
		len = sys_pread(fd, buf, READ_SIZE - 1, 0);
	sys_close(fd);
	return len;
}

/* === Applying ============================================================= */

/* Whatever @text is; its length in @why. */
static size_t say_refused(unsigned int file, const char *text,
			  const char *reason, char *why)
{
	char shown[SHOWN_SIZE];
	bool cut = fmt_line(shown, sizeof(shown), "%s", text) ==
		   SHOWN_SIZE - 1;

	return fmt_line(why, WHY_SIZE, "%s%s%s%s refused: %s", name_of(file),
			*text ? "=" : "", shown, cut ? "..." : "", reason);
}

/* For what @text is. */
static int refuse(unsigned int file, const char *text, const char *reason,
		  char *why)
{
	size_t len = say_refused(file, text, reason, why);
	char now[SHOWN_SIZE], accepted[80];

	format_value(file, now, sizeof(now));
	if (!is_read_only(file)) {
		param_format_range(row_of(file), accepted, sizeof(accepted));
		len += fmt_line(why + len, WHY_SIZE - len, "; accepts %s%s",
				file == ATTR_TRIM ? "all or " : "", accepted);
	}
	if (!is_action(file))
		fmt_line(why + len, WHY_SIZE - len, "; stays %s", now);
	return -EINVAL;
}

static int apply_trim(const char *text, char *why)
{
	struct purge_order order = {
		.lazy_age_ms = PURGE_NEVER,
		.drain = true,
		.force = true,
	};
	struct purge_result result;
	int64_t bytes = 0;
	int err = 0;

	if (strcmp(text, "all"))
		err = param_parse(row_of(ATTR_TRIM), text, &bytes);
	if (err) {
		refuse(ATTR_TRIM, text, err == -ERANGE ? "out of range" :
							 "not a size", why);
		return err;
	}
	order.want_bytes = (uint64_t)bytes;
	err = purge_run(&order, &result);
	if (err) {
		refuse(ATTR_TRIM, text, "a pass is in progress below a signal "
		       "handler", why);
		return err;
	}
	*bytes_of(ATTR_TRIM) = result.clean_bytes;
	fmt_line(why, WHY_SIZE, "%llu bytes given back",
		 (unsigned long long)result.clean_bytes);
	return 0;
}

/* @arg: where its length goes. */
static int write_profile(int fd, void *arg)
{
	struct stat st = { 0 };
	int err = heap_profiled ? profile_write(fd) : -ENODATA;

	err = err ?: sys_fstat(fd, &st);
	*(uint64_t *)arg = (uint64_t)st.st_size;
	return err;
}

static int apply_dump(int dir_fd, const char *text, char *why)
{
	uint64_t bytes = 0;
	int64_t what;
	int err = param_parse(row_of(ATTR_DUMP), text, &what);

	if (err) {
		refuse(ATTR_DUMP, text, "nothing that is written", why);
		return err;
	}
	err = file_put_by(dir_fd, EBB_PROFILE_FILE, 0400, write_profile, &bytes,
			  NULL);
	if (err) {
		say_refused(ATTR_DUMP, text, err != -ENODATA ? err_name(err) :
			    "there is no heap profile, since the option profile "
			    "was 0 at start", why);
		return err;
	}
	*bytes_of(ATTR_DUMP) = bytes;
	fmt_line(why, WHY_SIZE, "%llu bytes in " EBB_PROFILE_FILE,
		 (unsigned long long)bytes);
	return 0;
}

/* What is not read anew each time has to be told. */
static void tell(enum ebb_attr_id id)
{
	switch (id) {
	case EBB_ATTR_LIMIT:
	case EBB_ATTR_INBAND_MS:
		inband_option_changed();
		break;
	case EBB_ATTR_RECLAIM:
		inband_option_changed();
		reclaimer_option_changed();
		break;
	case EBB_ATTR_THREAD_MIN:
		reclaimer_option_changed();
		break;
	default:
		break;
	}
}

static int apply_option(enum ebb_attr_id id, const char *text, char *why)
{
	int err;

	if (is_read_only(id))
		return refuse(id, text, "it is read at start only", why);
	err = param_set(name_of(id), text, why, WHY_SIZE);
	if (err)
		return err;
	tell(id);
	format_value(id, why, WHY_SIZE);
	return 0;
}

/* A line with nothing on it says "none" where that is the default. */
static bool may_be_none(unsigned int file)
{
	return !is_action(file) && row_of(file)->type == EBB_TYPE_STRING &&
	       !*row_of(file)->def_text;
}

/* @len bytes of @value, or -errno, were found in the file. */
static int apply(int dir_fd, unsigned int file, char *value, long len,
		 char *why)
{
	char *text;

	if (len < 0)
		return refuse(file, "", "not a regular file of this user's",
			      why);
	if (len >= READ_SIZE - 1)
		return refuse(file, "", "longer than 255 bytes", why);
	if (!len)
		return refuse(file, "", "empty", why);
	text = trimmed(value, (size_t)len);
	if (!text || (!*text && !may_be_none(file)))
		return refuse(file, "", text ? "empty" : "not text", why);
	if (file == ATTR_TRIM)
		return apply_trim(text, why);
	if (file == ATTR_DUMP)
		return apply_dump(dir_fd, text, why);
	return apply_option((enum ebb_attr_id)file, text, why);
}

int attr_put_texts(int dir_fd)
{
	int err = file_put(dir_fd, ERROR_FILE, 0400, "", 0, NULL);

	err = err ?: file_put(dir_fd, EBB_PROFILE_FILE, 0400, "", 0, NULL);
	return err ?: board_put_no_report(dir_fd);
}

static void put_error(int dir_fd, const char *why)
{
	char text[WHY_SIZE + 1];
	size_t len = fmt_line(text, WHY_SIZE, "%s", why);

	text[len++] = '\n';
	/* The verdict is on the page, too. */
	err_ignore(file_put(dir_fd, ERROR_FILE, 0400, text, len, NULL));
}

/*
 * Somebody may have truncated it to write again: if it were replaced now, that
 * would go to a file without a name.
 */
static bool may_be_filled(unsigned int file, long len)
{
	uint64_t bit = 1ULL << file, now_ms = clock_coarse_ms();

	if (!len && !(hollow & bit)) {
		hollow |= bit;
		hollow_ms[file] = now_ms;
	}
	if (!len && now_ms - hollow_ms[file] < EMPTY_MS)
		return true;
	hollow &= ~bit;
	return false;
}

/* Returns whether it was somebody's, and accepted. */
static bool read_one(int dir_fd, unsigned int file, bool written, uint32_t uid)
{
	char value[READ_SIZE], why[WHY_SIZE] = "";
	struct file_mark mark = { 0 };
	long len = read_value(dir_fd, file, uid, value, &mark);
	int err = -ENOENT;

	if (may_be_filled(file, len))
		return false;
	if (!written && len > 0 && mark.ino == marks[file].ino &&
	    mark.ns == marks[file].ns)
		return false;
	/* That is ours to suffer, not a fault of who wrote. */
	if (len == -EMFILE || len == -ENFILE || len == -ENOMEM)
		return false;
	if (len != -ENOENT) {
		if (len >= 0)
			value[len] = '\0';
		err = apply(dir_fd, file, value, len, why);
		board_verdict(name_of(file), err, why);
	}
	if (err && *why)
		put_error(dir_fd, why);
	/* Who wrote it finds the value in force, whatever it is. */
	err_ignore(put_one(dir_fd, file));
	return !err;
}

bool attr_read(int dir_fd, uint64_t which, uint64_t written, uint32_t uid)
{
	bool changed = false;

	for (unsigned int file = 0; file < NR_FILES; file++)
		if (which >> file & 1)
			changed |= read_one(dir_fd, file, written >> file & 1,
					    uid);
	return changed;
}

struct presence {
	uint64_t bits;
	unsigned int nr;	/* names seen: somebody may have made a million */
};

static bool add_bit(const char *name, void *arg)
{
	struct presence *presence = arg;

	presence->bits |= attr_bit(name);
	return ++presence->nr < NAMES_MAX;
}

uint64_t attr_present(int dir_fd)
{
	struct presence presence = { 0 };

	return file_for_each(dir_fd, add_bit, &presence) ? 0 : presence.bits;
}

/*
 * Who truncates, writes and closes does that in microseconds, and what is read
 * in between is not what was meant.
 */
static bool is_being_written(int dir_fd, unsigned int file)
{
	int fd = file_open(dir_fd, name_of(file), O_RDONLY);
	uint64_t now_ns = clock_ns_of(CLOCK_REALTIME), ns;
	struct stat st;
	int err;

	if (fd < 0)
		return false;
	err = sys_fstat(fd, &st);
	sys_close(fd);
	ns = file_mark_of(&st).ns;
	return !err && ns <= now_ns && now_ns - ns < WRITING_NS;
}

bool attr_look(int dir_fd, uint32_t uid)
{
	uint64_t which = attr_present(dir_fd);

	for (unsigned int file = 0; file < NR_FILES; file++)
		if (which >> file & 1 && is_being_written(dir_fd, file))
			which &= ~(1ULL << file);
	return attr_read(dir_fd, which, 0, uid);
}
