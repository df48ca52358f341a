# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# ebbmalloc tests - Cgroups v2 for the scripts in the virtual machine
#
#	. "$EBB_TOP/tests/vm/lib.sh"
#	group a memory.max=64M		# makes it and sets $group
#	load_in "$group" build=40	# tests/vm/load, there, preloaded
#
# Each script may make whatever it likes: the machine is its own.

. "$EBB_TOP/tests/tap.sh"

CGROUP=/sys/fs/cgroup
LOAD=$EBB_BUILD/tests/vm/load
prefix=()			# words before the program, e.g. unshare -C

[ "$(cat /vm/mode 2>/dev/null)" ] || skip_all "only in scripts/vmtest"
[ -x "$LOAD" ] || skip_all "$LOAD is not built"

# What is claimed of signals holds where all of them are built
needs_signals()
{
	preloaded "$LOAD" stats=0 2>&1 | grep -q "not built in" &&
		skip_all "not all signals are built in"
}

# group NAME [FILE=TEXT ...]: a cgroup of this script
group()
{
	group=$CGROUP/${0##*/}.${1}
	mkdir -p "$group"
	shift
	for setting; do
		echo "${setting#*=}" >"$group/${setting%%=*}" || return 1
	done
}

# enable GROUP: children of it have the memory controller
enable()
{
	echo +memory >"$1/cgroup.subtree_control"
}

# enter GROUP COMMAND...: in a process of that cgroup
enter()
{
	bash -c 'echo $$ >"$1"/cgroup.procs && shift && exec "$@"' enter "$@"
}

# load_in GROUP STEP...: tests/vm/load on ebbmalloc, with $EBB_CONF
load_in()
{
	local where=$1

	shift
	# shellcheck disable=SC2154 # tap.sh sets it
	enter "$where" "${prefix[@]}" "${preload[@]}" "$LOAD" "$@"
}

# stopped_at_go COMMAND STEP...: load_in $group; when it has said "built" and
# waits for $WORK/go, COMMAND is run here, and it goes on; what it said is shown
stopped_at_go()
{
	local command=$1 status

	shift
	rm -f "$WORK/go"
	load_in "$group" "$@" stats=0 >"$WORK/out" 2>&1 &
	PROGRAM_PIDS+=($!)
	wait_until 20 grep -q built "$WORK/out" && "$command" || return 1
	touch "$WORK/go"
	wait $!
	status=$?
	grep -E 'VmRSS|load:' "$WORK/out"
	signals
	return $status
}

# move_to NAME FILE=TEXT: the processes of $group go to a new cgroup, one by one;
# a child that only tried a call may be gone by then
move_to()
{
	local from=$group pid

	group "$@"
	while read -r pid; do
		echo "$pid" >"$group/cgroup.procs" || [ ! -d "/proc/$pid" ] ||
			return 1
	done < <(cat "$from/cgroup.procs")
	grep -q . "$group/cgroup.procs"
}

# event GROUP NAME: how often, by memory.events
event()
{
	sed -n "s/^$2 //p" "$1/memory.events"
}

# usage_below GROUP MB: whether it comes to that
usage_below()
{
	wait_until 20 is_below "$1" "$2" && return
	echo "memory.current stays at $(cat "$1/memory.current")"
	return 1
}

is_below()
{
	[ "$(cat "$1/memory.current")" -lt $(($2 << 20)) ]
}

# The signals as the program said them in $WORK/out
signals()
{
	grep -E '^(headroom|cgroup2|cgroup1|psi|app|[a-z]*): (live|unavail)' \
		"$WORK/out"
}

# says TEXT...: a line of the output has each of them
says()
{
	for text; do
		grep -qF -- "$text" "$WORK/out" && continue
		echo "not said: $text"
		cat "$WORK/out"
		return 1
	done
}

# Have 40 MB, free 95 %, say the signals; 12 MB may stay
gives_back=(build=40 free=95 below=12 stats=0)

# given_back GROUP [STEP...]: it does so there; output in $WORK/out
given_back()
{
	local where=$1 status

	shift
	load_in "$where" "${gives_back[@]}" "$@" >"$WORK/out" 2>&1
	status=$?
	grep -E 'VmRSS|load:' "$WORK/out"
	signals
	return $status
}
