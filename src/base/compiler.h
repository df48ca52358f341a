/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Compiler vocabulary
 */
#ifndef EBB_BASE_COMPILER_H
#define EBB_BASE_COMPILER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define likely(x)	__builtin_expect(!!(x), 1)
#define unlikely(x)	__builtin_expect(!!(x), 0)

#define noinline	__attribute__((__noinline__))
/* Not in .text.unlikely, which linkers put first: see src/Kbuild. */
#define cold		__attribute__((__cold__, __noinline__,		\
				       section(".text.cold")))
/* Run by every process: beside what else is run then, see src/Kbuild. */
#define __startup	__attribute__((__noinline__, section(".text.startup")))
/*
 * What every process looks at or sets when it starts, and which is zero before:
 * side by side, so that it is one page and not one of each file's.
 */
#define __startup_data	__attribute__((section(".bss.startup")))
#define __always_inline_ static inline __attribute__((always_inline))
#ifndef __must_check
#define __must_check	__attribute__((warn_unused_result))
#endif
#define __printf_(a, b)	__attribute__((format(printf, a, b)))
#define __export	__attribute__((visibility("default")))
#define __aligned_(n)	__attribute__((aligned(n)))

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))

#define min(a, b) ({ __typeof__(a) _min_a = (a);			\
		     __typeof__(b) _min_b = (b);			\
		     _min_a < _min_b ? _min_a : _min_b; })
#define max(a, b) ({ __typeof__(a) _max_a = (a);			\
		     __typeof__(b) _max_b = (b);			\
		     _max_a > _max_b ? _max_a : _max_b; })

#define KIB		((size_t)1024)
#define MIB		(1024 * KIB)
#define GIB		(1024 * MIB)

/*
 * IS_ENABLED(CONFIG_X): 1 where generated/autoconf.h defines CONFIG_X as 1,
 * else 0; an expression, so that disabled code is still compiled and checked.
 */
#define EBB_PROBE_1		0,
#define EBB_SECOND(a, b, ...)	b
#define EBB_IS_SET3(probe)	EBB_SECOND(probe 1, 0, 0)
#define EBB_IS_SET2(value)	EBB_IS_SET3(EBB_PROBE_##value)
#define EBB_IS_SET1(value)	EBB_IS_SET2(value)
#define IS_ENABLED(option)	EBB_IS_SET1(option)

/* The compiler may not move memory accesses across this; the CPU may. */
#define barrier()	__asm__ __volatile__("" ::: "memory")

#endif
