/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Meters: what a thread allocates and frees, call by call
 */
#include "heap/drain.h"
#include "heap/meter.h"
#include "heap/pool.h"

cold void meter_begin(void)
{
	if (thread.metered)
		return;
	tcb_enter(&tcb);
	/* Behind the closed gate it would not find what it was granted. */
	pool_leave();
	drain_meter();
	tcb_leave(&tcb);
}

/* Of both counters, as the program has them by now. */
static int64_t net(void)
{
	return (int64_t)(load_relaxed(&thread.meter.allocated) -
			 load_relaxed(&thread.meter.freed));
}

/* A handler may come in between: then the peak is about what it was. */
void meter_took(uint64_t bytes)
{
	int64_t now;

	add_relaxed(&thread.meter.allocated, bytes);
	now = net();
	if (now > load_relaxed(&thread.meter.peak))
		store_relaxed(&thread.meter.peak, now);
}

void meter_freed(uint64_t bytes)
{
	add_relaxed(&thread.meter.freed, bytes);
}

void meter_resized(uint64_t before, uint64_t now)
{
	if (now > before)
		meter_took(now - before);
	else
		meter_freed(before - now);
}

uint64_t *meter_counter(enum meter_count which)
{
	return which == METER_ALLOCATED ? &thread.meter.allocated :
					  &thread.meter.freed;
}

uint64_t meter_peak(void)
{
	return (uint64_t)(load_relaxed(&thread.meter.peak) -
			  load_relaxed(&thread.meter.peak_from));
}

void meter_reset_peak(void)
{
	int64_t now = net();

	store_relaxed(&thread.meter.peak_from, now);
	store_relaxed(&thread.meter.peak, now);
}
