#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - samples/httpd is built as a user would, and serves a load
#
# shellcheck source=tests/tap.sh disable=SC2317
. "$(dirname "$0")/../tap.sh"

needs cc make python3
for part in LEAK ACCOUNTS; do
	grep -q "^CONFIG_$part=y" "$EBB_BUILD/.config" ||
		skip_all "built without CONFIG_$part"
done
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

# Of all threads together
live()
{
	"$load" "$port" /accounts | awk '{ live += $(NF - 3) } END { print live }'
}

# A load that others wrote: a connection for each request, and connections kept
serves_ab()
{
	local keep

	for keep in -q -k; do
		ab -q "$keep" -n 20000 -c 32 "http://127.0.0.1:$port/" \
			>"$WORK/ab" 2>&1 || { cat "$WORK/ab"; return 1; }
		grep -E "^(Complete|Failed|Non-2xx|Keep-Alive|Requests per)" \
			"$WORK/ab"
		grep -Eq "^Complete requests: +20000$" "$WORK/ab" &&
			grep -Eq "^Failed requests: +0$" "$WORK/ab" &&
			! grep -q "^Non-2xx" "$WORK/ab" || return 1
	done
}

# What has been served holds nothing: contexts and buffers are where they were.
holds_nothing()
{
	local before after

	before=$(live)
	"$load" "$port" 2000 8 || return 1
	wait_until 20 sh -c "'$load' $port /buffers | grep -qx 'out 1'" ||
		return 1
	after=$(live)
	echo "live before $before, after $after"
	[ "$after" -lt $((before + 65536)) ]
}

serves_with_checks()
{
	EBB_CONF=accounts=live,context_check=on start --workers=3 &&
		"$load" "$port" 1000 8 && ends 0
}

# What requests made, and workers added to, is the main thread's.
accounts_tell_who()
{
	"$load" "$port" /accounts | tee "$WORK/accounts"
	awk '$1 == "httpd" && $(NF - 3) > 8192 { main++ }
	     $1 == "worker" && $(NF - 3) < 1024 { workers++ }
	     END { exit main != 1 || workers != 4 }' "$WORK/accounts"
}

# Each has its stack; words that were left behind may hide some.
leak_is_found()
{
	local out found

	start --leak=10 && "$load" "$port" 400 4 && ends 3 >"$WORK/report" ||
		return 1
	out=$(sed -n 's/ buffers were not returned//p' "$WORK/said")
	found=$(grep -c 'leaked buffer: .* from pool buffers' "$WORK/said")
	echo "$out are out, $found were found to have leaked"
	head -20 "$WORK/said"
	[ "$out" -gt 20 ] && [ "$found" -gt $((out / 4)) ] &&
		[ "$(grep -c '#0 .* in buffer_take+' "$WORK/said")" = "$found" ]
}

strict_stops()
{
	local status

	start --leak=20 --strict=1 || return 1
	"$load" "$port" 2000 4 >"$WORK/load" && return 1
	wait "$server"
	status=$?
	head -20 "$WORK/said"
	[ "$status" = 134 ] && grep -q '#0 .* in buffer_take+' "$WORK/said"
}

export EBB_CONF=accounts=live
plan 10
check "the sample is built, without a warning" builds || finish
check "it starts" start
check "every answer of a load is right" "$load" "$port" 3000 16
if command -v ab >/dev/null; then
	check "so is every one of ab's" serves_ab
else
	skip "so is every one of ab's" "ab is not installed"
fi
check "what was served holds no memory" holds_nothing
check "the accounts show whose memory it is" accounts_tell_who
check "it ends when it is told to" ends 0
check "it serves the same with all contexts checked" serves_with_checks
check "buffers that leaked are found, with who took them" leak_is_found
check "a strict pool stops the server that leaks" strict_stops
finish
