/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - Model of the bin, by which frees of one's own look closely
 *
 * Models src/heap/stranger.h: stranger_mark, stranger_note_holes,
 * stranger_settle; src/heap/stranger.c: stranger_note_kept; src/api/free.c:
 * free, free_closely; src/reclaim/batch.c: what makes holes.
 *
 * Who: a slab's owner, which frees, settles the bin and takes pages back in any
 * order; a keeper, which three times takes a slot of the slab over and hands it
 * to the owner; the reclaimer, which gives a page back twice.
 *
 * Memory: the keeper's entry and the reclaimer's page word go through a buffer
 * and reach memory later; a fence, an exchange and a compare-and-swap drain it
 * first.  What is handed over is seen with what was stored before.
 *
 * Abstracted: one slot and one page; the magazine is full only by the bin.
 *
 * Claims: the owner's free of a slot that was handed over does not take it for
 * its own, and while a page that was noted is gone no free trusts its key.
 *
 * Mutants: what follows an #ifdef of STORE_WITHOUT_FENCE, LEAVE_LOOKING,
 * FORGET_HOLES, LOOK_BEFORE, HOLES_BEFORE, HOLES_IF_SET, HOLES_UNFENCED.
 */
#define FAST		0
#define STRANGERS	1
#define HOLES		2
#define LOOKING		3

byte bin;
bit entry, gone;	/* in memory */
bit late_entry, late_gone;	/* in the keeper's, the reclaimer's buffer */
bit handed;		/* the slot is the keeper's account's, and the owner's */
bit noted;		/* the page is free, and the reclaimer is done with it */

/* @to: what bin becomes if it is @from; else @from is what it is. */
inline cas(from, to)
{
	atomic {
		if
		:: bin == from -> bin = to; swapped = true
		:: else -> from = bin; swapped = false
		fi
	}
}

inline note_holes(seen)
{
	seen = bin;
	swapped = false;
	do
	:: seen != HOLES && !swapped -> cas(seen, HOLES)
	:: else -> break
	od
}

inline mark(seen)
{
	seen = bin;
	swapped = false;
	do
#ifdef LEAVE_LOOKING	/* the owner is looking anyway */
	:: seen == FAST && !swapped -> cas(seen, STRANGERS)
#else
#ifdef FORGET_HOLES	/* what leads to a look is as good */
	:: seen != STRANGERS && !swapped -> cas(seen, STRANGERS)
#else
	:: (seen == FAST || seen == LOOKING) && !swapped ->
		cas(seen, STRANGERS)
#endif
#endif
	:: else -> break
	od
}

inline settle()
{
	seen = bin;
	if
	:: seen != FAST && !gone ->
		found = FAST;
#ifdef LOOK_BEFORE
		if
		:: entry -> found = STRANGERS
		:: else
		fi;
#endif
		cas(seen, LOOKING);
		if
		:: swapped ->
#ifndef LOOK_BEFORE
			if
			:: entry -> found = STRANGERS
			:: else
			fi;
#endif
			seen = LOOKING;
			cas(seen, found);
#ifndef HOLES_BEFORE	/* one look at the pages, before */
			if
#ifdef HOLES_IF_SET	/* whoever changed it knows of them */
			:: gone && swapped -> note_holes(seen)
#else
			:: gone -> note_holes(seen)
#endif
			:: else
			fi
#endif
		:: else
		fi
	:: else
	fi
}

proctype owner()
{
	byte seen, found;
	bool swapped;

end:	do
	:: settle()
	:: atomic { handed ->	/* free() */
		assert(bin == STRANGERS || bin == HOLES);
		entry = 0;
		handed = 0 }
	:: atomic { noted ->	/* free() of what lies in that page */
		assert(bin == HOLES) }
	:: atomic { noted ->	/* the page is taken into use */
		gone = 0;
		noted = 0 }
	od
}

proctype keeper()
{
	byte seen, nr;
	bool swapped;

	do
	:: nr < 3 ->
		late_entry = 1;
#ifndef STORE_WITHOUT_FENCE
		atomic { entry = entry | late_entry; late_entry = 0 }
#endif
		mark(seen);
		/* The owner gets it, and with it what was stored before. */
		atomic {
			entry = entry | late_entry;
			late_entry = 0;
			handed = 1
		}
		!handed;
		nr++
	:: else -> break
	od
}

proctype reclaimer()
{
	byte seen, nr;
	bool swapped;

	do
	:: nr < 2 ->
		late_gone = 1;
#ifndef HOLES_UNFENCED
		atomic { gone = gone | late_gone; late_gone = 0 }
#endif
		note_holes(seen);
		atomic {
			gone = gone | late_gone;
			late_gone = 0;
			noted = 1
		}
end:		!noted;
		nr++
	:: else -> break
	od
}

/* Stores reach memory by and by */
proctype cache()
{
end:	do
	:: atomic { late_entry -> entry = 1; late_entry = 0 }
	:: atomic { late_gone -> gone = 1; late_gone = 0 }
	od
}

init
{
	atomic {
		run owner();
		run keeper();
		run reclaimer();
		run cache()
	}
}
