#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - Without any privilege

. "$EBB_TOP/tests/vm/lib.sh"
needs_signals
plan 5
export EBB_CONF=verbose=1
chmod 755 "$WORK"
prefix=(setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all)

is_nobody()
{
	local status pid

	load_in "$group" say=running "wait=$WORK/go" >"$WORK/out" 2>&1 &
	PROGRAM_PIDS+=($!)
	wait_until 20 grep -q running "$WORK/out" &&
		pid=$(cat "$group/cgroup.procs") &&
		grep -E '^(Uid:.65534|CapEff:.0*$)' "/proc/$pid/status" \
			>"$WORK/status" &&
		[ "$(wc -l <"$WORK/status")" = 2 ]
	status=$?
	cat "$WORK/status"
	touch "$WORK/go"
	wait $! && return $status
}

group n memory.max=64M memory.high=56M
check "the program is nobody's and has no capability" is_nobody
check "cgroup of root: given back" given_back "$group"
check "cgroup of root: limit and events are seen, psi is the system's" \
	says "headroom: live" "memory.events" "psi: live (system-wide" \
	"limit: 57344 KiB"
chown -R 65534:65534 "$group"
check "cgroup of one's own: given back" given_back "$group"
check "cgroup of one's own: psi is its own" \
	says "psi: live (memory.pressure of the own cgroup)"
finish
