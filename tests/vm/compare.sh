#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - ebbctl compare on cgroup v2
#
# What is measured is tested by tests/tool/compare_test.sh; here, what is v2's:
# where a cgroup may be made, its files, memory.high, and that none is left.

. "$EBB_TOP/tests/vm/lib.sh"

ebbctl=$EBB_BUILD/bin/ebbctl
holder=$EBB_BUILD/tests/tool/holder
[ -x "$ebbctl" ] || skip_all "$ebbctl is not built"
[ -x "$holder" ] || skip_all "$holder is not built"
plan 8
nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all)

# compare STATUS ARGUMENT...: in cgroup $where, if that is set
compare()
{
	local status=$1 got

	shift
	if [ "$where" ]; then
		enter "$where" "${user[@]}" "$ebbctl" compare -n 1 "$@"
	else
		"$ebbctl" compare -n 1 "$@"
	fi >"$WORK/out" 2>"$WORK/err"
	got=$?
	cat "$WORK/out" "$WORK/err"
	[ $got = "$status" ] && none_left
}

none_left()
{
	local left

	left=$(find "$CGROUP" -name 'ebb-run-*')
	[ ! "$left" ] || ! echo "left: $left"
}

# prints PATTERN...: each of them is in a line of the output
prints()
{
	local pattern

	for pattern; do
		grep -qE -e "$pattern" "$WORK/out" ||
			! echo "no line with $pattern" || return
	done
}

# 24 MiB, then 8; the peak has what is read of files for the first time, too
measures()
{
	compare 0 --memory 64M -- "$holder" touch=24 keep=8 map=1 ms=700 &&
		prints "limit 64M, .*cgroup v2$" \
		"^present .* 2[4-7]\.[0-9]M .* (8|9)\.[0-9]M +0 +0$" \
		"^ebbmalloc .* 2[4-9]\.[0-9]M .* (8|9)\.[0-9]M +0 +0$"
}

kills()
{
	compare 1 --memory 16M -- "$holder" touch=32 map=1 &&
		prints "^present .* [1-9][0-9]* +1$" "an OOM kill"
}

finds()
{
	compare 0 --find-limit "$@" -- "$holder" touch=16 map=1 &&
		prints "^present .* (1[6-9]|2[0-4])M$" \
		"^ebbmalloc .* (1[6-9]|2[0-4])M$"
}

is_throttled()
{
	compare 0 --high 16M --json -- "$holder" touch=17 map=1 &&
		prints '"high_hits": [1-9]'
}

where=
user=()
check "in the root: 24 MiB, then 8" measures
check "in the root: hits and kills" kills
check "in the root: the least limit" finds
check "in the root: the least limit, with high" finds --high 90%
check "throttled at high, which is counted" is_throttled
group alone
where=$group
check "alone in a cgroup" measures
group other
sleep 1000 &
PROGRAM_PIDS+=($!)
echo $! >"$group/cgroup.procs"
where=$group
check "beside others, in a cgroup beside theirs" measures
group delegated
chown -R 65534:65534 "$group"
where=$group
user=("${nobody[@]}")
chmod 755 "$WORK"
check "in a delegated cgroup, as nobody" measures
finish
