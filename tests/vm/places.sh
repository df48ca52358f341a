#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - Where a process may find itself on cgroup v2
#
# In each place the signals that are live are printed, and memory is given
# back.

. "$EBB_TOP/tests/vm/lib.sh"
needs_signals
plan 14
export EBB_CONF=verbose=1

# A cgroup namespace with a cgroupfs of its own, mounted $1 (rw or ro)
in_namespace()
{
	prefix=(unshare -C -m bash -c "umount /sys/fs/cgroup &&
		mount -t cgroup2 -o $1 cgroup2 /sys/fs/cgroup &&
		shift && exec \"\$@\"" in_namespace -)
}

without_cgroupfs()
{
	prefix=(unshare -m bash -c 'umount /sys/fs/cgroup && shift &&
		exec "$@"' without_cgroupfs -)
}

# What was freed and has not aged goes after it
changed()
{
	EBB_CONF=decay_ms=-1,lazy_ms=-1,dirty_max=0,thread_min=0 \
		stopped_at_go "$1" build=40 free=95 say=built \
		"wait=$WORK/go" build=1 below=24
}

lower_limit()
{
	echo 24M >"$group/memory.high"
}

# To a cgroup with another limit
move()
{
	move_to other memory.max=64M
}

moved()
{
	stopped_at_go move build=40 say=built "wait=$WORK/go" free=95 below=12
}

not_killed()
{
	[ "$(event "$group" oom_kill)" = 0 ]
}

group a memory.max=64M memory.high=56M
in_namespace rw
check "cgroup namespace: given back" given_back "$group"
check "cgroup namespace: the own limit is seen" \
	says "headroom: live" "limit: 57344 KiB"

in_namespace ro
check "read-only cgroupfs: given back" given_back "$group"
check "read-only cgroupfs: limit and events are seen" \
	says "headroom: live" "limit: 57344 KiB" "memory.events"
check "read-only cgroupfs: psi is the system's" says "psi: live (system-wide"

prefix=()
group up memory.max=48M
enable "$group"
group up/down
check "limit of an ancestor: given back" given_back "$group"
check "limit of an ancestor: it is seen" \
	says "headroom: live" "limit: 49152 KiB"

group b memory.max=96M
check "limit changed at run time: given back" changed lower_limit
check "limit changed at run time: nobody is killed" not_killed

group c memory.max=96M
check "moved to another cgroup: given back" moved

without_cgroupfs
check "no cgroupfs: given back" given_back "$group"
check "no cgroupfs: said with the reason" \
	says "headroom: unavailable: " "psi: live (system-wide"

prefix=()
check "root cgroup: given back" given_back "$CGROUP"
check "root cgroup: said" says "headroom: unavailable: in the root cgroup"
finish
