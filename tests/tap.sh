# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# ebbmalloc tests - TAP from shell scripts; to be sourced
#
#	. "$EBB_TOP/tests/tap.sh"
#	plan 2
#	check "what shall hold" command arguments...
#	skip "what cannot be looked at" "why"
#	finish
#
# The runner sets EBB_TOP, EBB_BUILD and EBB_LIB; without them the defaults of
# the build are taken.  $WORK is a directory of the test's own, removed at its
# end; $PROGRAM_PIDS are killed then.

EBB_TOP=${EBB_TOP:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
EBB_BUILD=${EBB_BUILD:-$EBB_TOP/build}
EBB_LIB=${EBB_LIB:-$EBB_BUILD/lib/libebbmalloc.so.1}
export EBB_TOP EBB_BUILD EBB_LIB

WORK=$(mktemp -d "${TMPDIR:-/tmp}/ebb-test-XXXXXX")
PROGRAM_PIDS=()
tap_number=0
tap_failed=0

tap_cleanup()
{
	local pid

	for pid in "${PROGRAM_PIDS[@]}"; do
		kill "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	done
	rm -rf "$WORK"
}
trap tap_cleanup EXIT

plan()
{
	echo "TAP version 13"
	echo "1..$1"
}

# skip_all WHY: nothing of this can be tested here
skip_all()
{
	echo "TAP version 13"
	echo "1..0 # SKIP $1"
	exit 4
}

# needs COMMAND...: skip all where one of them is missing
needs()
{
	local command

	for command; do
		command -v "$command" >/dev/null ||
			skip_all "$command is not installed"
	done
	[ -r "$EBB_LIB" ] || skip_all "$EBB_LIB is not built"
}

# check NAME COMMAND...: a test point; the command's output is shown as notes
check()
{
	local name=$1 status

	shift
	tap_number=$((tap_number + 1))
	"$@" >"$WORK/.output" 2>&1
	status=$?
	# The last line may have no end, of a program that was killed.
	sed -e 's/^/# /' -e '$a\' "$WORK/.output"
	if [ $status = 0 ]; then
		echo "ok $tap_number $name"
	else
		echo "# exit status $status of: $*"
		echo "not ok $tap_number $name"
		tap_failed=1
	fi
	return $status
}

skip()
{
	tap_number=$((tap_number + 1))
	echo "ok $tap_number $1 # SKIP $2"
}

finish()
{
	exit $tap_failed
}

# Words before a command that have it run on ebbmalloc.  In the background the
# command then is the process $! itself, which the function's is not.
preload=(env "LD_PRELOAD=$EBB_LIB")

# preloaded COMMAND...: run it on ebbmalloc
preloaded()
{
	"${preload[@]}" "$@"
}

# is_mapped PID: whether the library is really in that process
is_mapped()
{
	grep -q "$(basename "$EBB_LIB")" "/proc/$1/maps"
}

# wait_until SECONDS COMMAND...: poll until it succeeds
wait_until()
{
	local end=$((SECONDS + $1))

	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.05
	done
}

# loaded COMMAND...: run it on ebbmalloc, and fail unless the library says in
# its log that it was there
loaded()
{
	local status

	rm -f "$WORK/.loaded"
	EBB_CONF="verbose=1,log=$WORK/.loaded" preloaded "$@"
	status=$?
	if ! grep -qs ebbmalloc "$WORK/.loaded"; then
		echo "the library did not say that it was loaded" >&2
		return 1
	fi
	return $status
}
