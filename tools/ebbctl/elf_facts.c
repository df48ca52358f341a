/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - What an ELF file tells
 *
 * The file may be damaged or hostile: every offset in it is checked by
 * piece() before it is followed, every name ends inside its table.
 */
#include <elf.h>
#include <string.h>
#include "ebbctl.h"
#include "elf_facts.h"

#if defined(__x86_64__)
#define MACHINE	EM_X86_64
#elif defined(__aarch64__)
#define MACHINE	EM_AARCH64
#else
#error "ebbctl knows the ELF machine numbers of x86-64 and arm64 only"
#endif

struct image {
	const char *data;
	size_t size;
	const Elf64_Ehdr *header;
};

struct mark {
	const char *name;
	enum elf_mark mark;
};

static const struct mark symbol_marks[] = {
	{ "malloc", MARK_MALLOC },
	{ "je_malloc", MARK_JEMALLOC },
	{ "je_mallctl", MARK_JEMALLOC },
	{ "mallctl", MARK_JEMALLOC },
	{ "_rjem_malloc", MARK_JEMALLOC },
	{ "tc_malloc", MARK_TCMALLOC },
	{ "mi_malloc", MARK_MIMALLOC },
	{ "__asan_init", MARK_SANITIZER },
	{ "__hwasan_init", MARK_SANITIZER },
	{ "__lsan_init", MARK_SANITIZER },
	{ "__msan_init", MARK_SANITIZER },
	{ "__tsan_init", MARK_SANITIZER },
};

/* Compared with the beginning of the library's name. */
static const struct mark library_marks[] = {
	{ "libjemalloc", MARK_JEMALLOC },
	{ "libtcmalloc", MARK_TCMALLOC },
	{ "libmimalloc", MARK_MIMALLOC },
	{ "libasan.", MARK_SANITIZER },
	{ "libclang_rt.asan", MARK_SANITIZER },
	{ "libhwasan.", MARK_SANITIZER },
	{ "liblsan.", MARK_SANITIZER },
	{ "libtsan.", MARK_SANITIZER },
	{ "libc.musl-", MARK_MUSL },
};

/* @len bytes at @offset; NULL where they are not all inside the file. */
static const void *piece(const struct image *image, uint64_t offset,
			 uint64_t len)
{
	if (offset > image->size || len > image->size - offset)
		return NULL;
	return image->data + offset;
}

/* A string of the table @strings; empty where it does not end inside it. */
static const char *string_at(const struct image *image,
			     const Elf64_Shdr *strings, uint64_t offset)
{
	const char *table = piece(image, strings->sh_offset, strings->sh_size);

	if (!table || offset >= strings->sh_size ||
	    !memchr(table + offset, '\0', strings->sh_size - offset))
		return "";
	return table + offset;
}

static const Elf64_Shdr *section(const struct image *image, unsigned int nr)
{
	const Elf64_Ehdr *header = image->header;

	if (nr >= header->e_shnum || header->e_shentsize != sizeof(Elf64_Shdr))
		return NULL;
	return piece(image, header->e_shoff +
		     (uint64_t)nr * sizeof(Elf64_Shdr), sizeof(Elf64_Shdr));
}

static void note_symbol(const Elf64_Sym *symbol, const char *name,
			bool dynamic, struct elf_facts *facts)
{
	for (size_t i = 0; i < ARRAY_SIZE(symbol_marks); i++) {
		if (strcmp(name, symbol_marks[i].name))
			continue;
		if (symbol->st_shndx == SHN_UNDEF)
			facts->used |= symbol_marks[i].mark;
		else
			facts->defined |= symbol_marks[i].mark;
		if (symbol->st_shndx != SHN_UNDEF && dynamic)
			facts->exported |= symbol_marks[i].mark;
	}
}

static void scan_symbols(const struct image *image, const Elf64_Shdr *table,
			 struct elf_facts *facts)
{
	const Elf64_Shdr *strings = section(image, table->sh_link);
	const Elf64_Sym *symbols = piece(image, table->sh_offset,
					 table->sh_size);

	if (!strings || !symbols)
		return;
	facts->has_symbols = true;
	for (size_t i = 0; i < table->sh_size / sizeof(*symbols); i++)
		note_symbol(&symbols[i],
			    string_at(image, strings, symbols[i].st_name),
			    table->sh_type == SHT_DYNSYM, facts);
}

static void scan_needed(const struct image *image, const Elf64_Shdr *table,
			struct elf_facts *facts)
{
	const Elf64_Shdr *strings = section(image, table->sh_link);
	const Elf64_Dyn *entries = piece(image, table->sh_offset,
					 table->sh_size);
	const char *name;

	if (!strings || !entries)
		return;
	for (size_t i = 0; i < table->sh_size / sizeof(*entries); i++) {
		if (entries[i].d_tag != DT_NEEDED)
			continue;
		name = string_at(image, strings, entries[i].d_un.d_val);
		for (size_t m = 0; m < ARRAY_SIZE(library_marks); m++)
			if (!strncmp(name, library_marks[m].name,
				     strlen(library_marks[m].name)))
				facts->needed |= library_marks[m].mark;
	}
}

static void scan_sections(const struct image *image, struct elf_facts *facts)
{
	const Elf64_Shdr *names = section(image, image->header->e_shstrndx);
	const Elf64_Shdr *table;

	for (unsigned int i = 0; i < image->header->e_shnum; i++) {
		table = section(image, i);
		if (!table)
			return;
		if (table->sh_type == SHT_DYNSYM ||
		    table->sh_type == SHT_SYMTAB)
			scan_symbols(image, table, facts);
		else if (table->sh_type == SHT_DYNAMIC)
			scan_needed(image, table, facts);
		if (names && !strcmp(string_at(image, names, table->sh_name),
				     ".go.buildinfo"))
			facts->used |= MARK_GO;
	}
}

/* The dynamic loader; false for damaged headers. */
static bool scan_segments(const struct image *image, struct elf_facts *facts)
{
	const Elf64_Ehdr *header = image->header;
	const Elf64_Phdr *segments;
	const char *loader;

	if (header->e_phentsize != sizeof(*segments))
		return false;
	segments = piece(image, header->e_phoff,
			 (uint64_t)header->e_phnum * sizeof(*segments));
	if (!segments)
		return false;
	for (unsigned int i = 0; i < header->e_phnum; i++) {
		if (segments[i].p_type != PT_INTERP)
			continue;
		loader = piece(image, segments[i].p_offset,
			       segments[i].p_filesz);
		if (!loader || segments[i].p_filesz >= sizeof(facts->loader))
			return false;
		memcpy(facts->loader, loader, segments[i].p_filesz);
	}
	return true;
}

void elf_examine(const void *data, size_t size, struct elf_facts *ret)
{
	struct image image = { .data = data, .size = size, .header = data };

	memset(ret, 0, sizeof(*ret));
	if (size < sizeof(Elf64_Ehdr) || memcmp(data, ELFMAG, SELFMAG))
		return;
	ret->kind = ELF_OTHER_MACHINE;
	if (image.header->e_ident[EI_CLASS] != ELFCLASS64 ||
	    image.header->e_machine != MACHINE)
		return;
	ret->kind = ELF_DAMAGED;
	if (!scan_segments(&image, ret))
		return;
	ret->kind = *ret->loader ? ELF_DYNAMIC : ELF_STATIC;
	scan_sections(&image, ret);
	if (strstr(ret->loader, "/ld-musl"))
		ret->needed |= MARK_MUSL;
}
