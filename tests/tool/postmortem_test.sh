#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - ebbctl postmortem, of processes that were killed
#
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/../tap.sh"
# shellcheck source=tests/tool/subjects.sh
. "$EBB_TOP/tests/tool/subjects.sh"

needs python3
export PYTHONDONTWRITEBYTECODE=1
uid=$(id -u)
dead=$CONTROL/dead-$uid

# A page is as old as a second.
holds()
{
	json "j['counters']['live'] >= 10 << 20 and
		[e for e in j['events'] if e['asked_by'] == 'app'] and
		[c for c in j['classes'] if c['taken'] >= 3000]" \
		"$ebbctl" status --json "$1"
}

# victim NAME SIGNAL: it holds what it shall be seen to have held, and dies
victim()
{
	subject "$1"
	tell "$1" "thread 3000 1000"
	tell "$1" "large 10"
	seen "$1" || return
	tell "$1" "press 2"
	wait_until 30 holds "${subject_pid[$1]}" || return
	kill -"$2" "${subject_pid[$1]}"
	wait "${subject_pid[$1]}" 2>/dev/null
	pid=${subject_pid[$1]}
}

# record EXPRESSION: of the one record of $pid, as r
record()
{
	json "len(j) == 1 and [r for r in j if ($1)]" \
		"$ebbctl" postmortem --json "$pid"
}

shows_who_was_killed()
{
	victim killed KILL || return
	[ -e "$CONTROL/$pid/page" ] || return
	record "r['pid'] == $pid and r['name'] == 'subject' and
		r['ended'] == 'not known' and
		r['counters']['live'] >= 10 << 20 and
		[t for t in r['threads'] if t['name'] == 'holder' and
		 t['taken'] >= 3000000] and
		[c for c in r['classes'] if c['taken'] >= 3000] and
		[e for e in r['events'] if e['asked_by'] == 'app'] and
		[s for s in r['signals'] if s['name'] == 'headroom']"
}

says_it_in_words()
{
	says "^process +$pid subject, user $uid$" "$ebbctl" postmortem "$pid" &&
		says '^ended +killed, or crashed' "$ebbctl" postmortem "$pid" &&
		says '^last seen +20[0-9-]+ [0-9:.]+, .* ago$' \
			"$ebbctl" postmortem "$pid" &&
		says '^ *[0-9]+ holder +[0-9.]+M' "$ebbctl" postmortem "$pid" &&
		says '^ *large +1[0-9.]+M$' "$ebbctl" postmortem "$pid" &&
		says '^pass +[0-9:.]+ app, severe' "$ebbctl" postmortem "$pid"
}

# Guard mode has ended it.
shows_what_was_misused()
{
	misuser misuser all || return
	pid=${subject_pid[misuser]}
	tell misuser misuse
	wait_until 30 test ! -e "/proc/$pid/exe" || return
	wait "$pid" 2>/dev/null
	[ $? = $((128 + 6)) ] || return
	record "r['report'] == '$(reported misuser)' and
		r['report_ms'] <= r['written_ms']" &&
		says "^report +20[0-9-]+ [0-9:.]+ $misused\$" \
			"$ebbctl" postmortem "$pid" && blames_all misuser
}

# What is left of it is one file, in a place of its own.
buried()
{
	[ ! -e "$CONTROL/$pid" ] && [ "$(ls "$dead"/*-"$pid")" ] &&
		[ "$(stat -c %a "$dead")" = 700 ] &&
		says "^20[0-9-]+ [0-9:]+ +$pid subject +1" \
			"$ebbctl" postmortem --list
}

# The next of the user's processes sweeps, too; its rules are the same.
library_buries_as_well()
{
	victim swept KILL || return
	subject sweeper
	seen sweeper || return
	wait_until 30 test ! -e "$CONTROL/$pid" &&
		record "r['counters']['live'] >= 10 << 20"
}

# They all die before anybody looks.
newest_eight_stay()
{
	local i

	for i in 1 2 3 4 5 6 7 8 9 10; do
		subject "many$i"
		tell "many$i" "large 1"
	done
	for i in 1 2 3 4 5 6 7 8 9 10; do
		seen "many$i" || return
	done
	for i in 1 2 3 4 5 6 7 8 9 10; do
		kill -KILL "${subject_pid[many$i]}"
		wait "${subject_pid[many$i]}" 2>/dev/null
	done
	json "len([r for r in j if r['page'].startswith('$dead/')]) == 8 and
		[r['written_ms'] for r in j] ==
		sorted((r['written_ms'] for r in j), reverse=True)" \
		"$ebbctl" postmortem --json &&
		[ "$(find "$dead" -type f | wc -l)" = 8 ] &&
		[ "$(find "$CONTROL" -maxdepth 1 -name '[0-9]*' | wc -l)" = 1 ]
}

# Who ends by itself, or is still there, is no case for it.
others_are_left_alone()
{
	subject well
	tell well "large 1"
	seen well || return
	fails 3 "$ebbctl" postmortem "${subject_pid[well]}" &&
		[ -e "$CONTROL/${subject_pid[well]}/page" ] || return
	tell well exit
	wait_until 30 test ! -e "$CONTROL/${subject_pid[well]}" &&
		fails 3 "$ebbctl" postmortem "${subject_pid[well]}" &&
		[ -e "$CONTROL/${subject_pid[sweeper]}/page" ]
}

refuses_wrong_usage()
{
	fails 2 "$ebbctl" postmortem x && fails 2 "$ebbctl" postmortem 1 2 &&
		fails 3 "$ebbctl" postmortem 4194304 &&
		fails 3 "$ebbctl" postmortem /ebb-test-none &&
		[ "$("$ebbctl" postmortem --json /ebb-test-none)" = "[]" ]
}

# The page is that of nobody's process, and so is what is kept of it.
root_buries_as_the_user()
{
	local place=$WORK/all pid status

	chmod 755 "$WORK"
	mkdir -m 1777 "$place"
	chmod 1777 "$place"
	CONTROL=$place subject nobody setpriv --reuid=65534 --regid=65534 \
		--clear-groups
	pid=${subject_pid[nobody]}
	tell nobody "press 1"
	EBB_CONTROL_DIR=$place wait_until 30 "$ebbctl" status "$pid" || return
	kill -KILL "$pid"
	wait "$pid" 2>/dev/null
	EBB_CONTROL_DIR=$place says "^process +$pid subject, user 65534$" \
		"$ebbctl" postmortem "$pid" &&
		[ "$(stat -c %u "$place/dead-65534")" = 65534 ] &&
		[ "$(stat -c %u "$place/dead-65534"/*-"$pid")" = 65534 ] &&
		[ ! -e "$place/$pid" ]
	status=$?
	# What is root's, nobody neither sees nor sweeps.
	as_nobody env EBB_CONTROL_DIR="$CONTROL" "$ebbctl" postmortem
	[ $? = 3 ] && return "$status"
}

as_nobody()
{
	setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
}

### In a cgroup

# The memory cgroup of this test, with a limit of 48 MiB; $path as in
# /proc/PID/cgroup
make_cgroup()
{
	local own

	own=$(sed -n 's/^[0-9]*:memory://p' /proc/self/cgroup)
	group=/sys/fs/cgroup/memory${own%/}/ebb-test-$$
	path=${own%/}/ebb-test-$$
	limit=memory.limit_in_bytes
	if [ -z "$own" ]; then
		own=$(sed -n 's/^0:://p' /proc/self/cgroup)
		group=/sys/fs/cgroup${own%/}/ebb-test-$$
		path=${own%/}/ebb-test-$$
		limit=memory.max
	fi
	mkdir "$group" 2>/dev/null || return
	if ! echo 48M >"$group/$limit"; then
		rmdir "$group"
		return 1
	fi 2>/dev/null
	# Where it would go else
	{
		echo 48M >"$group/memory.memsw.limit_in_bytes"
		echo 0 >"$group/memory.swap.max"
	} 2>/dev/null
	return 0
}

remove_cgroup()
{
	wait_until 30 rmdir "$group"
}

# Till the kernel ends it: it grows, and keeps everything.
start_grower()
{
	# shellcheck disable=SC2016 # of the other shell
	subject oom sh -c 'echo $$ >"$0/cgroup.procs"; exec "$@"' "$group"
	tell oom "press 1" || return
	pid=${subject_pid[oom]}
	wait_until 30 "$ebbctl" status "$pid" || return
	tell oom grow
	wait_until 60 test ! -e "/proc/$pid/exe" || return
	wait "$pid" 2>/dev/null
	[ $? = 137 ]
}

shows_who_was_oom_killed()
{
	start_grower || return
	record "r['counters']['limit'] == 48 << 20 and
		r['counters']['headroom'] < 48 << 20 and
		r['counters']['live'] >= 1 << 20 and
		r['ended'] in ('OOM kill', 'not known') and
		(r['cgroup_oom_kills'] is None or r['cgroup_oom_kills'] >= 1)"
}

# Where the kernel's log may be read it says so.
says_it_was_the_oom_killer()
{
	record "r['ended'] == 'OOM kill' and
		r['ended_ms'] >= r['written_ms'] - 2000" &&
		says '^ended +killed by the OOM killer' \
			"$ebbctl" postmortem "$pid" &&
		says ' OOM kill$' "$ebbctl" postmortem --list "$pid"
}

logged()
{
	dmesg 2>/dev/null | grep -q "Killed process $pid "
}

is_found_by_its_cgroup()
{
	json "[r['pid'] for r in j] == [$pid]" \
		"$ebbctl" postmortem --json "$path" &&
		json "$pid in [r['pid'] for r in j]" \
			"$ebbctl" postmortem --json "${path%/*}/" &&
		fails 3 "$ebbctl" postmortem "${path}x" &&
		says "^cgroup +.*:$path$" "$ebbctl" postmortem "$path"
}

# Nothing may be written there: it is read where it is.
survives_a_full_place()
{
	victim full KILL || return
	rm -rf "$dead"
	ln -s /nowhere "$dead"
	record "r['counters']['live'] >= 10 << 20" &&
		[ -e "$CONTROL/$pid/page" ] && [ -L "$dead" ]
	local status=$?
	rm "$dead"
	return "$status"
}

plan 14
check "a process killed by SIGKILL is shown" shows_who_was_killed
check "in words, too" says_it_in_words
check "its directory is gone, its page kept" buried
check "so is what it misused" shows_what_was_misused
check "so it is if the library sweeps first" library_buries_as_well
check "the newest eight are kept" newest_eight_stay
check "who lives, or ended by itself, is left alone" others_are_left_alone
check "wrong usage is refused" refuses_wrong_usage
check "where it cannot be kept it is read where it is" survives_a_full_place
if [ "$uid" = 0 ] && command -v setpriv >/dev/null &&
   as_nobody test -x "$ebbctl" -a -r "$EBB_LIB"; then
	check "root buries nobody's as nobody" root_buries_as_the_user
else
	skip "root buries nobody's as nobody" \
		"needs root, setpriv, and a build that nobody may read"
fi
if make_cgroup; then
	check "a process killed by the OOM killer is shown" \
		shows_who_was_oom_killed
	if logged; then
		check "and what killed it" says_it_was_the_oom_killer
	else
		skip "and what killed it" "the kernel does not log it here"
	fi
	check "it is found by its cgroup" is_found_by_its_cgroup
	check "its cgroup can be removed" remove_cgroup
else
	for what in "a process killed by the OOM killer is shown" \
		"and what killed it" "it is found by its cgroup" \
		"its cgroup can be removed"; do
		skip "$what" "no memory cgroup can be made here"
	done
fi
finish
