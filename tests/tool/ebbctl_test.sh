#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - ebbctl
#
# Run by scripts/run-tests, or by hand: EBB_BUILD=build tests/tool/ebbctl_test.sh
# Needs root and a memory cgroup for what makes cgroups; else these are skipped.

# shellcheck disable=SC1091,SC2154,SC2317

. "$(dirname "$0")/functions.sh"

# Bytes of anonymous memory, N MiB, touched by a program that then waits
eat() { echo "x = bytearray($1 << 20); $2"; }

### run

run_preloads_the_library() {
	export EBB_CONF=check=on LD_PRELOAD=
	expect 0 "$ebbctl" run -q --no-cgroup --conf decay_ms=5 -- env
	has "$out" "LD_PRELOAD=$lib"
	has "$out" "EBB_CONF=check=on,decay_ms=5"
	export LD_PRELOAD=libm.so.6
	expect 0 "$ebbctl" run -q --no-cgroup -- env
	has "$out" "LD_PRELOAD=$lib:libm.so.6"
}

run_maps_the_library() {
	expect 0 "$ebbctl" run -q --no-cgroup -- cat /proc/self/maps
	has "$out" "$lib"
}

run_passes_the_status_on() {
	expect 3 "$ebbctl" run -q --no-cgroup -- sh -c 'exit 3'
	expect 143 "$ebbctl" run -q --no-cgroup -- sh -c 'kill -TERM $$'
	expect 127 "$ebbctl" run -q --no-cgroup -- "$dir/none"
	expect 126 "$ebbctl" run -q --no-cgroup -- /etc/passwd
}

# Not SIGHUP: a shell cannot trap what nohup ignores
run_passes_signals_on() {
	"$ebbctl" run -q --no-cgroup -- sh -c \
		'trap "exit 5" TERM; echo ready; while :; do sleep 0.1; done' \
		> "$dir/out" &
	for ((i = 0; i < 200; i++)); do
		[ -s "$dir/out" ] && break
		sleep 0.05
	done
	kill -TERM $!
	wait $!
	[ $? = 5 ] || fail "SIGTERM did not reach the command"
}

run_refuses_what_it_cannot_do() {
	expect 2 "$ebbctl" run
	expect 2 "$ebbctl" run --memory 5Q true
	has "$err" "--memory=5Q refused: accepts bytes"
	expect 2 "$ebbctl" run --memory 64M --high 65M true
	has "$err" "--high=68157440 refused: accepts 0 to --memory, 67108864"
	expect 2 "$ebbctl" run --swap 1M true
	has "$err" "--swap needs --memory"
	expect 2 "$ebbctl" run --no-cgroup --memory 1M true
	expect 2 "$ebbctl" run --no-preload --conf check=1 true
	expect 2 "$ebbctl" run --no-cgroup --conf decay=1 true
	has "$err" "\"decay=1\" refused"
	expect 2 "$ebbctl" run --wrong true
	expect 125 "$ebbctl" run --no-cgroup --lib "$dir/none.so" true
	has "$err" "$dir/none.so"
	has "$err" "--no-preload"
}

run_without_right_says_what_to_do() {
	needs setpriv
	[ "$(id -u)" = 0 ] || skip "needs root to become nobody"
	places=(/sys/fs/cgroup/memory /sys/fs/cgroup)
	[ -e "${places[0]}" ] || [ -e "${places[1]}/cgroup.procs" ] ||
		skip "no memory cgroup here"
	setpriv --reuid=65534 --clear-groups test -x "$ebbctl" ||
		skip "nobody may not execute $ebbctl"
	expect 125 setpriv --reuid=65534 --regid=65534 --clear-groups \
		"$ebbctl" run --no-preload --memory 64M true
	has "$err" "--no-cgroup"
	has "$err" "Delegate=yes"
}

run_limits_and_reports_an_oom_kill() {
	needs python3
	needs_cgroup
	expect 137 "$ebbctl" run --no-preload --memory 64M --swap 0 \
		--high max -- python3 -c "$(eat 200)"
	has "$err" "1 OOM kill"
	has "$err" "exit status 137 (signal 9"
	has "$err" "of 64.0M"
	[[ $err != *"limit hit 0 times"* ]] || fail "it hit the limit: $err"
}

run_reports_the_peak() {
	needs python3
	needs_cgroup
	expect 0 "$ebbctl" run --no-preload --memory 256M --json -- \
		python3 -c "$(eat 50)"
	python3 - "$err" <<-'END' || fail "$err"
		import json, sys
		s = json.loads(sys.argv[1])
		assert s["exit_status"] == 0 and s["signal"] is None
		assert s["oom_kills"] == 0 and s["memory_limit"] == 256 << 20
		assert s["peak_usage"] is None or \
			50 << 20 <= s["peak_usage"] < 100 << 20
	END
}

run_writes_the_summary_where_told() {
	expect 0 "$ebbctl" run --no-cgroup -o "$dir/summary" -- true
	[ -z "$err" ] || fail "something else on stderr: $err"
	has "$(cat "$dir/summary")" "exit status 0"
	expect 125 "$ebbctl" run --no-cgroup -o "$dir/none/summary" -- true
}

run_removes_its_cgroup() {
	needs python3
	needs_cgroup
	expect 0 "$ebbctl" run --no-preload --json -- true
	cgroup=$(python3 -c 'import json, sys
print(json.loads(sys.argv[1])["cgroup"])' "$err")
	[ ! -e "$cgroup" ] || fail "$cgroup is still there"
	name=$(basename "$cgroup")
	[ -z "$(find /sys/fs/cgroup -name "$name" 2> /dev/null)" ] ||
		fail "$name is still somewhere"
}

run_keeps_the_cgroup_of_a_daemon_and_says_so() {
	needs_cgroup
	expect 0 "$ebbctl" run --no-preload -- sh -c \
		'sleep 300 > /dev/null 2>&1 & echo $!'
	daemon=$out
	grep -o 'ebb-run-[0-9]*' /proc/"$daemon"/cgroup > "$dir/cgroup"
	kill "$daemon"
	has "$err" "is left behind, with 1 process in it"
	for ((i = 0; i < 100; i++)); do
		find /sys/fs/cgroup -name "$(head -n 1 "$dir/cgroup")" \
			-exec rmdir {} + 2> /dev/null
		[ -z "$(find /sys/fs/cgroup -name \
			"$(head -n 1 "$dir/cgroup")" 2> /dev/null)" ] && return
		sleep 0.05
	done
	fail "the cgroup cannot be removed by hand"
}

# What is asked of systemd-run, and that what it starts runs the command
run_asks_systemd_for_a_scope() {
	mkdir -p "$dir/bin"
	printf '%s\n' '#!/bin/bash' 'echo "$*" >'"$dir/asked" \
		'while [ "$1" != -- ]; do shift; done' 'shift' 'exec "$@"' \
		> "$dir/bin/systemd-run"
	chmod 755 "$dir/bin/systemd-run"
	needs_cgroup
	PATH=$dir/bin:$PATH
	expect 7 "$ebbctl" run -q --user --no-preload -m 64M -- \
		sh -c 'env; exit 7'
	has "$(cat "$dir/asked")" "--scope --quiet --collect --user"
	has "$(cat "$dir/asked")" "--property=Delegate=yes"
	[[ $out != *EBBCTL_IN_SCOPE* ]] || fail "the mark is inherited"
	rm "$dir/asked"
	expect 0 "$ebbctl" run -q --no-scope --no-preload true
	[ ! -e "$dir/asked" ] || fail "--no-scope asks for one"
	expect 0 "$ebbctl" run -q --scope --no-preload true
	[[ $(cat "$dir/asked") != *--user* ]] || fail "--scope asks the user's"
	expect 2 "$ebbctl" run --user --no-cgroup true
	has "$err" "--no-cgroup leaves no use for"
	# Without it: said, with the way out
	rm "$dir/bin/systemd-run"
	expect 125 env PATH="$dir/bin" "$ebbctl" run --user --no-preload true
	has "$err" "--no-scope does without"
}

run_puts_the_command_in_a_cgroup_for_psi() {
	needs_cgroup
	grep -q ' - cgroup2 ' /proc/self/mountinfo || skip "no cgroup v2 here"
	expect 0 "$ebbctl" run --no-preload -q -- grep ^0: /proc/self/cgroup
	has "$out" "/ebb-run-"
}

run_warns_where_the_library_does_not_load() {
	needs gcc
	echo 'int main(void) { return 0; }' > "$dir/x.c"
	gcc -static -o "$dir/static" "$dir/x.c" || skip "no static libc"
	expect 0 "$ebbctl" run -q --no-cgroup -- "$dir/static"
	has "$err" "statically linked"
}

### options

options_fit_the_screen() {
	expect 0 "$ebbctl" options
	has "$out" "decay_ms     500       -1..3600000 ms"
	long=$(awk 'length > 80' <<< "$out")
	[ -z "$long" ] || fail "longer than 80 columns: $long"
}

options_are_json() {
	needs python3
	expect 0 "$ebbctl" options --json
	python3 - "$out" <<-'END' || fail "$out"
		import json, sys
		rows = {r["name"]: r for r in json.loads(sys.argv[1])}
		assert rows["thread_min"]["default"] == "16M"
		assert rows["dirty_max"]["accepts"] == "0..1T bytes or 0%..1000%"
	END
}

options_defaults_are_accepted_by_the_library() {
	needs python3
	expect 0 "$ebbctl" options --json
	list=$(python3 -c 'import json, sys
print(",".join(r["name"] + "=" + r["default"]
               for r in json.loads(sys.argv[1]) if r["default"]))' "$out")
	expect 0 "$ebbctl" run -q --no-cgroup --conf "$list" -- ls /
	[ -z "$err" ] || fail "$err"
}

### doctor

# doctor STATUS FILE TEXT
doctor() {
	expect "$1" "$ebbctl" doctor "$2"
	has "$out" "$3"
}

doctor_knows_programs_that_load() {
	doctor 0 ls "verdict: loads"
	printf '#!/usr/bin/env -S A=1 sh\n' > "$dir/script"
	chmod +x "$dir/script"
	doctor 0 "$dir/script" "is a script, run by sh"
}

doctor_knows_why_not() {
	needs gcc
	cd "$dir" || fail "no $dir"
	echo 'int main(void) { return 0; }' > x.c
	gcc -o static -static x.c && doctor 1 ./static "statically linked"
	gcc -o musl x.c -Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1
	doctor 1 ./musl "musl"
	gcc -o asan -fsanitize=address x.c && doctor 1 ./asan "sanitizer"
	echo 'void *je_malloc(long n) { return (void *)n; }' |
		cat - x.c > je.c
	gcc -o je je.c
	doctor 1 ./je "has its own jemalloc inside"
	echo 'void *malloc(unsigned long n) { return (void *)n; }' |
		cat - x.c > own.c
	gcc -o own -fno-builtin -rdynamic own.c
	doctor 1 ./own "exports a malloc of its own"
	printf 'junk' > junk
	chmod +x junk
	doctor 125 ./junk "neither an ELF file nor a script"
	doctor 125 ./none "No such file"
}

doctor_knows_privileged_files() {
	needs gcc setpriv
	[ "$(id -u)" = 0 ] || skip "needs root to make a setuid file"
	chmod 755 "$dir"
	echo 'int main(void) { return 0; }' > "$dir/x.c"
	gcc -o "$dir/suid" "$dir/x.c"
	chmod 4755 "$dir/suid"
	doctor 0 "$dir/suid" "not for the present user"
	setpriv --reuid=65534 --clear-groups test -x "$ebbctl" ||
		skip "nobody may not execute $ebbctl"
	expect 1 setpriv --reuid=65534 --regid=65534 --clear-groups \
		"$ebbctl" doctor "$dir/suid"
	has "$out" "it is setuid"
}

doctor_survives_damaged_files() {
	needs gcc
	echo 'int main(void) { return 0; }' > "$dir/x.c"
	gcc -o "$dir/whole" "$dir/x.c"
	for size in 1 16 63 64 65 300 900 4000; do
		head -c "$size" "$dir/whole" > "$dir/part"
		chmod +x "$dir/part"
		"$ebbctl" doctor "$dir/part" > "$dir/out"
		[ $? -le 125 ] || fail "a file of $size bytes"
	done
}

doctor_knows_this_machine() {
	needs python3
	expect 0 "$ebbctl" doctor
	for name in kernel cgroups memory_limit psi membarrier thp mthp_64k \
		overcommit_memory max_map_count seccomp control_dir; do
		grep -q "^$name: .* (.*)$" <<< "$out" || fail "no $name in $out"
	done
	expect 0 "$ebbctl" doctor --json
	python3 -c 'import json, sys; json.loads(sys.argv[1])["kernel"]' \
		"$out" || fail "$out"
}

# Where it says that a process keeps its directory, one does
doctor_knows_where_directories_are() {
	local pid place
	needs python3
	expect 0 "$ebbctl" doctor
	place=$(sed -n 's/^control_dir: \(\S*\) .*/\1/p' <<< "$out")
	[ "$place" != none ] || skip "$out"
	LD_PRELOAD=$lib python3 -c '
import time
end = time.time() + 60
while time.time() < end:
    x = [bytes(1000) for _ in range(9999)]
    del x
    time.sleep(0.01)' &
	pid=$!
	trap "kill $pid" EXIT
	for _ in $(seq 200); do
		[ -e "$place/$pid/page" ] && return
		sleep 0.1
	done
	fail "no $place/$pid"
}

### all

commands_explain_themselves() {
	for command in run options doctor; do
		expect 0 "$ebbctl" "$command" --help
		has "$out" "Exit status:"
		long=$(awk 'length > 80' <<< "$out")
		[ -z "$long" ] || fail "longer than 80 columns: $long"
	done
	expect 2 "$ebbctl"
	expect 2 "$ebbctl" nothing
	expect 0 "$ebbctl" --version
}

run_tests run options doctor commands
