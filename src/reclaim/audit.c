/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Audit: clean memory that is backed all the same
 *
 * What it is: compares our marks with the page tables.  What we gave back and
 * finds itself backed was written to after it was freed, or was filled by the
 * kernel when it made a huge page (khugepaged).  It is counted as stray and
 * given back again; where a huge page brought it back, huge pages are turned
 * off there.
 *
 * Cost: a look at each slab's descriptor and a nanosecond for each page of
 * what is marked clean (os/resident.h); clean runs are advised once more as
 * they are.  So it is done once in audit_ms, only by a pass that runs anyway,
 * and in steps of a millisecond at most as a rule, after each of which the pass
 * may make way for another.
 *
 * A page whose clean bit is cleared while we look was taken by a thread: the
 * claim fails and nothing happens.
 */
#include "base/fd_window.h"
#include "heap/slab.h"
#include "os/map.h"
#include "os/resident.h"
#include "reclaim/audit.h"
#include "vm/run.h"

#define NR_LOOKED	256u	/* ranges asked for in one go */
#define STEP_SLABS	4096u	/* slabs gone over for them */

/* Under pass_lock, as everything here. */
static struct looked {
	struct advise_range ranges[NR_LOOKED];
	uint64_t backed[NR_LOOKED];
	unsigned int nr;
} looked;

/* Where the next step goes on, perhaps of a later pass. */
static struct place {
	size_t slab;
	bool at_runs;		/* slabs are done */
	uint64_t run_bytes;	/* of clean runs, that are left */
} place;

/* What of @slab is clean and backed goes into the batch. */
static void give_back(struct pass *pass, struct slab *slab,
		      unsigned int pages)
{
	/* Pairs with slab_init(): the class belongs to the generation. */
	uint64_t ctl = load_acquire(&slab->ctl);
	struct slab_life life = {
		.slab = slab,
		.sc = &sizeclasses[load_relaxed(&slab_hot(slab)->class)],
		.gen = ctl_gen(ctl),
	};

	if (ctl_state(ctl) == SLAB_NONE)
		return;
	pages &= pages_clean(load_relaxed(&slab->pages));
	if (pages)
		(void)batch_take_pages(pass, ADVISE_CLEAN, &life, pages);
}

static void look(struct pass *pass)
{
	struct resident resident = { .fd = -1 };

	if (!looked.nr)
		return;
	fd_window_enter();
	resident_open(&resident);
	resident_count(&resident, looked.ranges, looked.nr, looked.backed,
		       NULL);
	resident_close(&resident);
	fd_window_leave();
	for (unsigned int i = 0; i < looked.nr; i++) {
		const struct advise_range *part = &looked.ranges[i];
		unsigned int first = (unsigned int)
			(((uintptr_t)part->start & (SLAB_SIZE - 1)) >>
			 map_page_shift);

		if (looked.backed[i])
			give_back(pass, slab_of(part->start), (unsigned int)
				  bits_range(first, first + (unsigned int)
					     (part->len >> map_page_shift)));
	}
	looked.nr = 0;
}

/* Remember the clean pages of @slab as ranges to look at. */
static void add_slab(struct slab *slab)
{
	uint64_t pages = pages_clean(load_relaxed(&slab->pages));

	while (pages)
		looked.ranges[looked.nr++] =
			batch_part_of(slab, bits_take_run(&pages));
}

/* As many slabs as have room.  Whether there are more. */
static bool step_slabs(struct pass *pass)
{
	size_t nr = load_relaxed(&range.fresh) >> SLAB_SHIFT;
	size_t end = min(nr, place.slab + STEP_SLABS);

	while (place.slab < end && looked.nr + SLAB_PAGES_MAX / 2 <= NR_LOOKED) {
		size_t i = place.slab++;

		if (slab_kind_has_slots(load_acquire(&hot_at(i)->kind)))
			add_slab(range.slabs + i);
	}
	look(pass);
	batch_end(pass);
	return place.slab < nr;
}

/* One run; neighbours join when they are settled, so that some come twice. */
static bool step_runs(struct pass *pass)
{
	const struct run_order wanted = {
		.from = RUN_CLEAN,
		.until_ms = pass->now_ms,
		.max_nr = SIZE_MAX,
	};
	size_t bytes = batch_take_run(pass, ADVISE_CLEAN, &wanted);

	/* One at a time: what is clean may be all there is. */
	batch_end(pass);
	place.run_bytes -= min(place.run_bytes, (uint64_t)bytes);
	return bytes && place.run_bytes;
}

/* Uncommitted runs cannot be backed, and would be made so anew. */
static bool begin_runs(void)
{
	place.at_runs = !batch_is_strict();
	place.run_bytes = run_counted(in_state[RUN_CLEAN]);
	return place.at_runs && place.run_bytes;
}

bool audit_step(struct pass *pass)
{
	bool more;

	pass->auditing = true;
	if (place.at_runs)
		more = step_runs(pass);
	else
		more = step_slabs(pass) || begin_runs();
	pass->auditing = false;
	if (!more)
		place = (struct place){ 0 };
	return more;
}
