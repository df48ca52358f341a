/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - The application's word
 *
 * What it is: the greatest level that ebb_pressure() was called with since the
 * reclaimer looked.
 *
 * Who calls sets the word, then looks whether the reclaimer sleeps
 * (reclaimer_alarm); the reclaimer says that it sleeps, then looks at the word
 * (app_is_waiting).  So no call is slept over.
 *
 * Context: any thread, signal handlers included; the word is the only state.
 */
#include "base/atomic.h"
#include "reclaim/app.h"
#include "reclaim/source.h"

static uint32_t word;			/* enum pressure */

void app_say(enum pressure pressure)
{
	uint32_t old = load_relaxed(&word);

	if (pressure == PRESSURE_NONE)
		store_relaxed(&word, PRESSURE_NONE);
	while (old < pressure && !cas_relaxed(&word, &old, pressure))
		;
}

bool app_is_waiting(void)
{
	return load_relaxed(&word) > PRESSURE_NONE;
}

static int app_open(struct source *source, const struct cgroup_view *view)
{
	(void)view;
	source_watches(source, "ebb_pressure()");
	return 0;
}

static int app_sample(struct source *source, struct signals *signals)
{
	(void)source;
	if (!app_is_waiting())
		return 0;
	signals->pressure = (enum pressure)xchg_acquire(&word, PRESSURE_NONE);
	return 1;
}

struct source app_source = {
	.name = "app",
	.open = app_open,
	.sample = app_sample,
	.reason = "not opened",
};
