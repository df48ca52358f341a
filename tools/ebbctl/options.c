/* SPDX-License-Identifier: MIT */
/*
 * ebbctl options - The table of options
 */
#include <getopt.h>
#include <string.h>
#include "ebb/control.h"
#include "ebbctl.h"

#define COLUMNS		80
#define INDENT		13	/* where defaults begin */
#define RANGE_TEXT	128

static const char usage[] =
	"usage: ebbctl options [--json]\n"
	"\n"
	"Lists the options of the library: name, default, range, meaning.\n"
	"They are set, the later winning, by\n"
	"  the program's own  const char *ebb_conf = \"name=value,name=value\";\n"
	"  " EBB_CONF_FILE "  (one name=value a line, # begins a comment)\n"
	"  the environment     " EBB_CONF_ENV "=\"name=value,name=value\"\n"
	"  ebbctl run --conf   name=value,name=value\n"
	"\n"
	"  --json   the table as a JSON array\n"
	"\n"
	"Exit status: 0, or 2 for wrong usage.\n";

/* The value of a number, as it is written. */
static const char *value_text(const struct ebb_attr *attr, int64_t value,
			      char buf[SIZE_TEXT])
{
	if (attr->type == EBB_TYPE_BYTES ||
	    attr->type == EBB_TYPE_BYTES_OR_PERCENT)
		return size_exact(value, buf);
	snprintf(buf, SIZE_TEXT, "%lld", (long long)value);
	return buf;
}

static void range_text(const struct ebb_attr *attr, char *buf, size_t size)
{
	char low[SIZE_TEXT], high[SIZE_TEXT];

	if (attr->type == EBB_TYPE_BOOL) {
		snprintf(buf, size, "on or off");
		return;
	}
	if (attr->type == EBB_TYPE_STRING || attr->type == EBB_TYPE_CHOICE) {
		snprintf(buf, size, "%s", attr->accepts);
		return;
	}
	value_text(attr, attr->min, low);
	value_text(attr, attr->max, high);
	if (attr->type == EBB_TYPE_BYTES_OR_PERCENT)
		snprintf(buf, size, "%s..%s %s or 0%%..%d%%", low, high,
			 attr->unit, EBB_PERCENT_MAX);
	else
		snprintf(buf, size, "%s..%s %s%s", low, high, attr->unit,
			 attr->flags & EBB_FLAG_POWER2 ? ", a power of two" :
							 "");
}

/* @text in lines that begin at INDENT and end before COLUMNS. */
static void print_wrapped(const char *text)
{
	size_t room = COLUMNS - INDENT, len;

	while (*text) {
		len = strlen(text);
		if (len > room) {
			for (len = room; len && text[len] != ' '; )
				len--;
			if (!len)
				len = room;
		}
		printf("%*s%.*s\n", INDENT, "", (int)len, text);
		text += len;
		text += *text == ' ';
	}
}

static const char *mode_text(const struct ebb_attr *attr)
{
	return attr->flags & EBB_FLAG_START ? "start" : "rw";
}

static void print_attr(const struct ebb_attr *attr)
{
	char range[RANGE_TEXT], zero[160];

	range_text(attr, range, sizeof(range));
	printf("%-*s%-9s %s\n", INDENT, attr->name,
	       *attr->def_text ? attr->def_text : "(none)", range);
	print_wrapped(attr->help);
	if (attr->flags & EBB_FLAG_START)
		print_wrapped("read at start only");
	if (attr->zero) {
		snprintf(zero, sizeof(zero), "%s: %s",
			 attr->type == EBB_TYPE_BOOL ? "off" : "0", attr->zero);
		print_wrapped(zero);
	}
}

static void print_table(void)
{
	printf("%-*s%-9s %s\n\n", INDENT, "OPTION", "DEFAULT", "ACCEPTS");
	for (int i = 0; i < EBB_NR_ATTRS; i++)
		print_attr(&ebb_attrs[i]);
	printf("\nSizes take K, M, G or T; times us, ms or s.\n");
}

static void print_json(void)
{
	static const char *const types[] = {
		[EBB_TYPE_BOOL] = "bool",
		[EBB_TYPE_MS] = "ms",
		[EBB_TYPE_US] = "us",
		[EBB_TYPE_COUNT] = "count",
		[EBB_TYPE_BYTES] = "bytes",
		[EBB_TYPE_BYTES_OR_PERCENT] = "bytes or percent",
		[EBB_TYPE_STRING] = "string",
		[EBB_TYPE_CHOICE] = "choice",
	};
	struct json json = { .out = stdout };
	char range[RANGE_TEXT];

	json_open(&json, NULL, '[');
	for (int i = 0; i < EBB_NR_ATTRS; i++) {
		const struct ebb_attr *attr = &ebb_attrs[i];

		range_text(attr, range, sizeof(range));
		json_open(&json, NULL, '{');
		json_text(&json, "name", attr->name);
		json_text(&json, "type", types[attr->type]);
		json_text(&json, "unit", attr->unit);
		json_text(&json, "default", attr->def_text);
		json_text(&json, "accepts", range);
		if (attr->type != EBB_TYPE_STRING &&
		    attr->type != EBB_TYPE_CHOICE) {
			json_signed(&json, "min", attr->min);
			json_signed(&json, "max", attr->max);
		}
		json_text(&json, "mode", mode_text(attr));
		json_text(&json, "zero", attr->zero);
		json_text(&json, "since", attr->since);
		json_text(&json, "help", attr->help);
		json_close(&json, '}');
	}
	json_close(&json, ']');
	putchar('\n');
}

int cmd_options(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	bool as_json = false;
	int c;

	while ((c = getopt_long(argc, argv, "jh", longs, NULL)) != -1) {
		if (c == 'h') {
			fputs(usage, stdout);
			return STATUS_OK;
		}
		if (c != 'j')
			return STATUS_USAGE;
		as_json = true;
	}
	if (optind < argc) {
		message("options takes no argument, not \"%s\"", argv[optind]);
		return STATUS_USAGE;
	}
	if (as_json)
		print_json();
	else
		print_table();
	return STATUS_OK;
}
