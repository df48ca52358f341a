/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Atomic accesses, each with its order in the name
 *
 * Plain loads and stores that race use the relaxed forms; every other order
 * has a "Pairs with" at the place of use.
 */
#ifndef EBB_BASE_ATOMIC_H
#define EBB_BASE_ATOMIC_H

#include "base/compiler.h"

#define load_relaxed(p)		__atomic_load_n((p), __ATOMIC_RELAXED)
#define load_acquire(p)		__atomic_load_n((p), __ATOMIC_ACQUIRE)
#define store_relaxed(p, v)	__atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define store_release(p, v)	__atomic_store_n((p), (v), __ATOMIC_RELEASE)

#define add_relaxed(p, v)	__atomic_fetch_add((p), (v), __ATOMIC_RELAXED)
#define add_release(p, v)	__atomic_fetch_add((p), (v), __ATOMIC_RELEASE)
#define sub_relaxed(p, v)	__atomic_fetch_sub((p), (v), __ATOMIC_RELAXED)
#define sub_release(p, v)	__atomic_fetch_sub((p), (v), __ATOMIC_RELEASE)
#define or_relaxed(p, v)	__atomic_fetch_or((p), (v), __ATOMIC_RELAXED)
#define or_release(p, v)	__atomic_fetch_or((p), (v), __ATOMIC_RELEASE)
#define add_seq_cst(p, v)	__atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST)
#define or_seq_cst(p, v)	__atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST)
#define load_seq_cst(p)		__atomic_load_n((p), __ATOMIC_SEQ_CST)
#define xchg_seq_cst(p, v)	__atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST)
#define and_relaxed(p, v)	__atomic_fetch_and((p), (v), __ATOMIC_RELAXED)
#define and_acquire(p, v)	__atomic_fetch_and((p), (v), __ATOMIC_ACQUIRE)
#define and_acq_rel(p, v)	__atomic_fetch_and((p), (v), __ATOMIC_ACQ_REL)
#define xchg_acquire(p, v)	__atomic_exchange_n((p), (v), __ATOMIC_ACQUIRE)
#define xchg_acq_rel(p, v)	__atomic_exchange_n((p), (v), __ATOMIC_ACQ_REL)

/* On failure *old holds the value seen. */
#define cas_acq_rel(p, old, v) \
	__atomic_compare_exchange_n((p), (old), (v), false, \
				    __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
#define cas_relaxed(p, old, v) \
	__atomic_compare_exchange_n((p), (old), (v), false, \
				    __ATOMIC_RELAXED, __ATOMIC_RELAXED)

#define fence_seq_cst()		__atomic_thread_fence(__ATOMIC_SEQ_CST)

/*
 * A pointer through which everything is reached that its release store made
 * visible: what depends on the value needs no barrier.  ThreadSanitizer does
 * not know that, so it is shown an acquire.
 */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define load_dependent(p)	load_acquire(p)
#else
#define load_dependent(p)	(*(p))
#endif

/*
 * Words that their owner changes plainly while others look, for a guess that
 * may be old: ThreadSanitizer leaves such a function alone.
 */
#define __guesses	__attribute__((no_sanitize("thread"), __noinline__))
#define load_guess(p)	(*(const volatile __typeof__(*(p)) *)(p))

static inline void cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ __volatile__("yield" ::: "memory");
#else
	barrier();
#endif
}

#endif
