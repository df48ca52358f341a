/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Grow: strings and vectors that are reallocated
 *
 * grow [--kind=string|vector] [--many=64] [--threads=1]
 *
 * --many grow in turns, so that none is alone at the end of the heap.  string:
 * 1 to 32 bytes are appended at a time and the memory is always exactly as
 * long, up to 64 B to 16 KB.  vector: the memory is doubled from 64 B on, up
 * to 1 KB to 4 MB, and all that is new is written.  These ends are
 * log-uniform; there it is freed and the next one begins.
 */
#include "bench/speed/speed.h"

#define MANY_MAX	4096
#define NR_DRAWN	16384
#define STEP_MAX	32
#define VECTOR_FIRST	64

enum { KIND_STRING, KIND_VECTOR };

struct text {
	char *p;
	size_t len;
	size_t end;
	char tag;
};

static const char *const kinds[] = { "string", "vector", NULL };
static unsigned long kind, many = 64;
static struct text *texts[THREADS_MAX];
static uint64_t turns[THREADS_MAX];
static uint32_t ends[NR_DRAWN];
static uint8_t steps[NR_DRAWN];

static struct knob knobs[] = {
	{ "kind", &kind, 0, 0, kinds, "what grows" },
	{ "many", &many, 1, MANY_MAX, NULL, "that grow in turns" },
	{ NULL, NULL, 0, 0, NULL, NULL },
};

static void prepare(void)
{
	bool vector = kind == KIND_VECTOR;
	struct rng rng;

	rng_seed(&rng, 4);
	for (size_t i = 0; i < NR_DRAWN; i++) {
		ends[i] = (uint32_t)rng_size(&rng, vector ? 10 : 6,
					     vector ? 22 : 14);
		steps[i] = (uint8_t)(1 + rng_below(&rng, STEP_MAX));
	}
	for (unsigned int i = 0; i < speed_threads; i++)
		texts[i] = table_map(many * sizeof(struct text));
}

/* The first and the last byte are its tag. */
static void check_ends(const struct text *text)
{
	if (text->p && (text->p[0] != text->tag ||
			text->p[text->len - 1] != text->tag))
		speed_corrupt(text->p);
}

static void restart(struct text *text, uint64_t turn)
{
	free(text->p);
	text->p = NULL;
	text->len = 0;
	text->end = ends[turn * 31 % NR_DRAWN];
	text->tag = (char)(turn | 1);
}

static size_t next_len(const struct text *text, uint64_t turn)
{
	if (kind == KIND_STRING)
		return text->len + steps[turn % NR_DRAWN];
	return text->len ? 2 * text->len : VECTOR_FIRST;
}

static void grow(struct text *text, uint64_t turn)
{
	size_t len = next_len(text, turn);

	check_ends(text);
	if (len > text->end) {
		restart(text, turn);
		len = next_len(text, turn);
	}
	text->p = must(realloc(text->p, len), len);
	memset(text->p + text->len, text->tag, len - text->len);
	text->len = len;
}

static void body(unsigned int thread, uint64_t operations)
{
	uint64_t turn = turns[thread];

	for (uint64_t i = 0; i < operations; i++, turn++)
		grow(&texts[thread][turn % many], turn);
	turns[thread] = turn;
}

static void finish(void)
{
	for (unsigned int i = 0; i < speed_threads; i++)
		for (size_t j = 0; j < many; j++) {
			check_ends(&texts[i][j]);
			free(texts[i][j].p);
		}
}

static const struct program program = {
	.name = "grow",
	.knobs = knobs,
	.operation = "a realloc",
	.operations = 10000000,
	.prepare = prepare,
	.body = body,
	.finish = finish,
};

int main(int argc, char **argv)
{
	(void)argc;
	return speed_main(&program, argv);
}
