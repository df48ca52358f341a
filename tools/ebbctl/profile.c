/* SPDX-License-Identifier: MIT */
/*
 * ebbctl profile - The heap profile of a running process
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "ebbctl.h"
#include "request.h"

static const char usage[] =
"usage: ebbctl profile [--wait MS] [-o FILE] PID\n"
"\n"
"Has process PID, which was started with the option profile, write what lives\n"
"on its heap now, by call stack, and prints that: text in the format heap_v2,\n"
"which pprof reads.\n"
"\n"
"  -o, --output FILE  to this file instead, which is made anew; nobody else may\n"
"                     read it\n"
"      --wait MS      how long to wait for the answer, 0..3600000 (3000)\n"
"  -h, --help         this\n"
"\n"
"Exit status: 0; 1 if it is refused; 2 for wrong usage; 3 if there is no such\n"
"process on ebbmalloc, or it ended; 4 if it did not answer in time; 125 if the\n"
"profile cannot be read or written.\n";

#define PROFILE_FILE	"heap_profile"
#define PROFILE_MAX	(1 << 30)	/* the process may put there anything */

/* Its file, which is of its own user or root; -1, and a message. */
static int open_profile(const struct process *process, off_t *ret_len)
{
	int fd = openat(process->dir_fd, PROFILE_FILE, O_RDONLY | O_NOFOLLOW |
			O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st)) {
		message("%s/" PROFILE_FILE ": %s", process->dir,
			strerror(errno));
	} else if (!S_ISREG(st.st_mode) || st.st_size > PROFILE_MAX ||
		   (st.st_uid && st.st_uid != process->uid)) {
		message("%s/" PROFILE_FILE " is not a file of the process's",
			process->dir);
	} else {
		*ret_len = st.st_size;
		return fd;
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

static bool copy(int from, FILE *to, off_t len)
{
	char buf[65536];
	ssize_t got;

	for (off_t at = 0; at < len; at += got) {
		size_t want = len - at < (off_t)sizeof(buf) ?
			      (size_t)(len - at) : sizeof(buf);

		got = read(from, buf, want);
		if (got < 0)
			return false;
		if (!got)
			break;
		if (fwrite(buf, 1, (size_t)got, to) != (size_t)got)
			return false;
	}
	return !fflush(to);
}

/* Made anew: what is there may be somebody else's to read, or a link. */
static FILE *open_output(const char *path)
{
	int fd;

	if (!path)
		return stdout;
	if (unlink(path) && errno != ENOENT)
		return NULL;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return fd < 0 ? NULL : fdopen(fd, "w");
}

static int fetch(const struct process *process, const char *path)
{
	off_t len;
	int fd = open_profile(process, &len);
	bool ok;
	FILE *out;

	if (fd < 0)
		return STATUS_FAILED;
	out = open_output(path);
	ok = out && copy(fd, out, len);
	if (out && out != stdout && fclose(out))
		ok = false;
	if (!ok)
		message("%s: %s", path ? path : "standard output",
			strerror(errno));
	close(fd);
	return ok ? STATUS_OK : STATUS_FAILED;
}

struct options {
	const char *output;
	long wait_ms;
};

/* The index of the first argument, or -1 with the status in *@ret_status. */
static int parse(int argc, char **argv, struct options *options,
		 int *ret_status)
{
	static const struct option longs[] = {
		{ "output", required_argument, NULL, 'o' },
		{ "wait", required_argument, NULL, 'w' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	*options = (struct options){ .wait_ms = REQUEST_WAIT_MS };
	*ret_status = STATUS_USAGE;
	while ((c = getopt_long(argc, argv, "ho:", longs, NULL)) != -1) {
		switch (c) {
		case 'o':
			options->output = optarg;
			break;
		case 'w':
			options->wait_ms = request_parse_wait(optarg);
			if (options->wait_ms >= 0)
				break;
			message("--wait=%s: accepts 0..3600000 ms", optarg);
			return -1;
		case 'h':
			fputs(usage, stdout);
			*ret_status = STATUS_OK;
			return -1;
		default:
			return -1;
		}
	}
	if (argc - optind == 1)
		return optind;
	message(optind == argc ? "profile needs the number of a process; "
		"`ebbctl list` shows them" :
		"profile takes one process, not also \"%s\"",
		argv[argc - 1]);
	return -1;
}

int cmd_profile(int argc, char **argv)
{
	char text[REQUEST_TEXT];
	struct options options;
	struct process *process;
	enum answer answer;
	int status, at = parse(argc, argv, &options, &status);

	if (at < 0)
		return status;
	process = process_find(argv[at]);
	if (!process)
		return STATUS_ABSENT;
	answer = request_send(process, "dump", "profile",
			      (unsigned int)options.wait_ms, text,
			      sizeof(text));
	status = request_status(answer);
	if (answer == ANSWER_ACCEPTED)
		status = fetch(process, options.output);
	else
		message("process %d: %s", process->pid, text);
	process_put(process);
	return status;
}
