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

plan 6
check "top refuses wrong usage" refuses_wrong_usage
check "a frame as text: what is most first" is_sorted live large
check "or by another column" is_sorted pid small
check "a frame as JSON" json "{r['pid']: r for r in j['processes']}[$(
	)${subject_pid[small]}]['live'] >= 2 << 20 and $(
	)j['all']['live'] >= 2 << 20" \
	"$ebbctl" top --once --json --delay 0.1
check "on a terminal" python3 "$EBB_TOP/tests/tool/top.py" "$ebbctl" \
	"${subject_pid[small]}" subject "${subject_pid[victim]}"
check "no terminal: top says what to do" says 'top --once' "$ebbctl" top
finish
