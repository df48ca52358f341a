#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - ebbctl run below a scope of systemd's
#
# A user's manager runs in a part of the tree that is its own, as logind would
# have it; nothing else of systemd does.

. "$EBB_TOP/tests/vm/lib.sh"
manager=/lib/systemd/systemd
[ -x $manager ] && command -v systemd-run >/dev/null ||
	skip_all "systemd was not installed where the guest was made"
plan 4

export XDG_RUNTIME_DIR=$WORK/runtime
mkdir -m 700 "$XDG_RUNTIME_DIR"
mkdir -p /run/systemd/system	# sd_booted(3)
group user
enable "$group"
mkdir "$group/manager"
enter "$group/manager" $manager --user --log-target=kmsg &
PROGRAM_PIDS+=($!)
wait_until 40 [ -S "$XDG_RUNTIME_DIR/systemd/private" ]

# The command sees itself below the manager's part, in a scope
runs_in_scope()
{
	"$EBB_BUILD/bin/ebbctl" run --user -m 64M -- \
		bash -c 'cat /proc/self/cgroup; env' >"$WORK/out" 2>"$WORK/err"
	status=$?
	cat "$WORK/out" "$WORK/err"
	[ $status = 0 ] && grep -qE \
		"^0::${group#"$CGROUP"}/.*/run-.*\.scope/ebb-run-[0-9]+$" "$WORK/out"
}

leaves_nothing()
{
	! grep -q EBBCTL_IN_SCOPE "$WORK/out" &&
		wait_until 20 bash -c "! find $group | grep -q 'run-.*[.]scope/'"
}

# Tenfold the limit, in one process: the kernel kills it in that scope
is_limited()
{
	"$EBB_BUILD/bin/ebbctl" run --user -m 16M --high max --no-preload -- \
		bash -c 'x=$(head -c 160000000 /dev/zero | tr "\\0" x)' \
		>"$WORK/out" 2>&1
	status=$?
	cat "$WORK/out"
	grep -qE 'limit hit [1-9]' "$WORK/out" && [ $status != 0 ]
}

goes_without()
{
	"$EBB_BUILD/bin/ebbctl" run --no-scope -m 64M -- cat /proc/self/cgroup \
		>"$WORK/out" 2>&1 && cat "$WORK/out" &&
		! grep -q scope "$WORK/out"
}

check "runs below a scope" runs_in_scope
check "the scope and its mark are gone afterwards" leaves_nothing
check "the limit holds there" is_limited
check "--no-scope does without" goes_without
finish
