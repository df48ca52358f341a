/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Choice of the way in which ranges are given back
 *
 * What it is: the reclaimer tries the backends and times them on scattered
 * pages of its own, interleaved, while the other threads run as they do: it is
 * they who make a single madvise expensive.  The median counts; who is four
 * times as dear as the best is not timed again, and a time limit ends it.
 */
#include <sys/mman.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/param.h"
#include "base/sys.h"
#include "os/advise_backend.h"
#include "os/map.h"
#include "os/probe.h"

/* === Calibration ======================================================= */

#define TIMED_RANGES	32u	/* pages, with a hole behind each */
#define TIMED_MIN	4u
#define TIMED_ROUNDS	5u
#define TIMED_SLOW_NS	500000	/* then fewer ranges do, too */
#define TIME_LIMIT_NS	2000000	/* no round begins behind it */
#define DEARER		4	/* than the best: timed no more */

struct calibration {
	struct advise_range ranges[TIMED_RANGES];
	bool ok[TIMED_RANGES];
	char *memory;
	size_t nr;
	uint64_t started_ns;
	uint64_t samples[NR_BACKENDS][TIMED_ROUNDS];
	unsigned int nr_samples[NR_BACKENDS];
};

static const char no_effect[] = "does not give memory back";

static size_t scratch_len(void)
{
	return 2 * TIMED_RANGES << map_page_shift;
}

/*
 * Small pages, not locked by an mlockall() of the application's, and not left
 * behind in a child that is forked meanwhile.
 */
static int make_scratch(struct calibration *cal)
{
	long addr = sys_mmap(NULL, scratch_len(), PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);

	if (sys_is_err(addr))
		return (int)addr;
	cal->memory = (char *)addr;
	sys_call2(SYS_munlock, addr, (long)scratch_len());
	sys_call3(SYS_madvise, addr, (long)scratch_len(), MADV_NOHUGEPAGE);
	sys_call3(SYS_madvise, addr, (long)scratch_len(), MADV_DONTFORK);
	for (unsigned int i = 0; i < TIMED_RANGES; i++) {
		char *page = cal->memory + (2 * i << map_page_shift);

		cal->ranges[i] = (struct advise_range){ page, map_page_size };
	}
	return 0;
}

/*
 * Advise pages that were just touched.  All of them must have been taken,
 * and read as zero if they had to.  Returns 0 or why not; *ret_ns for each.
 */
static int time_once(struct advise_backend *backend, struct calibration *cal,
		     int advice, uint64_t *ret_ns)
{
	uint64_t begin_ns;
	int err;

	for (size_t i = 0; i < cal->nr; i++) {
		*(volatile char *)cal->ranges[i].start = 1;
		cal->ok[i] = false;
	}
	begin_ns = clock_ns();
	err = backend->advise(backend, cal->ranges, cal->nr, advice, cal->ok);
	*ret_ns = (clock_ns() - begin_ns) / cal->nr;
	for (size_t i = 0; i < cal->nr; i++) {
		if (!cal->ok[i])
			return err ? err : -EINVAL;
		if (advice == MADV_DONTNEED &&
		    *(volatile char *)cal->ranges[i].start)
			return -EIO;
	}
	return 0;
}

/* The middle one of @nr, sorted in place; the lower of two. */
static uint64_t median(uint64_t *samples, unsigned int nr)
{
	for (unsigned int i = 1; i < nr; i++)
		for (unsigned int at = i; at; at--) {
			uint64_t above = samples[at];

			if (samples[at - 1] <= above)
				break;
			samples[at] = samples[at - 1];
			samples[at - 1] = above;
		}
	return samples[(nr - 1) / 2];
}

static void add_sample(struct advise_backend *backend, unsigned int i,
		       struct calibration *cal, uint64_t ns)
{
	uint64_t sorted[TIMED_ROUNDS];
	unsigned int nr = ++cal->nr_samples[i];

	cal->samples[i][nr - 1] = ns ? ns : 1;
	for (unsigned int at = 0; at < nr; at++)
		sorted[at] = cal->samples[i][at];
	store_relaxed(&backend->cost_ns, median(sorted, nr));
	if (ns * cal->nr > TIMED_SLOW_NS)
		cal->nr = max(cal->nr / 2, (size_t)TIMED_MIN);
}

/* The cheapest that was timed. */
static struct advise_backend *cheapest(void)
{
	struct advise_backend *best = &madvise_backend;

	for (unsigned int i = 0; i < NR_BACKENDS; i++) {
		struct advise_backend *backend = advise_backends[i];

		if (backend && backend_get_state(backend) == BACKEND_LIVE &&
		    backend->cost_ns &&
		    (!best->cost_ns || backend->cost_ns < best->cost_ns))
			best = backend;
	}
	return best;
}

static void run_round(struct calibration *cal)
{
	uint64_t limit_ns = cheapest()->cost_ns * DEARER;
	uint64_t ns;
	int err;

	for (unsigned int i = 0; i < NR_BACKENDS; i++) {
		struct advise_backend *backend = advise_backends[i];

		if (!backend || backend_get_state(backend) != BACKEND_LIVE ||
		    (limit_ns && backend->cost_ns > limit_ns))
			continue;
		err = time_once(backend, cal, MADV_DONTNEED, &ns);
		if (!err)
			add_sample(backend, i, cal, ns);
		else if (backend != &madvise_backend)
			backend_give_up(backend, no_effect, err);
	}
}

/* === Start ============================================================= */

/* Does it work, with either advice?  It is live then. */
static void try_one(struct advise_backend *backend, struct calibration *cal)
{
	uint64_t ns;
	int err;

	store_relaxed(&backend->cost_ns, 0);
	store_relaxed(&backend->reason, NULL);
	store_relaxed(&backend->error, 0);
	err = backend->open(backend, !advise_owner.no_table);
	if (err) {
		backend_give_up(backend, backend->reason, err);
		return;
	}
	if (backend != &madvise_backend) {
		cal->nr = TIMED_MIN;
		err = time_once(backend, cal, MADV_FREE, &ns);
		if (!err)
			err = time_once(backend, cal, MADV_DONTNEED, &ns);
	}
	if (err)
		backend_give_up(backend, no_effect, err);
	else
		backend_set_state(backend, BACKEND_LIVE);
}

/*
 * Whether the @i-th is to be tried.  A ring makes one call of the kernel's
 * for each range, as madvise does, and besides needs a thread of the kernel's
 * that wakes ours up: never cheaper than one call for all.
 */
static bool is_wanted(unsigned int i, enum ebb_backend wanted)
{
	const struct advise_backend *process =
		advise_backends[EBB_BACKEND_PROCESS - 1];

	if (advise_backends[i] == &madvise_backend || wanted == i + 1)
		return true;
	if (wanted != EBB_BACKEND_AUTO) {
		store_relaxed(&advise_backends[i]->reason,
			      "the option backend names another");
		return false;
	}
	if (i != EBB_BACKEND_URING - 1 || !process ||
	    backend_get_state(process) != BACKEND_LIVE)
		return true;
	store_relaxed(&advise_backends[i]->reason,
		      "process_madvise takes many ranges in one call");
	return false;
}

static void try_all(enum ebb_backend wanted, struct calibration *cal)
{
	for (unsigned int i = 0; i < NR_BACKENDS; i++)
		if (advise_backends[i] && is_wanted(i, wanted))
			try_one(advise_backends[i], cal);
}

/* Without memory of our own to try the others on there is madvise alone. */
static void refuse_all(int err)
{
	backend_set_state(&madvise_backend, BACKEND_LIVE);
	for (unsigned int i = 1; i < NR_BACKENDS; i++)
		if (advise_backends[i])
			backend_give_up(advise_backends[i],
					"no memory to try it on", err);
}

static void calibrate(enum ebb_backend wanted)
{
	struct calibration cal = { .started_ns = clock_ns() };
	unsigned int rounds = 0;
	int err;

	err = make_scratch(&cal);
	if (err) {
		refuse_all(err);
		return;
	}
	try_all(wanted, &cal);
	cal.nr = TIMED_RANGES;
	do {
		run_round(&cal);
	} while (++rounds < TIMED_ROUNDS &&
		 clock_ns() - cal.started_ns < TIME_LIMIT_NS);
	sys_munmap(cal.memory, scratch_len());
}

static void close_all(void)
{
	for (unsigned int i = 0; i < NR_BACKENDS; i++) {
		if (!advise_backends[i])
			continue;
		advise_backends[i]->close();
		backend_set_state(advise_backends[i], BACKEND_UNTRIED);
	}
	if (advise_owner.status_fd >= 0)
		sys_close(advise_owner.status_fd);
	advise_owner.status_fd = -1;
}

/* Trials are not what an admin wants counted. */
static void calibrate_uncounted(enum ebb_backend wanted)
{
	struct backend_counters before[NR_BACKENDS];

	for (unsigned int i = 0; i < NR_BACKENDS; i++)
		if (advise_backends[i])
			before[i] = advise_backends[i]->counters;
	calibrate(wanted);
	for (unsigned int i = 0; i < NR_BACKENDS; i++)
		if (advise_backends[i])
			backend_set_counters(advise_backends[i], &before[i]);
}

/* A ring that is not used has a price, and nobody who would use it. */
static void choose_cheapest(void)
{
	struct advise_backend *best = cheapest();

	backend_choose(best);
	for (unsigned int i = 0; i < NR_BACKENDS; i++)
		if (advise_backends[i] && advise_backends[i] != best &&
		    !load_relaxed(&advise_backends[i]->any_thread))
			advise_backends[i]->close();
}

/* The one that the option names. */
static void choose_forced(enum ebb_backend wanted)
{
	struct advise_backend *backend = advise_backends[wanted - 1];
	char line[256];

	if (backend && backend_get_state(backend) == BACKEND_LIVE) {
		backend_choose(backend);
		return;
	}
	backend_choose(&madvise_backend);
	advise_describe(wanted - 1, line, sizeof(line));
	log_line("backend %s; madvise is used", line);
}

void advise_start(const char *no_table)
{
	enum ebb_backend wanted = (enum ebb_backend)
				  param_int(EBB_ATTR_BACKEND);

	backend_choose(&madvise_backend);
	if (advise_is_owner)
		close_all();
	advise_is_owner = true;
	advise_owner.no_table = no_table;
	if (!no_table)
		advise_owner.status_fd = probe_open_status();
	store_relaxed(&advise_owner.filters,
		      probe_filters(advise_owner.status_fd));
	calibrate_uncounted(wanted);
	if (wanted == EBB_BACKEND_AUTO)
		choose_cheapest();
	else
		choose_forced(wanted);
}

void advise_filtered(void)
{
	backend_choose(&madvise_backend);
	for (unsigned int i = 0; i < NR_BACKENDS; i++)
		if (advise_backends[i] && advise_backends[i] != &madvise_backend)
			backend_give_up(advise_backends[i], "a seccomp filter "
					"came while the process ran", -EPERM);
}
