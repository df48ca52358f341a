/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - Model of the reclaimer's sleep and of waking it
 *
 * Models src/reclaim/sleep.c: go_to_sleep, wait_for_any, drain_signal,
 * wake_up, reclaimer_wake, send_wake, level_is_reached; src/acct/account.c:
 * account_look; src/api/init.c: init_after_slow, see_to_pass;
 * src/reclaim/purge.c: purge_dirty_estimate.
 *
 * Who: the reclaimer, and two threads that each free enough to pass the wake
 * level, once.
 *
 * Memory: each store, the relaxed additions to the dirty bytes included, goes
 * through a buffer of its thread's and reaches memory later, in any order (a
 * weaker machine than any we build for); a fence, a compare-and-swap and an
 * exchange that acquires drain the buffer first.  A load sees memory.
 *
 * Abstracted: bytes are counted in wake levels, so the level is "any" or out
 * of reach; there is no tick and no source, which would only hide a wake that
 * was lost; the signal is a bit, since it is queued once.
 *
 * Claim: when nobody can go on, nothing is free that the reclaimer has not
 * seen: its sleep is not the end while there is something.
 *
 * Mutants: what follows an #ifdef of NO_SECOND_LOOK, NO_FENCE_ASLEEP,
 * NO_FENCE_AWAKE, NO_FENCE_LOOK, LEVEL_LAST, WANTED_LAST, DRAIN_AFTER.
 */
#define AWAKE	0
#define ASLEEP	1
#define WOKEN	2

byte dirty;
bit level;		/* 1: anything shall wake */
bit wanted;
byte sleep_word;
bool signal;

/* Stores of the reclaimer that are not in memory yet: 2 for none */
byte pending_level = 2;
byte pending_word = 3;

inline fence_reclaimer()
{
	atomic {
		if
		:: pending_level != 2 -> level = pending_level
		:: else
		fi;
		if
		:: pending_word != 3 -> sleep_word = pending_word
		:: else
		fi;
		pending_level = 2;
		pending_word = 3
	}
}

byte seen;		/* what the reclaimer's last pass found */

proctype reclaimer()
{
	bool more;

	do
	:: true ->
		/* A pass: it takes what there is. */
		dirty = 0;
		/* go_to_sleep() */
#ifdef LEVEL_LAST	/* asleep before it says what shall wake it */
		pending_word = ASLEEP;
		fence_reclaimer();
		more = dirty > 0;
		pending_level = 1;
#else
		pending_level = 1;
		pending_word = ASLEEP;
#ifndef NO_FENCE_ASLEEP
		fence_reclaimer();
#endif
#ifdef NO_SECOND_LOOK
		more = false;
#else
		more = dirty > 0;
#endif
#endif
		if
		:: more
		:: else ->
#ifdef DRAIN_AFTER	/* the signal of this sleep is taken for old */
			signal = false;
#endif
end:			atomic { signal -> signal = false }
		fi;
		/* wake_up(): the exchange drains what was pending */
		atomic {
			fence_reclaimer();
			level = 0;
			sleep_word = AWAKE
		}
		more = false
	od
}

/* Its stores reach memory by and by, in any order */
proctype cache()
{
end:	do
	:: atomic { pending_level != 2 ->
		level = pending_level; pending_level = 2 }
	:: atomic { pending_word != 3 ->
		sleep_word = pending_word; pending_word = 3 }
	od
}

/* One that frees, and the buffer of its stores: one is added, wanted is... */
#define UNSAID	0
#define YES	1
#define NO	2

bit adds[2];
byte wants[2];

inline fence_freer()
{
	atomic {
		dirty = dirty + adds[me];
		adds[me] = 0;
		if
		:: wants[me] -> wanted = wants[me] == YES
		:: else
		fi;
		wants[me] = UNSAID
	}
}

proctype freer(bit me)
{
	byte word;

	adds[me] = 1;
	/* account_look() */
#ifndef NO_FENCE_LOOK
	fence_freer();
#endif
	/* What it added it sees, in memory or not */
	if
	:: level -> wants[me] = YES
	:: else
	fi;
	/* see_to_pass() */
	if
	:: wants[me] == YES || (wants[me] == UNSAID && wanted) ->
#ifndef WANTED_LAST
		wants[me] = NO;
#endif
		/* reclaimer_wake() */
#ifndef NO_FENCE_AWAKE
		fence_freer();
#endif
		word = sleep_word;
		if
		:: word == ASLEEP && (dirty + adds[me]) ->
			atomic {
				fence_freer();
				if
				:: sleep_word == ASLEEP ->
					sleep_word = WOKEN;
					word = WOKEN
				:: else -> word = AWAKE
				fi
			}
			if
			:: word == WOKEN -> signal = true
			:: else
			fi
		:: else
		fi;
#ifdef WANTED_LAST	/* forgets what another has wanted meanwhile */
		wants[me] = NO
#endif
	:: else
	fi;
	word = 0
}

proctype caches_of(bit me)
{
end:	do
	:: atomic { adds[me] -> dirty = dirty + adds[me]; adds[me] = 0 }
	:: atomic { wants[me] ->
		wanted = wants[me] == YES; wants[me] = UNSAID }
	od
}

proctype proof()
{
	atomic {
		timeout ->	/* nobody else can go on */
		assert(dirty == 0)
	}
}

init
{
	atomic {
		run reclaimer();
		run cache();
		run freer(0);
		run freer(1);
		run caches_of(0);
		run caches_of(1);
		run proof()
	}
}
