/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - A trace made ready for being replayed
 *
 * Two passes over the records find the same waits: the first learns which
 * records others wait for and how many steps there are, the second writes them
 * down.
 */
#include <string.h>
#include "bench/trace/plan.h"

#define NONE		UINT32_MAX

/* Nanoseconds, roughly: for choosing how often a trace is repeated, no more. */
#define COST_STEP	15
#define COST_LINE	1
#define COST_PAGE	30
#define COST_WAIT	1000
#define COST_THREAD	20000

struct planner {
	struct plan *plan;
	const struct trace *trace;
	uint64_t nr;
	uint64_t window;
	uint32_t nr_threads;
	/* During a pass, of each thread: one more than a record, 0: none. */
	uint32_t *reached;	/* of each pair: waited for, up to here */
	uint32_t *last;		/* so far */
	uint32_t *last_ended;	/* before the present window */
	uint32_t *last_before;	/* before the one before that */
	uint64_t present;	/* window */
	uint64_t *synced;	/* of each thread: the window it is in, + 1 */
	uint32_t *exits;	/* records of that kind, so far */
	uint32_t nr_exits;
	uint32_t *exits_seen;	/* of each thread: how many of them */
	/* What the first pass finds. */
	bool *awaited;		/* of each record */
	uint64_t *nr_steps;
	/* What the second needs. */
	uint32_t *post_of;	/* of each record: its number */
	uint32_t *place_of;	/* of each record's object */
	uint32_t *posts;	/* of each thread, so far */
	uint32_t *free_head;	/* of each thread: places it freed */
	uint32_t *free_next;	/* of each place */
	void (*wait)(struct planner *, uint32_t thread, uint32_t record);
};

static void *array(uint64_t nr, size_t size)
{
	return own_memory((nr + 1) * size, false);
}

static void array_back(void *p, uint64_t nr, size_t size)
{
	own_memory_back(p, (nr + 1) * size);
}

/* === Waits, in both passes =============================================== */

static uint32_t *reached_by(const struct planner *p, uint32_t thread)
{
	return p->reached + (size_t)thread * p->nr_threads;
}

/* @thread may go on when @record is done; it may know already. */
static void need(struct planner *p, uint32_t thread, uint32_t record)
{
	uint32_t other = p->trace->records[record].thread;
	uint32_t *reached = &reached_by(p, thread)[other];

	if (other == thread || *reached > record)
		return;
	*reached = record + 1;
	p->wait(p, thread, record);
}

static void next_window(struct planner *p, uint64_t window)
{
	if (window == p->present)
		return;
	p->present = window;
	memcpy(p->last_before, p->last_ended,
	       p->nr_threads * sizeof(*p->last_before));
	memcpy(p->last_ended, p->last, p->nr_threads * sizeof(*p->last));
}

static void stay_near(struct planner *p, uint32_t thread)
{
	if (p->synced[thread] == p->present + 1)
		return;
	p->synced[thread] = p->present + 1;
	for (uint32_t other = 0; other < p->nr_threads; other++)
		if (p->last_before[other])
			need(p, thread, p->last_before[other] - 1);
}

/* A thread that was made after others had ended is made after they have. */
static void need_exits(struct planner *p, uint32_t thread)
{
	while (p->exits_seen[thread] < p->nr_exits)
		need(p, thread, p->exits[p->exits_seen[thread]++]);
}

/* A new thread comes after all that its maker came after. */
static void inherit(struct planner *p, uint64_t at)
{
	const struct trace_record *r = p->trace->records + at;
	uint32_t *reached = reached_by(p, (uint32_t)r->size);

	memcpy(reached, reached_by(p, r->thread),
	       p->nr_threads * sizeof(*reached));
	reached[r->thread] = (uint32_t)at + 1;
}

/*
 * Where it must wait, it waits for all that the other did before the present
 * window, so that the objects of a queue do not cost a wait each.
 */
static void need_object(struct planner *p, uint32_t thread, uint32_t record)
{
	uint32_t other = p->trace->records[record].thread;

	if (other == thread || reached_by(p, thread)[other] > record)
		return;
	if (p->last_ended[other] > record + 1)
		record = p->last_ended[other] - 1;
	need(p, thread, record);
}

static void find_waits(struct planner *p, uint64_t at)
{
	const struct trace_record *r = p->trace->records + at;

	if (p->window) {
		next_window(p, at / p->window);
		stay_near(p, r->thread);
	}
	if (trace_takes(r->kind))
		need_object(p, r->thread, r->object);
	if (r->kind == TRACE_THREAD) {
		need_exits(p, r->thread);
		inherit(p, at);
	}
}

static void pass_record(struct planner *p, uint64_t at)
{
	const struct trace_record *r = p->trace->records + at;

	p->last[r->thread] = (uint32_t)at + 1;
	if (r->kind == TRACE_EXIT)
		p->exits[p->nr_exits++] = (uint32_t)at;
}

static void begin_pass(struct planner *p, void (*wait)(struct planner *,
						       uint32_t, uint32_t))
{
	size_t nr = p->nr_threads;

	p->wait = wait;
	p->present = 0;
	memset(p->reached, 0, nr * nr * sizeof(*p->reached));
	memset(p->last, 0, nr * sizeof(*p->last));
	memset(p->last_ended, 0, nr * sizeof(*p->last_ended));
	memset(p->last_before, 0, nr * sizeof(*p->last_before));
	memset(p->synced, 0, nr * sizeof(*p->synced));
	memset(p->exits_seen, 0, nr * sizeof(*p->exits_seen));
	p->nr_exits = 0;
}

/* === First pass ========================================================== */

static void count_wait(struct planner *p, uint32_t thread, uint32_t record)
{
	uint32_t other = p->trace->records[record].thread;

	p->nr_steps[thread]++;
	p->plan->nr_waits++;
	p->plan->cost_ns += COST_WAIT;
	if (!p->awaited[record])
		p->nr_steps[other]++;
	p->awaited[record] = true;
}

static uint64_t cost_of(const struct trace_record *r)
{
	uint64_t cost = r->kind == TRACE_THREAD ? COST_THREAD : COST_STEP;

	if (!trace_makes(r->kind))
		return cost;
	if (r->size <= TOUCH_PAGE)
		return cost + r->size / TOUCH_LINE * COST_LINE;
	return cost + TOUCH_PAGE / TOUCH_LINE * COST_LINE +
	       r->size / TOUCH_PAGE * COST_PAGE;
}

static void count_steps(struct planner *p)
{
	begin_pass(p, count_wait);
	for (uint64_t at = 0; at < p->nr; at++) {
		const struct trace_record *r = p->trace->records + at;

		find_waits(p, at);
		pass_record(p, at);
		p->nr_steps[r->thread]++;
		p->plan->cost_ns += cost_of(r);
		if (trace_makes(r->kind) || r->kind == TRACE_FREE)
			p->plan->nr_operations++;
	}
}

/* === Second pass ========================================================= */

static struct step *add_step(struct planner *p, uint32_t thread)
{
	return p->plan->end[thread]++;
}

static void write_wait(struct planner *p, uint32_t thread, uint32_t record)
{
	*add_step(p, thread) = (struct step){
		.kind = STEP_WAIT, .who = p->trace->records[record].thread,
		.size = p->post_of[record] };
}

static uint32_t new_place(struct planner *p, uint32_t thread)
{
	uint32_t place = p->free_head[thread];

	if (place == NONE)
		return p->plan->nr_places++;
	p->free_head[thread] = p->free_next[place];
	return place;
}

static uint32_t place_for(struct planner *p, uint64_t at)
{
	const struct trace_record *r = p->trace->records + at;
	uint32_t place;

	if (!trace_makes(r->kind) && r->kind != TRACE_FREE)
		return (uint32_t)r->size;
	place = trace_takes(r->kind) ? p->place_of[r->object] :
		new_place(p, r->thread);
	if (r->kind == TRACE_FREE) {
		p->free_next[place] = p->free_head[r->thread];
		p->free_head[r->thread] = place;
	} else {
		p->place_of[at] = place;
	}
	return place;
}

static void write_step(struct planner *p, uint64_t at)
{
	const struct trace_record *r = p->trace->records + at;

	*add_step(p, r->thread) = (struct step){
		.kind = r->kind, .shift = r->shift, .size = r->size,
		.place = place_for(p, at) };
	if (!p->awaited[at])
		return;
	p->post_of[at] = ++p->posts[r->thread];
	add_step(p, r->thread)->kind = STEP_POST;
}

static void write_steps(struct planner *p)
{
	begin_pass(p, write_wait);
	memset(p->free_head, 0xff, p->nr_threads * sizeof(*p->free_head));
	for (uint64_t at = 0; at < p->nr; at++) {
		find_waits(p, at);
		pass_record(p, at);
		write_step(p, at);
	}
}

/* === Memory ============================================================== */

static void take_arrays(struct planner *p)
{
	size_t nr = p->nr_threads;

	p->reached = array(nr * nr, sizeof(*p->reached));
	p->last = array(nr, sizeof(*p->last));
	p->last_ended = array(nr, sizeof(*p->last_ended));
	p->last_before = array(nr, sizeof(*p->last_before));
	p->synced = array(nr, sizeof(*p->synced));
	p->exits = array(p->trace->kinds[TRACE_EXIT], sizeof(*p->exits));
	p->exits_seen = array(nr, sizeof(*p->exits_seen));
	p->nr_steps = array(nr, sizeof(*p->nr_steps));
	p->posts = array(nr, sizeof(*p->posts));
	p->free_head = array(nr, sizeof(*p->free_head));
	p->awaited = array(p->nr, sizeof(*p->awaited));
	p->post_of = array(p->nr, sizeof(*p->post_of));
	p->place_of = array(p->nr, sizeof(*p->place_of));
	p->free_next = array(p->nr, sizeof(*p->free_next));
}

static void give_arrays_back(struct planner *p)
{
	size_t nr = p->nr_threads;

	array_back(p->reached, nr * nr, sizeof(*p->reached));
	array_back(p->last, nr, sizeof(*p->last));
	array_back(p->last_ended, nr, sizeof(*p->last_ended));
	array_back(p->last_before, nr, sizeof(*p->last_before));
	array_back(p->synced, nr, sizeof(*p->synced));
	array_back(p->exits, p->trace->kinds[TRACE_EXIT], sizeof(*p->exits));
	array_back(p->exits_seen, nr, sizeof(*p->exits_seen));
	array_back(p->nr_steps, nr, sizeof(*p->nr_steps));
	array_back(p->posts, nr, sizeof(*p->posts));
	array_back(p->free_head, nr, sizeof(*p->free_head));
	array_back(p->awaited, p->nr, sizeof(*p->awaited));
	array_back(p->post_of, p->nr, sizeof(*p->post_of));
	array_back(p->place_of, p->nr, sizeof(*p->place_of));
	array_back(p->free_next, p->nr, sizeof(*p->free_next));
}

/* The end of the first page that is not needed */
static size_t whole(size_t bytes)
{
	return (bytes + TOUCH_PAGE) / TOUCH_PAGE * TOUCH_PAGE;
}

static void *lasting(struct plan *plan, size_t bytes)
{
	plan->own_bytes += whole(bytes);
	return own_memory(whole(bytes), true);
}

static void make_room(struct planner *p)
{
	struct plan *plan = p->plan;
	struct step *steps;

	for (uint32_t i = 0; i < p->nr_threads; i++)
		plan->nr_steps += p->nr_steps[i];
	steps = lasting(plan, plan->nr_steps * sizeof(*steps));
	plan->steps = steps;
	plan->begin = lasting(plan, p->nr_threads * sizeof(*plan->begin));
	plan->end = lasting(plan, p->nr_threads * sizeof(*plan->end));
	plan->unmade = lasting(plan, p->nr_threads);
	for (uint32_t i = 0; i < p->nr_threads; i++) {
		plan->begin[i] = plan->end[i] = steps;
		steps += p->nr_steps[i];
	}
}

static void find_unmade(struct planner *p)
{
	bool *unmade = p->plan->unmade;

	for (uint32_t i = 1; i < p->nr_threads; i++)
		unmade[i] = p->nr_steps[i];
	for (uint64_t at = 0; at < p->nr; at++)
		if (p->trace->records[at].kind == TRACE_THREAD)
			unmade[p->trace->records[at].size] = false;
}

void plan_make(struct plan *plan, const struct trace *trace, uint64_t nr,
	       uint64_t window)
{
	struct planner planner = { .plan = plan, .trace = trace, .nr = nr,
				   .window = window };

	*plan = (struct plan){ .nr_threads = trace->header->nr_threads };
	planner.nr_threads = plan->nr_threads;
	if (plan->nr_threads > PLAN_MOST_THREADS)
		stop(1, "%u threads: expected 1..%u", plan->nr_threads,
		     PLAN_MOST_THREADS);
	take_arrays(&planner);
	count_steps(&planner);
	make_room(&planner);
	find_unmade(&planner);
	write_steps(&planner);
	plan->places = lasting(plan, plan->nr_places * sizeof(*plan->places));
	give_arrays_back(&planner);
}

void plan_forget(struct plan *plan)
{
	size_t nr = plan->nr_threads;

	own_memory_back(plan->steps, whole(plan->nr_steps *
					   sizeof(*plan->steps)));
	own_memory_back(plan->begin, whole(nr * sizeof(*plan->begin)));
	own_memory_back(plan->end, whole(nr * sizeof(*plan->end)));
	own_memory_back(plan->unmade, whole(nr));
	own_memory_back(plan->places, whole(plan->nr_places *
					    sizeof(*plan->places)));
}
