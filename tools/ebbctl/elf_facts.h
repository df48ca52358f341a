/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - What an ELF file tells
 */
#ifndef EBBCTL_ELF_FACTS_H
#define EBBCTL_ELF_FACTS_H

#include <stdbool.h>
#include <stddef.h>

enum elf_kind {
	ELF_NOT,		/* something else */
	ELF_DAMAGED,		/* headers point outside the file */
	ELF_OTHER_MACHINE,	/* not the one this tool was built for */
	ELF_STATIC,		/* no dynamic loader */
	ELF_DYNAMIC,
};

/* Allocators and run-times that are recognised; bits. */
enum elf_mark {
	MARK_MALLOC	= 1 << 0,	/* a malloc of its own */
	MARK_JEMALLOC	= 1 << 1,
	MARK_TCMALLOC	= 1 << 2,
	MARK_MIMALLOC	= 1 << 3,
	MARK_SANITIZER	= 1 << 4,
	MARK_MUSL	= 1 << 5,
	MARK_GO		= 1 << 6,
};

struct elf_facts {
	enum elf_kind kind;
	unsigned int exported;	/* marks it defines for others, too */
	unsigned int defined;	/* marks it defines, perhaps hidden */
	unsigned int used;	/* marks it refers to, or sections it has */
	unsigned int needed;	/* marks of libraries it is linked with */
	bool has_symbols;	/* else exported and defined say nothing */
	char loader[256];	/* PT_INTERP; empty if none */
};

/* Examine the @size bytes at @data. */
void elf_examine(const void *data, size_t size, struct elf_facts *ret_facts);

#endif
