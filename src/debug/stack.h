/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Call stacks of samples
 *
 * Two ways, by the option profile_stack.
 *
 * fp: frame pointers.  The walk stays on the thread's stack: between the frame
 * it begins at and the thread block, or the end of the first thread's stack; and
 * before a page is read the kernel is asked whether it can be.  Code without
 * frame pointers ends the walk, or leaves frames out: of what allocates there
 * is the one return address, and no more for sure.  On other stacks (coroutines,
 * sigaltstack) there is no more than that.  What lies in no loaded object is
 * not taken for a return address, so code made at run time ends the walk, too.
 *
 * unwind: backtrace(3) of glibc, by the tables of .eh_frame, which C++ and
 * Debian's C programs have.  It is called once at start, where it loads libgcc;
 * after that it neither allocates nor takes a lock, unless the program
 * registers frames of its own (__register_frame of a JIT).  libgcc allocates
 * while it holds a lock then, so what libgcc itself allocates is told without a
 * stack.
 */
#ifndef EBB_DEBUG_STACK_H
#define EBB_DEBUG_STACK_H

#include "base/compiler.h"

#define STACK_MAX	48u	/* return addresses of a stack */

/*
 * The frame record that a function with a frame pointer makes; the same on
 * x86-64 and arm64.  __builtin_frame_address(0) is its address.
 */
struct stack_frame {
	const struct stack_frame *next;
	uintptr_t ret;
};

/* Where it returns to; arm64 may have a signature in the upper bits. */
static inline uintptr_t stack_pc(const struct stack_frame *frame)
{
#if defined(__aarch64__)
	register uintptr_t pc __asm__("x30") = frame->ret;

	/* XPACLRI, which is a NOP where there are no signatures. */
	__asm__("hint #7" : "+r"(pc));
	return pc;
#else
	return frame->ret;
#endif
}

/* Load what @unwind needs.  Context: at start, no lock held; may allocate. */
#if IS_ENABLED(CONFIG_PROFILE) || IS_ENABLED(CONFIG_GUARD) || \
	IS_ENABLED(CONFIG_LEAK)
void stack_init(bool unwind);
#else
static inline void stack_init(bool unwind)
{
	(void)unwind;
}
#endif

/*
 * Return addresses from @frame on, whose own is the first; returns how many.
 * Context: anywhere, also in signal handlers.
 */
unsigned int stack_take(const struct stack_frame *frame, uintptr_t *pcs);

/* The first @most of them, at most STACK_MAX; fewer cost less. */
unsigned int stack_take_top(const struct stack_frame *frame, uintptr_t *pcs,
			    unsigned int most);

/*
 * The same for what was interrupted at @pc, with these registers: @pc is the
 * first, and where the call that led there returns to may be missing.
 * Context: a signal handler.
 */
unsigned int stack_take_at(uintptr_t pc, uintptr_t sp, uintptr_t fp,
			   uintptr_t *pcs);

/*
 * The same from @pc on, where a function that is running returns to, by
 * unwinding alone; 0: that is off, or did not come by there.  For who was
 * called by functions that keep no frame pointers.
 */
unsigned int stack_unwind(uintptr_t pc, uintptr_t *pcs, unsigned int most);

/* In words: what is in use, and why. */
const char *stack_describe(void);

#endif
