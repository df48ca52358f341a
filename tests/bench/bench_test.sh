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
speed=$EBB_BUILD/tests/bench/speed
near_limit=(density latency latency-default 'cost-*' 'steady*' 'walk*')
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
	timeout 240 "$bench" "${near_limit[@]/#/--only=}" --tiny --runs 2 \
		--allocators ebbmalloc \
		--allocators glibc --json "$WORK/all.json" \
		--svg "$WORK/all.svg" >"$WORK/table" 2>"$WORK/progress" ||
		{ cat "$WORK/progress"; return 1; }
	cat "$WORK/table"
}

# Each measurement, but for the one that swaps, has a table with both rows.
table_complete()
{
	local name names

	names=$("$bench" "${near_limit[@]/#/--only=}" --list | sed '/^$/,$d' | awk '{ print $1 }' |
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

runs_speed()
{
	timeout 100 "$bench" --only 'speed-*' --tiny --runs 1 \
		--allocators ebbmalloc --allocators glibc \
		--json "$WORK/speed.json" --svg "$WORK/speed.svg" \
		>"$WORK/speed.table" 2>"$WORK/progress" ||
		{ cat "$WORK/progress"; return 1; }
	cat "$WORK/speed.table"
}

# The same work under every allocator, and a figure of each.
speed_complete()
{
	python3 - "$WORK/speed.json" <<-'END'
		import json, sys
		work = {}
		for run in json.load(open(sys.argv[1]))["runs"]:
		    v = run["values"]
		    assert not run["failed"] and not run["skipped"], run
		    assert v["seconds"] > 0 and v["peak_rss_kb"] > 500, run
		    work.setdefault(run["measurement"], []).append(v["operations"])
		assert len(work) >= 42, len(work)
		assert all(len(w) == 2 and w[0] == w[1] > 0 for w in work.values())
	END
}

# Nothing is wider than a terminal.
table_is_narrow()
{
	grep -n '.\{101\}' "$WORK/speed.table" && return 1
	grep -q '^speed-pair-64-100 ' "$WORK/speed.table" &&
		tr '\n' ' ' <"$WORK/speed.table" | grep -q '64 KiB: [a-z]'
}

# What is shown follows from the runs: medians, ratios to the best peer of
# each program, means.  No peer are old (another library) and jemalloc where
# it failed.
figures_hold()
{
	python3 - "$WORK/fixed.json" <<-'END' || return 1
		import json, sys
		runs = []
		def add(program, allocator, seconds, kb, failed=None):
		    for n, s in enumerate(seconds, 1):
		        runs.append({"measurement": program, "allocator": allocator,
		                     "run": n, "seconds": 1, "skipped": None,
		                     "failed": failed, "lines": [], "values":
		                     {"seconds": s, "cpu_seconds": 2 * s,
		                      "peak_rss_kb": kb}})
		for program, factor in (("speed-pair-16-1", 1),
		                        ("speed-pair-16-100", 10)):
		    add(program, "ebbmalloc", [factor, 9 * factor, factor], 3000)
		    add(program, "glibc", [2 * factor], 2000)
		    add(program, "mimalloc", [.8 * factor], 4000)
		    add(program, "old", [.1 * factor], 10)
		add("speed-churn", "ebbmalloc", [.5], 1000)
		add("speed-churn", "glibc", [.5], 1000)
		add("speed-churn", "mimalloc", [.4], 8000)
		add("speed-churn", "jemalloc", [.01], 10, "died")
		json.dump({"kernel": "6.1", "machine": "x", "cpus": 2,
		           "load_before": 0, "thp": "never", "mthp_64k": "never",
		           "runs": runs, "skipped": {}}, open(sys.argv[1], "w"))
	END
	"$bench" --from "$WORK/fixed.json" --json "$WORK/again.json" \
		--svg "$WORK/fixed.svg" | tee "$WORK/fixed"
	python3 - "$WORK/again.json" <<-'END'
		import json, sys
		d = json.load(open(sys.argv[1]))["speed"]
		def is_about(value, expected):
		    assert abs(value - expected) < 1e-9, (value, expected)
		time, rss = (d["geometric_means"][k] for k in ("time", "rss"))
		is_about(d["ratios"]["time"]["ebbmalloc"]["speed-pair-16-100"], 1.25)
		is_about(d["ratios"]["rss"]["mimalloc"]["speed-churn"], 8)
		is_about(time["ebbmalloc"], 1.25)
		is_about(time["glibc"], (2.5 * 2.5 * 1.25) ** (1 / 3))
		is_about(time["mimalloc"], 1)
		is_about(rss["ebbmalloc"], (1.5 * 1.5) ** (1 / 3))
		is_about(d["geometric_means_by_program"]["time"]["glibc"],
		         (2.5 * 1.25) ** .5)
		assert d["best_single_peer"] == "mimalloc"
		is_about(d["against_best_single_peer"], 1.25)
		assert len(d["slower"]) == 3
		assert time["jemalloc"] is None
	END
}

# Only what needs seconds, and far more than the best peer does, runs once; it
# is not ebbmalloc, nor a peer that only ebbmalloc is far ahead of.
runs_the_hopeless_once()
{
	PYTHONPATH=$EBB_TOP/scripts python3 -B - <<-'END'
		from benchlib.allocators import Allocator
		from benchlib.measurement import Run
		from benchlib.running import without_hopeless
		from benchlib.speed import MEASUREMENTS
		m, other = MEASUREMENTS[:2]
		def left(**seconds):
		    runs = []
		    for name, s in seconds.items():
		        runs.append(Run(m, Allocator(name, "", {}), 1))
		        runs[-1].values = {"seconds": s}
		    plan = [(2, x, r.allocator) for x in (m, other) for r in runs]
		    kept = without_hopeless(plan, runs)
		    assert [p for p in kept if p[1] is other] == plan[len(runs):]
		    return [p[2].name for p in kept if p[1] is m]
		assert left(ebbmalloc=9, glibc=1.9, jemalloc=2.1, mimalloc=.5) == [
		    "ebbmalloc", "glibc", "mimalloc"]
		assert left(ebbmalloc=.1, glibc=3, new=.2) == [
		    "ebbmalloc", "glibc", "new"]
		assert left(glibc=.9, mimalloc=.1) == ["glibc", "mimalloc"]
		assert left(ebbmalloc=2, new=9) == ["ebbmalloc", "new"]
	END
}

# The text says the same, and what has no figure is told.
figures_are_told()
{
	grep -q '^speed-pair-16-1 .* 0.800 .* 1.25\* 1.50 ' "$WORK/fixed" &&
	grep -q '^speed-churn, jemalloc: died$' "$WORK/fixed" &&
	grep -q 'best single peer (mimalloc): 1.250' "$WORK/fixed" &&
	grep -q 'above 1.05 x the best peer: 3 of 3' "$WORK/fixed"
}

# An allocator that hands out memory twice does not get a figure.
sees_corruption()
{
	local program

	for program in pair batch lifetimes server handover churn idle \
		"grow --kind=string" "grow --kind=vector" large \
		"zeroed --kind=small" "zeroed --kind=table" aligned; do
		# shellcheck disable=SC2086
		LD_PRELOAD=$speed/twice.so timeout 60 "$speed"/$program --work=1
		[ $? = 11 ] || { echo "not seen by $program"; return 1; }
	done
}

sees_no_preload()
{
	echo "no library" >"$WORK/text"
	"$bench" --tiny --only speed-churn --runs 1 --allocators text \
		--with text="$WORK/text" | grep 'ld.so did not preload'
}

# Who interrupts it gets what was finished.
keeps_what_is_done()
{
	local pid status

	"$bench" --only speed-sharing-active --runs 1000 --allocators \
		ebbmalloc --tiny >"$WORK/partial" 2>"$WORK/partial.err" &
	pid=$!
	PROGRAM_PIDS+=("$pid")
	wait_until 20 grep -q 'run 2' "$WORK/partial.err"
	kill -TERM "$pid"
	wait "$pid"
	status=$?
	cat "$WORK/partial"
	[ "$status" = 130 ] && grep -q '^speed-sharing-active' "$WORK/partial"
}

# What cannot be measured is left out with its reason.
tells_what_is_left()
{
	O=$WORK/nothing "$bench" --lib "$EBB_LIB" --only replay-git --runs 1 |
		tee "$WORK/left"
	grep -q '^replay-git: skipped: ..*' "$WORK/left"
}

speed_refuses()
{
	"$speed/$1" "$2" 2>"$WORK/refused" && return 1
	cat "$WORK/refused"
	grep -q -- "$3" "$WORK/refused"
}

# near LIMIT-TEST: skip what needs a cgroup where none can be made
near()
{
	if [ "$cgroup" = 4 ]; then
		skip "$1" "$(cat "$WORK/why")"
	else
		check "$@"
	fi
}

needs python3
[ -x "$density" ] || skip_all "$density is not built"
"$density" --tenants=1 --peak-mb=1 --limit-kb=65536 --repeat=1 --idle-ms=1 \
	--rounds=1 >/dev/null 2>"$WORK/why"
cgroup=$?

# A pair is a few dozen instructions, the program's loop included.
counts_instructions()
{
	"$EBB_TOP/scripts/bench-instructions" --only '*64 B, 1 live' \
		--allocators ebbmalloc >"$WORK/counts" || return 1
	cat "$WORK/counts"
	awk 'NR == 2 { nr = $NF } END { exit !(nr > 30 && nr < 1000) }' \
		"$WORK/counts"
}

# One row, of the library that it is linked with, whoever else is asked for.
runs_contexts()
{
	timeout 60 "$bench" --only contexts --tiny --runs 1 \
		--allocators ebbmalloc --allocators glibc \
		--json "$WORK/contexts.json" >"$WORK/contexts" || return 1
	cat "$WORK/contexts"
	has "$WORK/contexts.json" "len(d['runs']) == 1 and all(d['runs'][0][
		'values'][k + '.x_malloc'] > 0 for k in ('context', 'reset',
		'call', 'malloc', 'bump'))"
}

plan 27
near "every measurement near a limit runs" runs_all
near "the table has every allocator" table_complete
near "the order is rotated from round to round" rotates
near "JSON has every run" has "$WORK/all.json" \
	"len(d['runs']) == 34 and not any(r['failed'] for r in d['runs'])"
near "counters of ebbmalloc are found" has "$WORK/all.json" \
	"all('live' in d['counters'][n] for n in ('density', 'walk'))"
near "the floor is computed" has "$WORK/all.json" \
	"all(m['floor_mib'] > 2 for m in d['medians']['walk'].values())"
near "density finds a limit that is enough" has "$WORK/all.json" \
	"all(1 <= m['limit_per_w'] <= 8 for m in d['medians']['density'].values())"
near "the figure is XML" python3 -c \
	"import xml.dom.minidom as m; m.parse('$WORK/all.svg')"
near "a death is told" dies_visibly
near "time that a thread is blocked is seen" sees_blocked
check "a bad value is refused with its range" refuses --tenants=99 \
	'--tenants=99: expected 1..32'
near "an interrupted program takes its cgroup away" interrupted
check "contexts are measured beside other arenas" runs_contexts
check "every speed program runs" runs_speed
check "each does the same work under every allocator" speed_complete
check "the table fits 100 columns" table_is_narrow
check "ratios and means follow from the runs" figures_hold
check "the table says the same" figures_are_told
check "the hopeless run once" runs_the_hopeless_once
check "both figures are XML" python3 -c \
	"import xml.dom.minidom as m; m.parse('$WORK/speed.svg');
m.parse('$WORK/fixed.svg')"
check "memory that is handed out twice is seen" sees_corruption
check "a library that is not preloaded gets no figure" sees_no_preload
check "an interrupted bench shows what is done" keeps_what_is_done
check "what is left out has a reason" tells_what_is_left
check "a bad number and a bad word are refused" eval \
	"speed_refuses pair --size=4 '--size=4: expected 8..1048576' &&
	 speed_refuses batch --order=up '--order=up: expected one of lifo, fifo'"
if command -v valgrind >/dev/null; then
	check "instructions are counted" counts_instructions
else
	skip "instructions are counted" "valgrind is not installed"
fi
check "no cgroup is left" no_group_left
finish
