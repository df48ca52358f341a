// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - What is asked of the kernel, by what the admin allows
 */
#include <errno.h>
#include <limits.h>
#include <sys/mman.h>
#include "os/huge.h"
#include "harness.h"
#include "tree.h"

#define NR_SIZES	6

FIXTURE(huge) {
	char dir[PATH_MAX];
	char *memory;
};

/* NULL: this kernel has no such file. */
FIXTURE_VARIANT(huge) {
	const char *top;
	const char *sizes[NR_SIZES];	/* 64 KiB to 2 MiB */
	size_t page_size;
	size_t folio;
	const char *flag;		/* of smaps: of the mapping, or NULL */
};

#define ALL_NEVER	"never", "never", "never", "never", "never"

FIXTURE_VARIANT_ADD(huge, no_such_files) {
	.page_size = 4096,
	.flag = "nh",
};

FIXTURE_VARIANT_ADD(huge, old_kernel_always) {
	.top = "[always] madvise never",
	.page_size = 4096,
	.flag = "nh",
};

FIXTURE_VARIANT_ADD(huge, as_the_kernel_comes) {
	.top = "always [madvise] never",
	.sizes = { "always inherit madvise [never]", "[never]", "[never]",
		   "[never]", "[never]", "always [inherit] madvise never" },
	.page_size = 4096,
	.flag = "nh",
};

FIXTURE_VARIANT_ADD(huge, folios_always) {
	.top = "always [madvise] never",
	.sizes = { "[always] inherit madvise never", "[never]", "[never]",
		   "[never]", "[never]", "always [inherit] madvise never" },
	.page_size = 4096,
	.folio = 64 * KIB,
};

FIXTURE_VARIANT_ADD(huge, folios_inherit_always) {
	.top = "[always] madvise never",
	.sizes = { "always [inherit] madvise never", "[never]", "[never]",
		   "[never]", "[never]", "always inherit madvise [never]" },
	.page_size = 4096,
	.folio = 64 * KIB,
};

FIXTURE_VARIANT_ADD(huge, asked_for) {
	.top = "always [madvise] never",
	.sizes = { "always inherit [madvise] never", "[never]", "[never]",
		   "[never]", "[never]", "always inherit madvise [never]" },
	.page_size = 4096,
	.folio = 64 * KIB,
	.flag = "hg",
};

FIXTURE_VARIANT_ADD(huge, larger_ones_would_come) {
	.top = "always [madvise] never",
	.sizes = { "always inherit [madvise] never", "[never]", "[never]",
		   "[never]", "[never]", "always [inherit] madvise never" },
	.page_size = 4096,
	.flag = "nh",
};

FIXTURE_VARIANT_ADD(huge, larger_ones_always) {
	.top = "always madvise [never]",
	.sizes = { "[always] inherit madvise never", "[never]",
		   "[always] inherit madvise never", "[never]", "[never]",
		   "always [inherit] madvise never" },
	.page_size = 4096,
	.flag = "nh",
};

FIXTURE_VARIANT_ADD(huge, pages_as_large_as_slabs) {
	.top = "always [madvise] never",
	.sizes = { "[always] inherit madvise never" },
	.page_size = 65536,
	.flag = "nh",
};

static bool put(const char *dir, const char *name, const char *text)
{
	char path[PATH_MAX + 80];
	FILE *file;
	bool ok;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (mkdir(path, 0700) && errno != EEXIST)
		return false;
	snprintf(path, sizeof(path), "%s/%s/enabled", dir, name);
	file = fopen(path, "w");
	if (!file)
		return false;
	ok = fprintf(file, "%s\n", text) > 0;
	return !fclose(file) && ok;
}

FIXTURE_SETUP(huge)
{
	char name[64];

	snprintf(self->dir, sizeof(self->dir), "/tmp/ebb-huge-XXXXXX");
	ASSERT_TRUE(mkdtemp(self->dir));
	if (variant->top)
		ASSERT_TRUE(put(self->dir, ".", variant->top));
	for (unsigned int i = 0; i < NR_SIZES; i++) {
		if (!variant->sizes[i])
			continue;
		snprintf(name, sizeof(name), "hugepages-%ukB", 64u << i);
		ASSERT_TRUE(put(self->dir, name, variant->sizes[i]));
	}
	self->memory = mmap(NULL, 4 * MIB, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, self->memory);
}

FIXTURE_TEARDOWN(huge)
{
	munmap(self->memory, 4 * MIB);
	remove_tree(self->dir);
}

/* Whether the mapping at @at has @flag in smaps. */
static bool has_flag(const char *at, const char *flag)
{
	FILE *file = fopen("/proc/self/smaps", "r");
	bool here = false, found = false;
	char line[4096];

	while (file && fgets(line, sizeof(line), file)) {
		unsigned long start, end;

		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start <= (uintptr_t)at && (uintptr_t)at < end;
		if (here && !strncmp(line, "VmFlags:", 8))
			found = strstr(line + 8, flag);
	}
	if (file)
		fclose(file);
	return found;
}

TEST_F(huge, heap_is_as_the_table_says)
{
	char line[128];

	huge_init(self->dir, variant->page_size);
	huge_advise(self->memory, 2 * MIB);
	EXPECT_EQ(variant->folio, huge_folio());
	EXPECT_TRUE(huge_describe(line, sizeof(line)));
	EXPECT_EQ(!variant->folio, !!strstr(line, ": none"));
	if (access("/sys/kernel/mm/transparent_hugepage", F_OK))
		SKIP(return, "a kernel without huge pages");
	EXPECT_EQ(variant->flag && !strcmp(variant->flag, "nh"),
		  has_flag(self->memory, " nh"));
	EXPECT_EQ(variant->flag && !strcmp(variant->flag, "hg"),
		  has_flag(self->memory, " hg"));
	EXPECT_FALSE(has_flag(self->memory + 2 * MIB, " nh") ||
		     has_flag(self->memory + 2 * MIB, " hg"));
	/* A program that asks for them itself, for a part, is heard. */
	EXPECT_EQ(0, madvise(self->memory, 2 * MIB, MADV_HUGEPAGE));
	EXPECT_TRUE(has_flag(self->memory, " hg"));
	EXPECT_FALSE(has_flag(self->memory, " nh"));
}

TEST_HARNESS_MAIN
