/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - A program that holds as much memory as it is told
 *
 *	holder [touch=MIB] [keep=MIB] [map=1] [ms=N] [status=N]
 *
 * Fills touch MiB in pieces of 64 KiB, lets go of the first ones until keep MiB
 * are left, says "held", waits ms milliseconds, and ends with status.  The
 * pieces are malloc's, or mappings of its own (map=1), which are the same with
 * every allocator.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define PIECE		65536
#define PIECES_A_MIB	16

static unsigned long touch, keep = -1UL, map, ms, status;

static const struct {
	const char *name;
	unsigned long *value;
} settings[] = {
	{ "touch=", &touch }, { "keep=", &keep }, { "map=", &map },
	{ "ms=", &ms }, { "status=", &status },
};

static void set(const char *arg)
{
	for (size_t i = 0; i < sizeof(settings) / sizeof(*settings); i++) {
		size_t len = strlen(settings[i].name);

		if (!strncmp(arg, settings[i].name, len)) {
			*settings[i].value = strtoul(arg + len, NULL, 10);
			return;
		}
	}
	fprintf(stderr, "holder: %s?\n", arg);
	exit(2);
}

static void *take(void)
{
	void *piece;

	if (!map) {
		piece = malloc(PIECE);
	} else {
		piece = mmap(NULL, PIECE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (piece == MAP_FAILED)
			piece = NULL;
	}
	if (!piece) {
		perror("holder");
		exit(2);
	}
	return memset(piece, 0x5a, PIECE);
}

static void let_go(void *piece)
{
	if (map)
		munmap(piece, PIECE);
	else
		free(piece);
}

int main(int argc, char **argv)
{
	struct timespec wait;
	size_t nr, kept;
	void **pieces;

	for (int i = 1; i < argc; i++)
		set(argv[i]);
	nr = touch * PIECES_A_MIB;
	kept = keep < touch ? keep * PIECES_A_MIB : nr;
	pieces = calloc(nr + 1, sizeof(*pieces));
	if (!pieces)
		return 2;
	for (size_t i = 0; i < nr; i++)
		pieces[i] = take();
	for (size_t i = 0; i < nr - kept; i++)
		let_go(pieces[i]);
	puts("held");
	fflush(stdout);
	wait.tv_sec = (time_t)(ms / 1000);
	wait.tv_nsec = (long)(ms % 1000) * 1000000;
	nanosleep(&wait, NULL);
	return (int)status;
}
