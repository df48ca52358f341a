/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Names of functions, from inside a signal handler
 */
#include <elf.h>
#include <fcntl.h>
#include <link.h>

#include "base/fd_window.h"
#include "base/log.h"
#include "base/mappings.h"
#include "base/sys.h"
#include "debug/symbol.h"

#define NR_MODULES	16u
#define PATH_LEN	160u
#define NAME_LEN	96u
#define FUNCTION_LEN	(NAME_LEN + 24)
#define CHUNK_SYMS	128u
#define TEXT_LEN	4096u

/* A mapping that an address was found in. */
struct module {
	uintptr_t start, end;
	uint64_t offset;		/* of @start in the file */
	char path[PATH_LEN];
};

static struct module modules[NR_MODULES];
static unsigned int nr_modules;

/* Of one open file at a time. */
static char text[TEXT_LEN];
static ElfW(Sym) syms[CHUNK_SYMS];

void symbol_begin(void)
{
	nr_modules = 0;
}

/* === Mappings ============================================================= */

static void note_module(const struct mapping *map, struct module *ret)
{
	unsigned int len = 0;

	ret->start = map->start;
	ret->end = map->end;
	ret->offset = map->offset;
	for (; map->name[len] && len < PATH_LEN - 1; len++)
		ret->path[len] = map->name[len];
	ret->path[len] = '\0';
}

static bool find_mapping(uintptr_t pc, struct mapping *map)
{
	struct mappings maps;
	bool found = false;

	if (mappings_open(&maps, text, sizeof(text)))
		return false;
	while (!found && mappings_next(&maps, map))
		found = pc - map->start < map->end - map->start;
	mappings_close(&maps);
	return found;
}

static bool find_module(uintptr_t pc, struct module *ret)
{
	struct mapping map;
	bool found;

	fd_window_enter();
	found = find_mapping(pc, &map);
	fd_window_leave();
	if (found)
		note_module(&map, ret);
	return found;
}

static const struct module *module_of(uintptr_t pc)
{
	struct module *module;

	for (unsigned int i = 0; i < nr_modules; i++)
		if (pc - modules[i].start < modules[i].end - modules[i].start)
			return &modules[i];
	module = &modules[min(nr_modules, NR_MODULES - 1)];
	if (!find_module(pc, module))
		return NULL;
	nr_modules = min(nr_modules + 1, NR_MODULES);
	return module;
}

/* === ELF ================================================================== */

static bool read_at(int fd, void *buf, size_t len, uint64_t offset)
{
	return sys_pread(fd, buf, len, (int64_t)offset) == (long)len;
}

/* Where @offset of the file is meant to lie; false: in no segment. */
static bool address_of(int fd, const ElfW(Ehdr) *ehdr, uint64_t offset,
		       uint64_t *ret_vaddr)
{
	for (unsigned int i = 0; i < ehdr->e_phnum; i++) {
		ElfW(Phdr) phdr;

		if (!read_at(fd, &phdr, sizeof(phdr),
			     ehdr->e_phoff + i * sizeof(phdr)))
			return false;
		if (phdr.p_type != PT_LOAD ||
		    offset - phdr.p_offset >= phdr.p_filesz)
			continue;
		*ret_vaddr = offset - phdr.p_offset + phdr.p_vaddr;
		return true;
	}
	return false;
}

/* The table of all symbols, or else of the exported ones, and its names. */
static bool find_tables(int fd, const ElfW(Ehdr) *ehdr, ElfW(Shdr) *ret_syms,
			ElfW(Shdr) *ret_names)
{
	bool found = false;

	for (unsigned int i = 0; i < ehdr->e_shnum; i++) {
		ElfW(Shdr) shdr;

		if (!read_at(fd, &shdr, sizeof(shdr),
			     ehdr->e_shoff + i * sizeof(shdr)))
			return false;
		if (shdr.sh_type != SHT_SYMTAB &&
		    (shdr.sh_type != SHT_DYNSYM || found))
			continue;
		*ret_syms = shdr;
		found = true;
	}
	return found && read_at(fd, ret_names, sizeof(*ret_names),
				ehdr->e_shoff +
				ret_syms->sh_link * sizeof(*ret_names));
}

/* The function of @table that @vaddr lies in; its name's place, 0: none. */
static uint32_t find_symbol(int fd, const ElfW(Shdr) *table, uint64_t vaddr,
			    uint64_t *ret_start)
{
	uint64_t nr = table->sh_size / sizeof(syms[0]);

	for (uint64_t at = 0; at < nr; at += CHUNK_SYMS) {
		size_t here = min(nr - at, (uint64_t)CHUNK_SYMS);

		if (!read_at(fd, syms, here * sizeof(syms[0]),
			     table->sh_offset + at * sizeof(syms[0])))
			return 0;
		for (size_t i = 0; i < here; i++) {
			if ((syms[i].st_info & 0xf) != STT_FUNC ||
			    vaddr - syms[i].st_value >= syms[i].st_size)
				continue;
			*ret_start = syms[i].st_value;
			return syms[i].st_name;
		}
	}
	return 0;
}

static bool read_header(int fd, ElfW(Ehdr) *ret)
{
	static const char magic[] = { 0x7f, 'E', 'L', 'F', ELFCLASS64 };

	if (!read_at(fd, ret, sizeof(*ret), 0) ||
	    ret->e_phentsize != sizeof(ElfW(Phdr)) ||
	    (ret->e_shnum && ret->e_shentsize != sizeof(ElfW(Shdr))))
		return false;
	for (unsigned int i = 0; i < sizeof(magic); i++)
		if ((char)ret->e_ident[i] != magic[i])
			return false;
	return true;
}

/* The name at @offset, as much as has room; false: there is none. */
static bool read_name(int fd, uint64_t offset, char *name)
{
	long got = sys_pread(fd, name, NAME_LEN - 1, (int64_t)offset);

	if (got <= 0)
		return false;
	name[got] = '\0';
	return name[0];
}

/*
 * " in FUNCTION+0xN" for @offset of the file @fd, and in *@offset what that is
 * as an address of the file's own.  The symbol is looked for one byte before a
 * return address, but told from that itself.
 */
static size_t describe_in(int fd, uint64_t *offset, bool is_return, char *buf)
{
	static char name[NAME_LEN];
	ElfW(Shdr) table, names;
	uint64_t start = 0;
	ElfW(Ehdr) ehdr;
	uint32_t place;

	if (!read_header(fd, &ehdr) ||
	    !address_of(fd, &ehdr, *offset, offset) ||
	    !find_tables(fd, &ehdr, &table, &names))
		return 0;
	place = find_symbol(fd, &table, *offset - is_return, &start);
	if (!place || !read_name(fd, names.sh_offset + place, name))
		return 0;
	return fmt_line(buf, FUNCTION_LEN, " in %s+0x%lx", name,
			(unsigned long)(*offset - start));
}

/* The same for the file at @path; nothing where it cannot be opened. */
static void describe_file(const char *path, uint64_t *offset, bool is_return,
			  char *buf)
{
	int fd;

	fd_window_enter();
	fd = sys_open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
	if (fd >= 0) {
		(void)describe_in(fd, offset, is_return, buf);
		sys_close(fd);
	}
	fd_window_leave();
}

size_t symbol_describe(uintptr_t pc, bool is_return, char *buf, size_t size)
{
	static char function[FUNCTION_LEN];
	const struct module *module = module_of(pc);
	uint64_t offset;

	if (!module || !module->path[0])
		return fmt_line(buf, size, "%s", "");
	function[0] = '\0';
	offset = pc - module->start + module->offset;
	if (module->path[0] == '/')
		describe_file(module->path, &offset, is_return, function);
	return fmt_line(buf, size, "%s (%s+0x%lx)", function, module->path,
			(unsigned long)offset);
}
