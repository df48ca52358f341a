/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - JSON output
 */
#include <inttypes.h>
#include <math.h>
#include "ebbctl.h"

static void put_string(FILE *out, const char *text)
{
	putc('"', out);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fprintf(out, "\\%c", *text);
		else if ((unsigned char)*text < ' ')
			fprintf(out, "\\u%04x", (unsigned char)*text);
		else
			putc(*text, out);
	}
	putc('"', out);
}

static void put_key(struct json *json, const char *key)
{
	if (json->more)
		fputs(", ", json->out);
	json->more = true;
	if (key) {
		put_string(json->out, key);
		fputs(": ", json->out);
	}
}

void json_open(struct json *json, const char *key, char bracket)
{
	put_key(json, key);
	putc(bracket, json->out);
	json->more = false;
}

void json_close(struct json *json, char bracket)
{
	putc(bracket, json->out);
	json->more = true;
}

void json_text(struct json *json, const char *key, const char *text)
{
	put_key(json, key);
	if (text)
		put_string(json->out, text);
	else
		fputs("null", json->out);
}

void json_number(struct json *json, const char *key, uint64_t number)
{
	put_key(json, key);
	if (number == UNKNOWN)
		fputs("null", json->out);
	else
		fprintf(json->out, "%" PRIu64, number);
}

void json_real(struct json *json, const char *key, double number)
{
	put_key(json, key);
	if (isfinite(number))
		fprintf(json->out, "%.12g", number);
	else
		fputs("null", json->out);
}

void json_signed(struct json *json, const char *key, int64_t number)
{
	put_key(json, key);
	fprintf(json->out, "%" PRId64, number);
}

void json_bool(struct json *json, const char *key, bool value)
{
	put_key(json, key);
	fputs(value ? "true" : "false", json->out);
}
