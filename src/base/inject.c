/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Injected failures of kernel calls (CONFIG_INJECT)
 *
 * Each site counts its own calls, so that with a prime period "all" makes the
 * sites fail in ever new combinations, and a run of one thread repeats.
 */
#include "base/inject.h"
#include "base/atomic.h"
#include "base/err.h"
#include "base/number.h"

#define PERIOD_MAX	100000000u

const char *const inject_site_names[INJECT_NR_SITES] = {
	[INJECT_MMAP]		= "mmap",
	[INJECT_MPROTECT]	= "mprotect",
	[INJECT_MREMAP]		= "mremap",
	[INJECT_MADVISE]	= "madvise",
	[INJECT_MEMBARRIER]	= "membarrier",
	[INJECT_THREAD]		= "thread",
	[INJECT_OPEN]		= "open",
	[INJECT_READ]		= "read",
	[INJECT_POLL]		= "poll",
	[INJECT_PROCESS_MADVISE] = "process_madvise",
	[INJECT_URING]		= "io_uring",
};

static struct {
	uint32_t period;	/* 0: calls here do not fail */
	uint32_t calls;
} sites[INJECT_NR_SITES];

/* The part of @spec before ':' equals @name; then *ret_rest is after it. */
static bool site_is(const char *spec, const char *name, const char **ret_rest)
{
	while (*name && *spec == *name) {
		spec++;
		name++;
	}
	if (*name || *spec != ':')
		return false;
	*ret_rest = spec + 1;
	return true;
}

/* A mask of the sites that @spec names. */
static uint32_t parse_sites(const char *spec, const char **ret_rest)
{
	if (site_is(spec, "all", ret_rest))
		return (1u << INJECT_NR_SITES) - 1;
	for (unsigned int i = 0; i < INJECT_NR_SITES; i++)
		if (site_is(spec, inject_site_names[i], ret_rest))
			return 1u << i;
	return 0;
}

static uint32_t parse_period(const char *text)
{
	uint64_t period = number_or_0(&text, 10);

	return *text || period > PERIOD_MAX ? 0 : (uint32_t)period;
}

static int parse_spec(const char *spec, uint32_t *ret_mask,
		      uint32_t *ret_period)
{
	const char *rest;
	uint32_t mask, period;

	if (!*spec) {
		*ret_mask = 0;
		*ret_period = 0;
		return 0;
	}
	if (!IS_ENABLED(CONFIG_INJECT))
		return -EOPNOTSUPP;
	mask = parse_sites(spec, &rest);
	if (!mask)
		return -EINVAL;
	period = parse_period(rest);
	if (!period)
		return -EINVAL;
	*ret_mask = mask;
	*ret_period = period;
	return 0;
}

int inject_check(const char *spec)
{
	uint32_t mask, period;

	return parse_spec(spec, &mask, &period);
}

int inject_set(const char *spec)
{
	uint32_t mask, period;
	int err;

	err = parse_spec(spec, &mask, &period);
	if (err)
		return err;
	for (unsigned int i = 0; i < INJECT_NR_SITES; i++) {
		store_relaxed(&sites[i].calls, 0);
		store_relaxed(&sites[i].period, mask & (1u << i) ? period : 0);
	}
	return 0;
}

bool inject_hit_slow(enum inject_site site)
{
	uint32_t period = load_relaxed(&sites[site].period);

	if (likely(!period))
		return false;
	return (add_relaxed(&sites[site].calls, 1) + 1) % period == 0;
}
