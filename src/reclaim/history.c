/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - History: what passes and waits came to
 */
#include <string.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/clock.h"
#include "reclaim/history.h"

static struct ebb_event events[EBB_NR_EVENTS];
static uint64_t nr_events;
static struct ebb_histogram histograms[EBB_NR_HISTOGRAMS];

static void bump(uint64_t *word, uint64_t by)
{
	store_relaxed(word, *word + by);
}

static void note_value(enum ebb_histogram_id id, uint64_t value)
{
	uint64_t scaled = value >> ebb_histograms[id].shift;
	unsigned int bucket = scaled ? bit_highest(scaled) + 1 : 0;

	bump(&histograms[id].buckets[min(bucket, EBB_NR_BUCKETS - 1u)], 1);
	bump(&histograms[id].sum, value);
	bump(&histograms[id].nr, 1);
}

void history_note_pass(const struct ebb_event *event)
{
	struct ebb_event *row = &events[nr_events++ % EBB_NR_EVENTS];

	*row = *event;
	row->nr = nr_events;
	row->time_ms = clock_realtime_ms();
	note_value(EBB_HISTOGRAM_PASS_US, event->took_us);
	note_value(EBB_HISTOGRAM_PASS_BYTES,
		   event->lazy_bytes + event->clean_bytes);
}

void history_note_wait(uint64_t us)
{
	note_value(EBB_HISTOGRAM_INBAND_US, us);
}

unsigned int history_events(struct ebb_event *rows)
{
	memcpy(rows, events, sizeof(events));
	return (unsigned int)min(nr_events, (uint64_t)EBB_NR_EVENTS);
}

void history_histogram(enum ebb_histogram_id id, struct ebb_histogram *ret)
{
	const struct ebb_histogram *from = &histograms[id];

	ret->nr = load_relaxed(&from->nr);
	ret->sum = load_relaxed(&from->sum);
	for (unsigned int i = 0; i < EBB_NR_BUCKETS; i++)
		ret->buckets[i] = load_relaxed(&from->buckets[i]);
}

const struct ebb_histogram_info *history_info(enum ebb_histogram_id id)
{
	return &ebb_histograms[id];
}
