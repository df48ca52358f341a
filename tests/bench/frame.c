/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Options, the cgroup, workers, output
 */
#include <poll.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include "bench/container.h"
#include "bench/frame.h"
#include "bench/swap.h"
#include "thread.h"

#define MOST_KNOBS	32
#define MOST_WORKERS	64

struct frame frame;

static struct knob all_knobs[MOST_KNOBS];
static const char *role = "";
static pid_t controller;
static struct worker *workers[MOST_WORKERS];

/* === Output ============================================================= */

void die(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s: ", frame.scenario);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

void say(const char *format, ...)
{
	va_list args;

	if (!frame.verbose)
		return;
	fprintf(stderr, "%s: ", frame.scenario);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

static void put_head(const char *kind)
{
	printf("{\"kind\": \"%s\", \"scenario\": \"%s\"", kind,
	       frame.scenario);
}

void emit(const char *kind, const char *format, ...)
{
	va_list args;

	put_head(kind);
	printf(", ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	puts("}");
	fflush(stdout);
}

/* === Options ============================================================ */

static void usage(FILE *file)
{
	fprintf(file, "usage: %s [--NAME=VALUE ...]\n", frame.scenario);
	for (struct knob *knob = all_knobs; knob->name; knob++) {
		fprintf(file, "  --%-12s %s", knob->name, knob->help);
		if (knob->value)
			fprintf(file, " (%lu..%lu, default %lu)", knob->min,
				knob->max, *knob->value);
		fputc('\n', file);
	}
}

static void set_knob(struct knob *knob, const char *text)
{
	unsigned long value;
	char *end;

	if (knob->text) {
		*knob->text = text;
		return;
	}
	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || end == text || *end || *text == '-' ||
	    value < knob->min || value > knob->max)
		die("--%s=%s: expected %lu..%lu", knob->name, text, knob->min,
		    knob->max);
	*knob->value = value;
}

/* @arg is "--name" or "--name=value"; true if the value was in it. */
static bool set_option(const char *arg, const char *next)
{
	size_t len = strcspn(arg, "=");

	if (!strcmp(arg, "--help")) {
		usage(stdout);
		exit(0);
	}
	for (struct knob *knob = all_knobs; knob->name; knob++) {
		if (strncmp(arg, "--", 2) || strlen(knob->name) != len - 2 ||
		    strncmp(arg + 2, knob->name, len - 2))
			continue;
		if (!arg[len] && !next)
			die("%s wants a value", arg);
		set_knob(knob, arg[len] ? arg + len + 1 : next);
		return arg[len];
	}
	usage(stderr);
	die("%s: no such option", arg);
}

static void merge_knobs(struct knob *own)
{
	struct knob common[] = {
		{ "preload", NULL, 0, 0, &frame.preload,
		  "libraries to preload in workers" },
		{ "high", &frame.high, 0, 100, NULL,
		  "v2: memory.high in % of the limit, 0: none" },
		{ "container", &frame.container, 0, 1, NULL,
		  "read-only cgroupfs and a seccomp filter" },
		{ "patience", &frame.patience, 1, 3600, NULL,
		  "seconds to wait for a worker's answer" },
		{ "verbose", &frame.verbose, 0, 1, NULL,
		  "tell each step on stderr" },
		{ "role", NULL, 0, 0, &role, "for workers" },
		{ NULL, NULL, 0, 0, NULL, NULL },
	};
	unsigned int nr = 0;

	for (; own->name; own++)
		all_knobs[nr++] = *own;
	for (unsigned int i = 0; i < sizeof(common) / sizeof(*common); i++)
		all_knobs[nr++] = common[i];
}

static void end_all(void)
{
	if (getpid() != controller)
		return;
	for (unsigned int i = 0; i < MOST_WORKERS; i++)
		if (workers[i])
			worker_end(workers[i], true);
	limit_end();
	swap_end();
}

static void on_signal(int number)
{
	end_all();
	_exit(128 + number);
}

bool frame_begin(const char *scenario, struct knob *knobs, char **argv)
{
	frame.scenario = scenario;
	frame.preload = "";
	frame.patience = 60;
	merge_knobs(knobs);
	for (argv++; *argv; argv++)
		if (!set_option(*argv, argv[1]))
			argv++;
	if (*role)
		return true;
	controller = getpid();
	atexit(end_all);
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	signal(SIGHUP, on_signal);
	signal(SIGPIPE, SIG_IGN);
	return false;
}

void frame_warm(size_t bytes)
{
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p != MAP_FAILED)
		munmap(p, bytes);
}

/* === The cgroup ========================================================= */

void limit_begin(void)
{
	/* On v2 the controller must be handed down first; it may be already. */
	if (group_find_parent(&frame.group) && frame.group.v2)
		group_write(frame.group.parent, "cgroup.subtree_control",
			    "+memory");
	if (group_make(&frame.group) &&
	    (!frame.group.v2 || group_write(frame.group.path, "memory.max",
					    "max")))
		return;
	fprintf(stderr, "%s: no memory cgroup can be made here\n",
		frame.scenario);
	exit(4);
}

void limit_set(size_t bytes)
{
	char text[32];

	if (!group_set_limit(&frame.group, bytes))
		die("a limit of %zu bytes: %s", bytes, strerror(errno));
	if (!frame.group.v2 || !frame.high)
		return;
	snprintf(text, sizeof(text), "%zu", bytes / 100 * frame.high);
	if (!group_write(frame.group.path, "memory.high", text))
		die("memory.high=%s: %s", text, strerror(errno));
}

void limit_end(void)
{
	if (!frame.group.path[0])
		return;
	for (int i = 0; i < 500 && rmdir(frame.group.path) && errno == EBUSY;
	     i++)
		sleep_ms(10);
	frame.group.path[0] = '\0';
}

uint64_t limit_oom_kills(void)
{
	char path[GROUP_PATH_MAX + 64], buf[1024];
	const char *at;

	snprintf(path, sizeof(path), "%s/%s", frame.group.path,
		 frame.group.v2 ? "memory.events" : "memory.oom_control");
	if (read_file(path, buf, sizeof(buf)) <= 0)
		return 0;
	at = strstr(buf, "oom_kill ");
	return at ? strtoull(at + strlen("oom_kill "), NULL, 10) : 0;
}

size_t limit_usage(void)
{
	return group_usage(&frame.group);
}

size_t limit_peak(void)
{
	return group_read(&frame.group, frame.group.v2 ? "memory.peak" :
			  "memory.max_usage_in_bytes");
}

/* === Workers, the controller's side ====================================== */

static void format_knobs(char *args[], char *space, size_t size)
{
	for (struct knob *knob = all_knobs; knob->name; knob++) {
		int len;

		if (knob->text)
			continue;
		len = snprintf(space, size, "--%s=%lu", knob->name,
			       *knob->value);
		*args++ = space;
		space += len + 1;
		size -= (size_t)len + 1;
	}
	*args = NULL;
}

static void run_worker(const char *name, const char *preload, const char *env)
{
	char role_arg[64], space[2048], *args[MOST_KNOBS + 2];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != controller)
		_exit(1);
	if (frame.group.path[0] && !group_enter(&frame.group))
		die("entering the cgroup: %s", strerror(errno));
	if (env)
		putenv((char *)env);
	if (!preload)
		preload = frame.preload;
	if (*preload)
		setenv("LD_PRELOAD", preload, 1);
	snprintf(role_arg, sizeof(role_arg), "--role=%s", name);
	args[0] = (char *)frame.scenario;
	args[1] = role_arg;
	format_knobs(args + 2, space, sizeof(space));
	if (frame.container)
		container_enter();
	execv("/proc/self/exe", args);
	die("exec: %s", strerror(errno));
}

static void remember(struct worker *worker)
{
	for (unsigned int i = 0; i < MOST_WORKERS; i++) {
		if (workers[i])
			continue;
		workers[i] = worker;
		return;
	}
	die("more than %d workers", MOST_WORKERS);
}

void worker_start(struct worker *worker, const char *name,
		  const char *preload, const char *env)
{
	int to[2], from[2];

	if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
		die("pipe: %s", strerror(errno));
	fflush(stdout);
	worker->buffered = 0;
	worker->late = false;
	worker->ending[0] = '\0';
	worker->pid = fork();
	if (worker->pid < 0)
		die("fork: %s", strerror(errno));
	if (!worker->pid) {
		dup2(to[0], 0);
		dup2(from[1], 1);
		run_worker(name, preload, env);
	}
	close(to[0]);
	close(from[1]);
	worker->to = to[1];
	worker->from = from[0];
	remember(worker);
}

void worker_tell(struct worker *worker, const char *line)
{
	char text[256];
	int len = snprintf(text, sizeof(text), "%s\n", line);

	/* It may be dead; who listens for the answer finds out. */
	if (write(worker->to, text, (size_t)len) != len && errno != EPIPE)
		die("writing to a worker: %s", strerror(errno));
}

/* One that is throttled, or swaps without end, is as good as dead. */
static bool comes_in_time(struct worker *worker)
{
	struct pollfd ready = { .fd = worker->from, .events = POLLIN };

	worker->late = poll(&ready, 1, (int)frame.patience * 1000) <= 0;
	return !worker->late;
}

char *worker_hear(struct worker *worker)
{
	static char line[LINE_SIZE];

	for (;;) {
		char *end = memchr(worker->buffer, '\n', worker->buffered);
		ssize_t got;

		if (end) {
			size_t len = (size_t)(end - worker->buffer);

			memcpy(line, worker->buffer, len);
			line[len] = '\0';
			worker->buffered -= len + 1;
			memmove(worker->buffer, end + 1, worker->buffered);
			return line;
		}
		if (worker->buffered == LINE_SIZE)
			die("a line of more than %d bytes", LINE_SIZE);
		if (!comes_in_time(worker))
			return NULL;
		got = read(worker->from, worker->buffer + worker->buffered,
			   LINE_SIZE - worker->buffered);
		if (got <= 0)
			return NULL;
		worker->buffered += (size_t)got;
	}
}

char *worker_ask(struct worker *worker, const char *line)
{
	worker_tell(worker, line);
	return worker_hear(worker);
}

static void describe_ending(struct worker *worker, int status, bool killed)
{
	char *text = worker->ending;
	size_t size = sizeof(worker->ending);

	if (WIFEXITED(status) && !WEXITSTATUS(status))
		snprintf(text, size, "ended well");
	else if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_NO_MEMORY)
		snprintf(text, size, "malloc returned NULL");
	else if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_CORRUPT)
		snprintf(text, size, "found its memory changed");
	else if (WIFEXITED(status))
		snprintf(text, size, "exit status %d", WEXITSTATUS(status));
	else if (worker->late)
		snprintf(text, size, "no answer in %lu s", frame.patience);
	else if (killed)
		snprintf(text, size, "stopped by the controller");
	else if (WTERMSIG(status) == SIGKILL && limit_oom_kills())
		snprintf(text, size, "OOM-killed");
	else
		snprintf(text, size, "killed by signal %d", WTERMSIG(status));
}

void worker_end(struct worker *worker, bool kill_it)
{
	int status = 0;

	if (!worker->pid)
		return;
	close(worker->to);
	kill_it |= worker->late;
	/* What died already keeps its own status. */
	if (kill_it && waitpid(worker->pid, &status, WNOHANG) == worker->pid)
		kill_it = false;
	else {
		if (kill_it)
			kill(worker->pid, SIGKILL);
		while (waitpid(worker->pid, &status, 0) < 0 && errno == EINTR)
			;
	}
	describe_ending(worker, status, kill_it);
	close(worker->from);
	worker->pid = 0;
	for (unsigned int i = 0; i < MOST_WORKERS; i++)
		if (workers[i] == worker)
			workers[i] = NULL;
}

size_t worker_base(void)
{
	struct worker w = { 0 };
	size_t usage = 0;

	limit_begin();
	worker_start(&w, "worker", NULL, NULL);
	if (worker_hear(&w))
		usage = limit_usage();
	worker_end(&w, true);
	limit_end();
	return usage;
}

double number_in(const char *line, const char *name, double otherwise)
{
	char key[64];
	const char *at;

	snprintf(key, sizeof(key), "\"%s\":", name);
	at = line ? strstr(line, key) : NULL;
	return at ? strtod(at + strlen(key), NULL) : otherwise;
}

/* === The worker's side ================================================== */

const char *worker_role(void)
{
	return role;
}

bool next_command(char *line, size_t size)
{
	size_t len = 0;
	char c;

	while (read(0, &c, 1) == 1) {
		if (c == '\n') {
			line[len] = '\0';
			return true;
		}
		if (len < size - 1)
			line[len++] = c;
	}
	return false;
}

void answer(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vdprintf(1, format, args);
	va_end(args);
	if (write(1, "\n", 1) != 1)
		exit(1);
}

/* Text as the inside of a JSON string. */
static void escape(char *to, size_t size, const char *from)
{
	for (; *from && size > 7; from++) {
		int len;

		if (*from == '"' || *from == '\\')
			len = sprintf(to, "\\%c", *from);
		else if ((unsigned char)*from < ' ')
			len = sprintf(to, "\\u%04x", (unsigned int)*from);
		else
			len = sprintf(to, "%c", *from);
		to += len;
		size -= (size_t)len;
	}
	*to = '\0';
}

void answer_info(void)
{
	static char xml[LINE_SIZE / 3], escaped[LINE_SIZE - 128];
	int fd = memfd_create("info", MFD_CLOEXEC);
	FILE *file;
	ssize_t len = 0;

	/* Only where malloc_info() speaks of the heap that is in use. */
	file = on_ebbmalloc() && fd >= 0 ? fdopen(fd, "w+") : NULL;
	if (file && !malloc_info(0, file) && !fflush(file))
		len = pread(fd, xml, sizeof(xml) - 1, 0);
	xml[len > 0 ? len : 0] = '\0';
	escape(escaped, sizeof(escaped), xml);
	answer("{\"kind\": \"info\", \"scenario\": \"%s\", \"role\": \"%s\", "
	       "\"xml\": \"%s\"}", frame.scenario, role, escaped);
	if (file)
		fclose(file);
	else if (fd >= 0)
		close(fd);
}

/* === Numbers ============================================================ */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double percentile(double *values, size_t nr, double percent)
{
	size_t at;

	if (!nr)
		return 0;
	qsort(values, nr, sizeof(*values), compare);
	at = (size_t)((double)nr * percent / 100);
	return values[at < nr ? at : nr - 1];
}

double median(double *values, size_t nr)
{
	return percentile(values, nr, 50);
}

pid_t background_thread(pid_t pid)
{
	pid_t tid = thread_named(pid, RECLAIMER);

	return tid ? tid : thread_named(pid, "jemalloc_bg_thd");
}

uint64_t thread_cpu_ns(pid_t pid, pid_t tid)
{
	char path[64], buf[128];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", (int)pid,
		 (int)tid);
	return read_file(path, buf, sizeof(buf)) > 0 ?
		strtoull(buf, NULL, 10) : 0;
}

uint64_t thread_wakeups(pid_t pid, pid_t tid)
{
	static const char key[] = "\nvoluntary_ctxt_switches:";
	char path[64], buf[8192];
	const char *at;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", (int)pid,
		 (int)tid);
	if (read_file(path, buf, sizeof(buf)) <= 0)
		return 0;
	at = strstr(buf, key);
	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}
