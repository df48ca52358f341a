/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - Examination of a program file
 *
 * Finds the file that will really run (a script's interpreter), and looks for
 * whatever keeps a preloaded library from being loaded or used.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "ebbctl.h"
#include "elf_facts.h"
#include "inspect.h"

#define SCRIPT_DEPTH	5	/* as deep as the kernel follows "#!" */
#define SCRIPT_LINE	256	/* and as much of the line as it reads */

/* === Results ============================================================== */

__attribute__((format(printf, 2, 3)))
static void note(struct inspection *in, const char *fmt, ...)
{
	va_list ap;

	if (in->nr_notes == INSPECT_NOTES)
		return;
	va_start(ap, fmt);
	vsnprintf(in->notes[in->nr_notes++], INSPECT_TEXT, fmt, ap);
	va_end(ap);
}

__attribute__((format(printf, 3, 4)))
static void decide(struct inspection *in, enum inspect_verdict verdict,
		   const char *fmt, ...)
{
	va_list ap;

	in->verdict = verdict;
	va_start(ap, fmt);
	vsnprintf(in->why, sizeof(in->why), fmt, ap);
	va_end(ap);
}

/* === Mode and contents ==================================================== */

static bool has_capabilities(const char *path)
{
	return getxattr(path, "security.capability", NULL, 0) > 0;
}

/* What the file's mode gives to whoever runs it; NULL if nothing. */
static const char *privilege(const char *path, const struct stat *st)
{
	if (st->st_mode & S_ISUID && st->st_uid != getuid())
		return "setuid";
	if ((st->st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) &&
	    st->st_gid != getgid())
		return "setgid";
	if (getuid() && has_capabilities(path))
		return "given capabilities";
	return NULL;
}

static void judge_mode(struct inspection *in, const struct stat *st)
{
	const char *what = privilege(in->path, st);

	if (what) {
		decide(in, INSPECT_NO, "it is %s, and for such programs the "
		       "loader ignores LD_PRELOAD with a path and the library "
		       "ignores EBB_CONF; link it with -lebbmalloc", what);
		return;
	}
	if (st->st_mode & (S_ISUID | S_ISGID) || has_capabilities(in->path))
		note(in, "privileged file, but not for the present user: for "
		     "other users the library does not load");
}

static void judge_allocator(struct inspection *in,
			    const struct elf_facts *elf)
{
	static const struct {
		enum elf_mark mark;
		const char *name;
	} known[] = {
		{ MARK_JEMALLOC, "jemalloc" },
		{ MARK_TCMALLOC, "tcmalloc" },
		{ MARK_MIMALLOC, "mimalloc" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		if (elf->needed & known[i].mark)
			note(in, "linked with lib%s: the preloaded library "
			     "goes before it", known[i].name);
		if (elf->defined & known[i].mark)
			decide(in, INSPECT_IN_PART, "it has its own %s "
			       "inside: what it allocates there does not come "
			       "to this library; build it with the system's "
			       "malloc", known[i].name);
	}
	if (elf->exported & MARK_MALLOC)
		decide(in, INSPECT_NO, "it defines and exports a malloc of its "
		       "own, which goes before a preloaded one; build it "
		       "with the system's malloc");
	else if (elf->defined & MARK_MALLOC)
		decide(in, INSPECT_IN_PART, "it has a malloc of its own "
		       "inside: what it allocates there does not come to this "
		       "library; build it with the system's malloc");
	if (elf->used & MARK_GO)
		decide(in, INSPECT_IN_PART, "it is a Go program: its heap is "
		       "the Go run-time's; only C code in it uses this "
		       "library");
	if (!elf->has_symbols)
		note(in, "no symbols to look at: an allocator of its own would "
		     "not be noticed");
}

static void judge_elf(struct inspection *in, const struct elf_facts *elf)
{
	snprintf(in->loader, sizeof(in->loader), "%s", elf->loader);
	switch (elf->kind) {
	case ELF_NOT:
		decide(in, INSPECT_UNKNOWN, "it is neither an ELF file nor a "
		       "script that names its interpreter");
		return;
	case ELF_DAMAGED:
		decide(in, INSPECT_UNKNOWN, "its ELF headers are damaged");
		return;
	case ELF_OTHER_MACHINE:
		decide(in, INSPECT_NO, "it is built for another machine, or "
		       "for 32 bits, than this tool and its library");
		return;
	case ELF_STATIC:
		decide(in, INSPECT_NO, "it is statically linked: there is no "
		       "loader that could preload; link it with "
		       "libebbmalloc.a");
		return;
	case ELF_DYNAMIC:
		break;
	}
	judge_allocator(in, elf);
	if ((elf->used | elf->defined | elf->needed) & MARK_SANITIZER)
		decide(in, INSPECT_NO, "it is built with a sanitizer, which "
		       "brings and insists on its own malloc; build it "
		       "without");
	if (elf->needed & MARK_MUSL)
		decide(in, INSPECT_NO, "its C library is musl; this library "
		       "needs glibc");
	else if (!strstr(elf->loader, "/ld-linux"))
		decide(in, INSPECT_NO, "its loader %s is not glibc's; this "
		       "library needs glibc", elf->loader);
}

/* === Scripts ============================================================== */

/* The last part of @path. */
static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/*
 * The program that "#!" names, or that env(1) is told to find.  @line is taken
 * apart; NULL if it names none.
 */
static const char *interpreter(char *line)
{
	char *save, *word = strtok_r(line, " \t", &save);

	if (!word || strcmp(base_name(word), "env"))
		return word;
	do {
		word = strtok_r(NULL, " \t", &save);
	} while (word && (*word == '-' || strchr(word, '=')));
	return word;
}

/* Whether @data is a script; then in->path becomes its interpreter. */
static bool follow_script(struct inspection *in, const char *data, size_t size)
{
	char line[SCRIPT_LINE];
	const char *name;
	size_t len = size < sizeof(line) ? size : sizeof(line) - 1;

	if (size < 3 || memcmp(data, "#!", 2))
		return false;
	memcpy(line, data + 2, len - 2);
	line[len - 2] = '\0';
	line[strcspn(line, "\n")] = '\0';
	name = interpreter(line);
	note(in, "%.100s is a script, run by %.100s", in->path,
	     name ? name : "nothing");
	if (!name)
		decide(in, INSPECT_UNKNOWN, "it names no interpreter");
	else if (!program_find(name, in->path, sizeof(in->path)))
		decide(in, INSPECT_UNKNOWN, "its interpreter %.100s cannot be "
		       "run: %s", name, strerror(errno));
	return true;
}

/* === Files ================================================================ */

/* NULL, with errno, if it is empty or cannot be read. */
static void *map_file(const char *path, struct stat *ret_st)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err;
	void *data = MAP_FAILED;

	if (fd < 0)
		return NULL;
	if (!fstat(fd, ret_st))
		data = mmap(NULL, (size_t)ret_st->st_size, PROT_READ,
			    MAP_PRIVATE, fd, 0);
	err = errno;
	close(fd);
	errno = err;
	return data == MAP_FAILED ? NULL : data;
}

/* Whether in->path is now another file, to be examined in its turn. */
static bool examine(struct inspection *in)
{
	struct elf_facts elf;
	struct stat st;
	bool is_script;
	void *data;

	data = map_file(in->path, &st);
	if (!data) {
		decide(in, INSPECT_UNKNOWN, errno == EINVAL ?
		       "it is empty or cannot be mapped" :
		       "it cannot be read: %s", strerror(errno));
		return false;
	}
	is_script = follow_script(in, data, (size_t)st.st_size);
	if (!is_script) {
		elf_examine(data, (size_t)st.st_size, &elf);
		judge_elf(in, &elf);
		if (in->verdict == INSPECT_YES ||
		    in->verdict == INSPECT_IN_PART)
			judge_mode(in, &st);
	}
	munmap(data, (size_t)st.st_size);
	return is_script && in->verdict == INSPECT_YES;
}

bool inspect_library(const char *path, char why[INSPECT_TEXT])
{
	const char *wrong = NULL;
	struct elf_facts elf;
	struct stat st;
	void *data;

	data = map_file(path, &st);
	if (!data) {
		snprintf(why, INSPECT_TEXT, "it cannot be read: %s",
			 strerror(errno));
		return false;
	}
	elf_examine(data, (size_t)st.st_size, &elf);
	munmap(data, (size_t)st.st_size);
	if (elf.kind == ELF_NOT || elf.kind == ELF_DAMAGED)
		wrong = "it is no shared library";
	else if (elf.kind == ELF_OTHER_MACHINE)
		wrong = "it is built for another machine, or for 32 bits";
	else if (elf.needed & MARK_MUSL)
		wrong = "its C library is musl";
	else if (elf.has_symbols && !(elf.exported & MARK_MALLOC))
		wrong = "it defines no malloc";
	if (wrong)
		snprintf(why, INSPECT_TEXT, "%s", wrong);
	return !wrong;
}

void inspect_program(const char *name, struct inspection *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (!program_find(name, ret->path, sizeof(ret->path))) {
		snprintf(ret->path, sizeof(ret->path), "%s", name);
		decide(ret, INSPECT_UNKNOWN, "it cannot be run: %s",
		       strerror(errno));
		return;
	}
	for (int i = 0; examine(ret); i++) {
		if (i == SCRIPT_DEPTH) {
			decide(ret, INSPECT_UNKNOWN, "scripts are nested more "
			       "than %d deep", SCRIPT_DEPTH);
			return;
		}
	}
}
