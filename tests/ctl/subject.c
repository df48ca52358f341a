/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - A program that does what it is told
 *
 * Linked with libc only.  Reads one command a line from descriptor 0 and
 * answers each with one line on descriptor 1: "ok", "no", or a number.  What it
 * allocates is filled with a pattern; it exits with 3 where that was damaged.
 *
 *	alloc NR SIZE	NR objects more
 *	free K		all but each K-th; 0: all
 *	reserve SIZE	one object, never touched and never freed
 *	try SIZE	whether malloc gives so much; it is freed at once
 *	misuse SIZE	read an object that is freed, which guard mode reports
 *	work NR		NR times 4 MiB of small objects, made and freed
 *	busy, rest	a thread that works all the time, or no more
 *	live		"live" of malloc_info()
 *	counter NAME	any other
 *	fork		the child goes on reading; the parent waits for its end
 *	exec		the same program anew, in this process
 *	setuid UID, umask MODE, chroot PATH, unshare-pid
 *	filter kill|error NR...	a seccomp filter for these calls, all threads
 *	steady MS	for so long `work', with pauses; SIGUSR1 comes in between
 *	on-signal fork|exit|allocate	what its handler does
 *	errno NR	NR times `work', looking whether malloc changes errno
 *	control		the line of malloc_stats() that tells of the directory
 *	forks NR	children that look which descriptors they have, and end
 *	raw-fork	a child that no fork handler knows of ends by exit(0)
 *	quick		_exit(0); exit: exit(0)
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "backend/filter.h"
#include "common.h"

#define LINE_SIZE	512
#define REPORT_SIZE	16384
#define BATCH		4096
#define BATCH_SIZE	1000

struct object {
	struct object *next;
	size_t size;
	uint64_t number;
};

static struct object *objects;
static uint64_t last_number;
static volatile int busy;
static pthread_t worker;
static char *self_path;
static uint64_t open_at_start;		/* descriptors, a bit each */

static uint64_t open_descriptors(void)
{
	uint64_t open = 0;

	for (int fd = 0; fd < 64; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			open |= 1ULL << fd;
	return open;
}

static void answer(const char *text)
{
	char line[LINE_SIZE];
	int len = snprintf(line, sizeof(line), "%.*s\n", LINE_SIZE - 2, text);

	if (write(1, line, (size_t)len) != len)
		_exit(1);
}

static void answer_number(uint64_t number)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
	answer(text);
}

static void answer_bool(bool good)
{
	answer(good ? "ok" : "no");
}

/* === Memory =============================================================== */

static bool make_one(size_t size)
{
	struct object *object = malloc(sizeof(*object) + size);

	if (!object)
		return false;
	object->next = objects;
	object->size = size;
	object->number = ++last_number;
	pattern_fill(object + 1, size, object->number);
	objects = object;
	return true;
}

static void drop_one(struct object *object)
{
	if (!pattern_holds(object + 1, object->size, object->number))
		_exit(3);
	free(object);
}

static void drop_all_but(unsigned long keep)
{
	struct object *object = objects, *next;

	objects = NULL;
	for (unsigned long i = 0; object; i++, object = next) {
		next = object->next;
		if (keep && i % keep == 0) {
			object->next = objects;
			objects = object;
		} else {
			drop_one(object);
		}
	}
}

static bool alloc(unsigned long nr, size_t size)
{
	while (nr--)
		if (!make_one(size))
			return false;
	return true;
}

/* @p has room for BATCH pointers. */
static bool work_once(void **p)
{
	bool good = true;

	for (int i = 0; i < BATCH; i++) {
		p[i] = malloc(BATCH_SIZE);
		if (p[i])
			pattern_fill(p[i], BATCH_SIZE, (uint64_t)i);
		good &= p[i] != NULL;
	}
	for (int i = 0; i < BATCH; i++) {
		if (p[i] && !pattern_holds(p[i], BATCH_SIZE, (uint64_t)i))
			_exit(3);
		free(p[i]);
	}
	return good;
}

static bool work(unsigned long nr)
{
	static void *p[BATCH];
	bool good = true;

	while (nr--)
		good &= work_once(p);
	return good;
}

static void *work_all_the_time(void *unused)
{
	static void *p[BATCH];

	(void)unused;
	/* Under a limit it may get nothing: no harm. */
	while (busy)
		work_once(p);
	return NULL;
}

/* === In a signal handler ================================================== */

static char what_to_do;			/* first letter, or 0 */
static volatile pid_t child_pid;	/* of the handler; 0 in the child */
static volatile bool is_child;

static void handle(int sig)
{
	static void *p[BATCH];

	(void)sig;
	switch (what_to_do) {
	case 'f':
		child_pid = fork();
		is_child = !child_pid;
		break;
	case 'e':
		exit(0);
	default:
		work_once(p);
		malloc_trim(0);
		free(malloc(10 * MIB));
		break;
	}
}

static bool on_signal(const char *what)
{
	struct sigaction action = { .sa_handler = handle,
				    .sa_flags = SA_RESTART };

	what_to_do = *what;
	return !sigaction(SIGUSR1, &action, NULL);
}

/* A child goes on for as long, and ends with its parent waiting. */
static bool steady(unsigned long ms)
{
	uint64_t until = now_ms() + ms;
	int status = 0;

	while (now_ms() < until) {
		if (!work(1))
			return false;
		sleep_ms(5);
	}
	if (is_child) {
		for (until = now_ms() + ms; now_ms() < until; sleep_ms(5))
			work(1);
		exit(0);
	}
	if (!child_pid)
		return true;
	return waitpid(child_pid, &status, 0) == child_pid && !status;
}

/* Whether errno stays as it is in malloc and free. */
static bool keeps_errno(unsigned long nr)
{
	bool kept = true;

	for (unsigned long i = 0; i < nr * BATCH; i++) {
		void *p;

		errno = EXDEV;
		p = malloc(BATCH_SIZE);
		kept &= errno == EXDEV;
		make_one(BATCH_SIZE);
		errno = EXDEV;
		free(p);
		kept &= errno == EXDEV;
		if (i % BATCH == BATCH - 1)
			drop_all_but(0);
	}
	return kept;
}

static uint64_t counter(const char *name)
{
	char text[8192], key[64], *at;
	FILE *file = fmemopen(text, sizeof(text), "w");

	malloc_info(0, file);
	fclose(file);
	snprintf(key, sizeof(key), "\"%s\" value=\"", name);
	at = strstr(text, key);
	return at ? strtoull(at + strlen(key), NULL, 10) : UINT64_MAX;
}

/* What malloc_stats() says of the directory. */
static const char *control(void)
{
	static char report[REPORT_SIZE];
	int saved = dup(2), file = memfd_create("report", MFD_CLOEXEC);
	ssize_t len;
	char *at;

	dup2(file, 2);
	malloc_stats();
	fflush(stderr);
	dup2(saved, 2);
	len = pread(file, report, sizeof(report) - 1, 0);
	close(saved);
	close(file);
	report[len > 0 ? len : 0] = '\0';
	at = strstr(report, "\n  control: ");
	if (!at)
		return "";
	at += 3;
	at[strcspn(at, "\n")] = '\0';
	return at;
}

/* === Commands ============================================================= */

static bool filter(const char *args)
{
	uint32_t action = strncmp(args, "kill", 4) ?
			  SECCOMP_RET_ERRNO | EPERM : SECCOMP_RET_KILL_PROCESS;
	long nrs[FILTER_MAX];
	unsigned int nr = 0;
	char *at = strchr(args, ' ');

	while (at && *at && nr < FILTER_MAX)
		nrs[nr++] = strtol(at, &at, 10);
	return filter_calls(nrs, nr, action);
}

/* The child goes on; its parent takes over again when it is gone. */
static bool do_fork(const char *unused)
{
	pid_t pid = fork();
	int status = 0;

	(void)unused;
	if (pid > 0)
		return waitpid(pid, &status, 0) == pid && !status;
	return !pid;
}

/* Its exit handlers run on a copy of what we know. */
static bool do_raw_fork(const char *unused)
{
	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	int status;

	(void)unused;
	if (!pid)
		exit(0);
	return waitpid(pid, &status, 0) == pid && !status;
}

static bool do_forks(unsigned long nr)
{
	bool good = true;

	while (nr--) {
		pid_t pid = fork();
		int status = 0;

		if (!pid)
			_exit(open_descriptors() != open_at_start);
		good &= waitpid(pid, &status, 0) == pid && !status;
	}
	return good;
}

static bool do_exec(const char *unused)
{
	(void)unused;
	execl(self_path, self_path, (char *)NULL);
	return false;
}

static bool start_worker(const char *unused)
{
	(void)unused;
	busy = 1;
	return !pthread_create(&worker, NULL, work_all_the_time, NULL);
}

static bool stop_worker(const char *unused)
{
	(void)unused;
	busy = 0;
	return !pthread_join(worker, NULL);
}

/* NR SIZE */
static bool alloc_as_told(const char *args)
{
	char *size;
	unsigned long nr = strtoul(args, &size, 0);

	return alloc(nr, strtoul(size, NULL, 0));
}

static bool enter_root(const char *path)
{
	return !chroot(path) && !chdir("/");
}

static bool leave_pids(const char *unused)
{
	(void)unused;
	return !unshare(CLONE_NEWPID);
}

/* Never touched, and never freed. */
static bool reserve(unsigned long size)
{
	static void *reserved;

	reserved = hide(malloc(size));
	return reserved;
}

static bool try(unsigned long size)
{
	void *p = hide(malloc(size));

	free(p);
	return p;
}

static bool misuse(unsigned long size)
{
	static volatile char sink;
	char *p = hide(malloc(size));

	free(p);
	sink = *(char *)hide(p);
	(void)sink;
	return p;
}

static bool become(unsigned long uid)
{
	return !setgid((gid_t)uid) && !setuid((uid_t)uid);
}

/* What is told by one number; and by all that is said. */
static const struct {
	const char *word;
	bool (*by_number)(unsigned long number);
	bool (*by_text)(const char *text);
} orders[] = {
	{ "alloc", NULL, alloc_as_told },
	{ "work", work, NULL },
	{ "try", try, NULL },
	{ "reserve", reserve, NULL },
	{ "misuse", misuse, NULL },
	{ "steady", steady, NULL },
	{ "on-signal", NULL, on_signal },
	{ "errno", keeps_errno, NULL },
	{ "busy", NULL, start_worker },
	{ "rest", NULL, stop_worker },
	{ "fork", NULL, do_fork },
	{ "forks", do_forks, NULL },
	{ "raw-fork", NULL, do_raw_fork },
	{ "exec", NULL, do_exec },
	{ "setuid", become, NULL },
	{ "chroot", NULL, enter_root },
	{ "unshare-pid", NULL, leave_pids },
	{ "filter", NULL, filter },
};

static bool obey(const char *word, const char *args)
{
	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		if (strcmp(word, orders[i].word))
			continue;
		return orders[i].by_text ? orders[i].by_text(args) :
			       orders[i].by_number(strtoul(args, NULL, 0));
	}
	return false;
}

static void command(char *line)
{
	char *args = line + strcspn(line, " ");

	if (*args)
		*args++ = '\0';
	if (!strcmp(line, "live")) {
		answer_number(counter("live"));
	} else if (!strcmp(line, "counter")) {
		answer_number(counter(args));
	} else if (!strcmp(line, "control")) {
		answer(control());
	} else if (!strcmp(line, "free")) {
		drop_all_but(strtoul(args, NULL, 0));
		answer("ok");
	} else if (!strcmp(line, "umask")) {
		umask((mode_t)strtoul(args, NULL, 0));
		answer("ok");
	} else if (!strcmp(line, "exit")) {
		drop_all_but(0);
		exit(0);
	} else if (!strcmp(line, "quick")) {
		_exit(0);
	} else {
		answer_bool(obey(line, args));
	}
}

/* A line, without its end; false: there are no more. */
static bool read_line(char *line)
{
	size_t len = 0;

	while (len < LINE_SIZE - 1) {
		if (read(0, line + len, 1) != 1)
			return false;
		if (line[len] == '\n')
			break;
		len++;
	}
	line[len] = '\0';
	return true;
}

int main(int argc, char **argv)
{
	char line[LINE_SIZE];

	(void)argc;
	self_path = argv[0];
	open_at_start = open_descriptors();
	while (read_line(line))
		if (*line)
			command(line);
	return 0;
}
