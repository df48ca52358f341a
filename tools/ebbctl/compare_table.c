/* SPDX-License-Identifier: MIT */
/*
 * ebbctl compare - The result as a table, and what is to be said of it
 *
 * All lines fit into 80 columns, whatever the names are.
 */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "compare.h"

#define COLUMNS		79
#define NAME_WIDTH	14
#define PATH_WIDTH	(COLUMNS - NAME_WIDTH)

/* === Text ================================================================= */

/* Lines of whole words; those after the first are indented. */
__attribute__((format(printf, 2, 3)))
static void put_note(FILE *out, const char *fmt, ...)
{
	char text[1024], *word, *save;
	int at = 0, len;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (word = strtok_r(text, " ", &save); word;
	     word = strtok_r(NULL, " ", &save)) {
		len = (int)strlen(word);
		if (at && at + 1 + len > COLUMNS)
			at = fprintf(out, "\n ") - 1;
		at += fprintf(out, at ? " %s" : "%s", word);
	}
	putc('\n', out);
}

/* The end of @path, as much as there is room for. */
static void put_path(FILE *out, const char *path, size_t width)
{
	size_t len = strlen(path);

	if (len <= width)
		fprintf(out, "%s\n", path);
	else
		fprintf(out, "...%s\n", path + len - (width - 3));
}

/* The arguments, as far as there is room; no control characters. */
static void put_command(const struct compare *cmp, FILE *out)
{
	char text[1024];
	size_t len = 0;

	for (char **arg = cmp->command; *arg && len < sizeof(text) - 1; arg++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s",
					len ? " " : "", *arg);
	for (char *at = text; *at; at++)
		if ((unsigned char)*at < ' ' || *at == 0x7f)
			*at = ' ';
	if (strlen(text) > COLUMNS)
		strcpy(text + COLUMNS - 3, "...");
	fprintf(out, "%s\n", text);
}

/* === Above ================================================================ */

static void put_conditions(const struct compare *cmp, FILE *out)
{
	char text[SIZE_TEXT];

	fprintf(out, "%u run%s on each", cmp->nr_runs,
		cmp->nr_runs == 1 ? "" : "s");
	if (!cmp->in_cgroup) {
		fprintf(out, ", no cgroup, no limit\n");
		return;
	}
	if (cmp->limits.memory == LIMIT_NONE)
		fprintf(out, ", no limit");
	else
		fprintf(out, ", limit %s",
			size_exact((int64_t)cmp->limits.memory, text));
	if (cmp->cgroup_version == 2 && cmp->high_percent)
		fprintf(out, ", high at %u%%", cmp->high_percent);
	else if (cmp->cgroup_version == 2 && cmp->limits.high != LIMIT_NONE)
		fprintf(out, ", high at %s",
			size_exact((int64_t)cmp->limits.high, text));
	if (cmp->limits.memory != LIMIT_NONE && !cmp->limits.swap)
		fprintf(out, ", no swap");
	fprintf(out, ", cgroup v%d\n", cmp->cgroup_version);
}

static void put_allocators(const struct compare *cmp, FILE *out)
{
	const struct contender *contender = &cmp->contender[0];

	fprintf(out, "%-*s", NAME_WIDTH, contender->allocator.name);
	if (*contender->found)
		fprintf(out, "%s, which the command brings\n",
			contender->found);
	else
		fprintf(out, "the C library's; no other was seen\n");
	for (unsigned int i = 1; i < cmp->nr; i++) {
		contender = &cmp->contender[i];
		fprintf(out, "%-*s", NAME_WIDTH, contender->allocator.name);
		put_path(out, contender->allocator.library, PATH_WIDTH);
	}
}

/* === The table ============================================================ */

static void put_count(FILE *out, int width, uint64_t count)
{
	if (count == UNKNOWN)
		fprintf(out, "%*s", width, "-");
	else if (count > 99999)
		fprintf(out, "%*s", width, ">99999");
	else
		fprintf(out, "%*llu", width, (unsigned long long)count);
}

static void put_row(const struct contender *contender, const char *name,
		    size_t offset, FILE *out)
{
	char text[FIGURE_TEXT];
	struct spread spread;
	double value;

	fprintf(out, "%-*s", NAME_WIDTH, name);
	for (int i = 0; i < NR_FIGURES; i++) {
		figure_spread(contender, (enum figure)i, &spread);
		memcpy(&value, (char *)&spread + offset, sizeof(value));
		fprintf(out, "%9s", figure_text((enum figure)i, value, text));
	}
}

static void put_ratios(const struct compare *cmp, unsigned int nr, FILE *out)
{
	double ratio;

	fprintf(out, "%-*s", NAME_WIDTH, "  x present");
	for (int i = 0; i < NR_FIGURES; i++) {
		ratio = figure_ratio(cmp, nr, (enum figure)i);
		if (isnan(ratio))
			fprintf(out, "%9s", "-");
		else
			fprintf(out, "%9.2f", ratio);
	}
	ratio = search_ratio(cmp, nr);
	if (!isnan(ratio))
		fprintf(out, "%20.2f", ratio);
	putc('\n', out);
}

static void put_contender(const struct compare *cmp, unsigned int nr,
			  FILE *out)
{
	const struct contender *contender = &cmp->contender[nr];
	const struct search *search = &contender->search;
	char text[SIZE_TEXT];
	struct tally tally;

	contender_tally(contender, &tally);
	put_row(contender, contender->allocator.name,
		offsetof(struct spread, median), out);
	put_count(out, 7, tally.limit_hits);
	put_count(out, 6, cmp->in_cgroup ? tally.oom_kills : UNKNOWN);
	if (cmp->find_limit)
		fprintf(out, "%7s", search->state == SEARCH_FOUND ?
			size_exact((int64_t)search->least, text) : "-");
	putc('\n', out);
	if (!tally.good)
		return;
	if (tally.good > 1) {
		put_row(contender, "  smallest",
			offsetof(struct spread, least), out);
		putc('\n', out);
		put_row(contender, "  largest",
			offsetof(struct spread, most), out);
		putc('\n', out);
	}
	if (nr)
		put_ratios(cmp, nr, out);
}

static void put_table(const struct compare *cmp, FILE *out)
{
	fprintf(out, "\n%-*s%9s%9s%9s%9s%9s%7s%6s%s\n", NAME_WIDTH, "", "TIME",
		"CPU", "PEAK", "MEAN", "END", "HITS", "KILLS",
		cmp->find_limit ? "  LEAST" : "");
	for (unsigned int i = 0; i < cmp->nr; i++)
		put_contender(cmp, i, out);
}

/* === Below ================================================================ */

static void note_runs(const struct contender *contender,
		      const struct tally *tally, FILE *out)
{
	const char *name = contender->allocator.name;
	char text[128];

	if (tally->bad)
		put_note(out, "%s: %u of %u runs failed, the first with %s%s",
			 name, contender->nr_trials - tally->good,
			 contender->nr_trials,
			 trial_failure(tally->bad, text, sizeof(text)),
			 tally->good ? "; the others are shown." :
				       "; there is nothing to compare.");
}

static void note_library(const struct contender *contender,
			 const struct tally *tally, FILE *out)
{
	const char *name = contender->allocator.name;

	if (!*contender->allocator.library)
		return;
	if (tally->nr_with && tally->nr_without)
		put_note(out, "%s: some programs of the command ran without "
			 "it, e.g. %s.", name, contender->without);
	else if (tally->nr_without)
		put_note(out, "%s: NOT LOADED: no program that was seen had "
			 "it, e.g. not %s; its figures are those of another "
			 "allocator.", name, contender->without);
	else if (!tally->nr_with)
		put_note(out, "%s: the runs were too short to see whether it "
			 "was loaded.", name);
}

static void note_search(const struct compare *cmp,
			const struct contender *contender, FILE *out)
{
	const struct search *search = &contender->search;
	const char *name = contender->allocator.name;
	char text[SIZE_TEXT];

	if (!cmp->find_limit)
		return;
	if (search->state == SEARCH_NOT)
		put_note(out, "%s: no limit was searched, as the command fails "
			 "with memory enough.", name);
	else if (search->state == SEARCH_NONE)
		put_note(out, "%s: no limit up to %s is survived.", name,
			 size_exact((int64_t)search->highest, text));
	if (search->nr_slow)
		put_note(out, "%s: %u of %u runs below a limit were ended, as "
			 "they took too long.", name, search->nr_slow,
			 search->nr_runs);
}

static void put_notes(const struct compare *cmp, FILE *out)
{
	unsigned int nr_left = 0;
	char step[SIZE_TEXT];
	struct tally tally;

	if (cmp->find_limit)
		put_note(out, "LEAST is survived %u time%s out of %u, and %s "
			 "less is not.", cmp->nr_runs,
			 cmp->nr_runs == 1 ? "" : "s", cmp->nr_runs,
			 size_exact((int64_t)cmp->step, step));
	if (!cmp->in_cgroup)
		put_note(out, "Memory is that of the processes, not of a "
			 "cgroup: %s.", cmp->why);
	if (cmp->peak_is_rss)
		put_note(out, "PEAK is the largest process's RSS%s.",
			 cmp->in_cgroup ? ": this kernel has no memory.peak" :
					  "");
	if (*cmp->program)
		put_note(out, "The program: %s.", cmp->program);
	for (unsigned int i = 0; i < cmp->nr; i++) {
		contender_tally(&cmp->contender[i], &tally);
		note_runs(&cmp->contender[i], &tally, out);
		note_library(&cmp->contender[i], &tally, out);
		note_search(cmp, &cmp->contender[i], out);
		nr_left += tally.nr_left;
	}
	if (nr_left)
		put_note(out, "The command left processes behind, in %u of %u "
			 "runs: they were killed.", nr_left,
			 cmp->nr * cmp->nr_runs);
}

void compare_table(const struct compare *cmp, FILE *out)
{
	char *notes = NULL;
	size_t len = 0;
	FILE *memory = open_memstream(&notes, &len);

	put_command(cmp, out);
	put_conditions(cmp, out);
	put_allocators(cmp, out);
	put_table(cmp, out);
	if (!memory)
		return;
	put_notes(cmp, memory);
	if (!fclose(memory) && len)
		fprintf(out, "\n%s", notes);
	free(notes);
}
