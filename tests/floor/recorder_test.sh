#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - The floor recorder counts what it must, on any allocator
#
# shellcheck source=tests/tap.sh disable=SC2317
. "$(dirname "$0")/../tap.sh"

recorder=$EBB_BUILD/tests/floor/recorder.so
known=$EBB_BUILD/tests/floor/known
jemalloc=$(ldconfig -p | sed -n 's/.*libjemalloc\.so\.2 .*=> //p' | head -1)

# counts_right [ALLOCATOR]: libc's own blocks add a few pages
counts_right()
{
	local expected floor live blocks

	rm -f "$WORK/out"
	# shellcheck disable=SC2046
	set -- $(LD_PRELOAD="$recorder $1" EBB_FLOOR_OUT=$WORK/out "$known")
	[ $# = 2 ] || return 1
	cat "$WORK/out"
	expected=$1
	floor=$(sed -n 's/.*floor_bytes=\([0-9]*\) .*/\1/p' "$WORK/out")
	live=$(sed -n 's/.*live_bytes=\([0-9]*\) .*/\1/p' "$WORK/out")
	blocks=$(sed -n 's/.*blocks=\([0-9]*\) .*/\1/p' "$WORK/out")
	[ "$floor" -ge "$expected" ] &&
		[ "$floor" -le $((expected + 131072)) ] &&
		[ "$live" -ge "$2" ] && [ "$live" -le $(($2 + 131072)) ] &&
		[ "$blocks" -ge 100 ] && [ "$blocks" -lt 200 ]
}

# steady: a block that is freed and allocated again and again is one block
steady()
{
	LD_PRELOAD="$recorder $EBB_LIB" EBB_FLOOR_OUT=$WORK/steady bash -c '
		for i in {1..20000}; do x=$i$i$i; done; kill -USR2 $$; true'
	cat "$WORK/steady"
	[ "$(sed -n 's/.*blocks=\([0-9]*\) .*/\1/p' "$WORK/steady")" -lt 100000 ]
}

needs bash
plan 4
check "counts the floor on libc's malloc" counts_right
check "counts the floor on ebbmalloc" counts_right "$EBB_LIB"
if [ -n "$jemalloc" ]; then
	check "counts the floor on jemalloc" counts_right "$jemalloc"
else
	skip "counts the floor on jemalloc" "libjemalloc2 is not installed"
fi
check "forgets what is freed" steady
finish
