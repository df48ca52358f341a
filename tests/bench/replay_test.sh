#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - Traces: recorded as they were, replayed, refused; and real
# programs in sizes so small that no figure means anything
#
# shellcheck source=tests/tap.sh disable=SC2317,SC2086
. "$(dirname "$0")/../tap.sh"

dir=$EBB_BUILD/tests/bench
replay=$dir/replay
recorder=$dir/trace/recorder.so
trace=$WORK/known.trace
export O=$EBB_BUILD

# record FILE [VARIABLE=VALUE...] [ARGUMENT]: the program with known calls
record()
{
	local file=$1

	shift
	env "LD_PRELOAD=$recorder" "EBB_TRACE=$file" "$@"
}

# member NAME: of the JSON line in $WORK/json
member()
{
	sed -n 's/.*"'"$1"'": "\{0,1\}\([^,"}]*\).*/\1/p' "$WORK/json"
}

look()
{
	"$replay" --look=1 --trace="$1" >"$WORK/json"
}

records()
{
	record "$trace" "$dir/trace/known" >"$WORK/said" && look "$trace" &&
		cat "$WORK/said" "$WORK/json" &&
		[ "$(stat -c %a "$trace")" = 600 ]
}

# own KIND: how many calls the program says it made
own()
{
	sed -n 's/.*\<'"$1"'=\([0-9]*\).*/\1/p' "$WORK/said"
}

# libc makes some calls of its own: for a buffer, and for each thread.
counts_right()
{
	local kind extra

	for kind in malloc calloc free; do
		extra=$(($(member $kind) - $(own $kind)))
		echo "$kind: $extra more"
		[ $extra -ge 0 ] && [ $extra -le 50 ] || return 1
	done
	[ "$(member realloc)" = "$(own realloc)" ] &&
		[ "$(member memalign)" = "$(own memalign)" ] &&
		[ "$(member threads)" = 5 ] && [ "$(member dropped)" = 0 ]
}

# Of 4000 objects that one thread made, others took each once.
knows_threads()
{
	local foreign

	foreign=$(member foreign)
	[ "$foreign" -ge 4000 ] && [ "$foreign" -le 4050 ]
}

# replays [PRELOAD]: with the order of the trace, and with less and more of it
replays()
{
	local window expected kind

	look "$trace" || return 1
	expected=0
	for kind in malloc calloc memalign realloc free; do
		expected=$((expected + $(member $kind)))
	done
	for window in 0 1 100 4096; do
		LD_PRELOAD=$1 timeout 60 "$replay" --trace="$trace" --repeat=7 \
			--window=$window >"$WORK/json" || return 1
		cat "$WORK/json"
		[ "$(member operations)" = $((7 * expected)) ] &&
			[ "$(member threads)" = 5 ] || return 1
	done
}

replays_a_part()
{
	LD_PRELOAD=$EBB_LIB "$replay" --trace="$trace" --repeat=1 --work=10 \
		>"$WORK/json" || return 1
	cat "$WORK/json"
	[ "$(member operations)" -gt 500 ] && [ "$(member operations)" -lt 1100 ]
}

# sees HOW WORDS: an allocator that is wrong is found out
sees()
{
	EBB_BROKEN=$1 LD_PRELOAD=$dir/trace/broken.so "$replay" \
		--trace="$trace" --repeat=1 >"$WORK/out" 2>"$WORK/err"
	[ $? = 11 ] && cat "$WORK/err" && grep -q "$2" "$WORK/err" &&
		! grep -q result "$WORK/out"
}

# A thread that was made when the last one had ended is so again.
one_after_the_other()
{
	record "$WORK/churn" "$dir/trace/known" churn &&
		"$replay" --trace="$WORK/churn" --repeat=3 --window=0 \
			>"$WORK/json" || return 1
	cat "$WORK/json"
	[ "$(member threads)" = 51 ] && [ "$(member waits)" = 49 ]
}

# Numbers that are right, but more than the machine has.
too_large()
{
	cp "$trace" "$WORK/changed"
	printf '\xff' | dd of="$WORK/changed" bs=1 \
		seek=$((64 + 16 * 50 + 12)) conv=notrunc 2>/dev/null
	"$replay" --trace="$WORK/changed" >"$WORK/out" 2>"$WORK/err"
	[ $? = 4 ] && cat "$WORK/err" && [ ! -s "$WORK/out" ] &&
		grep -q 'alive at once: expected at most' "$WORK/err"
}

# refuses WORDS OPTION...: says them, exit status 1, does nothing
refuses()
{
	local words=$1

	shift
	"$replay" "$@" >"$WORK/out" 2>"$WORK/err"
	[ $? = 1 ] && cat "$WORK/err" && [ ! -s "$WORK/out" ] &&
		grep -qE -- "$words" "$WORK/err"
}

# changed OFFSET BYTES WORDS: a copy with other bytes (of printf) there
changed()
{
	cp "$trace" "$WORK/changed"
	# shellcheck disable=SC2059 # it is the format that has the bytes
	printf "$2" | dd of="$WORK/changed" bs=1 seek="$1" conv=notrunc \
		2>/dev/null
	refuses "$3" --trace="$WORK/changed"
}

cut_off()
{
	head -c $(($(stat -c %s "$trace") - $1)) "$trace" >"$WORK/changed"
	refuses "bytes: expected $(stat -c %s "$trace")" \
		--trace="$WORK/changed"
}

not_ended()
{
	local pid

	# Not by record(): it is the program that has to be killed.
	env "LD_PRELOAD=$recorder" "EBB_TRACE=$WORK/killed" \
		"$dir/trace/known" wait >"$WORK/ready" &
	pid=$!
	PROGRAM_PIDS+=("$pid")
	wait_until 60 grep -q malloc "$WORK/ready" || return 1
	kill -KILL "$pid"
	wait "$pid"
	refuses 'offset 0: .*not ended' --trace="$WORK/killed"
}

# An existing file, also behind a symbolic link, is not written to.
overwrites_nothing()
{
	local sum

	sum=$(md5sum <"$trace")
	ln -s "$WORK/elsewhere" "$WORK/link"
	record "$trace" "$dir/trace/known" 2>"$WORK/err" && return 1
	record "$WORK/link" "$dir/trace/known" 2>>"$WORK/err" && return 1
	cat "$WORK/err"
	[ "$(md5sum <"$trace")" = "$sum" ] && [ ! -e "$WORK/elsewhere" ]
}

stops_when_full()
{
	record "$WORK/full" EBB_TRACE_MOST=500 "$dir/trace/known" \
		2>"$WORK/err" && cat "$WORK/err" && look "$WORK/full" &&
		[ "$(member records)" = 500 ] &&
		[ "$(member dropped)" -gt 1000 ] &&
		"$replay" --trace="$WORK/full" --repeat=2
}

refuses_settings()
{
	record relative true 2>"$WORK/err" && return 1
	record "$WORK/x" EBB_TRACE_MOST=-1 true 2>>"$WORK/err" && return 1
	cat "$WORK/err"
	grep -q 'EBB_TRACE=relative: expected' "$WORK/err" &&
		grep -q 'EBB_TRACE_MOST=-1: expected 1..' "$WORK/err"
}

# A program that a recorded one executes is not recorded into its file.
only_the_first()
{
	record "$WORK/shell" sh -c "$dir/trace/known; true" >/dev/null &&
		look "$WORK/shell" && cat "$WORK/json" &&
		[ "$(member memalign)" = 0 ]
}

record_script()
{
	"$EBB_TOP/scripts/bench-record" python 2>"$WORK/err" || {
		cat "$WORK/err"
		return 1
	}
	look "$O/bench/traces/python.trace" && cat "$WORK/json" &&
		[ "$(member malloc)" -gt 500000 ] &&
		LD_PRELOAD=$EBB_LIB "$replay" --work=1 \
			--trace="$O/bench/traces/python.trace"
}

# Nothing of what was begun is left where the traces are.
nothing_half_done()
{
	! find "$O/bench/traces" -name '.*' -type f | grep .
}

# absent SCRIPT: a program that is not installed is said to be
absent()
{
	local python status

	python=$(python3 -c 'import sys; print(sys.executable)')
	PATH=$WORK "$python" "$EBB_TOP/scripts/$1" sqlite 2>"$WORK/err"
	status=$?
	cat "$WORK/err"
	[ $status = 4 ] && grep -q 'sqlite3 is not installed' "$WORK/err"
}

# program NAME: on ebbmalloc and on libc, the same number of operations
program()
{
	local preload first=

	for preload in "$EBB_LIB" ''; do
		timeout 100 "$EBB_TOP/scripts/bench-program" "$1" --work=1 \
			${preload:+"--preload=$preload"} >"$WORK/json" ||
			return 1
		cat "$WORK/json"
		[ "$(member kind)" = result ] &&
			[ "$(member peak_rss_kb)" -gt 1000 ] || return 1
		[ "${first:=$(member operations)}" = "$(member operations)" ] ||
			return 1
	done
}

# check_program NAME COMMAND
check_program()
{
	if command -v "$2" >/dev/null; then
		check "$1 runs as a whole" program "$1"
	else
		skip "$1 runs as a whole" "$2 is not installed"
	fi
}

not_loaded()
{
	"$EBB_TOP/scripts/bench-program" python --work=1 \
		--preload=/etc/passwd 2>"$WORK/err" && return 1
	cat "$WORK/err"
	grep -q 'cannot be preloaded' "$WORK/err"
}

needs python3 dd
[ -x "$replay" ] || skip_all "$replay is not built"

plan 36
check "a program is recorded, for its owner only" records
check "every call is there, and none of its child" counts_right
check "it is known which thread made a call" knows_threads
check "is replayed on libc's malloc" replays ''
check "is replayed on ebbmalloc" replays "$EBB_LIB"
check "is replayed in part" replays_a_part
check "threads follow each other as they did" one_after_the_other
check "an object given out twice is seen" sees twice 'not as it was left'
check "calloc'ed memory that is not zero is seen" sees dirty 'not zero'
check "a trace cut off in a record is refused" cut_off 5
check "a trace cut off between records is refused" cut_off 16
check "a trace that was not ended is refused" not_ended
check "another version is refused" changed 8 '\x07' \
	'header: version 7: expected 1..1$'
check "a wrong kind is refused" changed $((64 + 16 * 50)) '\x63' \
	'offset 864: kind 99: expected 1..7$'
check "a wrong thread is refused" changed $((64 + 16 * 50 + 2)) '\x09' \
	'offset 866: thread 9: expected 0..4$'
check "a wrong size is refused" changed $((64 + 16 * 50 + 15)) '\x01' \
	'offset 872: size [0-9]*: expected 0..1099511627776$'
check "more memory than there is is refused" too_large
check "an object that is not alive is refused" \
	changed $(($(stat -c %s "$trace") - 16 * 40)) \
	'\x05\x00\x00\x00\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00' \
	'offset [0-9]*: object 4294967295: expected an object that is alive$'
check "a thread made twice is refused" changed $((64 + 16 * 50)) \
	'\x06\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00' \
	'offset 872: size 1: expected 1..4, of none that was there$'
check "members without a meaning are refused" changed $((64 + 16 * 50 + 1)) \
	'\x03' 'offset 865: shift 3: expected 0$'
check "what is no trace is refused" refuses 'not a trace' --trace="$replay"
check "what is no file is refused" refuses 'not a regular file' \
	--trace="$WORK"
check "a bad option is refused with its range" refuses \
	'--work=1001: expected 1..1000' --trace="$trace" --work=1001
check "nothing is overwritten" overwrites_nothing
check "a trace that is full ends there, and says so" stops_when_full
check "bad settings of the recorder are refused" refuses_settings
check "only one process is recorded" only_the_first
check "python is recorded by its script" record_script
check "nothing half done is left" nothing_half_done
check "what is not installed is not recorded" absent bench-record
check "what is not installed is not run" absent bench-program
check "python runs as a whole" program python
check_program sqlite sqlite3
check_program gcc gcc
check_program redis redis-benchmark
check "a library that is not preloaded is told" not_loaded
finish
