#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - A kernel started with psi=0

. "$EBB_TOP/tests/vm/lib.sh"
needs_signals
plan 4
group p memory.max=64M memory.high=56M

check "the kernel has no PSI" test ! -e /proc/pressure
check "given back" given_back "$group"
check "PSI is unavailable, and why" says "psi: unavailable: "
check "all else is live" says "headroom: live" "memory.events"
finish
