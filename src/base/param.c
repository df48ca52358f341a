/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Values of the options in uapi/ebb/control.h
 *
 * Parsing and formatting are pure functions of a row of the table.  Below
 * them stand the values in force.
 *
 * Invariants:
 * (1) A refused text changes nothing.
 * (2) param_parse(param_format(v)) is v for every v in range.
 * (3) Memory that is all zero means "built-in values", so that param_int()
 *     and param_str() may be called before anything of this library ran.
 */
#include "base/param.h"
#include "base/atomic.h"
#include "base/err.h"
#include "base/inject.h"
#include "base/log.h"
#include "base/number.h"

#define WHY_VALUE_MAX	48	/* of a refused value this much is repeated */

static bool str_equal(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

static size_t str_len(const char *s)
{
	size_t len = 0;

	while (s[len])
		len++;
	return len;
}

/* === Parsing ============================================================== */

struct suffix {
	char text[4];
	int64_t factor;
};

static const struct suffix size_suffixes[] = {
	{ "", 1 },
	{ "K", INT64_C(1) << 10 }, { "k", INT64_C(1) << 10 },
	{ "M", INT64_C(1) << 20 }, { "m", INT64_C(1) << 20 },
	{ "G", INT64_C(1) << 30 }, { "g", INT64_C(1) << 30 },
	{ "T", INT64_C(1) << 40 }, { "t", INT64_C(1) << 40 },
};

/* In microseconds. */
static const struct suffix time_suffixes[] = {
	{ "us", 1 }, { "ms", 1000 }, { "s", 1000000 },
};

/* The word of @attr's choices that is @text; its index, or -EINVAL. */
static int choice_find(const struct ebb_attr *attr, const char *text)
{
	const char *word = attr->accepts;

	for (int i = 0; *word; i++) {
		const char *at = text;

		while (*at && *at != ',' && *word == *at) {
			word++;
			at++;
		}
		if (!*at && at != text && (*word == ',' || !*word))
			return i;
		while (*word && *word++ != ' ')
			;
	}
	return -EINVAL;
}

/* The factor of suffix @text, or 0. */
static int64_t suffix_factor(const struct suffix *table, size_t nr,
			     const char *text)
{
	for (size_t i = 0; i < nr; i++)
		if (str_equal(text, table[i].text))
			return table[i].factor;
	return 0;
}

/* An optional '-' and digits; @text is moved behind them. */
static int parse_digits(const char **text, int64_t *ret_value)
{
	const char *p = *text;
	bool negative = *p == '-';
	uint64_t value;
	int err;

	if (negative)
		p++;
	err = number_take(&p, 10, &value);
	if (err)
		return err;
	if (value > INT64_MAX)
		return -ERANGE;
	*text = p;
	*ret_value = negative ? -(int64_t)value : (int64_t)value;
	return 0;
}

static int parse_bool(const char *text, int64_t *ret_value)
{
	if (str_equal(text, "on") || str_equal(text, "1"))
		*ret_value = 1;
	else if (str_equal(text, "off") || str_equal(text, "0"))
		*ret_value = 0;
	else
		return -EINVAL;
	return 0;
}

static int parse_size(const char *text, int64_t *ret_value)
{
	int64_t value, factor;
	int err;

	err = parse_digits(&text, &value);
	if (err)
		return err;
	factor = suffix_factor(size_suffixes, ARRAY_SIZE(size_suffixes), text);
	if (!factor)
		return -EINVAL;
	if (__builtin_mul_overflow(value, factor, ret_value))
		return -ERANGE;
	return 0;
}

/* A time in units of @unit_us; with a suffix it must be a whole number. */
static int parse_time(const char *text, int64_t unit_us, int64_t *ret_value)
{
	int64_t value, factor;
	int err;

	err = parse_digits(&text, &value);
	if (err)
		return err;
	factor = unit_us;
	if (*text)
		factor = suffix_factor(time_suffixes, ARRAY_SIZE(time_suffixes),
				       text);
	if (!factor)
		return -EINVAL;
	if (__builtin_mul_overflow(value, factor, &value))
		return -ERANGE;
	if (value % unit_us)
		return -EINVAL;
	*ret_value = value / unit_us;
	return 0;
}

static int parse_choice(const struct ebb_attr *attr, const char *text,
			int64_t *ret_value)
{
	int index = choice_find(attr, text);

	if (index < 0)
		return index;
	*ret_value = index;
	return 0;
}

static int check_range(const struct ebb_attr *attr, int64_t value)
{
	if (value < attr->min || value > attr->max)
		return -ERANGE;
	if (attr->flags & EBB_FLAG_POWER2 && value & (value - 1))
		return -ERANGE;
	return 0;
}

/* Percentages have a range of their own. */
static int parse_percent(const char *text, int64_t *ret_value)
{
	int64_t value;
	int err;

	err = parse_digits(&text, &value);
	if (err)
		return err;
	if (!str_equal(text, "%"))
		return -EINVAL;
	if (value < 0 || value > EBB_PERCENT_MAX)
		return -ERANGE;
	*ret_value = EBB_PERCENT(value);
	return 0;
}

static int parse_count(const char *text, int64_t *ret_value)
{
	int err = parse_digits(&text, ret_value);

	return err ?: *text ? -EINVAL : 0;
}

static int parse_by_type(const struct ebb_attr *attr, const char *text,
			 int64_t *ret_value)
{
	switch (attr->type) {
	case EBB_TYPE_BOOL:
		return parse_bool(text, ret_value);
	case EBB_TYPE_MS:
		return parse_time(text, 1000, ret_value);
	case EBB_TYPE_US:
		return parse_time(text, 1, ret_value);
	case EBB_TYPE_COUNT:
		return parse_count(text, ret_value);
	case EBB_TYPE_BYTES:
	case EBB_TYPE_BYTES_OR_PERCENT:
		return parse_size(text, ret_value);
	case EBB_TYPE_CHOICE:
		return parse_choice(attr, text, ret_value);
	case EBB_TYPE_STRING:
		break;
	}
	return -EINVAL;
}

int param_parse(const struct ebb_attr *attr, const char *text,
		int64_t *ret_value)
{
	size_t len = str_len(text);
	int64_t value;
	int err;

	if (attr->type == EBB_TYPE_BYTES_OR_PERCENT && len &&
	    text[len - 1] == '%')
		return parse_percent(text, ret_value);
	err = parse_by_type(attr, text, &value);
	if (!err)
		err = check_range(attr, value);
	if (!err)
		*ret_value = value;
	return err;
}

/* === Formatting =========================================================== */

/* The largest suffix that leaves a whole number. */
static size_t format_size(int64_t value, char *buf, size_t size)
{
	static const char suffixes[] = "KMGT";
	unsigned int i = 0;

	while (value && value % 1024 == 0 && suffixes[i]) {
		value /= 1024;
		i++;
	}
	if (!i)
		return fmt_line(buf, size, "%lld", (long long)value);
	return fmt_line(buf, size, "%lld%c", (long long)value, suffixes[i - 1]);
}

/* The @index-th word of the choices. */
static size_t format_choice(const struct ebb_attr *attr, int64_t index,
			    char *buf, size_t size)
{
	const char *word = attr->accepts;
	size_t len;

	while (index-- && *word)
		while (*word && *word++ != ' ')
			;
	len = fmt_line(buf, size, "%s", word);
	for (size_t i = 0; i < len; i++) {
		if (buf[i] != ',')
			continue;
		buf[i] = '\0';
		return i;
	}
	return len;
}

size_t param_format(const struct ebb_attr *attr, int64_t value, char *buf,
		    size_t size)
{
	switch (attr->type) {
	case EBB_TYPE_BOOL:
		return fmt_line(buf, size, "%s", value ? "on" : "off");
	case EBB_TYPE_BYTES_OR_PERCENT:
		if (value & EBB_PERCENT_BIT)
			return fmt_line(buf, size, "%lld%%",
					(long long)(value & ~EBB_PERCENT_BIT));
		return format_size(value, buf, size);
	case EBB_TYPE_BYTES:
		return format_size(value, buf, size);
	case EBB_TYPE_CHOICE:
		return format_choice(attr, value, buf, size);
	default:
		return fmt_line(buf, size, "%lld", (long long)value);
	}
}

size_t param_format_range(const struct ebb_attr *attr, char *buf, size_t size)
{
	char low[24], high[24];

	if (attr->type == EBB_TYPE_BOOL)
		return fmt_line(buf, size, "on or off");
	if (attr->type == EBB_TYPE_STRING || attr->type == EBB_TYPE_CHOICE)
		return fmt_line(buf, size, "%s", attr->accepts);
	param_format(attr, attr->min, low, sizeof(low));
	param_format(attr, attr->max, high, sizeof(high));
	if (attr->type == EBB_TYPE_BYTES_OR_PERCENT)
		return fmt_line(buf, size, "%s..%s or 0%%..%d%%", low, high,
				EBB_PERCENT_MAX);
	return fmt_line(buf, size, "%s..%s %s%s", low, high, attr->unit,
			attr->flags & EBB_FLAG_POWER2 ? ", a power of two" :
							"");
}

/* === Values in force ====================================================== */

/* Each XOR its default, for invariant (3). */
static int64_t changes[EBB_NR_ATTRS];

/*
 * Strings.  A new one is written where no reader of the present one looks,
 * then made the present one.
 */
enum {
	STRING_LOG,
	STRING_INJECT,
	STRING_CONTROL_DIR,
	STRING_PROFILE_DUMP,
	NR_STRINGS
};

static struct {
	const char *now;	/* NULL: the default */
	unsigned int spare;	/* which text the next one goes to */
	char text[2][EBB_STRING_MAX + 1];
} strings[NR_STRINGS];

static unsigned int string_slot(enum ebb_attr_id id)
{
	if (id == EBB_ATTR_LOG)
		return STRING_LOG;
	if (id == EBB_ATTR_INJECT)
		return STRING_INJECT;
	if (id == EBB_ATTR_CONTROL_DIR)
		return STRING_CONTROL_DIR;
	if (id == EBB_ATTR_PROFILE_DUMP)
		return STRING_PROFILE_DUMP;
	ebb_bug("option %d is not a string", (int)id);
}

__startup int64_t param_int(enum ebb_attr_id id)
{
	return load_relaxed(&changes[id]) ^ ebb_attrs[id].def;
}

__startup const char *param_str(enum ebb_attr_id id)
{
	/* Pairs with set_string(). */
	const char *now = load_acquire(&strings[string_slot(id)].now);

	return now ? now : ebb_attrs[id].def_text;
}

uint64_t param_bytes(enum ebb_attr_id id, uint64_t whole)
{
	int64_t value = param_int(id);
	uint64_t percent;

	if (!(value & EBB_PERCENT_BIT))
		return (uint64_t)value;
	percent = (uint64_t)(value & ~EBB_PERCENT_BIT);
	return whole / 100 * percent + whole % 100 * percent / 100;
}

/* Strings are checked, and handed to whom they concern. */
static int apply_string(enum ebb_attr_id id, const char *text)
{
	if (id == EBB_ATTR_LOG)
		return log_set_target(text);
	if (id == EBB_ATTR_INJECT)
		return inject_set(text);
	if (id == EBB_ATTR_PROFILE_DUMP)
		return !*text || *text == '/' ? 0 : -EINVAL;
	return *text == '/' || str_equal(text, "auto") ||
	       str_equal(text, "off") ? 0 : -EINVAL;
}

static int set_string(enum ebb_attr_id id, const char *text)
{
	unsigned int slot = string_slot(id);
	char *spare;
	int err;

	if (str_len(text) > EBB_STRING_MAX)
		return -ERANGE;
	err = apply_string(id, text);
	if (err)
		return err;
	spare = strings[slot].text[strings[slot].spare];
	fmt_line(spare, EBB_STRING_MAX + 1, "%s", text);
	/* Pairs with param_str(). */
	store_release(&strings[slot].now, (const char *)spare);
	strings[slot].spare ^= 1;
	return 0;
}

static int set_value(enum ebb_attr_id id, const char *text)
{
	int64_t value;
	int err;

	if (ebb_attrs[id].type == EBB_TYPE_STRING)
		return set_string(id, text);
	err = param_parse(&ebb_attrs[id], text, &value);
	if (err)
		return err;
	store_relaxed(&changes[id], value ^ ebb_attrs[id].def);
	return 0;
}

static const char *reason(const struct ebb_attr *attr, int err)
{
	if (err == -ERANGE || err == -ENAMETOOLONG)
		return "out of range";
	if (err == -EOPNOTSUPP)
		return "this build cannot";
	switch (attr->type) {
	case EBB_TYPE_BOOL:
		return "not a switch";
	case EBB_TYPE_MS:
	case EBB_TYPE_US:
		return "not a time, or not a whole one";
	case EBB_TYPE_COUNT:
		return "not a whole number";
	case EBB_TYPE_BYTES:
	case EBB_TYPE_BYTES_OR_PERCENT:
		return "not a size";
	case EBB_TYPE_CHOICE:
		return "no such choice";
	default:
		return "not understood";
	}
}

void param_explain(enum ebb_attr_id id, const char *text, int err, char *why,
		   size_t size)
{
	const struct ebb_attr *attr = &ebb_attrs[id];
	bool cut = str_len(text) >= WHY_VALUE_MAX;
	char value[WHY_VALUE_MAX], range[80], now[WHY_VALUE_MAX];

	fmt_line(value, sizeof(value), "%s", text);
	param_format_range(attr, range, sizeof(range));
	if (attr->type == EBB_TYPE_STRING)
		fmt_line(now, sizeof(now), "\"%s\"", param_str(id));
	else
		param_format(attr, param_int(id), now, sizeof(now));
	fmt_line(why, size, "%s=%s%s refused: %s; accepts %s; stays %s",
		 attr->name, value, cut ? "..." : "", reason(attr, err), range,
		 now);
}

const struct ebb_attr *param_attr(enum ebb_attr_id id)
{
	return &ebb_attrs[id];
}

int param_find(const char *name)
{
	for (int i = 0; i < EBB_NR_ATTRS; i++)
		if (str_equal(name, ebb_attrs[i].name))
			return i;
	return -ENOENT;
}

static void explain_unknown(const char *name, const char *text, char *why,
			    size_t size)
{
	char start[WHY_VALUE_MAX], value[WHY_VALUE_MAX];

	fmt_line(start, sizeof(start), "%s", name);
	fmt_line(value, sizeof(value), "%s", text);
	fmt_line(why, size, "%s=%s refused: there is no such option; "
		 "`ebbctl options` lists them", start, value);
}

int param_set(const char *name, const char *text, char *why, size_t size)
{
	int id = param_find(name);
	int err;

	if (id < 0) {
		explain_unknown(name, text, why, size);
		return id;
	}
	err = set_value((enum ebb_attr_id)id, text);
	if (err)
		param_explain((enum ebb_attr_id)id, text, err, why, size);
	return err;
}
