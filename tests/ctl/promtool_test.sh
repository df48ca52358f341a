#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - `metrics' as Prometheus' own tool reads it
#
# Two processes: one that has done next to nothing, and one with passes behind
# it, whose histograms are not empty.

. "$(dirname "$0")/../tap.sh"

# Debian has it in the package prometheus.
needs promtool
[ -x "$EBB_BUILD/tests/ctl/subject" ] || skip_all "ctl/subject is not built"

# start CONF: a process with its directory in $WORK; its number is in $pid
start()
{
	mkfifo "$WORK/commands.$1"
	EBB_CONF="control_dir=$WORK,log=off,$2" "${preload[@]}" \
		"$EBB_BUILD/tests/ctl/subject" \
		<"$WORK/commands.$1" >"$WORK/answers.$1" &
	pid=$!
	PROGRAM_PIDS+=("$pid")
}

# works FD: it has something to show then
works()
{
	echo "work 1" >&"$1"
}

# shows_after_work FD PID
shows_after_work()
{
	works "$1"
	[ -s "$WORK/$2/metrics" ]
}

has_passes()
{
	works "$1"
	grep -q '^ebb_pass_seconds_count [1-9]' "$WORK/$2/metrics"
}

lint()
{
	promtool check metrics <"$WORK/$1/metrics"
}

plan 4
start 1 thread_min=0,decay_ms=-1,lazy=off
quiet=$pid
exec 7>"$WORK/commands.1"
start 2 thread_min=0,decay_ms=1,lazy_ms=0
busy=$pid
exec 8>"$WORK/commands.2"
check "metrics appear" wait_until 30 shows_after_work 7 "$quiet"
check "promtool takes them" lint "$quiet"
check "histograms fill" wait_until 30 has_passes 8 "$busy"
check "promtool takes those, too" lint "$busy"
exec 7>&- 8>&-
finish
