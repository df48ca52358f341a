#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc stories - Fast tests in under a minute, slow ones apart, and a
# report of the slowest
#
# Whether it is a minute is seen where `make check-fast` runs: it depends on the
# machine.  Here: what is left out, and what is said of the others.
#
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/../tap.sh"

command -v python3 >/dev/null || skip_all "python3 is not installed"

build=$WORK/build
mkdir -p "$build/tests/api"

# made NAME SECONDS: a test that takes so long
made()
{
	printf '#!/bin/sh\nsleep %s\nprintf "1..1\\nok 1\\n"\n' "$2" \
		>"$build/tests/api/$1"
	chmod +x "$build/tests/api/$1"
}

# runner OPTION...: over those tests alone
runner()
{
	"$EBB_TOP/scripts/run-tests" --build "$build" --only 'api/made_*' "$@" \
		</dev/null
}

# listed WANTED OPTION...
listed()
{
	local wanted=$1

	shift
	[ "$(runner --list "$@" | sort | xargs)" = "$wanted" ]
}

# tests/settings says which: all that are preloaded, of this folder.
slow_ones_are_apart()
{
	listed "api/made_long_test api/made_quick_test api/made_slow_test-plain" &&
		listed "api/made_long_test api/made_quick_test" --fast
}

says_which_it_left_out()
{
	runner --fast >"$WORK/fast" &&
		grep -qx 'Left out as slow: api/made_slow_test-plain' \
			"$WORK/fast" &&
		[ "$(tail -n 1 "$WORK/fast")" = "2 passed, 0 failed, 0 skipped" ]
}

reports_the_slowest_first()
{
	runner >"$WORK/all" || return
	cat "$WORK/all"
	sed -n '/^The slowest of 3:$/,/^$/s/ s  / /p' "$WORK/all" \
		>"$WORK/slowest"
	[ "$(wc -l <"$WORK/slowest")" = 3 ] && sort -srnc "$WORK/slowest" &&
		grep -qE '^ *([1-9]|[0-9]{2,})\.[0-9] api/made_long_test$' \
			"$WORK/slowest"
}

# Of this project's own tests most are fast, and those that must be slow exist.
both_kinds_are_there()
{
	local all

	all=("$EBB_TOP/scripts/run-tests" --build "$EBB_BUILD" --list)
	"${all[@]}" | sort >"$WORK/list-all" &&
		"${all[@]}" --fast | sort >"$WORK/list-fast" &&
		[ -z "$(comm -13 "$WORK/list-all" "$WORK/list-fast")" ] &&
		comm -23 "$WORK/list-all" "$WORK/list-fast" |
		grep -qx stress/torture_test.sh &&
		grep -qx stories/fast_tests_test.sh "$WORK/list-fast"
}

made made_quick_test 0
made made_long_test 1
made made_slow_test-plain 0

plan 4
check "slow tests are apart" slow_ones_are_apart
check "it is said which were left out" says_which_it_left_out
check "the slowest is reported first" reports_the_slowest_first
check "both kinds are there" both_kinds_are_there
finish
