/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Probes for tracers (USDT)
 *
 * What it is: places in slow paths at which perf, bpftrace or SystemTap can look
 * on.  Each is a NOP and a note in the file that says where it is and in which
 * registers its arguments are (<sys/sdt.h>); a tracer puts a breakpoint there.
 * Without one they cost that NOP, so their arguments are values that are there
 * anyway.  Names, arguments and units: Documentation/admin-guide/tracing.rst,
 * which tests/tool/probes_test.sh compares with the built library.
 *
 * Without the header, or CONFIG_USDT, they are nothing.
 */
#ifndef EBB_BASE_TRACE_H
#define EBB_BASE_TRACE_H

#if IS_ENABLED(CONFIG_USDT) && __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#define TRACE2(name, a, b)	STAP_PROBE2(ebbmalloc, name, a, b)
#define TRACE4(name, a, b, c, d) STAP_PROBE4(ebbmalloc, name, a, b, c, d)
#else
#define TRACE2(name, a, b)	do { (void)(a); (void)(b); } while (0)
#define TRACE4(name, a, b, c, d)					\
	do { (void)(a); (void)(b); (void)(c); (void)(d); } while (0)
#endif

#endif
