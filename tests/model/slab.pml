/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - Model of the slab word
 *
 * Models src/heap/slab.c: slab_init, slab_publish, slab_credit, slab_claim,
 * slab_debit, slab_unclaim, slab_make_full, slab_try_state, slab_retire,
 * slab_avail_push; src/heap/heap.c: relist, pop_avail, pop_for, take_partial,
 * take_aside, take_full, heap_reap, heap_share, orphan_slabs; src/heap/orphan.c:
 * orphan_take, orphan_adopt, orphan_reap; src/heap/bypass.c: slab_take_one's
 * and slab_take_group's users, install, let_go, bypass_take_over;
 * src/heap/magazine.c: refill_from, magazine_refill; src/reclaim/claim.c:
 * claim_pages, publish_pages.
 *
 * Who: a thread that owns the slab; a publisher of slots that the program
 * freed; and a stranger that claims behind the owner's back, one slot as the
 * bypass does, some of one word as first refills do, or all as the reclaimer
 * does.  One slab, which is retired and made anew in a class with another
 * number of slots: two, or one.  Each slot's bit is a word of its own, so
 * claims of several are not atomic.
 *
 * With CLOSES the slab has one life of two slots, and the thread ends, or shares
 * the slab and goes on; its heap becomes another thread's; the orphans' thread
 * reaps the slab, lends it to the bypass as a spare one, and lets go of it.
 *
 * Abstracted: a loop of compare-and-swap is one step, since what it stores
 * follows from the value it replaced; memory is sequentially consistent, as
 * all that is shared here is changed by read-modify-writes that acquire and
 * release; an eighth of the slots is one; GENS lives; magazines, lists and
 * stacks are sets, as there is one slab.  orphan_lock is a lock.
 *
 * Claims: no slot is owned by two; the owner's claim is never refused; a
 * popped slab is QUEUED; a slab is on one stack at most; whoever retires a
 * slab is alone: no slot is taken, nobody is inside publish, it is on no
 * stack; a stranger never gets a slot of a class it did not ask for.  When
 * all rest: the count equals the bits, each slot is free or taken, and the
 * slab is to be found: current, spare, listed, on the stack, set aside, or
 * FULL without a free slot.
 *
 * Mutants: what follows an #ifdef of COUNT_FIRST, QUEUE_BY_LOOKING,
 * UNCLAIM_TELLS_NOBODY, NO_GENERATION, RETIRE_BY_BITS, RETIRE_QUEUED,
 * KEEP_WHAT_WAS_READ, ONE_LOOK, STACK_STAYS_OPEN, FORGET_ASIDE,
 * TAKE_OVER_BY_LOOKING, SHARE_ASIDE.
 */
#ifdef CLOSES
#define GENS	1
#else
#define GENS	2
#endif

/* enum slab_state */
#define NONE	0
#define ACTIVE	1
#define LISTED	2
#define FULL	3
#define QUEUED	4

/* Owners, and whose list the slab is on */
#define NOBODY	0
#define HEAP_A	1
#define ORPHANS	2

/* What a stack holds */
#define EMPTY	0
#define HAS	1
#define CLOSED	2

#define NR(class)	(2 - (class))
#define ALL(class)	((class) -> 1 : 3)
#define ONES(mask)	(((mask) & 1) + ((mask) >> 1))

#ifdef RETIRE_QUEUED
#define MAY_RETIRE	true
#else
#define MAY_RETIRE	(state != QUEUED)
#endif

#ifdef RETIRE_BY_BITS	/* whoever has not counted yet is forgotten */
#define COUNTED(g)	true
#else
#define COUNTED(g)	(count == nr_slots && gen == (g))
#endif

/* The slab; count, state and gen are one word */
short count;
byte state, gen;
byte bits;
bit class;
byte nr_slots;
byte owner;

byte stack_a, stack_o;
byte list;		/* whose list the slab is on */
bool current, spare;
bool aside;		/* popped, to be refilled from */
bool orphan_locked;

/* The program and the proof */
byte mail;		/* slots the program has, for anybody to free */
byte taken;		/* slots that somebody owns */
byte inside;		/* publishers that have set bits and are not done */
byte working;		/* processes in the middle of something */

inline begin() { working++ }

inline done()
{
	atomic {
		working--;
		if
		:: working == 0 ->
			assert(state == NONE || count == ONES(bits));
			assert(!(bits & taken));
			assert(state == NONE || (bits | taken) == ALL(class));
			assert(state != NONE || !(bits | taken));
			assert(state != ACTIVE || current || spare);
			assert(state != LISTED || list == owner);
			assert(state != FULL || count < 1);
			assert(state != QUEUED ||
			       (stack_a == HAS) + (stack_o == HAS) + aside == 1);
			assert(!aside || state == QUEUED);
		:: else
		fi
	}
}

/* stack_push() on the owner's stack, or else the orphans'; the last access */
inline avail_push(where, n)
{
	where = owner;
	atomic {
		assert(stack_a != HAS && stack_o != HAS && !aside);
		if
		:: where == HEAP_A && stack_a == EMPTY ->
			stack_a = HAS; where = NOBODY; inside = inside - n
		:: where == ORPHANS ->
			stack_o = HAS; where = NOBODY; inside = inside - n
		:: else
		fi
	}
	atomic {
		if
		:: where ->
			assert(stack_a != HAS && stack_o != HAS);
			stack_o = HAS; where = NOBODY; inside = inside - n
		:: else
		fi
	}
}

inline credit(n, slots, where)
{
	slots = nr_slots;
	atomic {
		count = count + n;
#ifdef QUEUE_BY_LOOKING	/* whoever sees FULL pushes, not who changed it */
		where = (state == FULL || state == QUEUED) && count >= 1;
#else
		where = (state == FULL && count >= 1) ||
			(state == LISTED && count == slots);
#endif
		slots = 0;
		if
		:: where -> state = QUEUED
		:: else -> inside = inside - n
		fi
	}
	if
	:: where ->
		where = 0;
		avail_push(where, n)
	:: else
	fi
}

inline set_bits(m)
{
	atomic {
		assert((taken & m) == m && !(bits & m));
		taken = taken & ~m;
		bits = bits | m
	}
}

/* slab_publish() of one word */
inline publish(m, slots, where)
{
#ifdef COUNT_FIRST	/* told free before it is */
	inside++;
	credit(1, slots, where);
	set_bits(m);
#else
	atomic { inside++; set_bits(m) };
	credit(1, slots, where);
#endif
}

inline unclaim(m, slots, where)
{
	bits = bits | m;
#ifndef UNCLAIM_TELLS_NOBODY
	credit(0, slots, where)
#endif
}

/* slab_claim() of each word; all at once where that would be too much */
inline claim(got, m)
{
#ifdef CLOSES
	atomic { got = bits & m; bits = bits & ~m }
#else
	atomic { got = bits & m & 1; bits = bits & ~(m & 1) };
	atomic { got = got | (bits & m & 2); bits = bits & ~(m & 2) }
#endif
}

/* slab_debit(); ok is its result.  What was claimed has an owner then. */
inline debit(m, g, ok)
{
	atomic {
#ifdef NO_GENERATION	/* any life of the slab will do */
		ok = state != NONE;
#else
		ok = state != NONE && gen == g;
#endif
		if
		:: ok ->
			count = count - ONES(m);
			assert(!(taken & m));
			taken = taken | m
		:: else
		fi
	}
}

/* Invariant (6): who retires a slab holds all of it */
inline retire(ok, g, got)
{
	atomic {
		g = gen;
		ok = (count == nr_slots && MAY_RETIRE)
	}
	if
	:: ok ->
		claim(got, 3);
		atomic {
			ok = (got == ALL(class) && COUNTED(g) && MAY_RETIRE);
			if
			:: ok ->
				assert(!taken && !inside);
				assert(stack_a != HAS && stack_o != HAS);
				assert(!aside);
				state = NONE;
				count = 0;
				list = NOBODY;
				owner = NOBODY
			:: else -> bits = bits | got
			fi;
			got = 0
		}
	:: else
	fi;
	g = 0
}

/* slab_init(), in the order of its stores; the run is the caller's alone */
inline make(c, who)
{
	atomic { class = c; nr_slots = NR(c); bits = bits | 1 };
	bits = bits | (ALL(c) & 2);
	atomic {
		count = NR(c);
		state = ACTIVE;
		gen++
	}
	owner = who
}

inline relist(who, ok, g, got)
{
	atomic {
		assert(state == QUEUED && list == who ||
		       state == QUEUED && who == ORPHANS);
		list = who;
		state = LISTED;
		ok = count == nr_slots
	}
	if
	:: ok -> retire(ok, g, got)
	:: ok	/* keep_one */
	:: else
	fi
}

inline pop_a(ok, g, got, where)
{
	atomic {
		ok = stack_a == HAS;
		if
		:: ok -> stack_a = EMPTY
		:: else
		fi
	}
	if
	:: ok && owner == HEAP_A -> relist(HEAP_A, ok, g, got)
	:: ok && owner != HEAP_A -> avail_push(where, 0)
	:: else
	fi
}

/* The same for a class: what is wholly free, and of it, is set aside */
inline pop_for_a(ok, g, got, where)
{
	atomic {
		ok = stack_a == HAS;
		if
		:: ok -> stack_a = EMPTY
		:: else
		fi
	}
	if
	:: ok && owner == HEAP_A && count == nr_slots -> aside = true
	:: ok && owner == HEAP_A -> relist(HEAP_A, ok, g, got)
	:: ok && owner != HEAP_A -> avail_push(where, 0)
	:: else
	fi
}

/* take_in_aside(): before fresh memory, a drain, the end */
inline take_in_aside(ok, g, got)
{
	if
	:: aside ->
		aside = false;
#ifndef FORGET_ASIDE
		relist(HEAP_A, ok, g, got)
#endif
	:: else
	fi
}

inline pop_o(ok, g, got, where)
{
	atomic {
		ok = stack_o == HAS;
		if
		:: ok -> stack_o = EMPTY
		:: else
		fi
	}
	if
	:: ok && owner == ORPHANS -> relist(ORPHANS, ok, g, got)
	:: ok && owner != ORPHANS -> avail_push(where, 0)
	:: else
	fi
}

inline lock_orphans() { atomic { !orphan_locked -> orphan_locked = true } }
inline unlock_orphans() { orphan_locked = false }

inline orphan_take()
{
	lock_orphans();
	owner = ORPHANS;
	list = ORPHANS;
	unlock_orphans()
}

/* heap_reap() of what is in state st */
inline reap(ok, g, got)
{
	if
	:: count == nr_slots ->
		retire(ok, g, got);
		if
		:: ok -> current = false
		:: else
		fi
	:: else
	fi
}

/* magazine_refill(): from the current slab, one slot or all, or FULL */
inline refill(seen, g, got, ok)
{
	atomic { seen = count; g = gen };
	got = bits;
	if
	:: got == 3 -> got = 1
	:: got != 0
	:: got == 0
	fi;
	if
	:: got != 0 ->
		atomic {
#ifdef KEEP_WHAT_WAS_READ
			bits = bits & ~got
#else
			g = got;
			got = got & bits;
			bits = bits & ~g;
			g = gen
#endif
		}
	:: else
	fi;
	if
	:: got != 0 ->
		debit(got, g, ok);
		assert(ok);
		atomic { mail = mail | got; got = 0 }
	:: else ->
		/* What decides that there is nothing is a scan of all */
		if
		:: bits == 0 ->
			atomic {
				ok = count == seen;
				if
				:: ok -> state = FULL
				:: else
				fi
			}
#ifndef ONE_LOOK	/* a sweep took all and put it back: as it was seen */
			if
			:: ok && bits ->
				atomic {
					if
					:: state == FULL ->
						state = ACTIVE; ok = false
					:: else
					fi
				}
			:: else
			fi;
#endif
			atomic {
				if
				:: ok -> current = false; list = HEAP_A
				:: else
				fi
			}
		:: else
		fi
	fi;
	atomic { seen = 0; g = 0; ok = 0 }
}

/* heap_next_slab(): listed, FULL with bits, the orphans', or fresh */
inline next_slab(ok, g, got, where)
{
	pop_for_a(ok, g, got, where);
	if
	:: aside ->
		if
		:: atomic { true ->
			assert(state == QUEUED && owner == HEAP_A);
			state = ACTIVE; aside = false; list = NOBODY;
			current = true }
		:: take_in_aside(ok, g, got)
		:: true		/* of another class than is asked for */
		fi
	:: !aside && list == HEAP_A ->
		atomic {
			if
			:: state == LISTED ->
				state = ACTIVE; list = NOBODY; current = true
			:: else
			fi
		};
		if
		:: !current && list == HEAP_A && bits ->
			atomic {
				if
				:: state == FULL ->
					state = ACTIVE; list = NOBODY;
					current = true
				:: else
				fi
			}
		:: else
		fi
	:: else ->
		lock_orphans();
		pop_o(ok, g, got, where);
		atomic {
			if
			:: list == ORPHANS && state == LISTED ->
				state = ACTIVE; list = NOBODY; current = true
			:: else
			fi
		};
		if
		:: current -> owner = HEAP_A
		:: else
		fi;
		unlock_orphans()
	fi;
	ok = 0
}

bool run_is_free = true;	/* its zone's lock decides who gets the run */

proctype thread_a()
{
	bool open = true, ok;
	byte g, got, where;
	short seen;

end:	do
	:: atomic { open && current -> begin() };
		refill(seen, g, got, ok);
		done()
	:: atomic { open && !current && state != NONE -> begin() };
		ok = 0;
		next_slab(ok, g, got, where);
		if
		:: atomic { state == NONE && !run_is_free && owner == NOBODY ->
			run_is_free = true }
		:: else
		fi;
		done()
	:: atomic { open && !current && state == NONE && run_is_free &&
		    gen < GENS -> run_is_free = false; begin() };
		if
		:: make(0, HEAP_A)
#ifndef CLOSES
		:: make(1, HEAP_A)
#endif
		fi;
		current = true;
		done()
	:: atomic { open && (current || list == HEAP_A) -> begin() };
		/* heap_reap() */
		take_in_aside(ok, g, got);
		pop_a(ok, g, got, where);
		if
		:: current || (list == HEAP_A && state == LISTED) ->
			reap(ok, g, got)
		:: else
		fi;
		atomic {
			if
			:: state == NONE && owner == NOBODY ->
				run_is_free = true
			:: else
			fi;
			ok = 0
		};
		done()
#ifdef CLOSES
	:: atomic { open && !current && spare -> begin() };
		/* bypass_take_over() */
		atomic {
			ok = spare;
#ifndef TAKE_OVER_BY_LOOKING	/* others find it as well */
			spare = false
#endif
		};
		if
		:: ok ->
			owner = HEAP_A;
			current = true;
			spare = false
		:: else
		fi;
		ok = false;
		done()
	:: atomic { open && list == HEAP_A -> begin() };
		/* heap_share(), after heap_reap(): the stack stays open */
#ifndef SHARE_ASIDE
		take_in_aside(ok, g, got);
#endif
		if
		:: list == HEAP_A && state != NONE -> orphan_take()
		:: else
		fi;
		atomic {
			if
			:: state == NONE && owner == NOBODY ->
				run_is_free = true
			:: else
			fi;
			ok = 0
		};
		done()
	:: atomic { open -> begin() };
		/* orphan_slabs(), after heap_reap() */
		take_in_aside(ok, g, got);
		atomic {
			ok = stack_a == HAS;
#ifdef STACK_STAYS_OPEN
			stack_a = EMPTY
#else
			stack_a = CLOSED
#endif
		};
		if
		:: ok && owner == HEAP_A -> relist(HEAP_A, ok, g, got)
		:: ok && owner != HEAP_A -> avail_push(where, 0)
		:: else
		fi;
		if
		:: current ->
			current = false;
			state = LISTED;
			orphan_take()
		:: else ->
			if
			:: list == HEAP_A -> orphan_take()
			:: else
			fi
		fi;
		atomic {
			if
			:: state == NONE && owner == NOBODY ->
				run_is_free = true
			:: else
			fi;
			ok = 0; open = false
		};
		done()
	:: atomic { !open -> open = true; stack_a = EMPTY }
#endif
	od
}

proctype orphans()
{
	bool ok;
	byte g, got, where;

end:	do
	:: atomic { stack_o == HAS || list == ORPHANS -> begin() };
		/* orphan_reap() */
		lock_orphans();
		pop_o(ok, g, got, where);
		if
		:: list == ORPHANS && state == LISTED && count == nr_slots ->
			retire(ok, g, got)
		:: else
		fi;
		atomic {
			if
			:: state == NONE && owner == NOBODY ->
				run_is_free = true
			:: else
			fi;
			ok = 0
		};
		unlock_orphans();
		done()
	:: atomic { list == ORPHANS && state == LISTED && !spare -> begin() };
		/* orphan_slab() and install() */
		lock_orphans();
		atomic {
			if
			:: list == ORPHANS && state == LISTED ->
				state = ACTIVE; list = NOBODY; spare = true
			:: else
			fi
		};
		unlock_orphans();
		done()
	:: atomic { spare -> begin(); spare = false };
		/* let_go(), by who took it out */
		do
		:: got = count;
			atomic {
				if
				:: count == got ->
					state = (count > 0 -> QUEUED : FULL);
					ok = state == QUEUED; got = 0; break
				:: else
				fi;
				got = 0
			}
		od;
		if
		:: ok -> avail_push(where, 0)
		:: else
		fi;
		ok = 0;
		done()
	od
}

proctype publisher()
{
	byte m, slots, where;

end:	do
	:: atomic { mail & 1 -> begin(); m = 1; mail = mail & ~1 };
		publish(m, slots, where);
		atomic { m = 0; done() }
	:: atomic { mail & 2 -> begin(); m = 2; mail = mail & ~2 };
		publish(m, slots, where);
		atomic { m = 0; done() }
	od
}

proctype stranger()
{
	byte got, g, c, slots, where;
	bool ok;

end:	do
	:: atomic { state != NONE && bits -> begin(); g = gen };
		c = class;
		if
		:: /* slab_take_one(), slab_take_group() */
			if
			:: got = (bits & 1 -> 1 : bits & 2)
			:: got = bits
			fi;
			atomic { g = g * 4 + got; got = got & bits;
				 bits = bits & ~(g & 3); g = g / 4 };
			if
			:: got != 0 ->
				debit(got, g, ok);
				if
				:: ok ->
					assert(class == c);
					atomic { mail = mail | got }
				:: else -> unclaim(got, slots, where)
				fi
			:: else
			fi
		:: /* claim_pages(), then publish_pages() */
			claim(got, ALL(c));
			if
			:: got && got != ALL(c) -> unclaim(got, slots, where)
			:: got == ALL(c) ->
				debit(got, g, ok);
				if
				:: ok ->
					assert(class == c);
					publish(1, slots, where);
					if
					:: got == 3 -> publish(2, slots, where)
					:: else
					fi
				:: else -> unclaim(got, slots, where)
				fi
			:: else
			fi
		fi;
		atomic { got = 0; g = 0; c = 0; ok = 0; done() }
	od
}

init
{
	atomic {
		run thread_a();
#ifdef CLOSES
		run orphans();
#endif
		run publisher();
		run stranger()
	}
}
