#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - ebbctl top, status, postmortem on a terminal
#
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/../tap.sh"
# shellcheck source=tests/tool/subjects.sh
. "$EBB_TOP/tests/tool/subjects.sh"

needs python3
export PYTHONDONTWRITEBYTECODE=1

refuses_wrong_usage()
{
	fails 2 "$ebbctl" top --sort weight &&
		says 'accepts pid, name' "$ebbctl" top --sort weight &&
		fails 2 "$ebbctl" top --delay 0 &&
		fails 2 "$ebbctl" top --delay 1x &&
		fails 2 "$ebbctl" top --json &&
		fails 2 "$ebbctl" top 1 &&
		fails 125 "$ebbctl" top </dev/null
}

# is_sorted KEY NAME: its row is the first of the two
is_sorted()
{
	"$ebbctl" top --once --delay 0.1 --sort "$1" |
		awk -v "small=${subject_pid[small]}" \
			-v "large=${subject_pid[large]}" \
			-v "first=${subject_pid[$2]}" '
			$1 == small || $1 == large { order[++nr] = $1 }
			length > 80 { exit 2 }
			END { exit nr != 2 || order[1] != first }'
}

# The column, and what is in it
shows_cold()
{
	"$ebbctl" top --once --delay 0.1 | grep " COLD " &&
		json "j['all']['cold'] > 1 << 20" \
			"$ebbctl" top --once --json --delay 0.1
}

cold_is_shown()
{
	SUBJECT_CONF=track_writes=50,cold_ms=0 subject cold
	tell cold "large 4" && seen cold && wait_until 60 shows_cold
}

# looks_possible: whether the kernel tells what was written
looks_possible()
{
	grep -q '^CONFIG_TRACK=y' "$EBB_BUILD/.config" &&
		printf '6.7\n%s\n' "$(uname -r)" | sort -CV
}

subject small
subject large
subject victim
tell small "large 2"
tell large "press 1"
tell large "large 30"
tell victim "large 5"
tell victim "thread 1000 1000"
seen small
seen large
seen victim
kill -KILL "${subject_pid[victim]}"
wait "${subject_pid[victim]}" 2>/dev/null

plan 7
check "top refuses wrong usage" refuses_wrong_usage
check "a frame as text: what is most first" is_sorted live large
check "or by another column" is_sorted pid small
check "a frame as JSON" json "{r['pid']: r for r in j['processes']}[$(
	)${subject_pid[small]}]['live'] >= 2 << 20 and $(
	)j['all']['live'] >= 2 << 20" \
	"$ebbctl" top --once --json --delay 0.1
check "on a terminal" python3 "$EBB_TOP/tests/tool/top.py" "$ebbctl" \
	"${subject_pid[small]}" subject "${subject_pid[victim]}"
if looks_possible; then
	check "what is cold is shown where somebody looks" cold_is_shown
else
	skip "what is cold is shown" "needs Linux 6.7 and CONFIG_TRACK"
fi
check "no terminal: top says what to do" says 'top --once' "$ebbctl" top
finish
