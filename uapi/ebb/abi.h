/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Version of the user space interface
 *
 * One number for everything under uapi/ebb/: options, control files, the
 * layout of shared pages.  It grows by one, at most once per release, when a
 * release changes any of them visibly; a program that asks for ABI n works
 * with every library of ABI n or more.
 *
 * The rule for changing them: names, meanings, units and the place of a member
 * stay for ever; what is new goes behind the last, or gets a name of its own.
 * What cannot be kept is not changed but left out: its feature bit is cleared,
 * and the bit is not used again.  A mistake that was released gets an erratum
 * bit, set by the libraries that have it; the first that has not clears it.
 *
 * The version of the release itself (EBB_VERSION) is generated from the
 * top-level file VERSION and stands nowhere else.
 */
#ifndef EBB_ABI_H
#define EBB_ABI_H

#define EBB_ABI_VERSION		1

/* What a library can do; in the head of its counters page. */
#define EBB_FEATURE_CONTROL	(1u << 0)	/* files can be written */
#define EBB_FEATURE_THREAD	(1u << 1)	/* it has a background thread */
#define EBB_FEATURE_LIMIT	(1u << 2)	/* limit= holds */
#define EBB_FEATURE_HELD	(1u << 3)	/* flock(2)s its page for life */

/* What a library does wrong: nothing is known of ABI 1. */
#define EBB_ERRATA_NONE		0u

#endif
