#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - ebbctl compare
#
# Run by scripts/run-tests, or by hand: EBB_BUILD=build
# tests/tool/compare_test.sh.  What a run takes is known, because the command is
# tests/tool/holder; nothing here depends on how long anything takes, but that a
# process that waits for half a second is seen in that time.

# shellcheck disable=SC1091,SC2016,SC2154,SC2317

. "$(dirname "$0")/functions.sh"

holder=$build/tests/tool/holder

# Anything between 60 and 64 MiB, then 16 MiB for a while, with any allocator
known=("$holder" touch=64 keep=16 map=1 ms=500)

# compare STATUS ARGUMENT...
compare() {
	local status=$1
	shift
	expect "$status" "$ebbctl" compare --lib "$lib" "$@"
}

# refused TEXT ARGUMENT...: usage that is wrong
refused() {
	local text=$1
	shift
	compare 2 "$@"
	has "$err" "$text"
	[ -z "$out" ] || fail "on stdout: $out"
}

# json CODE...: Python over the result d, whose rows are in a by their names
json() {
	python3 - "$out" "$@" <<-'END' || fail "$1: $out"
		import json, sys
		d = json.loads(sys.argv[1])
		a = {one["name"]: one for one in d["allocators"]}
		M = 1 << 20
		for code in sys.argv[2:]:
		    assert eval("(" + code + ")"), code
	END
}

fits_the_screen() {
	local long
	long=$(awk 'length > 79' <<< "$1")
	[ -z "$long" ] || fail "longer than 79 columns: $long"
}

# no_cgroup PID: whether that tool has left no cgroup
no_cgroup() {
	[ -z "$(find /sys/fs/cgroup -name "ebb-run-$1*" 2> /dev/null)" ]
}

# wait_for COMMAND...: poll, for as long as the runner lets us
wait_for() {
	until "$@" > /dev/null 2>&1; do sleep 0.05; done
}

### What is measured

compare_prints_a_table() {
	needs_cgroup
	compare 0 -n 2 -- "${known[@]}"
	fits_the_screen "$out"
	[ -z "$err" ] || fail "on stderr: $err"
	has "$out" "2 runs on each, no limit, cgroup v"
	has "$out" "TIME      CPU     PEAK     MEAN      END   HITS KILLS"
	has "$out" "ebbmalloc     $lib"
	grep -q '^present .* 16\.[0-9]M  *0  *0$' <<< "$out" ||
		fail "16 MiB at the end, no hits: $out"
	for row in smallest largest 'x present'; do
		has "$out" "  $row"
	done
}

compare_knows_what_was_held() {
	needs python3
	needs_cgroup
	compare 0 -n 3 --json -- "${known[@]}"
	json 'd["runs"] == 3 and d["command"][-1] == "ms=500"' \
		'list(a) == ["present", "ebbmalloc"]' \
		'all(len(o["runs"]) == 3 for o in a.values())' \
		'all(r["good"] and r["exit_status"] == 0
		     for o in a.values() for r in o["runs"])' \
		'all(16 * M <= r["end"] < 24 * M
		     for o in a.values() for r in o["runs"])' \
		'all(o["peak"]["smallest"] >= 64 * M or d["peak_is"] == "rss"
		     for o in a.values())' \
		'all(o["peak"]["largest"] < 80 * M for o in a.values())' \
		'all(0.5 <= o["wall"]["median"] and o["cpu"]["median"] > 0
		     for o in a.values())' \
		'all(0 < o["mean"]["median"] < 64 * M for o in a.values())' \
		'a["ebbmalloc"]["loaded"] and a["present"]["loaded"] is None' \
		'abs(a["ebbmalloc"]["end"]["ratio"] -
		     a["ebbmalloc"]["end"]["median"] /
		     a["present"]["end"]["median"]) < 1e-4' \
		'all(f["smallest"] <= f["median"] <= f["largest"]
		     for o in a.values() for f in [o["wall"], o["peak"]])'
}

# 64 MiB of small pieces, the first 48 of them freed: glibc's heap keeps all,
# as its end is in use; the other gives back, at the latest when told to wait
compare_sees_the_difference() {
	needs python3
	needs_cgroup
	compare 0 -n 1 --json -- "$holder" touch=64 keep=16 ms=2500
	json '64 * M <= a["present"]["end"]["median"] < 80 * M' \
		'16 * M <= a["ebbmalloc"]["end"]["median"] < 64 * M'
}

# 32 MiB, and then 8
compare_tells_the_end_from_what_was_before() {
	needs python3
	needs_cgroup
	compare 0 -n 1 --json -- sh -c "$holder touch=32 map=1 ms=1500
		$holder touch=8 map=1 ms=1000"
	json 'all(8 * M <= o["end"]["median"] < 16 * M
		  for o in a.values())' \
		'all(o["peak"]["median"] >= 32 * M for o in a.values())'
}

compare_works_without_a_cgroup() {
	needs python3
	compare 0 -n 1 --no-cgroup --json -- "${known[@]}"
	json 'd["cgroup_version"] is None and d["peak_is"] == "rss"' \
		'all(16 * M <= o["end"]["median"] < 24 * M
		     for o in a.values())' \
		'all(64 * M <= o["peak"]["median"] < 80 * M
		     for o in a.values())' \
		'all(o["limit_hits"] is None for o in a.values())'
	compare 0 -n 1 --no-cgroup -- "${known[@]}"
	has "$out" "no cgroup, no limit"
	has "$out" "PEAK is the largest process's RSS."
}

# Two children, which are still there when the command has ended
compare_counts_all_processes() {
	needs python3
	for where in "" --no-cgroup; do
		[ "$where" ] || (needs_cgroup) || continue
		# shellcheck disable=SC2086 # no word if it is empty
		compare 0 -n 1 $where --json -- sh -c \
			"{ $holder touch=16 map=1 ms=1000000 & \
			   $holder touch=16 map=1 ms=1000000 & } |
			 { read a; read b; sleep 1; }"
		json 'all(32 * M <= o["end"]["median"] < 48 * M
			  for o in a.values())' \
			'all(r["killed_at_end"] == 2 for o in a.values()
			     for r in o["runs"])'
	done
}

compare_runs_in_turn() {
	compare 0 -n 3 --no-cgroup -- sh -c \
		"echo \"[\$LD_PRELOAD]\" >> $dir/order"
	{
		echo "[]"
		for _ in 1 2 3; do printf '[]\n[%s]\n' "$lib"; done
	} > "$dir/expected"
	diff "$dir/expected" "$dir/order" || fail "another order"
}

### The library

compare_takes_other_libraries() {
	needs python3
	for name in jemalloc mimalloc tcmalloc; do
		"$ebbctl" compare --no-cgroup -n 1 --with $name --lib "$lib" \
			true > /dev/null 2>&1 && break
		name=
	done
	[ "$name" ] || skip "no other allocator is installed"
	compare 0 -n 1 --no-cgroup --json --with "$name" -- sleep 0.5
	json "list(a)[1] == '$name'" "a['$name']['loaded']"
	path=$(python3 -c 'import json, sys
print(json.loads(sys.argv[1])["allocators"][1]["library"])' "$out")
	compare 0 -n 1 --no-cgroup --json -w "$name,$path" -- sleep 0.5
	json 'len(a) == 4 and all(o["good_runs"] == 1 for o in a.values())'
	export LD_PRELOAD=$path
	compare 0 -n 1 --no-cgroup -- sleep 0.5
	has "$out" "present       $name, which the command brings"
}

# env itself has it, for a moment, in which it may be seen
compare_says_that_the_library_was_not_loaded() {
	"$ebbctl" compare -n 1 --no-cgroup --lib "$lib" -- \
		env -u LD_PRELOAD "$holder" touch=1 ms=500 > "$dir/out"
	case $? in
	0) has "$(cat "$dir/out")" "some programs of the command ran without" ;;
	1) has "$(cat "$dir/out")" "ebbmalloc: NOT LOADED" ;;
	*) fail "neither 0 nor 1" ;;
	esac
	grep -q 'e.g. \(not \)\?holder[.;]' "$dir/out" ||
		fail "not named: $(cat "$dir/out")"
}

compare_refuses_programs_that_do_not_preload() {
	needs gcc
	cd "$dir" || fail "no $dir"
	echo 'int main(void) { return 0; }' > x.c
	gcc -static -o static x.c || skip "no static libc"
	compare 125 --no-cgroup -- ./static
	has "$err" "statically linked"
	has "$err" "there is nothing to compare"
	[ "$(id -u)" = 0 ] || return 0
	needs setpriv
	gcc -o suid x.c
	chmod 755 "$dir"
	chmod 4755 suid
	setpriv --reuid=65534 --clear-groups test -x "$ebbctl" ||
		skip "nobody may not execute $ebbctl"
	expect 125 setpriv --reuid=65534 --regid=65534 --clear-groups \
		"$ebbctl" compare --no-cgroup --lib "$lib" ./suid
	has "$err" "it is setuid"
}

### What is refused

compare_refuses_what_it_cannot_do() {
	refused "needs a COMMAND" --no-cgroup
	refused "--memory=5Q refused: accepts bytes, 0 to" --memory 5Q true
	refused "--memory=0 refused" --memory 0 true
	refused "--runs=0 refused: accepts 1 to 1000" --runs 0 true
	refused "--runs=1001 refused" --runs 1001 true
	refused "--runs=2x refused" --runs 2x true
	refused "--runs=-1 refused" --runs -1 true
	refused "--timeout=0 refused: accepts 1 to" --timeout 0 true
	refused "--high=101% refused: accepts bytes" -m 64M \
		--high 101% true
	has "$err" "1% to 100% of the limit, or max"
	refused "--high=% refused" -m 64M --high % true
	refused "--high=5Q refused" -m 64M --high 5Q true
	refused "--high=0% refused" -m 64M --high 0% true
	refused "--high=-5% refused" -m 64M --high -5% true
	refused "--high=50% needs --memory" --high 50% true
	refused "--high=68157440 refused: accepts 0 to --memory, 67108864" \
		-m 64M --high 65M true
	refused "--high=1048576 refused: with --find-limit" --find-limit \
		--high 1M true
	refused "--no-cgroup leaves no place" --no-cgroup --find-limit true
	refused "--no-cgroup leaves no place" --no-cgroup -m 64M true
	refused "--swap needs --memory" --swap 1M true
	compare 2 --wrong true
}

compare_refuses_libraries_that_are_none() {
	refused "--with=nomalloc refused" --with nomalloc true
	has "$err" "accepts jemalloc, mimalloc, tcmalloc, or the path"
	refused "--with=$dir/none.so refused: No such file" -w "$dir/none.so" \
		true
	refused "no shared library" --with /etc/passwd true
	refused "it defines no malloc" --with "$holder" true
	refused "--with= refused" --with "" true
	compare 125 --lib "$dir/none.so" true
	has "$err" "$dir/none.so"
}

compare_refuses_commands_that_are_none() {
	compare 127 --no-cgroup -- "$dir/none"
	compare 126 --no-cgroup -- /etc/passwd
	has "$err" "cannot run /etc/passwd"
}

# Before the first run, not after the last
compare_refuses_files_that_cannot_be_written() {
	compare 125 --no-cgroup --plot "$dir/none/x.svg" -- touch "$dir/ran"
	has "$err" "cannot write $dir/none/x.svg"
	[ ! -e "$dir/ran" ] || fail "the command ran"
	expect 125 bash -c "exec '$ebbctl' compare --lib '$lib' --no-cgroup \
		-n 1 true > /dev/full"
	has "$err" "cannot write the result"
}

compare_without_right_goes_on_and_says_so() {
	needs setpriv
	[ "$(id -u)" = 0 ] || skip "needs root to become nobody"
	[ -e /sys/fs/cgroup/memory ] || [ -e /sys/fs/cgroup/cgroup.procs ] ||
		skip "no memory cgroup here"
	nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups "$ebbctl"
		compare --lib "$lib" -n 1)
	"${nobody[@]}" --help > /dev/null || skip "nobody may not run $ebbctl"
	expect 125 "${nobody[@]}" --memory 64M true
	has "$err" "cannot make a cgroup below"
	has "$err" "Delegate=yes"
	has "$err" "--memory, --high and --find-limit are refused"
	expect 125 "${nobody[@]}" --find-limit true
	expect 0 "${nobody[@]}" sleep 0.3
	has "$err" "going on without"
	fits_the_screen "$out"
	has "$out" "Memory is that of the processes"
}

### Failures

compare_does_not_compare_failures() {
	compare 1 --no-cgroup -- sh -c "echo x >> $dir/ran; exit 3"
	has "$err" "sh fails on the allocator it has: exit status 3"
	[ -z "$out" ] || fail "compared: $out"
	[ "$(wc -l < "$dir/ran")" = 1 ] || fail "it ran more than once"
	compare 1 --no-cgroup -- sh -c 'kill -SEGV $$'
	has "$err" "signal 11 (Segmentation fault)"
}

compare_tells_whose_runs_failed() {
	needs python3
	compare 1 -n 2 --no-cgroup -- sh -c '[ -z "$LD_PRELOAD" ] || exit 7'
	fits_the_screen "$out"
	has "$(tr -s ' \n' ' ' <<< "$out")" "ebbmalloc: 2 of 2 runs failed, \
the first with exit status 7; there is nothing to compare."
	grep -qE '^ebbmalloc( +-){6}' <<< "$out" || fail "compared: $out"
	compare 1 -n 2 --no-cgroup --json -- sh -c \
		'[ -z "$LD_PRELOAD" ] || exit 7'
	json 'a["present"]["good_runs"] == 2' \
		'a["ebbmalloc"]["good_runs"] == 0' \
		'a["ebbmalloc"]["wall"]["median"] is None' \
		'[r["exit_status"] for r in a["ebbmalloc"]["runs"]] == [7, 7]'
}

compare_counts_kills() {
	needs python3
	needs_cgroup
	compare 1 -n 2 --memory 32M --json -- "$holder" touch=64 map=1
	json 'd["memory_limit"] == 32 * M' \
		'all(o["oom_kills"] == 2 and o["good_runs"] == 0
		     for o in a.values())' \
		'all(o["limit_hits"] > 0 for o in a.values())' \
		'all(r["signal"] == 9 for o in a.values() for r in o["runs"])'
	compare 1 -n 2 --memory 32M -- "$holder" touch=64 map=1
	has "$out" "2 runs on each, limit 32M"
	has "$out" "signal 9 (Killed), an OOM"
}

compare_ends_a_run_that_takes_too_long() {
	compare 1 -n 1 --no-cgroup --timeout 1 -- sleep 1000
	has "$out" "taking too long"
}

compare_kills_what_is_left() {
	for where in "" --no-cgroup; do
		[ "$where" ] || (needs_cgroup) || continue
		rm -f "$dir/pids"
		# shellcheck disable=SC2086 # no word if it is empty
		compare 0 -n 1 $where -- sh -c \
			"setsid sleep 1000 & echo \$! >> $dir/pids; sleep 0.5"
		has "$out" "left processes behind, in 2 of 2 runs: they were"
		[ "$(wc -l < "$dir/pids")" = 3 ] || fail "not three runs"
		while read -r pid; do
			! kill -0 "$pid" 2> /dev/null || fail "$pid is there"
		done < "$dir/pids"
	done
}

# Children of the shell that became the tool are none of the command's
compare_leaves_others_alone() {
	compare=("$ebbctl" compare --lib "$lib" --no-cgroup -n 1)
	bash -c 'sleep 1000 & echo $! > "$0"; exec "$@"' "$dir/pid" \
		"${compare[@]}" true > /dev/null || fail "the comparison"
	kill "$(cat "$dir/pid")" || fail "it has killed another's child"
}

### The limit

# 48 MiB and what the program itself needs; the rest is the library's own
compare_finds_the_least_limit() {
	needs python3
	needs_cgroup
	compare 0 -n 2 --find-limit --json -- "$holder" touch=48 map=1
	json 'd["resolution"] == M' \
		'all(48 * M <= o["find_limit"]["least"] <= 60 * M
		     for o in a.values())' \
		'all(o["find_limit"]["runs"] >= 7 for o in a.values())'
	compare 0 -n 1 --find-limit -- "$holder" touch=48 map=1
	fits_the_screen "$out"
	grep -qE '^present .* (4[89]|5[0-9]|60)M$' <<< "$out" ||
		fail "no LEAST of 48M to 60M: $out"
	has "$out" "1M less is not"
}

# What is read from a file fills memory, but needs none
compare_finds_a_limit_far_below_the_peak() {
	needs python3
	needs_cgroup
	case $(stat -f -c %T "$dir") in
	tmpfs | ramfs | overlayfs) skip "no file cache for $dir" ;;
	esac
	dd if=/dev/zero of="$dir/file" bs=1M count=64 conv=fsync status=none
	compare 0 -n 1 --find-limit --json -- sh -c "
		dd if=$dir/file iflag=nocache count=0 status=none &&
		cat $dir/file && $holder touch=16 map=1"
	json 'all(o["peak"]["median"] >= 60 * M for o in a.values())' \
		'all(16 * M <= o["find_limit"]["least"] <= 32 * M
		     for o in a.values())'
}

compare_searches_only_up_to_the_limit_given() {
	needs_cgroup
	compare 1 -n 1 --find-limit --memory 16M -- "$holder" touch=48 map=1
	has "$out" "present: no limit up to 16M is survived"
}

compare_searches_with_high() {
	needs python3
	needs_cgroup
	compare 0 -n 1 --find-limit --high 100% --json -- \
		"$holder" touch=8 map=1
	json 'd["high_percent"] == 100' \
		'all(8 * M <= o["find_limit"]["least"] <= 24 * M
		     for o in a.values())'
}

### Output

compare_draws_bars() {
	needs python3
	needs_cgroup
	compare 0 -n 1 --find-limit --plot "$dir/x.svg" -- \
		sh -c ": '<&>\"é'; $holder touch=4 ms=300"
	python3 - "$dir/x.svg" <<-'END' || fail "$(cat "$dir/x.svg")"
		import sys
		import xml.etree.ElementTree as tree
		root = tree.parse(sys.argv[1]).getroot()
		ns = "{http://www.w3.org/2000/svg}"
		assert root.tag == ns + "svg" and root.get("role") == "img"
		assert "<&>" in root.find(ns + "title").text
		assert "Time: present " in root.find(ns + "desc").text
		bars = root.findall(ns + "rect")[1:]
		assert len(bars) == 6 * 2, len(bars)
		height = float(root.get("height"))
		for bar in bars:
		    x, y, w, h = (float(bar.get(k)) for k in
		                  ("x", "y", "width", "height"))
		    assert x >= 0 and x + w <= 800 and y + h <= height, bar.attrib
		for text in root.findall(ns + "text"):
		    assert float(text.get("x")) < 800 and text.text
	END
}

compare_passes_output_on_if_told_to() {
	# The command itself is shown, too: it must not have the word
	compare 0 -n 1 --no-cgroup -- sh -c 'echo he""ard; echo t""oo >&2; cat'
	[[ "$out$err" != *heard* ]] || fail "not asked for: $out$err"
	compare 0 -n 1 --no-cgroup --show --json -- sh -c \
		'echo he""ard; echo t""oo >&2; cat'
	[ "$(grep -c heard <<< "$err")" = 3 ] || fail "three times: $err"
	[ "$(grep -c too <<< "$err")" = 3 ] || fail "three times: $err"
	[[ "$out" != *heard* ]] || fail "on stdout: $out"
}

compare_compares_programs() {
	needs python3 sqlite3
	compare 0 -n 1 --json -- sqlite3 :memory: "create table t(a, b);
		with recursive c(i) as (select 1 union all select i + 1
		from c where i < 20000) insert into t select i, hex(i) from c;
		select count(*) from t a join t b using (a);"
	json 'all(o["good_runs"] == 1 and o["wall"]["median"] > 0
		  for o in a.values())'
	compare 0 -n 1 --json -- python3 -c "
import time
x = [str(i) * 20 for i in range(100000)]
del x
time.sleep(1)"
	json 'a["ebbmalloc"]["loaded"]' \
		'all(o["good_runs"] == 1 and o["end"]["median"] > M
		     for o in a.values())'
}

# terminal CODE ARGUMENT...: the tool on a terminal of 80 columns; CODE looks
# at its text, and at its status
terminal() {
	python3 - "$@" <<-'END' || fail "on a terminal"
		import fcntl, os, pty, signal, struct, sys, termios
		pid, fd = pty.fork()
		if not pid:
		    # A test run in the background is told to ignore it
		    signal.signal(signal.SIGINT, signal.SIG_DFL)
		    os.execv(sys.argv[2], sys.argv[2:])
		fcntl.ioctl(fd, termios.TIOCSWINSZ,
		            struct.pack("HHHH", 24, 80, 0, 0))
		text, pressed = "", False
		while True:
		    try:
		        data = os.read(fd, 65536)
		    except OSError:
		        break
		    if not data:
		        break
		    text += data.decode()
		    if "press" in sys.argv[1] and not pressed and \
		       "run 1 of 5: ebbmalloc" in text:
		        os.write(fd, b"\x03")
		        pressed = True
		status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
		lines = text.replace("\r\n", "\n").split("\n")
		shown = [part for line in lines
		         for part in line.split("\r\x1b[K")]
		print("# pid %d, status %d, %r" % (pid, status, text))
		open(os.environ["tool_pid"], "w").write(str(pid))
		assert all(len(part) <= 80 for part in shown), shown
		assert eval("(" + sys.argv[1] + ")")
	END
}

compare_shows_progress_on_a_terminal() {
	needs python3
	export tool_pid=$dir/pid
	terminal 'status == 0 and "ebbctl: run 2 of 2: ebbmalloc" in shown and
		  "first run, not counted" in text and
		  any(part.startswith("ebbmalloc     ") for part in shown)' \
		"$ebbctl" compare -n 2 --no-cgroup --lib "$lib" -- \
		"$holder" touch=4 ms=300 | sed 's/^/# /'
	[ "${PIPESTATUS[0]}" = 0 ] || fail "see above"
}

compare_ends_when_ctrl_c_is_pressed() {
	needs python3
	export tool_pid=$dir/pid
	where=--no-cgroup
	(needs_cgroup) && where=
	# shellcheck disable=SC2086 # no word if it is empty
	terminal '"press" and status == 130 and
		  "interrupted by signal 2 (Interrupt)" in text' \
		"$ebbctl" compare $where --lib "$lib" -- \
		"$holder" touch=4 ms=3000 || fail "see above"
	no_cgroup "$(cat "$dir/pid")" || fail "a cgroup is left"
}

compare_ends_when_told_to() {
	for where in "" --no-cgroup; do
		[ "$where" ] || (needs_cgroup) || continue
		rm -f "$dir/child"
		# shellcheck disable=SC2086 # no word if it is empty
		"$ebbctl" compare $where --lib "$lib" -- sh -c \
			"trap '' TERM; $holder touch=4 ms=1000000 & \
			echo \$! > $dir/child; wait" > "$dir/out" \
			2> "$dir/err" &
		tool=$!
		wait_for test -s "$dir/child"
		kill -TERM $tool
		wait $tool
		[ $? = 143 ] || fail "not 143: $(cat "$dir/err")"
		! kill -0 "$(cat "$dir/child")" 2> /dev/null ||
			fail "the child is still there"
		no_cgroup $tool || fail "a cgroup is left"
		has "$(cat "$dir/err")" "interrupted by signal 15"
		[ ! -s "$dir/out" ] || fail "compared: $(cat "$dir/out")"
	done
}

compare_dies_with_its_command() {
	"$ebbctl" compare --no-cgroup --lib "$lib" -- sh -c \
		"echo \$\$ > $dir/child; exec $holder ms=1000000" &
	tool=$!
	wait_for test -s "$dir/child"
	kill -KILL $tool
	wait $tool 2> /dev/null
	wait_for test ! -e "/proc/$(cat "$dir/child")/exe"
}

compare_explains_itself() {
	expect 0 "$ebbctl" compare --help
	has "$out" "Exit status:"
	fits_the_screen "$out"
	for option in memory high swap runs with find-limit timeout lib \
		no-cgroup json plot show; do
		has "$out" "--$option"
	done
}

run_tests compare
