/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - A process to be observed and steered from outside
 *
 * Starts ctl/subject with the library preloaded and its directory in one of the
 * test's own, and looks at what it shows there.
 */
#ifndef EBB_TESTS_CTL_SUBJECT_H
#define EBB_TESTS_CTL_SUBJECT_H

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "api/run.h"
#include "common.h"
#include "ebb/control.h"
#include "ebb/stat_page.h"
#include "tree.h"

/* A process that the reclaimer looks after from its first free memory on. */
#define CONF_THREAD	"thread_min=0"
/* One that looks after itself, when it allocates. */
#define CONF_ALONE	"reclaim=off"

/* Longer than a process is left alone. */
#define YOUTH_MS	1000

/* Of a new directory: the last file that the reclaimer makes, in one visit. */
#define LAST_BY_THREAD	"written"

/* Longer than the gap between two visits that show something. */
#define REST_MS		1500

struct subject {
	pid_t pid;
	int to, from;		/* its descriptors 0 and 1 */
	char base[PATH_MAX];	/* where PID/ is made */
	char dir[PATH_MAX + 16];
};

/* A line of TAP that is no test point. */
__attribute__((format(printf, 1, 2)))
static inline void note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("# ", stdout);
	vprintf(fmt, ap);
	fputs("\n", stdout);
	fflush(stdout);
	va_end(ap);
}

static inline bool make_base(char *base)
{
	snprintf(base, PATH_MAX, "/tmp/ebb-ctl-XXXXXX");
	return mkdtemp(base);
}

/* === The process ========================================================== */

/* Its path, where it is not the one beside the test. */
static const char *subject_program;

/* What it does before it becomes that program; NULL: nothing. */
static void (*subject_prepare)(void);

static inline void subject_exec(const char *conf, const char *more, int in,
				int out)
{
	static char path[PATH_MAX], library[PATH_MAX], preload[PATH_MAX + 16];
	static char conf_item[1024], more_item[PATH_MAX];
	char *argv[] = { path, NULL };
	char *env[] = { preload, conf_item, more_item, NULL };

	if (subject_program)
		snprintf(path, sizeof(path), "%s", subject_program);
	else
		beside(path, "subject");
	snprintf(preload, sizeof(preload), "LD_PRELOAD=%s",
		 library_path(library));
	snprintf(conf_item, sizeof(conf_item), "EBB_CONF=%s", conf);
	snprintf(more_item, sizeof(more_item), "%s", more ? more : "NONE=");
	if (subject_prepare)
		subject_prepare();
	dup2(in, 0);
	dup2(out, 1);
	execve(path, argv, env);
	_exit(127);
}

/* With EBB_CONF=@conf, all of it, and one more variable of its environment. */
static inline bool subject_start_as(struct subject *subject, const char *conf,
				    const char *more)
{
	int to[2], from[2];

	if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
		return false;
	subject->pid = fork();
	if (!subject->pid)
		subject_exec(conf, more, to[0], from[1]);
	close(to[0]);
	close(from[1]);
	subject->to = to[1];
	subject->from = from[0];
	snprintf(subject->dir, sizeof(subject->dir), "%s/%d", subject->base,
		 (int)subject->pid);
	return subject->pid > 0;
}

/* With its directory in @subject->base, and @conf besides. */
static inline bool subject_start(struct subject *subject, const char *conf)
{
	char all[PATH_MAX + 256];

	snprintf(all, sizeof(all), "control_dir=%s,log=off,%s", subject->base,
		 conf);
	return subject_start_as(subject, all, NULL);
}

/* Say a command; its answer is in @reply, "" where it is gone. */
static inline const char *subject_ask(struct subject *subject, const char *fmt,
				      ...)
{
	static char reply[512];
	size_t len = 0;
	char line[512];
	va_list ap;
	int nr;

	va_start(ap, fmt);
	nr = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	line[nr++] = '\n';
	if (write(subject->to, line, (size_t)nr) != nr)
		return "";
	while (len < sizeof(reply) - 1 &&
	       read(subject->from, reply + len, 1) == 1 && reply[len] != '\n')
		len++;
	reply[len] = '\0';
	return reply;
}

static inline bool subject_does(struct subject *subject, const char *command)
{
	return !strcmp(subject_ask(subject, "%s", command), "ok");
}

static inline uint64_t subject_number(struct subject *subject,
				      const char *command)
{
	return strtoull(subject_ask(subject, "%s", command), NULL, 10);
}

/* Its wait status; it is told to end first, by end of file. */
static inline int subject_end(struct subject *subject)
{
	int status = -1;

	close(subject->to);
	close(subject->from);
	subject->to = subject->from = -1;
	while (waitpid(subject->pid, &status, 0) < 0 && errno == EINTR)
		;
	subject->pid = 0;
	return status;
}

static inline void subject_kill(struct subject *subject)
{
	if (subject->pid <= 0)
		return;
	kill(subject->pid, SIGKILL);
	subject_end(subject);
}

/* === Its files ============================================================ */

static inline const char *subject_path(const struct subject *subject,
				       const char *name)
{
	static char paths[4][PATH_MAX + 64];
	static unsigned int turn;
	char *path = paths[turn++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", subject->dir, name);
	return path;
}

static inline bool subject_shows(const struct subject *subject,
				 const char *name)
{
	return !access(subject_path(subject, name), F_OK);
}

/* It works until it has been seen by the reclaimer, or has seen to itself. */
static inline bool subject_appears(struct subject *subject, const char *name)
{
	return WAIT_FOR((subject_does(subject, "work 1"),
			 subject_shows(subject, name)));
}

/*
 * They have had nothing to show for so long that no visit is going on, and none
 * comes before they do something: for what must not fall into the middle of one.
 */
static inline bool subjects_rest(const struct subject *subjects, size_t nr)
{
	uint64_t until = now_ms() + PATIENCE_MS, since = 0;
	int64_t shown_ns = 0, ns;
	struct stat st;

	while (now_ms() < until) {
		int64_t last_ns = 0;

		for (size_t i = 0; i < nr; i++) {
			if (stat(subject_path(&subjects[i], EBB_PAGE_FILE),
				 &st))
				return false;
			ns = st.st_mtim.tv_sec * 1000000000 +
			     st.st_mtim.tv_nsec;
			last_ns = ns > last_ns ? ns : last_ns;
		}
		if (last_ns != shown_ns)
			since = now_ms();
		else if (now_ms() - since > REST_MS)
			return true;
		shown_ns = last_ns;
		sleep_ms(20);
	}
	return false;
}

/* What it says of its directory begins with @text, when it has worked on. */
static inline bool subject_says(struct subject *subject, const char *text)
{
	bool good = WAIT_FOR((subject_does(subject, "work 1"),
			      !strncmp(subject_ask(subject, "control"), text,
				       strlen(text))));

	if (!good)
		note("it says: %s", subject_ask(subject, "control"));
	return good;
}

/* The contents of a file, without the final newline; NULL: none. */
static inline const char *subject_get(const struct subject *subject,
				      const char *name)
{
	static char text[64 * KIB];
	ssize_t len = read_file(subject_path(subject, name), text,
				sizeof(text));

	if (len < 0)
		return NULL;
	if (len && text[len - 1] == '\n')
		text[len - 1] = '\0';
	return text;
}

static inline bool subject_has(const struct subject *subject, const char *name,
			       const char *value)
{
	const char *text = subject_get(subject, name);

	return text && !strcmp(text, value);
}

/* As `echo' does it: truncate, write, close. */
static inline bool subject_put_bytes(const struct subject *subject,
				     const char *name, const void *bytes,
				     size_t len)
{
	int fd = open(subject_path(subject, name),
		      O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bool good;

	if (fd < 0)
		return false;
	good = write(fd, bytes, len) == (ssize_t)len;
	close(fd);
	return good;
}

/* Whether the page is there, and whole. */
static inline bool page_is_whole(const struct subject *subject,
				 struct ebb_page *page)
{
	int fd = open(subject_path(subject, EBB_PAGE_FILE),
		      O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
	ssize_t len = fd < 0 ? -1 : pread(fd, page, sizeof(*page), 0);

	if (fd >= 0)
		close(fd);
	return len == sizeof(*page) && page->head.seq == page->tail_seq &&
	       page->head.seq;
}

/* Read the page until it is whole; false: there is none, or it never is. */
static inline bool subject_page(const struct subject *subject,
				struct ebb_page *page)
{
	return WAIT_FOR(page_is_whole(subject, page));
}

/* The last answer to something written; NULL: there was none yet. */
static inline const struct ebb_verdict *
last_verdict(const struct ebb_page *page)
{
	const struct ebb_verdict *last = NULL;

	for (unsigned int i = 0; i < EBB_NR_VERDICTS; i++)
		if (page->verdicts[i].nr &&
		    (!last || page->verdicts[i].nr > last->nr))
			last = &page->verdicts[i];
	return last;
}

static inline uint64_t nr_verdicts(const struct subject *subject)
{
	static struct ebb_page page;
	const struct ebb_verdict *last;

	if (!subject_page(subject, &page))
		return 0;
	last = last_verdict(&page);
	return last ? last->nr : 0;
}

/* Write, and wait for the answer; NULL: there came none. */
static inline const struct ebb_verdict *
subject_set_bytes(struct subject *subject, const char *name, const void *bytes,
		  size_t len)
{
	static struct ebb_page page;
	const struct ebb_verdict *verdict = NULL;
	uint64_t before = nr_verdicts(subject);

	if (!subject_put_bytes(subject, name, bytes, len))
		return NULL;
	if (!WAIT_FOR(subject_page(subject, &page) &&
		      (verdict = last_verdict(&page)) &&
		      verdict->nr > before))
		return NULL;
	return verdict;
}

static inline const struct ebb_verdict *
subject_set(struct subject *subject, const char *name, const char *text)
{
	return subject_set_bytes(subject, name, text, strlen(text));
}

/* The same, and whether it was accepted. */
static inline bool subject_accepts(struct subject *subject, const char *name,
				   const char *text)
{
	const struct ebb_verdict *verdict = subject_set(subject, name, text);

	return verdict && !verdict->error && !strcmp(verdict->name, name);
}

#endif
