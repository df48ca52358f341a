/* SPDX-License-Identifier: MIT */
/*
 * ebbctl compare - The result as an SVG figure
 *
 * Bars as scripts/plot-svg draws them: a group for each figure, on a scale of
 * its own that begins at 0.  No script, style sheet or font; title and
 * description for screen readers.
 */
#include <math.h>
#include <string.h>
#include "compare.h"

#define WIDTH		800
#define RIGHT		16
#define LEFT		140	/* where bars begin */
#define TEXT_ROOM	150	/* for what is written at the longest bar */
#define BAR_STEP	22
#define BAR_HEIGHT	15
#define GROUP_STEP	40	/* heading and gap */
#define HEAD		86
#define FOOT		30

#define INK		"#1f2328"
#define MUTED		"#59636e"
#define PAPER		"#ffffff"
#define BAR		"#a8b3bd"
#define EMPHASIS	"#0072b2"

/* The figures, and behind them the smallest limit. */
#define FIGURE_LEAST	NR_FIGURES

static const char *const headings[] = {
	[FIGURE_WALL]	= "Time",
	[FIGURE_CPU]	= "CPU time",
	[FIGURE_PEAK]	= "Peak memory",
	[FIGURE_MEAN]	= "Memory held, mean over the run",
	[FIGURE_END]	= "Memory held at the end",
	[FIGURE_LEAST]	= "Smallest limit survived",
};

static double value_of(const struct compare *cmp, unsigned int nr, int figure,
		       double *ret_ratio)
{
	const struct search *search = &cmp->contender[nr].search;
	struct spread spread;

	if (figure == FIGURE_LEAST) {
		*ret_ratio = search_ratio(cmp, nr);
		return search->state == SEARCH_FOUND ? (double)search->least :
						       NAN;
	}
	*ret_ratio = figure_ratio(cmp, nr, (enum figure)figure);
	figure_spread(&cmp->contender[nr], (enum figure)figure, &spread);
	return spread.median;
}

/* Anything that is not plain ASCII might not be UTF-8. */
static void put_escaped(FILE *out, const char *text, size_t most)
{
	for (; *text && most; text++, most--) {
		if (*text == '<')
			fputs("&lt;", out);
		else if (*text == '&')
			fputs("&amp;", out);
		else
			putc(*text < ' ' || *text > '~' ? '?' : *text, out);
	}
}

struct label {
	double x, y;
	int size;
	const char *fill;
	const char *extra;	/* more attributes */
};

static void put_text(FILE *out, const struct label *at, const char *text)
{
	fprintf(out, "  <text x=\"%.1f\" y=\"%.1f\" font-size=\"%d\" "
		"fill=\"%s\"%s>", at->x, at->y, at->size, at->fill, at->extra);
	put_escaped(out, text, 110);
	fputs("</text>\n", out);
}

/* What is written at the end of a bar. */
static void bar_text(int figure, double value, double ratio,
		     char buf[2 * FIGURE_TEXT])
{
	char text[FIGURE_TEXT];

	figure_text(figure == FIGURE_LEAST ? FIGURE_PEAK : (enum figure)figure,
		    value, text);
	if (isnan(value))
		snprintf(buf, 2 * FIGURE_TEXT, "no run to show");
	else if (isnan(ratio))
		snprintf(buf, 2 * FIGURE_TEXT, "%s", text);
	else
		snprintf(buf, 2 * FIGURE_TEXT, "%s (x %.2f)", text, ratio);
}

struct group {
	int figure;
	double most;		/* the value of the longest bar */
	int y;
};

static void put_bar(const struct compare *cmp, unsigned int nr,
		    const struct group *group, FILE *out)
{
	/* The last one is what the figure is about. */
	bool ours = nr == cmp->nr - 1;
	struct label label = {
		.x = LEFT - 8, .size = 13, .fill = INK,
		.y = group->y + (int)nr * BAR_STEP + 12.5,
		.extra = ours ? " text-anchor=\"end\" font-weight=\"bold\"" :
				" text-anchor=\"end\"",
	};
	double ratio, value = value_of(cmp, nr, group->figure, &ratio), len;
	char text[2 * FIGURE_TEXT];

	len = isnan(value) || group->most <= 0 ? 0 :
	      (WIDTH - RIGHT - LEFT - TEXT_ROOM) * value / group->most;
	put_text(out, &label, cmp->contender[nr].allocator.name);
	fprintf(out, "  <rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" "
		"fill=\"%s\"/>\n", LEFT, group->y + (int)nr * BAR_STEP, len,
		BAR_HEIGHT, ours ? EMPHASIS : BAR);
	label.x = LEFT + len + 6;
	label.extra = ours ? " font-weight=\"bold\"" : "";
	bar_text(group->figure, value, nr ? ratio : NAN, text);
	put_text(out, &label, text);
}

/* One figure; where the next may begin. */
static int put_group(const struct compare *cmp, int figure, int y, FILE *out)
{
	struct group group = { .figure = figure, .y = y + 26 };
	const struct label heading = {
		.x = RIGHT, .y = y + 18, .size = 14, .fill = INK,
		.extra = " font-weight=\"bold\"",
	};
	double value, ratio;

	for (unsigned int i = 0; i < cmp->nr; i++) {
		value = value_of(cmp, i, figure, &ratio);
		if (value > group.most)
			group.most = value;
	}
	put_text(out, &heading, headings[figure]);
	for (unsigned int i = 0; i < cmp->nr; i++)
		put_bar(cmp, i, &group, out);
	return y + GROUP_STEP + (int)cmp->nr * BAR_STEP;
}

/* === Around the bars ====================================================== */

/* The figure in words. */
static void put_description(const struct compare *cmp, int nr_groups,
			    FILE *out)
{
	char text[2 * FIGURE_TEXT];
	double value, ratio;

	fputs("  <desc id=\"desc\">", out);
	for (int f = 0; f < nr_groups; f++) {
		fprintf(out, "%s%s:", f ? ". " : "", headings[f]);
		for (unsigned int i = 0; i < cmp->nr; i++) {
			value = value_of(cmp, i, f, &ratio);
			bar_text(f, value, i ? ratio : NAN, text);
			fputs(i ? ", " : " ", out);
			put_escaped(out, cmp->contender[i].allocator.name, 100);
			fprintf(out, " %s", text);
		}
	}
	fputs(".</desc>\n", out);
}

static void put_head(const struct compare *cmp, const char *title, FILE *out)
{
	const struct label heading = {
		.x = RIGHT, .y = 34, .size = 19, .fill = INK,
		.extra = " font-weight=\"bold\"",
	};
	const struct label below = {
		.x = RIGHT, .y = 58, .size = 13, .fill = MUTED, .extra = "",
	};
	char text[128], size[SIZE_TEXT];

	put_text(out, &heading, title);
	snprintf(text, sizeof(text), "Median of %u run%s on each%s%s; in "
		 "parentheses relative to the present allocator", cmp->nr_runs,
		 cmp->nr_runs == 1 ? "" : "s",
		 cmp->limits.memory == LIMIT_NONE ? ", no limit" : ", limit ",
		 cmp->limits.memory == LIMIT_NONE ? "" :
		 size_exact((int64_t)cmp->limits.memory, size));
	put_text(out, &below, text);
}

static void make_title(const struct compare *cmp, char *title, size_t size)
{
	size_t len = 0;

	*title = '\0';
	for (char **arg = cmp->command; *arg && len < size - 1; arg++)
		len += (size_t)snprintf(title + len, size - len, "%s%s",
					len ? " " : "", *arg);
	if (len >= size)
		strcpy(title + size - 4, "...");
}

void compare_plot(const struct compare *cmp, FILE *out)
{
	int nr_groups = cmp->find_limit ? NR_FIGURES + 1 : NR_FIGURES;
	int height = HEAD + FOOT +
		     nr_groups * (GROUP_STEP + (int)cmp->nr * BAR_STEP);
	int y = HEAD;
	char title[72];

	make_title(cmp, title, sizeof(title));
	fprintf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" "
		"height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\" "
		"aria-labelledby=\"title desc\" font-family=\"system-ui, "
		"'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', "
		"sans-serif\">\n  <title id=\"title\">", WIDTH, height, WIDTH,
		height);
	put_escaped(out, title, sizeof(title));
	fputs("</title>\n", out);
	put_description(cmp, nr_groups, out);
	fprintf(out, "  <rect width=\"%d\" height=\"%d\" fill=\"%s\"/>\n",
		WIDTH, height, PAPER);
	put_head(cmp, title, out);
	for (int f = 0; f < nr_groups; f++)
		y = put_group(cmp, f, y, out);
	fputs("</svg>\n", out);
}
