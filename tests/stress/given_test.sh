#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - Touches of what was given back, with each kind of trap
#
# GIVEN_TOUCHES for each of them; GIVEN_SEED to repeat one.
#
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/../tap.sh"

given=$EBB_BUILD/tests/stress/given
touches=${GIVEN_TOUCHES:-100000}
seed=${GIVEN_SEED:-$(date +%s)}

# run TRAP THREADS
run()
{
	EBB_CONF=guard_trap=$1 "$given" --touches "$touches" --threads "$2" \
		--seed "$seed" | sed 's/^/# /'
	return "${PIPESTATUS[0]}"
}

plan 4
for trap in marker userfaultfd; do
	for threads in 4 1; do
		name="$trap, $threads threads"
		run $trap $threads >"$WORK/out" 2>&1
		status=$?
		cat "$WORK/out"
		if [ $status = 4 ]; then
			skip "$name" "no such trap here"
		else
			check "$name" test $status = 0
		fi
	done
done
finish
