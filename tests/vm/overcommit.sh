#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - Strict overcommit (vm.overcommit_memory=2)

. "$EBB_TOP/tests/vm/lib.sh"
plan 3

committed()
{
	sed -n 's/^Committed_AS: *\([0-9]*\) kB/\1/p' /proc/meminfo
}

# Wait until the program has said $1, then set $kib to what is committed more
# than before it ran
after()
{
	wait_until 20 grep -q "$1" "$WORK/out" || return 1
	kib=$(($(committed) - before))
	echo "$1: $kib KiB are committed"
}

go_on()
{
	touch "$WORK/$1"
}

falls_and_returns()
{
	before=$(committed)
	EBB_CONF=reclaim=off preloaded "$LOAD" exhaust=200 2>/dev/null
	EBB_CONF=reclaim=off preloaded "$LOAD" build=40 say=built \
		"wait=$WORK/1" free=100 trim=0 say=freed "wait=$WORK/2" \
		build=40 say=again "wait=$WORK/3" >"$WORK/out" 2>&1 &
	PROGRAM_PIDS+=($!)
	after built && full=$kib && go_on 1 &&
		after freed && empty=$kib && go_on 2 &&
		after again && go_on 3 || return 1
	[ "$full" -gt $((empty + 20 * 1024)) ] &&
		[ "$kib" -gt $((empty + 20 * 1024)) ]
}

lives_on()
{
	preloaded "$LOAD" exhaust=4000 build=20 free=100 exhaust=4000
}

strict()
{
	echo 2 >/proc/sys/vm/overcommit_memory &&
		echo 50 >/proc/sys/vm/overcommit_ratio &&
		[ "$(cat /proc/sys/vm/overcommit_memory)" = 2 ]
}

check "the kernel counts strictly" strict
check "Committed_AS falls at a trim and rises at reuse" falls_and_returns
check "malloc fails with ENOMEM at the limit, and works after" lives_on
echo 0 >/proc/sys/vm/overcommit_memory
finish
