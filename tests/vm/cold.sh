#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - Cold memory goes to swap under pressure, and only then
#
# shellcheck source=tests/vm/lib.sh
. "$EBB_TOP/tests/vm/lib.sh"

conf=track_writes=100,cold_ms=200,thread_min=0,tick_max_ms=200

zram_swap()
{
	local module

	while read -r module; do
		insmod "$module"
	done </vm/modules/order
	[ -b /dev/zram0 ] || return 1
	echo $((256 << 20)) >/sys/block/zram0/disksize &&
		mkswap /dev/zram0 >/dev/null && swapon /dev/zram0
}

# tried_to_track: a program of a second says in $WORK/out what came of it
tried_to_track()
{
	rm -f "$WORK/tried"
	(sleep 1; touch "$WORK/tried") &
	EBB_CONF=$conf preloaded "$LOAD" build=1 "wait=$WORK/tried" stats=0 \
		>"$WORK/out" 2>&1
	wait $!
	grep "writes:" "$WORK/out" | grep -qv "not run yet"
}

preloaded "$LOAD" stats=0 2>&1 | grep -q nr_write_scans ||
	skip_all "built without write tracking"
wait_until 20 tried_to_track && grep "writes: unavailable" "$WORK/out" &&
	skip_all "writes cannot be tracked here"
zram_swap || skip_all "no swap can be made here"
mkfifo "$WORK/watch"
plan 4

# told COLD_OUT STEP...: the program hears of pressure every 100 ms
told()
{
	local out=$1 status

	shift
	EBB_CONF=$conf,cold_out=$out MEMORY_PRESSURE_WATCH=$WORK/watch \
		preloaded "$LOAD" "$@" >"$WORK/out" 2>&1 &
	PROGRAM_PIDS+=($!)
	while kill -0 $! 2>/dev/null; do
		timeout 1 bash -c 'printf x >"$1"' write "$WORK/watch"
		sleep 0.1
	done
	wait $!
	status=$?
	grep -E 'load:|cold|paged|writes|watch' "$WORK/out"
	return $status
}

paged_out()
{
	awk '$1 == "paged_out" { print $2 }' "$WORK/out"
}

calm()
{
	EBB_CONF=$conf,cold_out=1 preloaded "$LOAD" build=64 \
		"wait=$WORK/later" stats=0 >"$WORK/out" 2>&1 &
	PROGRAM_PIDS+=($!)
	sleep 2
	touch "$WORK/later"
	wait $!
	grep -E 'cold|paged|writes' "$WORK/out"
	[ "$(paged_out)" = 0 ]
}

check "cold memory leaves under pressure" told 1 build=64 below=24 stats=0
check "it was advised" test "$(paged_out)" -gt $((32 << 20))
check "not without being asked to" told 0 build=64 stats=0
check "not in calm" calm
finish
