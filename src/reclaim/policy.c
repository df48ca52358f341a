/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Reclaim policy
 *
 * What it is: a pure function from signals, account, options and clock to
 * what a pass of giving back shall do, whether to run it now, and when to look
 * again.
 *
 * Model:
 *	scale		1 while headroom is at least `tight', 0 from `soft' on,
 *			in proportion between the two
 *	raised		1, doubled for each second in which more than `refault'
 *			bytes were taken again that had been given back, halved
 *			for each in which it was less than a quarter of that
 *	calm		ages are lazy_ms and decay_ms, times scale and raised
 *	small		calm, and dirty <= dirty_min: no lazy step, no hurry
 *	drop		dirty > drop: the clean age is drop_ms at most, and
 *			looking does not back off
 *	over		dirty > dirty_max times scale: the oldest go at
 *			decay_ms / over_part, and at 0 if that was not enough
 *			(at young_ms where headroom is plentiful),
 *			until no more than that is left
 *	mild		a mild event: the clean age is mild_ms at most
 *	severe		a severe event, or headroom below `low': everything,
 *			the caches of threads included
 * An age of -1 (never) yields to over, mild and severe only.
 *
 * Invariants:
 * (1) Two passes are tick_min_ms apart, and so are two forced ones; a forced
 *     one may follow one that was not at once.
 * (2) A forced pass that found nothing doubles the gap to the next, up to
 *     tick_max_ms; one that found something, or more dirty memory than it
 *     left, ends it.  What asks for one in between is kept and answered then.
 * (3) Where most of what passes in a hurry give back is taken again before
 *     the next, the gap doubles, up to tick_max_ms, until there is more dirty
 *     memory than they gave, or headroom has halved: it is looked at
 *     meanwhile, since the memory may be a neighbour's to take.  Who waits for
 *     memory, and does not only tell how much is used, waits for VAIN_ASKED
 *     doublings.
 * (4) With nothing aging, nothing pending and an empty last pass there is no
 *     tick, but for looks at headroom while there are dirty bytes, or somebody
 *     who listens, and a limit.
 * (5) No age is below mild_ms but that of over and severe: what a thread frees
 *     and takes at once stays with it, however near the limit is.
 */
#include "reclaim/policy.h"

/*
 * No options: FOUND_MIN is a slab, the least that a pass is worth, whatever the
 * machine; BUDGET_MIN what threads' caches and half-used slabs come to anyway
 * (dirty_max below it holds); REFAULT_MS the second that `refault' is said to
 * count.
 */
#define FOUND_MIN	(64 * KIB)	/* less is as good as nothing */
#define BUDGET_MIN	MIB		/* dirty bytes left to the nearest limit */
#define SCALE_ONE	1024u
#define LOCKED_TICKS	64u		/* of the longest: gap between tries */
#define VAIN_MIN	MIB		/* given back: less is not judged */
#define VAIN_MOST	7u		/* doublings: 10 ms become tick_max_ms */
#define VAIN_ASKED	3u		/* the same, of who waits: 80 ms */
#define REFAULT_MS	1000u		/* window of what is retaken */

/* === Ages ============================================================= */

static uint64_t scale_of(const struct policy_input *in)
{
	const struct policy_conf *conf = &in->conf;

	if (in->limit == CGROUP_NO_LIMIT || in->headroom >= conf->tight)
		return SCALE_ONE;
	if (in->headroom <= conf->soft)
		return 0;
	/* Division first: limits have no bound, and KiB are exact enough. */
	return (in->headroom - conf->soft) / KIB * SCALE_ONE /
	       ((conf->tight - conf->soft) / KIB + 1);
}

static bool headroom_is_low(const struct policy_input *in)
{
	return in->limit != CGROUP_NO_LIMIT && in->headroom < in->conf.low;
}

static bool has_dropped(const struct policy_input *in)
{
	return in->state.known && in->dirty > in->conf.drop &&
	       in->dirty > in->conf.dirty_min;
}

static bool is_small(const struct policy_input *in, enum pressure wanted)
{
	return wanted == PRESSURE_NONE && in->dirty <= in->conf.dirty_min &&
	       scale_of(in) == SCALE_ONE;
}

/* Dirty bytes that may stay; 0: any number. */
static uint64_t dirty_budget(const struct policy_input *in)
{
	uint64_t most = in->conf.dirty_max;

	return most ? max(most / SCALE_ONE * scale_of(in),
			  min(most, (uint64_t)BUDGET_MIN)) : 0;
}

static bool is_over(const struct policy_input *in)
{
	uint64_t budget = dirty_budget(in);

	return budget && in->dirty > budget;
}

static uint32_t raise(const struct policy_input *in, uint64_t age_ms)
{
	age_ms *= max(in->state.raised, 1u);
	return (uint32_t)min(age_ms, (uint64_t)PURGE_NEVER - 1);
}

static uint32_t scaled_age(const struct policy_input *in, int64_t age_ms)
{
	uint64_t scaled;

	if (age_ms < 0)
		return PURGE_NEVER;
	scaled = (uint64_t)age_ms * scale_of(in) / SCALE_ONE;
	scaled = max(scaled, min((uint64_t)age_ms,
				 (uint64_t)in->conf.mild_ms));
	return raise(in, scaled);
}

/*
 * The first pass over budget takes what is old, the next whatever there is; but
 * where headroom is plentiful not what was freed a moment ago: a program that
 * takes it again at once would only fault it in again.
 */
static void order_over(const struct policy_input *in,
		       struct purge_order *order)
{
	int64_t decay_ms = in->conf.decay_ms;
	uint32_t age_ms = decay_ms < 0 ? in->conf.drop_ms :
					 (uint32_t)decay_ms;

	age_ms /= max(in->conf.over_part, 1u);
	if (in->state.over)
		age_ms = scale_of(in) < SCALE_ONE ? 0 :
			 raise(in, min(age_ms, in->conf.young_ms));
	order->clean_age_ms = min(order->clean_age_ms, age_ms);
	order->want_bytes = in->dirty - dirty_budget(in);
}

static struct purge_order order_of(const struct policy_input *in,
				   enum pressure wanted)
{
	const struct policy_conf *conf = &in->conf;
	struct purge_order order = {
		.lazy_age_ms = scaled_age(in, conf->lazy_ms),
		.clean_age_ms = scaled_age(in, conf->decay_ms),
	};

	if (wanted == PRESSURE_SEVERE)
		return (struct purge_order){
			.lazy_age_ms = PURGE_NEVER,
			.drain = true,
			.force = true,
		};
	if (order.clean_age_ms != PURGE_NEVER && has_dropped(in))
		order.clean_age_ms = min(order.clean_age_ms,
					 raise(in, conf->drop_ms));
	if (is_over(in))
		order_over(in, &order);
	if (wanted == PRESSURE_MILD)
		order.clean_age_ms = min(order.clean_age_ms, conf->mild_ms);
	if (in->protected || is_small(in, wanted) ||
	    order.clean_age_ms <= order.lazy_age_ms)
		order.lazy_age_ms = PURGE_NEVER;
	order.drain = order.clean_age_ms != PURGE_NEVER ||
		      order.lazy_age_ms != PURGE_NEVER;
	return order;
}

/* === Times ============================================================ */

/* @ms doubled @nr times, @most at most. */
static uint32_t backed_off(uint32_t ms, uint32_t nr, uint32_t most)
{
	while (nr-- && ms < most)
		ms *= 2;
	return min(ms, most);
}

/*
 * Between passes while memory ages: the lazy age, or half the clean age if
 * that is less, so that nothing becomes much older than it should.
 */
static uint32_t calm_tick(const struct policy_input *in,
			  const struct purge_order *order)
{
	const struct policy_conf *conf = &in->conf;
	uint32_t most = min(order->clean_age_ms / 2, conf->tick_max_ms);
	uint32_t base = min(order->lazy_age_ms, most);

	base = max(base, conf->tick_min_ms);
	most = max(base, most);
	if (has_dropped(in))
		return base;
	return min(backed_off(base, in->state.nr_empty, conf->tick_max_ms),
		   most);
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

/* What became dirty since is what the last passes gave in vain, no more. */
static bool is_vain(const struct policy_input *in)
{
	return in->state.nr_vain &&
	       in->headroom >= in->state.pass_headroom / 2 &&
	       in->dirty <= in->state.dirty_left + in->state.vain_given +
			    VAIN_MIN;
}

/* Between two passes in a hurry, the last @nr of which found nothing. */
static uint32_t hurried_gap(const struct policy_input *in, uint32_t nr)
{
	const struct policy_conf *conf = &in->conf;

	if (is_vain(in))
		nr = max(nr, min(in->state.nr_vain,
				 in->state.asked ? VAIN_ASKED : VAIN_MOST));
	return backed_off(conf->tick_min_ms, nr, conf->tick_max_ms);
}

/* Nothing but what the kernel refuses: it is tried again, ever more rarely. */
static bool is_locked(const struct policy_input *in)
{
	return in->state.locked && in->dirty <= in->state.locked + FOUND_MIN;
}

/* When a pass that is not severe is due. */
static uint64_t pass_due_ms(const struct policy_input *in, enum pressure wanted,
			    const struct purge_order *order)
{
	const struct policy_conf *conf = &in->conf;
	uint32_t gap = calm_tick(in, order);

	if (!in->state.known)
		return 0;
	if (is_small(in, wanted))
		gap = conf->tick_max_ms;
	if (is_over(in))
		gap = hurried_gap(in, in->state.over ? in->state.nr_empty : 0);
	if (wanted == PRESSURE_MILD)
		gap = conf->tick_min_ms;
	else if (is_locked(in))
		gap = backed_off(conf->tick_max_ms, in->state.nr_empty,
				 LOCKED_TICKS * conf->tick_max_ms);
	return in->state.last_pass_ms + gap;
}

/* The dirty bytes above which the next look cannot wait for the tick. */
static uint64_t wake_bound(const struct policy_input *in)
{
	uint64_t bound = max(in->dirty + in->dirty / 4 + MIB,
			     2 * in->conf.dirty_min);
	uint64_t budget = dirty_budget(in);

	if (budget && in->dirty < budget)
		bound = min(bound, budget);
	return bound;
}

/* Looks at headroom where nothing ages: the more often the less there is. */
static uint32_t watch_tick(const struct policy_input *in)
{
	const struct policy_conf *conf = &in->conf;
	uint64_t tick = conf->tick_max_ms;

	if ((!in->dirty && !in->listened) || in->limit == CGROUP_NO_LIMIT)
		return 0;
	if (in->dirty > conf->dirty_min || in->listened)
		tick = tick * scale_of(in) / SCALE_ONE;
	return max((uint32_t)tick, conf->tick_min_ms);
}

/* === What is given back and taken again ============================== */

static void note_refaults(struct policy_input *in)
{
	uint64_t elapsed_ms = in->now_ms - in->state.refault_ms;
	uint64_t bytes = in->retaken - in->state.refault_bytes;
	uint32_t raised = max(in->state.raised, 1u);

	if (elapsed_ms < REFAULT_MS)
		return;
	if (in->conf.refault && in->state.refault_ms &&
	    bytes / elapsed_ms * 1000 > in->conf.refault)
		raised = min(raised * 2, max(in->conf.refault_max, 1u));
	else if (bytes / elapsed_ms * 1000 < in->conf.refault / 4)
		raised >>= min(elapsed_ms / REFAULT_MS, 31ULL);
	in->state.raised = max(raised, 1u);
	in->state.refault_ms = in->now_ms;
	in->state.refault_bytes = in->retaken;
}

/*
 * Before a pass: was the last one of use?  Where most of what is given back is
 * taken again before the next comes, giving it back makes no room.
 */
static void weigh_last(const struct policy_input *in,
		       struct policy_state *state)
{
	state->vain_retaken = state->vain_retaken / 2 + in->retaken -
			      state->pass_retaken;
	state->pass_retaken = in->retaken;
	state->pass_headroom = in->headroom;
	if (state->vain_given >= VAIN_MIN &&
	    state->vain_retaken >= state->vain_given / 2)
		state->nr_vain = min(state->nr_vain + 1, VAIN_MOST);
	else
		state->nr_vain /= 2;
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
	uint32_t doze_ms = wait_for(in->now_ms, in->state.last_pass_ms +
						in->conf.tick_max_ms);
	uint32_t watch_ms = watch_tick(in);

	if (order_is_empty(&decision->order)) {
		decision->tick_ms = watch_ms;
		decision->wake_dirty = dirty_budget(in) ?: UINT64_MAX;
		/* Beyond that there is a lazy step again. */
		if (is_small(in, wanted) && in->conf.lazy_ms >= 0 &&
		    !in->protected)
			decision->wake_dirty = min(decision->wake_dirty,
						   in->conf.dirty_min + 1);
	} else if (in->state.aging || wanted != PRESSURE_NONE) {
		decision->tick_ms = max(wait_for(in->now_ms, due_ms), 1u);
		if (is_vain(in) && watch_ms)
			decision->tick_ms = min(decision->tick_ms, watch_ms);
		decision->wake_dirty = is_locked(in) ? 0 : wake_bound(in);
	} else if (doze_ms && !in->state.nr_empty) {
		/* Busy until now, if little: it need not wake us each time. */
		decision->tick_ms = doze_ms;
		decision->wake_dirty = wake_bound(in);
	} else {
		decision->tick_ms = watch_ms;
		decision->wake_dirty = 0;
	}
}

/* There is more than the last pass left. */
static bool has_grown(const struct policy_input *in)
{
	return in->dirty > in->state.dirty_left + FOUND_MIN;
}

static struct policy_decision decide(const struct policy_input *in)
{
	enum pressure wanted = wanted_by(in);
	struct policy_decision decision = {
		.over = is_over(in),
		.seen = headroom_is_low(in) ? PRESSURE_SEVERE : in->pressure,
		.order = order_of(in, wanted),
		.state = in->state,
	};
	uint64_t due_ms;

	if (wanted == PRESSURE_SEVERE && has_grown(in))
		due_ms = in->state.last_pass_ms + hurried_gap(in, 0);
	else if (wanted == PRESSURE_SEVERE)
		due_ms = in->state.forced_after_ms;
	else
		due_ms = pass_due_ms(in, wanted, &decision.order);
	decision.run = due_ms <= in->now_ms &&
		       (in->state.aging || wanted != PRESSURE_NONE) &&
		       !order_is_empty(&decision.order);
	if (decision.run)
		weigh_last(in, &decision.state);
	else
		set_tick(&decision, in, wanted, due_ms);
	return decision;
}

struct policy_decision policy_decide(const struct policy_input *in)
{
	struct policy_input now = *in;

	if (now.woken || (!now.state.known && now.dirty) || has_grown(&now))
		now.state.aging = true;
	if (!headroom_is_low(&now))
		now.state.low_answered = false;
	now.state.pending = max(now.pressure, now.state.pending);
	now.state.asked |= now.asked;
	/* What was locked and is not dirty any more was taken, and may be freed. */
	now.state.locked = min(now.state.locked, now.dirty);
	if (now.conf.tight)
		now.conf.tight = max(now.conf.tight, now.conf.soft);
	if (now.conf.dirty_max)
		now.conf.dirty_min = min(now.conf.dirty_min,
					 now.conf.dirty_max);
	now.conf.tick_max_ms = max(now.conf.tick_max_ms, now.conf.tick_min_ms);
	note_refaults(&now);
	return decide(&now);
}

struct policy_state policy_note(const struct policy_decision *decision,
				const struct policy_conf *conf,
				const struct purge_result *result,
				uint64_t now_ms)
{
	uint32_t tick_max_ms = max(conf->tick_max_ms, conf->tick_min_ms);
	bool found = result->lazy_bytes + result->clean_bytes >= FOUND_MIN;
	struct policy_state state = decision->state;

	state.known = true;
	state.aging = result->aging;
	state.dirty_left = result->dirty_left;
	if (found || result->refused_bytes)
		state.locked = result->refused_bytes;
	state.last_pass_ms = now_ms;
	state.vain_given = state.vain_given / 2 + result->clean_bytes;
	/* Passes of another purpose say nothing about this one's yield. */
	if (found || state.over != decision->over)
		state.nr_empty = 0;
	state.nr_empty += !found;
	state.over = decision->over;
	if (decision->order.force) {
		state.forced_gap_ms = found ? conf->tick_min_ms :
			backed_off(max(state.forced_gap_ms, conf->tick_min_ms),
				   1, tick_max_ms);
		state.forced_after_ms = now_ms + state.forced_gap_ms;
		/* Who cut it short wants no more than it needs itself. */
		if (!result->cut) {
			state.low_answered = true;
			state.pending = PRESSURE_NONE;
		}
	} else if (state.pending == PRESSURE_MILD) {
		state.pending = PRESSURE_NONE;
	}
	state.asked &= state.pending != PRESSURE_NONE;
	return state;
}
