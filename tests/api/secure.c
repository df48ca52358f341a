/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - A program that asks for a heap profile itself
 *
 * Linked statically, so that it also has the library where the kernel says that
 * the program has privileges of its own.
 */
#include <sys/auxv.h>
#include "common.h"

const char *ebb_conf = "profile=1,profile_leak=on,"
		       "profile_dump=/tmp/ebb-secure-%p";

int main(void)
{
	printf("secure %d pid %d\n", getauxval(AT_SECURE) != 0, (int)getpid());
	return !hide(malloc(1000));
}
