# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# ebbmalloc tests - Tests of ebbctl as shell functions; to be sourced
#
#	. "$(dirname "$0")/functions.sh"
#	first_says_so() { expect 0 "$ebbctl" ...; has "$out" ...; }
#	run_tests first second
#
# A test is a function whose name begins with one of the words given to
# run_tests; it returns 0, or calls skip or fail.  $dir is a directory of the
# script's own.

# shellcheck disable=SC2034

build=${EBB_BUILD:-$(dirname "$0")/../../build}
ebbctl=$build/bin/ebbctl
lib=${EBB_LIB:-$build/lib/libebbmalloc.so.1}
lib=$(realpath "$lib")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
unset EBB_CONF LD_PRELOAD

# The test ends here
skip() { echo "$*" > "$dir/skip"; exit 4; }
fail() { echo "# $*"; exit 1; }

# expect STATUS COMMAND...: its output is in $out, its messages in $err
expect() {
	local status=$1 got
	shift
	"$@" > "$dir/out" 2> "$dir/err"
	got=$?
	out=$(cat "$dir/out")
	err=$(cat "$dir/err")
	[ "$got" = "$status" ] ||
		fail "$* exits with $got, not $status: $out $err"
}

# has TEXT PATTERN
has() { [[ $1 == *$2* ]] || fail "\"$2\" is not in \"$1\""; }

needs_cgroup() {
	"$ebbctl" run -q --no-preload true 2> "$dir/why" ||
		skip "$(head -n 1 "$dir/why")"
}

needs() {
	for tool; do
		command -v "$tool" > /dev/null || skip "no $tool here"
	done
}

# run_tests WORD...: all functions of this script that begin with WORD_
run_tests() {
	local tests name nr=0 failed=0 words
	words=$(IFS='|'; echo "$*")
	tests=$(sed -nE "s/^(($words)_[a-z0-9_]*)\\(\\) \\{$/\\1/p" "$0")
	echo "TAP version 13"
	echo "1..$(wc -w <<< "$tests")"
	for name in $tests; do
		nr=$((nr + 1))
		(set +e; "$name"; exit 0)
		case $? in
		0) echo "ok $nr - $name" ;;
		4) echo "ok $nr - $name # SKIP $(cat "$dir/skip")" ;;
		*) echo "not ok $nr - $name"; failed=1 ;;
		esac
	done
	exit $failed
}
