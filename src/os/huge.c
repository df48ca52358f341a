/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Which huge pages the kernel may use for the heap
 */
#include <string.h>
#include <sys/mman.h>

#include "base/log.h"
#include "base/small_file.h"
#include "base/sys.h"
#include "os/huge.h"

#define FOLIO_KB	64u	/* a slab's */
#define LARGEST_KB	2048u	/* of those that come by a fault alone */

enum allowed {
	NEVER,
	ASKED,
	ALWAYS,
};

static __startup_data int advice;	/* 0: none is given */
static __startup_data size_t folio;
static const char *why = "not looked at";

/* Which word of "always inherit madvise [never]" is chosen. */
static bool is_chosen(const char *text, const char *word)
{
	const char *at = strchr(text, '[');

	return at && !strncmp(at + 1, word, strlen(word));
}

static enum allowed chosen(const char *text)
{
	return is_chosen(text, "always") ? ALWAYS :
	       is_chosen(text, "madvise") ? ASKED : NEVER;
}

/* What sizes inherit. */
static enum allowed allowed_top(const char *dir)
{
	char path[256], text[64];

	fmt_line(path, sizeof(path), "%s/enabled", dir);
	return small_file_read(path, text, sizeof(text)) > 0 ? chosen(text) :
							       NEVER;
}

__startup static enum allowed allowed_at(const char *dir, unsigned int kb)
{
	char path[256], text[64];

	fmt_line(path, sizeof(path), "%s/hugepages-%ukB/enabled", dir, kb);
	if (small_file_read(path, text, sizeof(text)) <= 0)
		return NEVER;
	return is_chosen(text, "inherit") ? allowed_top(dir) : chosen(text);
}

static enum allowed allowed_above(const char *dir)
{
	enum allowed most = NEVER;

	for (unsigned int kb = 2 * FOLIO_KB; kb <= LARGEST_KB; kb *= 2)
		most = max(most, allowed_at(dir, kb));
	return most;
}

static void decide(enum allowed folios, enum allowed larger)
{
	if (larger == ALWAYS) {
		why = "none: larger ones come always";
	} else if (folios == ASKED && larger == ASKED) {
		why = "none: larger ones would come with them";
	} else {
		advice = folios == ASKED ? MADV_HUGEPAGE : 0;
		folio = FOLIO_KB * KIB;
		why = folios == ASKED ? "64 KiB, asked for" : "64 KiB";
	}
}

__startup void huge_init(const char *dir, size_t page_size)
{
	enum allowed folios = NEVER;

	advice = MADV_NOHUGEPAGE;
	folio = 0;
	why = "none: never allowed";
	/* Where pages are as large as slabs there is nothing between. */
	if (page_size < FOLIO_KB * KIB)
		folios = allowed_at(dir, FOLIO_KB);
	if (folios != NEVER)
		decide(folios, allowed_above(dir));
}

__startup void huge_advise(char *addr, size_t len)
{
	if (advice)
		(void)sys_madvise(addr, len, advice);
}

__startup size_t huge_folio(void)
{
	return folio;
}

size_t huge_describe(char *buf, size_t size)
{
	return fmt_line(buf, size, "folios: %s", why);
}
