#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - ebbctl watch
#
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/../tap.sh"
# shellcheck source=tests/tool/subjects.sh
. "$EBB_TOP/tests/tool/subjects.sh"

needs python3

# watch NAME ARGUMENT...: in the background, into $WORK/NAME; waits until it has
# looked around, which it does before it catches SIGINT.
watch()
{
	local name=$1

	shift
	# A job in the background ignores SIGINT, and so would what it runs.
	python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$ebbctl" watch "$@" >"$WORK/$name" &
	watcher=$!
	PROGRAM_PIDS+=($!)
	wait_until 30 catches_signals "$watcher"
}

# SIGINT is bit 1 of what is caught.
catches_signals()
{
	local caught

	caught=$(sed -n 's/^SigCgt:\t//p' "/proc/$1/status")
	[ $((0x$caught & 2)) != 0 ] && [ "$(cat "/proc/$1/comm")" = ebbctl ]
}

# ends STATUS: the watcher does, with it
ends()
{
	wait_until 30 test ! -e "/proc/$watcher/exe" || return
	wait "$watcher"
	[ $? = "$1" ]
}

# has NAME PATTERN
has()
{
	grep -qE -- "$2" "$WORK/$1"
}

shows_pressure()
{
	watch one "$one" || return
	tell one "press 1"
	wait_until 30 has one "^[0-9:.]{12} +$one subject +app +severe \
forced +[0-9.]+M +0 +[0-9.]+(us|ms|s) +[0-9.]+(us|ms|s)\$" || {
		cat "$WORK/one"
		return 1
	}
	# Of one pass there is one line.
	[ "$(wc -l <"$WORK/one")" = 2 ] &&
		[ "$(awk 'length > 80' "$WORK/one")" = "" ]
}

interrupt_ends_it()
{
	kill -INT "$watcher"
	ends 0
}

shows_it_as_json()
{
	watch json --json "$one" || return
	tell one "press 2"
	wait_until 30 has json '"pass"' || return
	kill -TERM "$watcher"
	ends 0 || return
	while read -r line; do
		echo "$line" | python3 -c '
import json, sys
j = json.load(sys.stdin)
assert j["pid"] == int(sys.argv[1]) and j["asked_by"] == "app", j
assert j["forced"] and j["decided"] == "forced", j
assert j["pressure"] == "severe" and j["given_back"] > 0, j
assert j["seen_ms"] <= j["time_ms"] and j["took_us"] >= 0, j' "$one" ||
			return
	done <"$WORK/json"
}

# Those that nobody asked for are shown only if wanted.
shows_all_passes()
{
	watch all --all-passes "$one" || return
	watch asked "$one" || return
	tell one "large 20" && tell one free || return
	wait_until 30 has all "^[0-9:.]{12} +$one subject +age +none" || return
	! has asked " age +none"
}

# With neither: it is found when it has begun.
picks_up_new_ones()
{
	watch new || return
	subject late
	tell late "press 1"
	wait_until 30 has new "^[0-9:.]{12} +${subject_pid[late]} subject +app" ||
		return
	kill -INT "$watcher"
	ends 0
}

ends_with_its_process()
{
	watch late "${subject_pid[late]}" || return
	tell late exit
	ends 0
}

# The reader of a pipe goes away while nothing happens.
ends_with_its_reader()
{
	mkfifo "$WORK/pipe"
	"$ebbctl" watch "$one" >"$WORK/pipe" &
	watcher=$!
	PROGRAM_PIDS+=($!)
	head -n 1 "$WORK/pipe" | grep -q '^SEEN' && ends 0
}

# While it is stopped more passes go by than a page has room for.
says_what_was_lost()
{
	local last

	watch lost --json --all-passes "$one" || return
	tell one "press 1"
	wait_until 30 has lost '"pass"' || return
	kill -STOP "$watcher"
	tell one "press 40" || return
	last=$(passes)
	kill -CONT "$watcher"
	wait_until 30 has lost "\"pass\": $last," || return
	python3 - "$WORK/lost" <<-'END'
		import json, sys
		at = lost = 0
		with open(sys.argv[1]) as file:
		    for j in map(json.loads, file):
		        if "lost" in j:
		            lost += j["lost"]
		            at += j["lost"]
		            continue
		        assert not at or j["pass"] == at + 1, (at, j)
		        at = j["pass"]
		assert lost > 0, "nothing was lost"
	END
}

# What the page has come to, once nothing happens any more
passes()
{
	sleep 1.5
	"$ebbctl" status --json "$one" | python3 -c '
import json, sys
print(max(e["pass"] for e in json.load(sys.stdin)["events"]))'
}

# The one above had passes before that watch began.
starts_with_a_process()
{
	! has new "^[0-9:.]{12} +$one "
}

# The last that it does; which is shown all the same.
shows_a_report()
{
	misuser bad all || return
	watch bad "${subject_pid[bad]}" || return
	tell bad misuse
	ends 0 || return
	cat "$WORK/bad"
	has bad "^[0-9:.]{12} +${subject_pid[bad]} subject +report +$misused\$" &&
		grep -qF -- "$(reported bad)" "$WORK/bad" &&
		[ "$(grep -c ' report   ' "$WORK/bad")" = 1 ] &&
		shows_all_of_it && blames_all bad
}

# What follows is the log, from the second line of the report to its last
shows_all_of_it()
{
	local first="\[${subject_pid[bad]}\]:   use by thread" last="end of report"

	grep -q "^ebbmalloc.*$first" "$WORK/bad" &&
		[ "$(sed -n "/$first/,/$last/p" "$WORK/bad")" = \
		"$(sed -n "/$first/,/$last/p" "$WORK/bad.log")" ]
}

# Two of a process that goes on, one after the other
shows_each_report()
{
	local nr

	misuser worse sampled,guard_size=4K,guard_recover=on || return
	watch worse --json "${subject_pid[worse]}" || return
	for nr in 1 2; do
		tell worse misuse || return
		wait_until 30 reports_are worse $nr || return
		says "^report +20[0-9-]+ [0-9:.]+ $misused\$" \
			"$ebbctl" status "${subject_pid[worse]}" &&
			json "j['report'] == '$(reported worse)'" \
				"$ebbctl" status --json "${subject_pid[worse]}" ||
			return
	done
	blames_all worse || return
	tell worse exit
	ends 0
}

# reports_are NAME NR: so many were printed, each whole, the last is the log's
reports_are()
{
	python3 - "$WORK/$1" "$2" "$(reported "$1")" <<-'END'
		import json, sys
		with open(sys.argv[1]) as file:
		    reports = [j for j in map(json.loads, file)
		               if "report" in j]
		sys.exit(len(reports) != int(sys.argv[2]) or
		         reports[-1]["report"] != sys.argv[3] or
		         any(j["report"] not in j["text"] or
		             "end of report" not in j["text"] for j in reports))
	END
}

refuses_wrong_usage()
{
	fails 2 "$ebbctl" watch x && fails 2 "$ebbctl" watch --wrong &&
		fails 3 "$ebbctl" watch 4194304 &&
		fails 125 timeout 30 "$ebbctl" watch "$one" >/dev/full
}

subject one
one=${subject_pid[one]}
tell one "press 3"
seen one

plan 12
check "watch shows pressure and what came of it" shows_pressure
check "SIGINT ends it" interrupt_ends_it
check "a JSON object a line" shows_it_as_json
check "--all-passes are more" shows_all_passes
check "new processes are picked up" picks_up_new_ones
check "what was before is not shown" starts_with_a_process
check "it ends with its process" ends_with_its_process
check "it ends with its reader" ends_with_its_reader
check "it says what was lost" says_what_was_lost
check "it shows the report that a process ends with" shows_a_report
check "and each of one that goes on, as status does" shows_each_report
check "it refuses wrong usage" refuses_wrong_usage
finish
