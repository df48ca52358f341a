/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - Model of the gate
 *
 * Models src/heap/heap.h: tcb_enter, tcb_leave, heap_get; src/heap/drain.c:
 * drain_gate, drain_gated, empty_heap_of, drain_caches; src/os/barrier.c:
 * barrier_all; src/api/malloc.c: malloc, malloc_nested; src/api/free.c: free,
 * free_nested.
 *
 * Who: a thread that allocates and frees, and within the bracket may be
 * interrupted by a handler that does the same; a drainer; the scheduler, which
 * takes the thread off its CPU and puts it back at any moment.
 *
 * Memory: total store order.  The stores of thread and drainer go through a
 * buffer each and reach memory later, in order; a load sees the own buffer
 * first.  A switch of threads drains the buffer, as any context switch does.
 * On weaker machines tcb_leave() and the gate's reopening are releases, so
 * that what counts is ordered as here.
 *
 * barrier_all() is MEMBARRIER (the buffer of a thread is drained wherever it
 * is) or, with SHOOTDOWN, an interrupt of the CPUs that run a thread of this
 * process at this moment, and of no others.
 *
 * Abstracted: a magazine is one word, which each user counts up and the
 * drainer clears; drain_lock, since there is one drainer.
 *
 * Claims: thread and drainer are never both at the magazine, and whoever reads
 * it sees what was last stored there.
 *
 * Mutants: what follows an #ifdef of NO_BARRIER, LOOK_FIRST, LATE_BUSY,
 * NESTED_CLEARS, NESTED_CACHES, REOPEN_EARLY, SWITCH_DRAINS_NOTHING.
 */
#define BUSY	0
#define HEAP	1
#define MAG	2

#define EMPTY	0	/* the gate is closed: the empty heap */
#define OWN	1

/* Memory, by its words */
byte memory[3];

chan of_thread = [4] of { byte, byte };
chan of_drainer = [4] of { byte, byte };

bool own_busy;		/* as the thread itself sees it */
byte own_mag, mags;	/* the last value of those it has in its buffer */

bool running = true;

/* The proof */
byte truth;
bool thread_there, drainer_there;

inline drain_thread()
{
	do
	:: nempty(of_thread) ->
		of_thread?w, x;
		memory[w] = x;
		mags = mags - (w == MAG)
	:: empty(of_thread) -> break
	od;
	w = 0;
	x = 0
}

inline drain_drainer()
{
	do
	:: nempty(of_drainer) -> of_drainer?w, x; memory[w] = x
	:: empty(of_drainer) -> break
	od;
	w = 0;
	x = 0
}

inline use_magazine()
{
	atomic {
		assert(!drainer_there);
		loaded = (mags -> own_mag : memory[MAG]);
		assert(loaded == truth);
		thread_there = true
	}
#ifdef NESTED_CACHES	/* a handler does what the interrupted one does */
	if
	:: true
	:: atomic {
		nfull(of_thread);
		truth = (truth + 1) % 3;
		own_mag = truth;
		mags++;
		of_thread!MAG, truth
	   }
	fi;
#endif
	atomic {
		nfull(of_thread);
		assert(!drainer_there);
		assert(loaded == truth);
		loaded = 0;
		truth = (truth + 1) % 3;
		own_mag = truth;
		mags++;
		of_thread!MAG, truth;
		thread_there = false
	}
}

inline set_busy(to)
{
	atomic { nfull(of_thread); own_busy = to; of_thread!BUSY, to }
}

/* A handler above the bracket: malloc_nested(), free_nested() */
inline handler()
{
	if
	:: true
#ifdef NESTED_CLEARS	/* as if it were the outermost */
	:: own_busy -> set_busy(0)
#endif
	fi
}

proctype thread() provided (running)
{
	byte heap, loaded;

end:	do
	:: true ->
#ifdef LATE_BUSY	/* loads the heap before it says that it is in */
		heap = memory[HEAP];
		set_busy(1);
#else
		set_busy(1);
		handler();
		heap = memory[HEAP];
#endif
		handler();
		if
		:: heap == OWN -> use_magazine()
		:: else		/* the bypass */
		fi;
		heap = 0;
		set_busy(0)
	od
}

/* The buffers reach memory by and by */
proctype cache()
{
	byte w, x;

end:	do
	:: atomic { nempty(of_thread) ->
		of_thread?w, x;
		memory[w] = x;
		mags = mags - (w == MAG);
		w = 0;
		x = 0
	   }
	:: atomic { nempty(of_drainer) ->
		of_drainer?w, x; memory[w] = x; w = 0; x = 0 }
	od
}

proctype scheduler()
{
	byte w, x;

end:	do
	:: atomic { running ->
#ifndef SWITCH_DRAINS_NOTHING
		drain_thread();
#endif
		running = false
	   }
	:: atomic { !running -> running = true }
	od
}

inline barrier_all()
{
	atomic {
		drain_drainer();
#ifdef NO_BARRIER
		skip
#else
		if
#ifdef SHOOTDOWN
		:: !running
		:: running -> drain_thread()
#else
		:: drain_thread()
#endif
		fi
#endif
	}
}

proctype drainer()
{
	byte w, x;
	bool idle;

end:	do
	:: true ->
#ifdef LOOK_FIRST
		idle = !memory[BUSY];
		of_drainer!HEAP, EMPTY;
		barrier_all();
#else
		of_drainer!HEAP, EMPTY;
		barrier_all();
		idle = !memory[BUSY];
#endif
		if
		:: idle ->
			atomic {
				assert(!thread_there);
				assert(memory[MAG] == truth);
				drainer_there = true
			}
#ifdef REOPEN_EARLY
			of_drainer!HEAP, OWN;
#endif
			atomic {
				nfull(of_drainer);
				truth = 0;
				of_drainer!MAG, 0;
				drainer_there = false
			}
		:: else
		fi;
		idle = false;
		of_drainer!HEAP, OWN
	od
}

init
{
	atomic {
		memory[HEAP] = OWN;
		run thread();
		run cache();
		run scheduler();
		run drainer()
	}
}
