#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - Every benchmark runs, and says what it shall; with sizes so
# small that no figure means anything
#
# shellcheck source=tests/tap.sh disable=SC2317
. "$(dirname "$0")/../tap.sh"

bench=$EBB_TOP/scripts/bench
density=$EBB_BUILD/tests/bench/density
export O=$EBB_BUILD

# no_group_left: the cgroups of all programs that were started are gone
no_group_left()
{
	local group

	find /sys/fs/cgroup -maxdepth 3 -name 'ebb-test-*' >"$WORK/groups"
	while read -r group; do
		[ -d "/proc/${group##*-}" ] || { echo "$group"; return 1; }
	done <"$WORK/groups"
}

# has FILE PYTHON-EXPRESSION over its JSON, called d
has()
{
	python3 - "$@" <<-'END'
		import json, sys
		d = json.load(open(sys.argv[1]))
		sys.exit(not eval(sys.argv[2]))
	END
}

runs_all()
{
	timeout 240 "$bench" --tiny --runs 2 --allocators ebbmalloc \
		--allocators glibc --json "$WORK/all.json" \
		--svg "$WORK/all.svg" >"$WORK/table" 2>"$WORK/progress" ||
		{ cat "$WORK/progress"; return 1; }
	cat "$WORK/table"
}

# Each measurement, but for the one that swaps, has a table with both rows.
table_complete()
{
	local name names

	names=$("$bench" --list | sed '/^$/,$d' | awk '{ print $1 }' |
		grep -v zram)
	for name in $names; do
		sed -n "/($name)\$/,/^\$/p" "$WORK/table" >"$WORK/part"
		if ! grep -q '^ebbmalloc ' "$WORK/part" ||
		   ! grep -q '^glibc ' "$WORK/part"; then
			echo "$name"
			return 1
		fi
	done
}

rotates()
{
	grep -o 'latency, [a-z]*, run [12]' "$WORK/progress" |
		tr '\n' ';' | grep -Fx "latency, ebbmalloc, run 1;$(
		)latency, glibc, run 1;latency, glibc, run 2;$(
		)latency, ebbmalloc, run 2;"
}

# A limit below what must be alive is not survived, and it is said how.
dies_visibly()
{
	"$density" --tenants=1 --peak-mb=8 --limit-kb=4096 --repeat=1 \
		--idle-ms=1 --rounds=1 --preload="$EBB_LIB" >"$WORK/dies" ||
		return 1
	cat "$WORK/dies"
	grep -Eq '"survived": false.*"ending": "(OOM-killed|malloc ret)' \
		"$WORK/dies"
}

# Threads that sleep for 3 ms are seen to have been blocked for 2 and more.
sees_blocked()
{
	"$EBB_BUILD/tests/bench/latency" --mb=2 --limit-mb=64 --rounds=3 \
		--wait-ms=50 --block-us=3000 --preload="$EBB_LIB" |
		grep '"blocked"' | tee "$WORK/blocked"
	! grep -q '"under_5ms": 0.*"under_10ms": 0.*"more": 0' "$WORK/blocked" &&
		grep -q '"slices": [1-9]' "$WORK/blocked"
}

refuses()
{
	"$density" "$1" 2>"$WORK/refused" && return 1
	cat "$WORK/refused"
	grep -q -- "$2" "$WORK/refused"
}

interrupted()
{
	local pid status

	"$density" --tenants=2 --peak-mb=8 --rounds=1000 --limit-kb=1000000 \
		--preload="$EBB_LIB" >/dev/null &
	pid=$!
	wait_until 20 test -d "$(find /sys/fs/cgroup -maxdepth 3 \
		-name "ebb-test-$pid" | head -1)/." || true
	sleep 0.3
	kill -INT "$pid"
	wait "$pid"
	status=$?
	[ "$status" = 130 ] && no_group_left
}

needs python3
[ -x "$density" ] || skip_all "$density is not built"
"$density" --tenants=1 --peak-mb=1 --limit-kb=65536 --repeat=1 --idle-ms=1 \
	--rounds=1 >/dev/null 2>"$WORK/why"
[ $? = 4 ] && skip_all "$(cat "$WORK/why")"

plan 13
check "every measurement runs" runs_all
check "the table has every allocator" table_complete
check "the order is rotated from round to round" rotates
check "JSON has every run" has "$WORK/all.json" \
	"len(d['runs']) == 34 and not any(r['failed'] for r in d['runs'])"
check "counters of ebbmalloc are found" has "$WORK/all.json" \
	"all('live' in d['counters'][n] for n in ('density', 'walk'))"
check "the floor is computed" has "$WORK/all.json" \
	"all(m['floor_mib'] > 2 for m in d['medians']['walk'].values())"
check "density finds a limit that is enough" has "$WORK/all.json" \
	"all(1 <= m['limit_per_w'] <= 8 for m in d['medians']['density'].values())"
check "the figure is XML" python3 -c \
	"import xml.dom.minidom as m; m.parse('$WORK/all.svg')"
check "a death is told" dies_visibly
check "time that a thread is blocked is seen" sees_blocked
check "a bad value is refused with its range" refuses --tenants=99 \
	'--tenants=99: expected 1..32'
check "an interrupted program takes its cgroup away" interrupted
check "no cgroup is left" no_group_left
finish
