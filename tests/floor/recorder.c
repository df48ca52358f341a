/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - Floor recorder, to be preloaded before an allocator
 *
 * LD_PRELOAD="recorder.so libebbmalloc.so.1" EBB_FLOOR_OUT=file program
 *
 * What it is: wraps the malloc family of whatever allocator comes next,
 * keeps which blocks are alive with the sizes the program asked for, and on
 * SIGUSR2 appends a line to the file named by EBB_FLOOR_OUT:
 *
 *	floor_bytes=N live_bytes=N blocks=N own_bytes=N
 *
 * floor_bytes is what must stay resident because of live blocks; own_bytes is
 * what the recorder's table adds to the program's memory.
 *
 * A block is removed from the table before it is freed and added after it was
 * allocated, so its start can never be in the table twice.
 *
 * A signal that interrupts the recorder itself only leaves a note; the
 * interrupted call writes the line when it is done.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "ebb/ebb.h"
#include "floor/table.h"
#include "interpose.h"

static volatile sig_atomic_t report_wanted;
static char out_path[4096];

/* " meta_bytes=N" where the allocator tells it, else nothing. */
static void tell_metadata(char *text, size_t size)
{
	int (*count)(struct ebb_heap_counts *);
	void *found = dlsym(RTLD_DEFAULT, "ebb_heap_count");
	struct ebb_heap_counts counts;

	text[0] = '\0';
	memcpy(&count, &found, sizeof(count));
	if (count && !count(&counts))
		snprintf(text, size, " meta_bytes=%llu",
			 (unsigned long long)counts.meta_bytes);
}

static void report(void)
{
	struct floor_numbers numbers;
	int saved = errno;
	char line[160], metadata[40];
	int fd, len;

	fd = open(out_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd >= 0 && !floor_measure(&numbers)) {
		tell_metadata(metadata, sizeof(metadata));
		len = snprintf(line, sizeof(line), "floor_bytes=%zu "
			       "live_bytes=%zu blocks=%zu own_bytes=%zu%s\n",
			       numbers.floor_bytes, numbers.live_bytes,
			       numbers.blocks, numbers.own_bytes, metadata);
		if (write(fd, line, (size_t)len) != len)
			abort();
	}
	if (fd >= 0)
		close(fd);
	errno = saved;
}

static void report_if_wanted(void)
{
	if (__builtin_expect(report_wanted, 0)) {
		report_wanted = 0;
		report();
	}
}

static void on_signal(int sig)
{
	(void)sig;
	if (floor_busy())
		report_wanted = 1;
	else
		report();
}

/* All blocks live at a fork are alive in the child, too. */
__attribute__((constructor)) static void start(void)
{
	const char *path = getenv("EBB_FLOOR_OUT");
	struct sigaction action = { .sa_handler = on_signal,
				    .sa_flags = SA_RESTART };

	if (!path)
		return;
	snprintf(out_path, sizeof(out_path), "%s", path);
	sigaction(SIGUSR2, &action, NULL);
	pthread_atfork(NULL, NULL, floor_reset_locks);
}

void call_begins(struct call *call)
{
	call->known = floor_remove(call->old, &call->note);
}

/* While it moves the block is not in the table: nobody else has its start. */
void call_ends(struct call *call)
{
	if (call->made)
		floor_add(call->made, call->size);
	else if (call->known && call_failed(call))
		floor_add(call->old, call->note);
	report_if_wanted();
}
