/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Reclaim policy
 *
 * What it is: a pure function from signals, account and clock to what a pass
 * of giving back shall do, whether to run it now, and when to look again.
 *
 * Model:
 *	scale		1 while headroom is at least a quarter of the limit,
 *			below that headroom / (limit / 4)
 *	calm		ages are lazy_ms and decay_ms, times scale
 *	drop		dirty > live / 4: the clean age is DROP_AGE_MS at
 *			most, and looking does not back off
 *	over		dirty > dirty_max: the clean age is an eighth of
 *			decay_ms at most, and 0 if that was not enough
 *	mild		the clean age is MILD_AGE_MS at most
 *	severe		a severe event, or headroom below a sixteenth of the
 *			limit: everything, the caches of threads included
 * An age of -1 (never) yields to over, mild and severe only.
 *
 * Invariants:
 * (1) Two passes are MIN_TICK_MS apart.
 * (2) A forced pass that found nothing doubles the gap to the next, up to
 *     MAX_TICK_MS; one that found something resets it.  What asks for one in
 *     between is kept and answered at the end of the gap.
 * (3) With nothing aging and nothing pending there is no tick, but for a look
 *     at headroom each MAX_TICK_MS while there are dirty bytes and a limit.
 */
#include "reclaim/policy.h"

#define MIN_TICK_MS	10u
#define MAX_TICK_MS	1000u
#define DROP_AGE_MS	500u
#define MILD_AGE_MS	20u
#define OVER_AGE_MS	62u	/* where decay_ms is never */

#define TIGHT_SHARE	4	/* of the limit: ages begin to shrink */
#define LOW_SHARE	16	/* of the limit: severe */
#define DROP_SHARE	4	/* of live */
#define DROP_MIN	(1 * MIB)
#define FOUND_MIN	(64 * KIB)	/* less is as good as nothing */
#define SCALE_ONE	1024u

/* === Ages ============================================================= */

static uint64_t scale_of(const struct policy_input *in)
{
	uint64_t tight = in->limit / TIGHT_SHARE;

	if (in->limit == CGROUP_NO_LIMIT || in->headroom >= tight)
		return SCALE_ONE;
	/* Division first: limits have no bound, and KiB are exact enough. */
	return in->headroom / KIB * SCALE_ONE / (tight / KIB + 1);
}

static bool headroom_is_low(const struct policy_input *in)
{
	return in->limit != CGROUP_NO_LIMIT &&
	       in->headroom < in->limit / LOW_SHARE;
}

static bool has_dropped(const struct policy_input *in)
{
	return in->state.known && in->dirty >= DROP_MIN &&
	       in->dirty > in->live / DROP_SHARE;
}

static bool is_over(const struct policy_input *in)
{
	return in->dirty_max && in->dirty > in->dirty_max;
}

static uint32_t scaled_age(int64_t age_ms, uint64_t scale)
{
	if (age_ms < 0)
		return PURGE_NEVER;
	return (uint32_t)((uint64_t)age_ms * scale / SCALE_ONE);
}

static uint32_t over_age(const struct policy_input *in, uint32_t clean_ms)
{
	if (in->state.over)
		return 0;
	return clean_ms == PURGE_NEVER ? OVER_AGE_MS : clean_ms / 8;
}

static struct purge_order order_of(const struct policy_input *in,
				   enum pressure wanted)
{
	uint64_t scale = scale_of(in);
	uint32_t lazy_ms = scaled_age(in->lazy_ms, scale);
	uint32_t clean_ms = scaled_age(in->decay_ms, scale);

	if (wanted == PRESSURE_SEVERE)
		return (struct purge_order){
			.lazy_age_ms = PURGE_NEVER,
			.drain = true,
			.force = true,
		};
	if (clean_ms != PURGE_NEVER && has_dropped(in))
		clean_ms = min(clean_ms, DROP_AGE_MS);
	if (is_over(in))
		clean_ms = over_age(in, clean_ms);
	if (wanted == PRESSURE_MILD)
		clean_ms = min(clean_ms, MILD_AGE_MS);
	if (in->protected || clean_ms <= lazy_ms)
		lazy_ms = PURGE_NEVER;
	return (struct purge_order){
		.lazy_age_ms = lazy_ms,
		.clean_age_ms = clean_ms,
		.drain = clean_ms != PURGE_NEVER || lazy_ms != PURGE_NEVER,
	};
}

/* === Times ============================================================ */

/* @ms doubled @nr times, MAX_TICK_MS at most. */
static uint32_t backed_off(uint32_t ms, uint32_t nr)
{
	while (nr-- && ms < MAX_TICK_MS)
		ms *= 2;
	return min(ms, MAX_TICK_MS);
}

/*
 * Between passes while memory ages: the lazy age, or half the clean age if
 * that is less, so that nothing becomes much older than it should.
 */
static uint32_t calm_tick(const struct policy_input *in,
			  const struct purge_order *order)
{
	uint32_t most = min(order->clean_age_ms / 2, MAX_TICK_MS);
	uint32_t base = min(order->lazy_age_ms, most);

	base = max(base, MIN_TICK_MS);
	most = max(base, most);
	if (has_dropped(in))
		return base;
	return min(backed_off(base, in->state.nr_empty), most);
}

/* Time until the pass that is wanted may run; 0: now. */
static uint32_t wait_for(uint64_t now_ms, uint64_t due_ms)
{
	return due_ms <= now_ms ? 0 : (uint32_t)(due_ms - now_ms);
}

static bool order_is_empty(const struct purge_order *order)
{
	return !order->force && order->clean_age_ms == PURGE_NEVER &&
	       order->lazy_age_ms == PURGE_NEVER;
}

/* When a pass that is not severe is due. */
static uint64_t pass_due_ms(const struct policy_input *in, enum pressure wanted,
			    const struct purge_order *order)
{
	uint32_t gap = calm_tick(in, order);

	if (!in->state.known)
		return 0;
	if (is_over(in))
		gap = backed_off(MIN_TICK_MS,
				 in->state.over ? in->state.nr_empty : 0);
	if (wanted == PRESSURE_MILD)
		gap = MIN_TICK_MS;
	return in->state.last_pass_ms + gap;
}

/* The dirty bytes above which the next look cannot wait for the tick. */
static uint64_t wake_bound(const struct policy_input *in)
{
	uint64_t bound = in->dirty + in->dirty / 4 + DROP_MIN;

	if (in->dirty_max && in->dirty < in->dirty_max)
		bound = min(bound, in->dirty_max);
	return bound;
}

/* === Decision ========================================================= */

/* What is asked for: events, those kept from before, low headroom. */
static enum pressure wanted_by(const struct policy_input *in)
{
	bool worth_it = in->dirty || in->state.aging || !in->state.low_answered;

	if (headroom_is_low(in) && worth_it)
		return PRESSURE_SEVERE;
	return in->state.pending;
}

/* When to look again, where no pass is run now. */
static void set_tick(struct policy_decision *decision,
		     const struct policy_input *in, enum pressure wanted,
		     uint64_t due_ms)
{
	bool watch = in->dirty && in->limit != CGROUP_NO_LIMIT;

	if (order_is_empty(&decision->order)) {
		decision->tick_ms = watch ? MAX_TICK_MS : 0;
		decision->wake_dirty = in->dirty_max ?: UINT64_MAX;
	} else if (in->state.aging || wanted != PRESSURE_NONE) {
		decision->tick_ms = max(wait_for(in->now_ms, due_ms), 1u);
		decision->wake_dirty = wake_bound(in);
	} else {
		decision->tick_ms = watch ? MAX_TICK_MS : 0;
		decision->wake_dirty = 0;
	}
}

static struct policy_decision decide(const struct policy_input *in)
{
	enum pressure wanted = wanted_by(in);
	struct policy_decision decision = {
		.over = is_over(in),
		.order = order_of(in, wanted),
		.state = in->state,
	};
	uint64_t due_ms;

	if (wanted == PRESSURE_SEVERE)
		due_ms = in->state.forced_after_ms;
	else
		due_ms = pass_due_ms(in, wanted, &decision.order);
	decision.run = due_ms <= in->now_ms &&
		       (in->state.aging || wanted != PRESSURE_NONE) &&
		       !order_is_empty(&decision.order);
	if (!decision.run)
		set_tick(&decision, in, wanted, due_ms);
	return decision;
}

struct policy_decision policy_decide(const struct policy_input *in)
{
	struct policy_input now = *in;

	if (now.woken || (!now.state.known && now.dirty))
		now.state.aging = true;
	if (!headroom_is_low(&now))
		now.state.low_answered = false;
	now.state.pending = max(now.pressure, now.state.pending);
	return decide(&now);
}

struct policy_state policy_note(const struct policy_decision *decision,
				const struct purge_result *result,
				uint64_t now_ms)
{
	bool found = result->lazy_bytes + result->clean_bytes >= FOUND_MIN;
	struct policy_state state = decision->state;

	state.known = true;
	state.aging = result->aging;
	state.last_pass_ms = now_ms;
	/* Passes of another purpose say nothing about this one's yield. */
	if (found || state.over != decision->over)
		state.nr_empty = 0;
	state.nr_empty += !found;
	state.over = decision->over;
	if (decision->order.force) {
		state.forced_gap_ms = found ? MIN_TICK_MS :
			backed_off(max(state.forced_gap_ms, MIN_TICK_MS), 1);
		state.forced_after_ms = now_ms + state.forced_gap_ms;
		state.low_answered = true;
		state.pending = PRESSURE_NONE;
	} else if (state.pending == PRESSURE_MILD) {
		state.pending = PRESSURE_NONE;
	}
	return state;
}
