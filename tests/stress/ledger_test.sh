#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - Accounts of eight threads that come and go, to the byte
#
# LEDGER_OPS operations of each configuration, and LEDGER_MOST of the first;
# LEDGER_SEED to repeat one.
#
# shellcheck source=tests/tap.sh disable=SC2317
. "$(dirname "$0")/../tap.sh"

ops=${LEDGER_OPS:-1000000}
seed=${LEDGER_SEED:-$(date +%s)}
fast=decay_ms=0,lazy_ms=0,thread_min=0

# run CONF OPS [OPTION]
run()
{
	local conf=$1 nr=$2

	shift 2
	EBB_CONF=$conf "$EBB_BUILD/tests/stress/ledger" --ops "$nr" \
		--seed "$seed" "$@" || {
		echo "# EBB_CONF=$conf, --seed $seed"
		return 1
	}
}

plan 7
check "live bytes" run accounts=live "${LEDGER_MOST:-$ops}"
check "totals, too" run accounts=totals "$ops" --totals
check "reclaimer at full speed" run accounts=live,$fast "$ops"
check "totals at full speed" run accounts=totals,$fast "$ops" --totals
check "every free checked" run accounts=totals,check=1 "$ops" --totals
check "with a heap profile" run accounts=live,profile=64K "$ops"
if grep -q "^CONFIG_GUARD=y" "$EBB_BUILD/.config"; then
	check "with guard mode" run accounts=live,guard=sampled,guard_every=100 \
		"$ops"
else
	skip "with guard mode" "built without CONFIG_GUARD"
fi
