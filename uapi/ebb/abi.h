/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Version of the user space interface
 *
 * One number for everything under uapi/ebb/: options, control files, the
 * layout of shared pages.  It grows by one, at most once per release, when a
 * release changes any of them visibly; a program that asks for ABI n works
 * with every library of ABI n or more.
 *
 * The version of the release itself (EBB_VERSION) is generated from the
 * top-level file VERSION and stands nowhere else.
 */
#ifndef EBB_ABI_H
#define EBB_ABI_H

#define EBB_ABI_VERSION		1

#endif
