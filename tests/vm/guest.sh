#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - Runs the tests within the virtual machine
#
# Reads /vm/list, lines of `NUMBER SECONDS USER PROGRAM [ARGS]`, and puts marks
# around the output of each, by which scripts/vmtest knows whose it is.  What
# a test leaves running is killed; nothing else is in this machine.

export EBB_TOP=/vm/top

# Run $3... as user $2, for at most $1 seconds
run_one()
{
	local seconds=$1 user=$2

	shift 2
	case $1 in
	*.sh) set -- bash "$@";;
	*-plain) set -- env "LD_PRELOAD=$EBB_LIB" "$@";;
	esac
	if [ "$user" != root ]; then
		# busybox would take its own, which cannot
		set -- /usr/bin/setpriv "--reuid=$user" "--regid=$user" \
			--clear-groups "$@"
	fi
	setsid timeout -s KILL "$seconds" "$@"
}

while read -r number seconds user program; do
	echo "vmtest: begin $program" >/dev/kmsg
	echo "vmtest-begin: $number"
	# shellcheck disable=SC2086 # a program and its arguments
	run_one "$seconds" "$user" $program </dev/null
	status=$?
	kill -KILL -1		# spares this shell and its parent, process 1
	echo "vmtest-end: $number $status"
done </vm/list 2>&1
exit 0
