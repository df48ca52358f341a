#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - ebbctl on real processes: list, status, threads, get, set,
# trim, metrics
#
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/../tap.sh"
# shellcheck source=tests/tool/subjects.sh
. "$EBB_TOP/tests/tool/subjects.sh"

needs python3
export PYTHONDONTWRITEBYTECODE=1
prom=(python3 "$EBB_TOP/tests/tool/prom.py")

### list, status, threads

# row PID: of `list`, as r
row()
{
	echo "{r['pid']: r for r in j}[$1]"
}

lists_it()
{
	says "^ *$one +$(id -u) subject +" "$ebbctl" list &&
		json "$(row "$one")['directory'] == '$CONTROL/$one' and
			$(row "$one")['name'] == 'subject' and
			$(row "$one")['live'] >= 10 << 20" \
			"$ebbctl" list --json
}

# It is among the last ones only for a while.
shows_pass()
{
	tell one "press 1"
	says "^pass .* app, severe: all, " "$ebbctl" status "$one"
}

status_shows_it()
{
	says "^process +$one subject, user $(id -u), with a background" \
		"$ebbctl" status "$one" &&
		says '^reclaimer +running' "$ebbctl" status "$one" &&
		wait_until 30 shows_pass &&
		json "j['pid'] == $one and j['abi'] == 1 and
			j['counters']['nr_forced_passes'] >= 3 and
			[e for e in j['events'] if e['forced'] and
			 e['asked_by'] == 'app' and e['given_back'] > 0] and
			[s for s in j['signals'] if s['name'] == 'app' and
			 s['live'] and s['events'] >= 3] and
			[c for c in j['classes'] if c['taken'] >= 5000]" \
		"$ebbctl" status --json "$one"
}

threads_are_told_apart()
{
	says "^ *[0-9]+ holder +[0-9.]+M" "$ebbctl" threads "$one" &&
		says "^subject .* has [0-9]+ % of [0-9.]+M in use, and allocates" \
			"$ebbctl" threads "$one" &&
		json "[t for t in j if t['name'] == 'holder' and
			t['live'] >= 5000 * 1000 and
			t['taken'] >= 5000 * 1000] and
			[t for t in j if t['tid'] == $one]" \
			"$ebbctl" threads --json "$one"
}

says_who_is_none()
{
	sleep 1000 &
	PROGRAM_PIDS+=($!)
	fails 3 "$ebbctl" status $! &&
		says 'does not run on ebbmalloc' "$ebbctl" status $! &&
		fails 3 "$ebbctl" status 4194304 &&
		says 'there is none' "$ebbctl" status 4194304 &&
		fails 2 "$ebbctl" status &&
		fails 2 "$ebbctl" list 1 &&
		fails 2 "$ebbctl" metrics x &&
		fails 2 "$ebbctl" metrics "$one" "$one" &&
		fails 2 "$ebbctl" metrics --all "$one"
}

### get, set, trim

gets()
{
	[ "$("$ebbctl" get "$one" decay_ms)" = "$1" ] || {
		echo "decay_ms=$("$ebbctl" get "$one" decay_ms), not $1"
		return 1
	}
}

sets_and_reads_back()
{
	says '^decay_ms=321$' "$ebbctl" set "$one" decay_ms=321 && gets 321 &&
		[ "$(cat "$CONTROL/$one/decay_ms")" = 321 ] &&
		says '^dirty_min=8M$' "$ebbctl" set "$one" dirty_min=8192K &&
		json "j['decay_ms'] == '321' and j['dirty_min'] == '8M'" \
			"$ebbctl" get --json "$one" &&
		[ "$("$ebbctl" get "$one" | grep -c =)" = \
			"$("$ebbctl" options --json | grep -o '"name"' |
			wc -l)" ]
}

refusal_says_why()
{
	fails 1 "$ebbctl" set "$one" decay_ms=1x decay_ms=5 &&
		says 'decay_ms.*1x' "$ebbctl" set "$one" decay_ms=1x &&
		gets 321 &&
		fails 1 "$ebbctl" set "$one" nothing=1 &&
		fails 1 "$ebbctl" get "$one" nothing &&
		fails 2 "$ebbctl" set "$one" decay_ms &&
		fails 2 "$ebbctl" set --wait x "$one" decay_ms=1
}

stopped_process_is_waited_for()
{
	kill -STOP "$one"
	fails 4 "$ebbctl" set --wait 100 "$one" decay_ms=456 || return
	gets 321 || return
	kill -CONT "$one"
	wait_until 30 gets 456
}

trims()
{
	tell one "large 20" && tell one "free" || return
	says "^$one subject: .*bytes given back" "$ebbctl" trim "$one" &&
		says "^$one subject: " "$ebbctl" trim "$one" 1M &&
		fails 1 "$ebbctl" trim "$one" much &&
		fails 2 "$ebbctl" trim "$one" 1M 2M &&
		fails 2 "$ebbctl" trim --cgroup /x "$one"
}

# All those in a cgroup that nobody is in, and those in its own
trims_a_cgroup()
{
	local own

	own=$(sed -n 's/^[0-9]*:memory://p; s/^0:://p' "/proc/$one/cgroup" |
		head -n 1)
	[ -z "$("$ebbctl" trim --all --cgroup /ebb-test-none)" ] &&
		says "^$one subject: " "$ebbctl" trim --all --cgroup "$own"
}

# What fails is in the answers, not only in the exit status.
answers_are_json()
{
	json "j == [{'pid': $one, 'process': 'subject', 'name': 'decay_ms',
		'answer': 'accepted', 'text': '654'}]" \
		"$ebbctl" set --json "$one" decay_ms=654 &&
		json "j[0]['answer'] == 'accepted' and j[0]['name'] == 'trim'" \
			"$ebbctl" trim --json "$one" &&
		json "$one in [a['pid'] for a in j]" \
			"$ebbctl" trim --json --all &&
		"$ebbctl" set --json "$one" decay_ms=1x >"$WORK/refused"
	[ $? = 1 ] && json "j[0]['answer'] == 'refused' and
		'1x' in j[0]['text']" cat "$WORK/refused"
}

### metrics

metrics_are_right()
{
	"$ebbctl" metrics "$@" >"$WORK/prom" &&
		"${prom[@]}" check "$WORK/prom" || return
	command -v promtool >/dev/null || return 0
	# It has advice, too, on stderr, and 3 for that.
	promtool check metrics <"$WORK/prom"
}

# The page and the file are of one moment where nothing happens.
agrees()
{
	"$ebbctl" metrics "$one" >"$WORK/tool.prom" &&
		"${prom[@]}" same "$CONTROL/$one/metrics" "$WORK/tool.prom" \
			ebb_processes
}

agrees_and_has_values()
{
	wait_until 30 agrees
	agrees &&
		says '^ebb_forced_passes_total [1-9]' cat "$WORK/tool.prom" &&
		says '^ebb_given_back_bytes_total [1-9]' cat "$WORK/tool.prom" &&
		says '^ebb_pass_seconds_count [1-9]' cat "$WORK/tool.prom" &&
		says '^ebb_signal_live\{signal="app"\} 1' cat "$WORK/tool.prom"
}

adds_up_once()
{
	"$ebbctl" metrics "$one" "$two" >"$WORK/both.prom" &&
		"$ebbctl" metrics --by-pid "$one" "$two" >"$WORK/each.prom" &&
		"${prom[@]}" check "$WORK/each.prom" &&
		says "^ebb_live_bytes\{pid=\"$two\",comm=\"subject\"\} " \
			cat "$WORK/each.prom" &&
		says '^ebb_processes 2$' cat "$WORK/both.prom" &&
		says '^# HELP ebb_limit_bytes .*least' cat "$WORK/both.prom" &&
		"${prom[@]}" sum "$WORK/both.prom" "$WORK/each.prom" \
			ebb_live_bytes ebb_given_back_bytes_total ebb_threads
}

metrics_add_up()
{
	wait_until 30 adds_up_once
	adds_up_once
}

metrics_file_is_put_whole()
{
	local file=$WORK/textfile/ebb.prom old

	mkdir "$WORK/textfile"
	echo old >"$file"
	exec 5<"$file"
	"$ebbctl" metrics --output "$file" "$one" || return
	read -r old <&5
	[ "$old" = old ] && "${prom[@]}" check "$file" &&
		[ "$(stat -c %a "$file")" = 644 ] &&
		[ "$(ls -A "$WORK/textfile")" = ebb.prom ] &&
		fails 125 "$ebbctl" metrics --output "$WORK/none/x.prom" &&
		fails 125 "$ebbctl" metrics --output /dev/null "$one" &&
		fails 125 "$ebbctl" metrics "$one" >/dev/full
}

### Others

contained()
{
	unshare --mount --pid --fork --kill-child true 2>/dev/null
}

# Its own /dev/shm, its own numbers; $! is who waits for it
start_contained()
{
	subject inner unshare --mount --pid --fork --kill-child sh -c \
		"mount -t tmpfs none /dev/shm &&
		 mount -t tmpfs none /run &&
		 EBB_CONF=debounce_ms=0 exec \"\$@\"" sh || return
	tell inner "small 1000 1000" || return
	inner=$(pgrep -P "${subject_pid[inner]}")
	tell inner "press 1"
	wait_until 30 "$ebbctl" status "$inner"
}

reaches_contained()
{
	start_contained || return
	json "$(row "$inner")['inner_pid'] == 1 and
		$(row "$inner")['directory'].startswith('/proc/')" \
		"$ebbctl" list --json &&
		says '^decay_ms=55$' "$ebbctl" set "$inner" decay_ms=55 &&
		says "^$inner subject: " "$ebbctl" trim "$inner"
}

# unshare(1) takes no signal while it waits.
finds_it_in_a_container()
{
	local status

	reaches_contained
	status=$?
	tell inner exit
	return "$status"
}

nobody_subject()
{
	chmod 755 "$WORK"
	mkdir -m 1777 "$WORK/all"
	EBB_CONTROL_DIR=$WORK/all
	chmod 1777 "$WORK/all"
	CONTROL=$WORK/all subject nobody setpriv --reuid=65534 \
		--regid=65534 --clear-groups
	tell nobody "press 1"
	wait_until 30 "$ebbctl" status "${subject_pid[nobody]}"
}

as_nobody()
{
	setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
}

root_sees_and_sets_what_is_nobodys()
{
	local pid

	nobody_subject || return
	pid=${subject_pid[nobody]}
	json "$(row "$pid")['uid'] == 65534" "$ebbctl" list --json &&
		says '^decay_ms=55$' "$ebbctl" set "$pid" decay_ms=55 &&
		as_nobody "$ebbctl" status "$pid" &&
		fails 3 as_nobody "$ebbctl" status "$one"
}

ends()
{
	tell one exit
	wait_until 30 test ! -e "$CONTROL/$one" &&
		wait_until 30 test ! -e "/proc/$one" ||
		return
	fails 3 "$ebbctl" set "$one" decay_ms=1
}

subject one
subject two
one=${subject_pid[one]}
two=${subject_pid[two]}
tell one "press 3"
tell one "thread 5000 1000"
tell one "large 10"
tell one "small 5000 200"
tell two "press 1"
tell two "large 3"
seen one
seen two

plan 21
check "list has a process on ebbmalloc" lists_it
check "status says what it holds, hears and does" status_shows_it
check "threads tells threads apart" threads_are_told_apart
check "who has none is told why" says_who_is_none
check "set waits until a value is in force" sets_and_reads_back
check "what is refused is said, with the value" refusal_says_why
check "a process that is stopped has not answered" stopped_process_is_waited_for
check "trim gives back" trims
check "trim --cgroup takes those of the cgroup" trims_a_cgroup
check "answers are JSON, too" answers_are_json
check "metrics of all are right to the letter" metrics_are_right
check "so are those of each" metrics_are_right --by-pid
check "so are those of one" metrics_are_right "$one"
check "they agree with the process's own file" agrees_and_has_values
check "metrics of two are the sum of each" metrics_add_up
check "metrics --output replaces a file at once" metrics_file_is_put_whole
check "JSON is JSON: list" is_json "$ebbctl" list --json
check "JSON is JSON: get" is_json "$ebbctl" get --json "$one"
if contained; then
	check "a process in a container is found" finds_it_in_a_container
else
	skip "a process in a container is found" "unshare(1) may not here"
fi
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null &&
   as_nobody test -x "$ebbctl" -a -r "$EBB_LIB"; then
	check "root sees what is nobody's, not the other way round" \
		root_sees_and_sets_what_is_nobodys
else
	skip "root sees what is nobody's, not the other way round" \
		"needs root, setpriv, and a build that nobody may read"
fi
check "what has ended is gone" ends
finish
