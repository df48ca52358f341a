#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - samples/httpd is built as a user would, and serves a load
#
# shellcheck source=tests/tap.sh disable=SC2317
. "$(dirname "$0")/../tap.sh"

needs cc make python3
load=$EBB_TOP/tests/samples/http_load.py

builds()
{
	make -s -C "$EBB_TOP/samples/httpd" OUT="$WORK" \
		CFLAGS="-O2 -g -Wall -Wextra -Wshadow -Werror" \
		CPPFLAGS="-I$EBB_TOP/uapi" \
		LDLIBS="$EBB_LIB -Wl,-rpath,$(dirname "$EBB_LIB")"
}

# start OPTIONS...: $port and $server
start()
{
	rm -f "$WORK/said"
	"$WORK/httpd" --port=0 "$@" >"$WORK/said" 2>&1 &
	server=$!
	PROGRAM_PIDS+=("$server")
	wait_until 20 grep -q port "$WORK/said" || return 1
	port=$(sed -n 's/listening on port //p' "$WORK/said")
}

# ends STATUS: what it was told to do
ends()
{
	local status

	kill -TERM "$server"
	wait "$server"
	status=$?
	cat "$WORK/said"
	[ "$status" = "$1" ]
}

live()
{
	"$load" "$port" /accounts | awk '$1 == "live" { print $2 }'
}

# What has been served holds nothing: contexts and buffers are where they were.
holds_nothing()
{
	local before after

	before=$(live)
	"$load" "$port" 2000 8 || return 1
	wait_until 20 sh -c "'$load' $port /buffers | grep -q 'out 1 '" ||
		return 1
	after=$(live)
	echo "live before $before, after $after"
	[ "$after" -lt $((before + 65536)) ]
}

serves_with_checks()
{
	EBB_CONF=context_check=on start --workers=3 &&
		"$load" "$port" 1000 8 && ends 0
}

leak_is_seen()
{
	start --leak=10 && "$load" "$port" 300 4 && ends 3 &&
		grep -q '^[0-9]* buffers were not returned' "$WORK/said"
}

plan 7
check "the sample is built, without a warning" builds || finish
check "it starts" start
check "every answer of a load is right" "$load" "$port" 3000 16
check "what was served holds no memory" holds_nothing
check "it ends when it is told to" ends 0
check "it serves the same with all contexts checked" serves_with_checks
check "buffers that are not returned are seen" leak_is_seen
finish
