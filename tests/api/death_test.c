// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Misuse of free stops the program, with one line
 *
 * api/victim misuses, this looks at how it ends.
 */
#include <signal.h>
#include "harness.h"
#include "match.h"
#include "api/run.h"

enum when {
	AT_ONCE,	/* the wrong call does not return */
	IN_THE_END,	/* at the latest when the caches were emptied */
	UNLESS_IN_HAND,	/* at once, but what a pass has in hand: in the end */
};

struct death {
	const char *kind;
	size_t size;
	unsigned int others;
	unsigned int threads;
	unsigned int flush;
	const char *words;	/* extended regular expression */
	enum when when;
};

static const size_t small[] = { 16, 48, 104, 1000, 4096, 5000, 32768 };
static const size_t large[] = { 40000, 300000, 1048576 };
static const unsigned int nr_others[] = { 0, 1, 7, 50, 500 };

FIXTURE(death) {
	char victim[PATH_MAX];
	char library[PATH_MAX];
	struct run run;
};

FIXTURE_VARIANT(death) {
	const char *conf;
	bool always_at_once;
	bool reclaims;
};

FIXTURE_VARIANT_ADD(death, by_default) {
	.conf = NULL,
};

FIXTURE_VARIANT_ADD(death, with_check) {
	.conf = "check=1",
	.always_at_once = true,
};

FIXTURE_VARIANT_ADD(death, with_reclaimer_at_full_speed) {
	.conf = "thread_min=0,decay_ms=0,lazy_ms=0",
	.reclaims = true,
};

FIXTURE_SETUP(death)
{
	self->run.program = beside(self->victim, "victim");
	self->run.preload = library_path(self->library);
	self->run.conf = variant->conf;
	ASSERT_EQ(0, access(self->run.program, X_OK));
}

FIXTURE_TEARDOWN(death)
{
}

/* The only line that is not the victim's own; NULL: not exactly one. */
static const char *only_line(char *output, char *ret_pointer, bool *ret_after)
{
	const char *found = NULL;
	unsigned int nr = 0;
	char *save;

	*ret_after = false;
	*ret_pointer = '\0';
	for (char *line = strtok_r(output, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		if (!strncmp(line, "0x", 2)) {
			snprintf(ret_pointer, 32, "%s", line);
		} else if (!strcmp(line, "after")) {
			*ret_after = true;
		} else if (strcmp(line, "end")) {
			found = line;
			nr++;
		}
	}
	return nr == 1 ? found : NULL;
}

static bool line_fits(const char *line, const char *pointer,
		      const char *words)
{
	char pattern[256];

	snprintf(pattern, sizeof(pattern),
		 "^ebbmalloc(\\[[0-9]+\\])?: [a-z_]+\\(%s\\): (%s)", pointer,
		 words);
	return text_fits(line, pattern, 0);
}

/* What is wrong with how the victim ended; NULL: nothing. */
static const char *run_victim(struct run *run, const struct death *death,
			      enum when when)
{
	static char numbers[4][24];
	char pointer[32];
	const char *line;
	bool after;

	snprintf(numbers[0], 24, "%zu", death->size);
	snprintf(numbers[1], 24, "%u", death->others);
	snprintf(numbers[2], 24, "%u", death->threads);
	snprintf(numbers[3], 24, "%u", death->flush);
	run->argv[0] = (char *)"victim";
	run->argv[1] = (char *)death->kind;
	for (int i = 0; i < 4; i++)
		run->argv[2 + i] = numbers[i];
	if (!run_program(run))
		return "it could not be run";
	if (!run->status)
		return "it lived";
	if (run->status != 256 + SIGABRT)
		return "it ended otherwise";
	line = only_line(run->output, pointer, &after);
	if (!line)
		return "it did not say exactly one line";
	if (!line_fits(line, pointer, death->words))
		return "it said something else";
	if (when != IN_THE_END && after)
		return "it died, but later";
	return NULL;
}

#define EXPECT_DEATH(...) do {						\
	struct death _death = { __VA_ARGS__ };				\
	enum when _when = variant->always_at_once ? AT_ONCE : _death.when; \
									\
	if (_when == UNLESS_IN_HAND && variant->reclaims)		\
		_when = IN_THE_END;					\
	const char *_wrong = run_victim(&self->run, &_death, _when);	\
									\
	EXPECT_EQ(NULL, _wrong)						\
		TH_LOG("victim %s %zu %u %u %u: %s; it said: %s",	\
		       _death.kind, _death.size, _death.others,		\
		       _death.threads, _death.flush, _wrong,		\
		       self->run.output);				\
} while (0)

TEST_F_TIMEOUT(death, double_free_while_cached, 120)
{
	for (size_t s = 0; s < ARRAY_LEN(small); s++)
		for (size_t o = 0; o < ARRAY_LEN(nr_others); o++)
			EXPECT_DEATH("double", small[s], nr_others[o], 0, 0,
				     "double free", UNLESS_IN_HAND);
}

TEST_F_TIMEOUT(death, double_free_by_another_thread, 120)
{
	for (size_t s = 0; s < ARRAY_LEN(small); s++)
		for (size_t o = 0; o < ARRAY_LEN(nr_others); o++)
			EXPECT_DEATH("double", small[s], nr_others[o], 1, 0,
				     "double free", UNLESS_IN_HAND);
}

TEST_F_TIMEOUT(death, double_free_of_what_another_thread_freed, 120)
{
	for (size_t s = 0; s < ARRAY_LEN(small); s++)
		for (size_t o = 0; o < ARRAY_LEN(nr_others); o++)
			EXPECT_DEATH("double", small[s], nr_others[o], 2, 0,
				     "double free", IN_THE_END);
}

/* It lies in the magazine of a thread that the slot is not from. */
TEST_F_TIMEOUT(death, double_free_of_what_another_thread_keeps, 120)
{
	for (size_t s = 0; s < ARRAY_LEN(small); s++)
		for (size_t o = 0; o < ARRAY_LEN(nr_others); o++)
			EXPECT_DEATH("double", small[s], nr_others[o], 3, 0,
				     "double free", UNLESS_IN_HAND);
}

/* Its whole slab may be gone by then: then it is no pointer to a slot. */
TEST_F_TIMEOUT(death, double_free_after_a_flush, 120)
{
	for (size_t s = 0; s < ARRAY_LEN(small); s++)
		for (unsigned int t = 0; t < 3; t++)
			for (size_t o = 0; o < ARRAY_LEN(nr_others); o += 2)
				EXPECT_DEATH("double", small[s], nr_others[o],
					     t, 1,
					     "double free|invalid pointer",
					     IN_THE_END);
}

TEST_F_TIMEOUT(death, double_free_of_a_large_object, 120)
{
	for (size_t s = 0; s < ARRAY_LEN(large); s++)
		for (unsigned int t = 0; t < 3; t++)
			for (unsigned int flush = 0; flush < 2; flush++)
				EXPECT_DEATH("double", large[s], 7, t, flush,
					     "double free|invalid pointer",
					     AT_ONCE);
}

/* Written to after it was freed: the mark in it is lost. */
TEST_F_TIMEOUT(death, double_free_of_an_overwritten_object, 120)
{
	for (size_t s = 0; s < ARRAY_LEN(small); s++)
		for (unsigned int t = 0; t < 3; t++)
			for (size_t o = 0; o < ARRAY_LEN(nr_others); o++)
				EXPECT_DEATH("overwritten", small[s],
					     nr_others[o], t, 0,
					     "double free", IN_THE_END);
}

TEST_F_TIMEOUT(death, realloc_of_a_freed_object, 120)
{
	for (size_t s = 0; s < ARRAY_LEN(small); s++)
		for (unsigned int t = 0; t < 2; t++)
			EXPECT_DEATH("realloc", small[s], 7, t, 0,
				     "double free", AT_ONCE);
	for (size_t s = 0; s < ARRAY_LEN(large); s++)
		EXPECT_DEATH("realloc", large[s], 7, 0, 0,
			     "double free|invalid pointer", AT_ONCE);
}

TEST_F_TIMEOUT(death, free_of_memory_that_is_not_the_heaps, 120)
{
	const char *kinds[] = { "stack", "static", "text", "mmap" };

	for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
		for (unsigned int t = 0; t < 2; t++)
			for (size_t o = 0; o < ARRAY_LEN(nr_others); o++)
				EXPECT_DEATH(kinds[k], 100, nr_others[o], t, 0,
					     "invalid pointer", AT_ONCE);
}

TEST_F_TIMEOUT(death, free_of_heap_memory_never_handed_out, 120)
{
	for (unsigned int t = 0; t < 2; t++) {
		EXPECT_DEATH("unused", 100, 7, t, 0,
			     "double free|invalid pointer", AT_ONCE);
		EXPECT_DEATH("unused-odd", 100, 7, t, 0, "invalid pointer",
			     AT_ONCE);
	}
}

TEST_F_TIMEOUT(death, free_of_an_interior_pointer, 120)
{
	const char *kinds[] = { "interior-1", "interior-8", "interior-half" };

	for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
		for (size_t s = 0; s < ARRAY_LEN(small); s++)
			for (unsigned int t = 0; t < 2; t++)
				EXPECT_DEATH(kinds[k], small[s], 7, t, 0,
					     "interior pointer", IN_THE_END);
}

TEST_F_TIMEOUT(death, free_of_an_interior_pointer_of_a_large_object, 120)
{
	const char *kinds[] = { "interior-1", "interior-8", "interior-half" };

	for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
		for (size_t s = 0; s < ARRAY_LEN(large); s++)
			for (unsigned int t = 0; t < 2; t++)
				EXPECT_DEATH(kinds[k], large[s], 7, t, 0,
					     "interior pointer", AT_ONCE);
}

TEST_F_TIMEOUT(death, valid_programs_live, 120)
{
	char helper[PATH_MAX];
	char *modes[] = { (char *)"work", (char *)"threads" };

	self->run.program = beside(helper, "helper");
	for (size_t m = 0; m < ARRAY_LEN(modes); m++) {
		self->run.argv[0] = helper;
		self->run.argv[1] = modes[m];
		ASSERT_TRUE(run_program(&self->run));
		EXPECT_EQ(0, self->run.status);
		EXPECT_EQ(NULL, strstr(self->run.output, "ebbmalloc"));
	}
}

TEST_HARNESS_MAIN
