#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - Signals of cgroup v2, and what they save

. "$EBB_TOP/tests/vm/lib.sh"
needs_signals
plan 11

# Nothing is given back because of its age, nor by who needs it: only signals
# are left.
no_age=decay_ms=-1,lazy_ms=-1,dirty_max=0,thread_min=0,low=0,inband_ms=0

live()
{
	EBB_CONF=verbose=1 given_back "$group" &&
		says "headroom: live (cgroup v2" "psi: live" &&
		grep -E '^(cgroup2|events): live' "$WORK/out"
}

known_limit()
{
	says "limit: 81920 KiB" "cgroup: v2 $group"
}

# waves GROUP N STEP...: 20 MB of another size class each time, 5 % survives
waves()
{
	local where=$1 nr=$2 status

	shift 2
	load_in "$where" "waves=$nr" stats=0 "$@" >"$WORK/out" 2>&1
	status=$?
	signals
	echo "peak: $(cat "$where/memory.peak" 2>/dev/null)"
	tr '\n' ' ' <"$where/memory.events"
	echo
	return $status
}

killed()
{
	waves "$group" 12
	[ $? = 137 ] && [ "$(event "$group" oom_kill)" -gt 0 ]
}

not_killed()
{
	[ "$(event "$group" oom_kill)" = 0 ]
}

crossed()
{
	[ "$(event "$group" high)" -gt 0 ]
}

# Events of signal $1 as the program counted them
heard()
{
	sed -n "s/^$1: live .*), \([0-9]*\) events.*/\1/p" "$WORK/out" |
		grep -v '^0$'
}

usage_falls()
{
	local status

	load_in "$group" build=40 say=built free=95 "wait=$WORK/go" \
		>"$WORK/out" 2>&1 &
	PROGRAM_PIDS+=($!)
	wait_until 20 grep -q built "$WORK/out" && usage_below "$group" 14
	status=$?
	touch "$WORK/go"
	wait $! && return $status
}

group a memory.max=96M memory.high=80M
check "headroom, memory.events and memory.pressure are live" live
check "the lower of memory.high and memory.max is the limit" known_limit
check "memory.current falls when 95 % is freed" usage_falls
check "nobody was killed" not_killed

# The control: the same without a reclaimer has to die
group b memory.max=64M
export EBB_CONF=$no_age,reclaim=off
check "waves past memory.max without a reclaimer are killed" killed

group c memory.max=80M memory.high=48M
export EBB_CONF=$no_age
check "waves past memory.high survive" waves "$group" 12
check "memory.high was crossed" crossed
check "memory.events was heard" heard 'cgroup2\|events'
check "no one was killed" not_killed

# As in a container: a limit that kills, and no signal in time
group d memory.max=64M
export EBB_CONF=thread_min=1T
check "waves past memory.max survive by in-band reclaim alone" waves "$group" 12
check "nobody was killed at memory.max" not_killed

finish
