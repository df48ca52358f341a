/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Which allocations are sampled
 */
#include "base/clock.h"
#include "heap/magazine.h"
#include "heap/sample.h"

#define GAMMA		0x9e3779b97f4a7c15ULL	/* the golden ratio's bits */
#define LN2		0.693147180559945309417
#define GAP_MAX		((double)(1LL << 52))
#define BY_TIME		4u		/* classes marked at one time */
#define BY_TIME_MS	50u

/* Set once, before there is a heap. */
static uint64_t mean_bytes;
static uint64_t mean_slots;	/* not 0: by number, whatever their size */

/* Whose numbers nobody's heap draws; and how many heaps were opened. */
static uint64_t shared_random;
static uint64_t seed_of_heaps;

/* Source: G. L. Steele et al., "Fast splittable pseudorandom number generators",
 * OOPSLA 2014: the output function of SplitMix. */
static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

/*
 * -ln(u), u uniform in (0, 1] by the 53 upper bits of @random: u is 2^-k times
 * f, f in [1, 2), and ln(f) = 2 atanh((f - 1) / (f + 1)), whose series has an
 * error below 1e-9 after these terms.  (Nothing of libm is linked.)
 */
static double exponential(uint64_t random)
{
	uint64_t u = (random >> 11) + 1;
	unsigned int high = bit_highest(u);
	double f = (double)u / (double)(1ULL << high);
	double t = (f - 1) / (f + 1), t2 = t * t;
	double sum = 1.0 / 17;

	for (int odd = 15; odd > 0; odd -= 2)
		sum = sum * t2 + 1.0 / odd;
	return (53.0 - (double)high) * LN2 - 2 * t * sum;
}

static void begin(uint64_t seed)
{
	shared_random = mix(seed ? seed : range.secret);
	seed_of_heaps = mix(shared_random + 1);
	heap_marked = true;
}

#if IS_ENABLED(CONFIG_PROFILE)
void sample_init(uint64_t mean, uint64_t seed)
{
	mean_bytes = mean;
	begin(seed);
	heap_profiled = true;
	heap_noted = true;
}
#endif

void sample_init_count(uint64_t mean)
{
	mean_slots = mean;
	begin(0);
}

uint64_t sample_mean(void)
{
	return mean_bytes;
}

/* Bytes to the next point. */
static double gap_bytes(uint64_t random)
{
	return exponential(random) * (double)mean_bytes;
}

/* Slots of @class before the next one that is sampled. */
static int64_t gap_slots(struct sampler *sampler, unsigned int class)
{
	uint64_t random;
	double slots;

	sampler->random += GAMMA;
	random = mix(sampler->random);
	if (mean_slots)
		slots = exponential(random) * (double)mean_slots;
	else
		slots = gap_bytes(random) / sizeclasses[class].size;
	return (int64_t)min(slots, GAP_MAX);
}

static size_t held(const struct heap *heap, unsigned int class)
{
	return (size_t)(heap->magazines[class].top -
			heap->bins[class].bottom);
}

/* The place that invariant (1) is about; NULL: it is in no magazine. */
static uintptr_t *marked_place(struct heap *heap, unsigned int class)
{
	int64_t at = heap->sampler->at[class];

	if (at < 0 || (uint64_t)at >= held(heap, class))
		return NULL;
	return (uintptr_t *)(heap->bins[class].bottom + at);
}

void sample_hide_mark(struct heap *heap, unsigned int class)
{
	uintptr_t *place = marked_place(heap, class);

	if (place)
		*place = sample_unmark(*place);
}

void sample_show_mark(struct heap *heap, unsigned int class)
{
	uintptr_t *place = marked_place(heap, class);

	if (!place)
		return;
	if (*place & MAGAZINE_ZERO)
		*place |= MAGAZINE_SAMPLED_ZERO;
	*place |= MAGAZINE_ZERO | MAGAZINE_SAMPLED;
}

void sample_open(struct heap *heap)
{
	uint64_t nr = add_relaxed(&seed_of_heaps, GAMMA);
	struct sampler *sampler;

	/* Behind the stores, where magazine_discard() does not reach. */
	sampler = (struct sampler *)((char *)heap + magazine_heap_size());
	heap->sampler = sampler;
	sampler->random = mix(nr);
	for (unsigned int class = 0; class < NR_CLASSES; class++)
		sampler->at[class] = -1 - gap_slots(sampler, class);
}

bool sample_draw(size_t size)
{
	uint64_t random = mix(add_relaxed(&shared_random, GAMMA));

	if (mean_slots)
		return exponential(random) * (double)mean_slots < 1;
	return gap_bytes(random) < (double)size;
}

void sample_next(struct heap *heap, unsigned int class)
{
	struct sampler *sampler = heap->sampler;

	sampler->at[class] = (int64_t)held(heap, class) - 1 -
			     gap_slots(sampler, class);
	sample_show_mark(heap, class);
}

void sample_refilled(struct heap *heap, unsigned int class, size_t nr)
{
	heap->sampler->at[class] += (int64_t)nr;
	sample_show_mark(heap, class);
	if (mean_slots)
		sample_by_time(heap);
}

/* The topmost slot of @class, if it has no mark yet and there is one. */
static bool mark_top(struct heap *heap, unsigned int class)
{
	size_t nr = held(heap, class);

	if (!nr || heap->sampler->at[class] >= 0)
		return false;
	heap->sampler->at[class] = (int64_t)nr - 1;
	sample_show_mark(heap, class);
	return true;
}

void sample_by_time(struct heap *heap)
{
	struct sampler *sampler = heap->sampler;
	uint64_t now_ms = clock_coarse_ms();
	unsigned int class, left = BY_TIME;

	if (now_ms - sampler->looked_ms < BY_TIME_MS)
		return;
	sampler->looked_ms = now_ms;
	sampler->random += GAMMA;
	class = (unsigned int)(mix(sampler->random) % NR_CLASSES);
	for (unsigned int i = 0; i < NR_CLASSES && left; i++)
		left -= mark_top(heap, (class + i) % NR_CLASSES);
}
