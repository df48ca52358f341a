#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - The signals of a process that is moved to another cgroup

. "$EBB_TOP/tests/vm/lib.sh"
needs_signals
plan 1

move()
{
	move_to narrow memory.high=48M
}

# What is charged stays where it was: only new memory counts in the new cgroup,
# and what of that is freed does not age.
new_limit_is_heard()
{
	EBB_CONF=decay_ms=-1,lazy_ms=-1,dirty_max=0,thread_min=0 \
		stopped_at_go move build=8 free=20 say=built "wait=$WORK/go" \
		waves=4 below=60
}

group wide memory.max=96M
check "moved to another cgroup: its limit is heard of" new_limit_is_heard
finish
