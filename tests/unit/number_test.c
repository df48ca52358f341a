// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Numbers out of text
 */
#include <errno.h>
#include "base/number.h"
#include "harness.h"

FIXTURE(number) {
	const char *at;
	uint64_t value;
};

FIXTURE_SETUP(number)
{
	self->value = 42;
}

FIXTURE_TEARDOWN(number)
{
}

static int take(FIXTURE_DATA(number) *self, const char *text, unsigned int base)
{
	self->at = text;
	return number_take(&self->at, base, &self->value);
}

TEST_F(number, ends_where_the_digits_do)
{
	EXPECT_EQ(0, take(self, "0", 10));
	EXPECT_EQ(0u, self->value);
	EXPECT_STREQ("", self->at);
	EXPECT_EQ(0, take(self, "0019/x", 10));
	EXPECT_EQ(19u, self->value);
	EXPECT_STREQ("/x", self->at);
	EXPECT_EQ(0, take(self, "12:3", 10));
	EXPECT_EQ(12u, self->value);
	EXPECT_STREQ(":3", self->at);
	EXPECT_EQ(0, take(self, "7f-", 10));
	EXPECT_EQ(7u, self->value);
	EXPECT_STREQ("f-", self->at);
}

TEST_F(number, has_sixteen_digits_if_wanted)
{
	EXPECT_EQ(0, take(self, "7f0000c0ffee-", 16));
	EXPECT_EQ(0x7f0000c0ffeeu, self->value);
	EXPECT_STREQ("-", self->at);
	EXPECT_EQ(0, take(self, "9:", 16));
	EXPECT_EQ(9u, self->value);
	EXPECT_STREQ(":", self->at);
	EXPECT_EQ(0, take(self, "0x10", 16));
	EXPECT_EQ(0u, self->value);
	EXPECT_STREQ("x10", self->at);
	EXPECT_EQ(0, take(self, "afgF", 16));
	EXPECT_EQ(0xafu, self->value);
	EXPECT_STREQ("gF", self->at);
}

/* What stands around the digits in the table of characters, and above it. */
TEST_F(number, has_digits_only)
{
	static const char *const texts[] = {
		"", " 1", "-1", "+1", "/", ":", "@", "`", "g", "A", "\xb1",
		"max",
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		EXPECT_EQ(-EINVAL, take(self, texts[i], 10));
		EXPECT_EQ(texts[i], self->at);
		EXPECT_EQ(-EINVAL, take(self, texts[i], 16));
		EXPECT_EQ(texts[i], self->at);
	}
	EXPECT_EQ(-EINVAL, take(self, "a", 10));
	EXPECT_EQ(42u, self->value);
}

TEST_F(number, of_more_than_64_bits_is_refused)
{
	static const char *const decimal[] = {
		"18446744073709551616", "18446744073709551620",
		"99999999999999999999", "100000000000000000000000x",
	};
	static const char *const hex[] = {
		"10000000000000000", "fffffffffffffffff-",
	};

	EXPECT_EQ(0, take(self, "18446744073709551615", 10));
	EXPECT_EQ(UINT64_MAX, self->value);
	EXPECT_EQ(0, take(self, "000ffffffffffffffff", 16));
	EXPECT_EQ(UINT64_MAX, self->value);
	self->value = 42;
	for (size_t i = 0; i < ARRAY_LEN(decimal); i++) {
		EXPECT_EQ(-ERANGE, take(self, decimal[i], 10));
		EXPECT_EQ(decimal[i], self->at);
	}
	for (size_t i = 0; i < ARRAY_LEN(hex); i++) {
		EXPECT_EQ(-ERANGE, take(self, hex[i], 16));
		EXPECT_EQ(hex[i], self->at);
	}
	EXPECT_EQ(42u, self->value);
}

TEST_F(number, is_0_where_there_is_none_for_who_does_not_ask)
{
	const char *at = "17 18446744073709551616";

	EXPECT_EQ(17u, number_or_0(&at, 10));
	EXPECT_EQ(0u, number_or_0(&at, 10));
	EXPECT_EQ(' ', *at++);
	EXPECT_EQ(0u, number_or_0(&at, 10));
	EXPECT_EQ('1', *at);
}

TEST_HARNESS_MAIN
