#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - Torture in several configurations, 30 seconds and more
#
# TORTURE_SECONDS of the first three; TORTURE_SEED to repeat one.
#
# shellcheck source=tests/tap.sh disable=SC2317
. "$(dirname "$0")/../tap.sh"

torture=$EBB_BUILD/tests/stress/torture
seconds=${TORTURE_SECONDS:-15}
seed=${TORTURE_SEED:-$(date +%s)}
short=$(((seconds + 2) / 3))
fast=decay_ms=0,lazy_ms=0,thread_min=0
# What is free gets idle, lazy and clean in turn, and is taken again from each.
aged=decay_ms=20,lazy_ms=5,tick_min_ms=10,thread_min=0

# run CONF SECONDS THREADS
run()
{
	EBB_CONF=$1 "$torture" --seconds "$2" --threads "$3" --seed "$seed"
}

# Whether failures can be injected into this build.
can_inject()
{
	grep -qs '^CONFIG_INJECT=y' "$EBB_BUILD/.config"
}

plan 13
check "default options" run "" "$seconds" 4
check "reclaimer at full speed" run $fast "$seconds" 4
check "with ages" run $aged "$seconds" 4
check "only lazy" run decay_ms=-1,lazy_ms=0,thread_min=0 "$short" 4
check "two threads" run $fast "$short" 2
check "sixteen threads" run decay_ms=1,lazy_ms=0,thread_min=0 "$short" 16
check "without a reclaimer" run reclaim=off "$short" 4
check "every free checked" run check=1,$fast "$short" 4
check "with medium objects" run "frugal=100%,$aged" "$seconds" 4
# Some get nothing, and all get what others have free.
check "near a limit" run "limit=48M,thread_min=0,frugal=100%" "$short" 4
check "with a heap profile" run profile=4K,$fast "$short" 4
check "with a heap profile of all objects" run profile=1,$fast "$short" 4
if can_inject; then
	check "failing kernel calls" run "inject=all:97,$fast" "$short" 4
else
	skip "failing kernel calls" "failures are injected in the debug config"
fi
finish
