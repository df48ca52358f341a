/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - Model of claiming a page and of the dirty queue
 *
 * Models src/reclaim/purge.c: collect_published, sweep, purge_slabs;
 * src/reclaim/claim.c: claim_pages, publish_pages;
 * src/reclaim/batch.c: settle_pages;
 * src/heap/slab.c: slab_publish,
 * slab_unclaim, slab_dirty_push, slab_dirty_pop_all, slab_take_one;
 * src/heap/slab.h: slab_claim, slab_touch, slab_dirty_seen;
 * src/heap/magazine.c: refill_from, touch_pages.
 *
 * Who: two threads that take slots (by refill or by the bypass, which differ
 * in the slab word only: slab.pml) and free them; the reclaimer, which makes
 * passes; the kernel, which takes a lazy page at any moment before it is
 * written to.  One page, which two slots touch, whose bits lie in two words.
 *
 * Abstracted: the slab word (slab.pml); ages: each pass picks what it likes
 * of nothing, MADV_FREE and MADV_DONTNEED; a refusal of the kernel; a pass
 * has one slab and one batch.  Memory is sequentially consistent: bits,
 * pages and dirty_queued are changed by read-modify-writes only, and what
 * orders two of them is named at each.
 *
 * Claims: a slot that is said to read as zero does; what a thread wrote to its
 * slot stays there while it is its own; a page is given to the kernel only
 * while the reclaimer holds all slots on it.  When all rest: a page that is
 * free and not clean is on the dirty queue or on the aging list.
 *
 * Mutants: what follows an #ifdef of PUBLISH_FIRST, TOUCH_FIRST, LAZY_IS_ZERO,
 * KEEP_MARKS, PART_OF_A_PAGE, PUSH_FIRST, SEEN_LAST, UNCLAIM_QUIETLY,
 * REFUSED_QUIETLY.
 */
byte bits = 3;
bool clean = true;	/* slab->pages, of this page */
bool lazy;
bool dirty_queued;
bool queue;		/* the slab is on the dirty queue */
bool aging;		/* on the aging list: slab->swept */

/* What the slots' memory holds: 0, or who wrote there */
byte memory[2];
bool kernel_may;	/* MADV_FREE was accepted, nobody wrote since */

byte holder[2];		/* the proof: who owns a slot; 3: the reclaimer */
byte working;

inline done()
{
	atomic {
		working--;
		if
		:: working == 0 ->
			assert(bits != 3 || clean || queue || aging);
			assert(dirty_queued == queue)
		:: else
		fi
	}
}

inline dirty_push(had)
{
	atomic { had = dirty_queued; dirty_queued = true };
	if
	:: had
	:: else -> queue = true
	fi;
	had = false
}

/* Slot s, its bit 1 << s */
inline claim(s, got)
{
	atomic {
		got = (bits >> s) & 1;
		bits = bits & ~(1 << s);
		if
		:: got -> assert(!holder[s]); holder[s] = _pid
		:: else
		fi
	}
}

inline set_bit(s)
{
	atomic {
		assert(holder[s] == _pid);
		holder[s] = 0;
		bits = bits | (1 << s)
	}
}

#ifdef PUSH_FIRST	/* the sweep looks before there is anything */
#define PUBLISH(s, had)	dirty_push(had); set_bit(s)
#else
#define PUBLISH(s, had)	set_bit(s); dirty_push(had)
#endif

/* slab_unclaim(): what was no whole page, or of another life of the slab */
inline unclaim(s, had)
{
	set_bit(s);
#ifndef UNCLAIM_QUIETLY
	dirty_push(had)
#endif
}

/* slab_touch() */
inline touch(zero)
{
	atomic {
#ifdef LAZY_IS_ZERO	/* the kernel may not have taken it yet */
		zero = clean || lazy;
#else
		zero = clean;
#endif
#ifndef KEEP_MARKS
		clean = false;
		lazy = false
#endif
	}
}

proctype thread()
{
	bool got, zero, had;
	bit s;

end:	do
	:: atomic {
		working++;
		if
		:: s = 0
		:: s = 1
		fi
	   }
#ifdef TOUCH_FIRST	/* a claim of the page can come in between */
		touch(zero);
		claim(s, got);
#else
		claim(s, got);
#endif
		if
		:: got -> unclaim(s, had)	/* slab_debit() refuses */
		:: got ->
#ifndef TOUCH_FIRST
			touch(zero);
#endif
			assert(!zero || !memory[s]);
			atomic { memory[s] = _pid; kernel_may = false };
			done();
			/* Others come and go while it is in use. */
			atomic { true -> working++ };
			assert(memory[s] == _pid);
			PUBLISH(s, had)
		:: else
		fi;
		atomic { got = false; zero = false; s = 0; done() }
	od
}

proctype kernel()
{
end:	do
	:: atomic { kernel_may ->
		memory[0] = 0; memory[1] = 0; kernel_may = false }
	od
}

inline settle(had)
{
	/* The batch: MADV_DONTNEED, MADV_FREE, or the kernel refuses. */
	if
	:: atomic {
		assert(holder[0] == _pid && holder[1] == _pid);
		memory[0] = 0; memory[1] = 0; kernel_may = false };
#ifdef PUBLISH_FIRST
		set_bit(0);
		set_bit(1);
		clean = true;
#else
		lazy = false;
		clean = true;
		set_bit(0);
		set_bit(1);
#endif
	:: atomic {
		assert(holder[0] == _pid && holder[1] == _pid);
		kernel_may = !clean };
		atomic { lazy = true; aging = true };
		set_bit(0);
		set_bit(1)
	:: true ->
		set_bit(0);
		set_bit(1);
#ifndef REFUSED_QUIETLY
		dirty_push(had)
#endif
	fi
}

inline sweep(had, free, got)
{
	/* slab_free_pages(), word by word */
	free = bits & 1;
	free = free && (bits & 2);
	if
	:: free && !clean ->
		if
		:: true	/* too young: it stays */
		:: true ->
			claim(0, got);
			free = got;
			claim(1, got);
			if
			:: free && got -> aging = false; settle(had)
#ifdef PART_OF_A_PAGE	/* what was read as free, not what was got */
			:: free && !got ->
				atomic { memory[0] = 0; memory[1] = 0 };
				unclaim(0, had)
#else
			:: free && !got -> unclaim(0, had)
#endif
			:: !free && got -> unclaim(1, had)
			:: !free && !got
			fi
		fi
	:: else -> aging = false
	fi;
	free = false;
	got = false
}

proctype reclaimer()
{
	bool had, free, got;

end:	do
	:: atomic { queue || aging -> working++ };
		/* collect_published() */
		atomic { had = queue; queue = false };
		if
		:: had ->
#ifdef SEEN_LAST	/* what is published until then is never seen */
			sweep(had, free, got);
			dirty_queued = false
#else
			dirty_queued = false;
			aging = true
#endif
		:: else
		fi;
		had = false;
		if
		:: aging -> sweep(had, free, got)
		:: else
		fi;
		done()
	od
}

init
{
	atomic {
		run thread();
		run thread();
		run reclaimer();
		run kernel()
	}
}
