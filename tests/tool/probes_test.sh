#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - The probes that are documented are in the library, and others
# are not
#
# shellcheck source=tests/tap.sh disable=SC2317
. "$(dirname "$0")/../tap.sh"

needs readelf objdump
doc=$EBB_TOP/Documentation/admin-guide/tracing.rst
grep -qs '^CONFIG_USDT=y' "$EBB_BUILD/.config" ||
	skip_all "CONFIG_USDT is not set"
readelf -SW "$EBB_LIB" | grep -q '\.note\.stapsdt' ||
	skip_all "built without sys/sdt.h (Debian: systemtap-sdt-dev)"

# "name arguments" of each probe, as documented and as built
documented()
{
	# shellcheck disable=SC2016 # backquotes of the text, not of the shell
	sed -nE 's/^``ebbmalloc:(\w+)\(([^)]*)\)``$/\1 \2/p' "$doc" |
		awk '{ print $1, NF - 1 }' | sort
}

notes()
{
	readelf -nW "$EBB_LIB" | awk '
		/Provider:/ { provider = $0; sub(/.*Provider: /, "", provider) }
		/Name:/ { name = $2 }
		/Location:/ { at = $2; sub(/,/, "", at) }
		/Arguments:/ {
			sub(/.*Arguments: */, "")
			print provider, name, at, gsub(/@/, "")
		}'
}

built()
{
	notes | awk '{ print $2, $4 }' | sort -u
}

same_list()
{
	documented >"$WORK/documented"
	built >"$WORK/built"
	[ -s "$WORK/built" ] && diff "$WORK/documented" "$WORK/built"
}

provider()
{
	[ "$(notes | cut -d' ' -f1 | sort -u)" = ebbmalloc ]
}

# What is at the place of each probe is a NOP, and nothing tests a semaphore
only_nops()
{
	local at rest count=0

	while read -r _ _ at rest; do
		at=$(printf '0x%x' "$at")
		objdump -d --no-show-raw-insn --start-address="$at" \
			--stop-address=$((at + 4)) "$EBB_LIB" |
			grep -qE "^ *${at#0x}:[[:space:]]+nop" || {
			echo "no NOP at $at ($rest)"
			return 1
		}
		count=$((count + 1))
	done < <(notes)
	echo "$count places"
	[ "$count" -ge "$(documented | wc -l)" ] &&
		! readelf -SW "$EBB_LIB" | grep -q '\.probes'
}

# No place of the fast paths
not_in_fast_paths()
{
	local name

	for name in malloc free calloc realloc; do
		objdump -d --no-show-raw-insn "--disassemble=$name" \
			"$EBB_LIB" | sed -nE 's/^ *([0-9a-f]+):.*/0x\1/p'
	done | sort >"$WORK/fast"
	[ -s "$WORK/fast" ] || return 1
	notes | sed -E 's/^[^ ]+ [^ ]+ 0x0*([^ ]*) .*/0x\1/' | sort |
		comm -12 - "$WORK/fast" >"$WORK/common"
	! [ -s "$WORK/common" ]
}

# A tracer sees what a program does, that began later, and is not traced by pid
traced()
{
	bpftrace -e "BEGIN { printf(\"ready\\n\"); }
		usdt:$EBB_LIB:ebbmalloc:refill
		{ @[arg0 > 0 && arg1 > 0] = count(); }" \
		>"$WORK/bpftrace" 2>&1 &
	PROGRAM_PIDS+=($!)
	if ! wait_until 60 grep -q ready "$WORK/bpftrace"; then
		cat "$WORK/bpftrace"
		return 1
	fi
	preloaded "$EBB_BUILD/tests/api/helper" work || return 1
	kill -INT "${PROGRAM_PIDS[-1]}"
	wait "${PROGRAM_PIDS[-1]}"
	cat "$WORK/bpftrace"
	grep -q '@\[1\]: [1-9]' "$WORK/bpftrace" &&
		! grep -q '@\[0\]' "$WORK/bpftrace"
}

can_trace()
{
	command -v bpftrace >/dev/null &&
		timeout 60 bpftrace -e "BEGIN { exit(); }
			usdt:$EBB_LIB:ebbmalloc:refill { @ = count(); }" \
			>/dev/null 2>&1
}

plan 5
check "all that is documented, with its arguments, and no more" same_list
check "the provider is ebbmalloc" provider
check "each is a NOP and no more" only_nops
check "none is in a fast path" not_in_fast_paths
if can_trace; then
	check "bpftrace counts refills" traced
else
	skip "bpftrace counts refills" "bpftrace is missing, or may not trace"
fi
finish
