#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - A sparse heap where huge pages are always on

. "$EBB_TOP/tests/vm/lib.sh"
THP=/sys/kernel/mm/transparent_hugepage
[ -r $THP/enabled ] || skip_all "the kernel has no transparent huge pages"
plan 4

always()
{
	echo always >$THP/enabled && echo always >$THP/defrag &&
		echo 1 >$THP/khugepaged/defrag &&
		echo 10 >$THP/khugepaged/scan_sleep_millisecs &&
		echo 4096 >$THP/khugepaged/pages_to_scan &&
		grep -F '[always]' $THP/enabled
}

# The control: memory as such does get huge pages here
others_get_them()
{
	! "$LOAD" build=64 huge=1
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

check "huge pages are always on" always
check "another allocator gets them" others_get_them
check "a heap gets none" preloaded "$LOAD" build=64 huge=0
check "a sparse heap stays small" stays_small
finish
