#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - A sparse heap where huge pages are always on

. "$EBB_TOP/tests/vm/lib.sh"
THP=/sys/kernel/mm/transparent_hugepage
FOLIOS=$THP/hugepages-64kB
[ -r $THP/enabled ] || skip_all "the kernel has no transparent huge pages"
plan 7

always()
{
	echo always >$THP/enabled && echo always >$THP/defrag &&
		echo 1 >$THP/khugepaged/defrag &&
		echo 10 >$THP/khugepaged/scan_sleep_millisecs &&
		echo 4096 >$THP/khugepaged/pages_to_scan &&
		grep -F '[always]' $THP/enabled
}

has_huge()
{
	grep -q "^AnonHugePages: *[1-9]" "/proc/$1/smaps_rollup"
}

# The control: memory as such does get huge pages here, khugepaged's if no other
others_get_them()
{
	local pid status

	"$LOAD" build=64 "wait=$WORK/seen" &
	pid=$!
	PROGRAM_PIDS+=($pid)
	wait_until 60 has_huge $pid
	status=$?
	touch "$WORK/seen"
	wait $pid && return $status
}

stays_small()
{
	# khugepaged has its time to undo it: it scans every 10 ms
	preloaded "$LOAD" build=64 free=95 below=16 "wait=$WORK/later" \
		below=16 huge=0 &
	PROGRAM_PIDS+=($!)
	sleep 1
	touch "$WORK/later"
	wait $!
}

# Folios of a slab's size to who asks, and no larger pages
only_folios()
{
	echo madvise >$THP/enabled && echo madvise >$FOLIOS/enabled &&
		echo never >$THP/hugepages-2048kB/enabled
}

has_folios()
{
	local before after

	before=$(cat $FOLIOS/stats/anon_fault_alloc)
	preloaded "$LOAD" build=64 || return 1
	after=$(cat $FOLIOS/stats/anon_fault_alloc)
	echo "$((after - before)) folios for 1024 slabs"
	[ $((after - before)) -ge 900 ]
}

# Of each slab one object stays: 60 MB, of which 4 are needed
usage_falls_too()
{
	group holes || return 1
	EBB_CONF=reclaim=off load_in "$group" waves=3 trim=0 say=trimmed \
		"wait=$WORK/go" stats=0 >"$WORK/out" 2>&1 &
	PROGRAM_PIDS+=($!)
	wait_until 20 grep -q trimmed "$WORK/out" &&
		usage_below "$group" 24 || return 1
	touch "$WORK/go"
	wait $! && says "folios: 64 KiB, asked for"
}

check "huge pages are always on" always
check "another allocator gets them" others_get_them
check "a heap gets none" preloaded "$LOAD" build=64 huge=0
check "a sparse heap stays small" stays_small
if [ -e $FOLIOS/enabled ]; then
	check "folios of 64 KiB are for who asks" only_folios
	check "a heap has them" has_folios
	check "the usage falls by parts of them" usage_falls_too
else
	for name in "are for who asks" "of a heap" "and usage"; do
		skip "folios of 64 KiB $name" "none before Linux 6.8"
	done
fi
finish
