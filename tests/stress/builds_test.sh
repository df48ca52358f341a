#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - Torture in other builds: assertions, injected failures,
# sanitizers, the other compiler, no optional kernel facility, no optimisation
#
# Each build lies in its own directory below $EBB_BUILD/builds, and is made
# anew only where something changed.  BUILD_SECONDS is the length of each run.
#
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/../tap.sh"

seconds=${BUILD_SECONDS:-6}
fast=decay_ms=0,lazy_ms=0,thread_min=0
# With medium objects.
aged=decay_ms=20,lazy_ms=5,tick_min_ms=10,thread_min=0,frugal=100%

# build NAME CONFIG VARIABLE=VALUE...: the torture test in that build
build()
{
	local name=$1 config=$2

	shift 2
	make -s -C "$EBB_TOP" O="$EBB_BUILD/builds/$name" "$@" "$config" &&
		make -s -C "$EBB_TOP" O="$EBB_BUILD/builds/$name" \
			KSELFTEST_DIR="$EBB_BUILD/kselftest" W=e "$@" \
			lib tests/stress/torture
}

# torture NAME CONF
torture()
{
	EBB_CONF=$2 "$EBB_BUILD/builds/$1/tests/stress/torture" \
		--seconds "$seconds" --round-ms 1000 --seed 11
}

# run_in NAME TEST: a test program in that build
run_in()
{
	make -s -C "$EBB_TOP" O="$EBB_BUILD/builds/$1" \
		KSELFTEST_DIR="$EBB_BUILD/kselftest" "tests/$2" &&
		"$EBB_BUILD/builds/$1/tests/$2"
}

# watched NAME CONF: torture, with ThreadSanitizer on, in forked children too.
# A handler that frees may be the first to start the background thread, and
# pthread_create() calls calloc(): that is what torture's handlers are there for.
watched()
{
	TSAN_OPTIONS="die_after_fork=0 report_signal_unsafe=0 exitcode=66" \
		torture "$@"
}

# At -O0 a compiler leaves out only what is below a plain if (0); what else calls
# a part that is not built has to find a stub in its header.
unoptimised()
{
	make -s -C "$EBB_TOP" O="$EBB_BUILD/builds/O0" tinyconfig &&
		make -s -C "$EBB_TOP" O="$EBB_BUILD/builds/O0" CFLAGS=-O0 \
			W=e lib tools
}

plan 19
check "debug config with UBSan builds" build ubsan debugconfig D=ubsan
check "it passes" torture ubsan "$fast"
check "it passes with failing kernel calls" \
	torture ubsan "inject=all:97,$fast"
check "it passes with every free checked" torture ubsan "check=1,$fast"
check "it passes with ages" torture ubsan "$aged"
check "medium objects are as their model says" run_in ubsan unit/medium_test
check "debug config with ASan builds" build asan debugconfig D=asan
check "it passes" torture asan "$fast,frugal=100%"
if command -v clang >/dev/null; then
	check "clang builds" build clang defconfig CC=clang
	check "it passes" torture clang "$fast"
	check "clang builds the debug config with TSan" \
		build tsan debugconfig CC=clang D=tsan
	check "it reports no race" watched tsan "$fast"
	check "nor one with a heap profile" watched tsan "profile=4K,$fast"
	check "it reports none with ages" watched tsan "$aged"
else
	for what in "clang builds" "it passes" \
		"clang builds the debug config with TSan" \
		"it reports no race" "nor one with a heap profile" \
		"it reports none with ages"; do
		skip "$what" "clang is not installed"
	done
fi
# Without membarrier caches may stay, so there is nothing to compare.
check "tiny config builds" build tiny tinyconfig
check "it passes the contract of malloc" run_in tiny api/malloc_test
# Linked with those of the sources that are left.
check "it passes a unit test over several floors" run_in tiny unit/page_test
check "and without optimisation" unoptimised
check "all config builds without warnings" build all allconfig W=1e
finish
