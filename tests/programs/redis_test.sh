#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - redis-server under redis-benchmark
#
# shellcheck source=tests/tap.sh disable=SC2317,SC2086
. "$(dirname "$0")/../tap.sh"

needs redis-server redis-cli redis-benchmark
socket=$WORK/redis.sock

cli()
{
	redis-cli -s "$socket" "$@"
}

# start COMMAND...: a server of its own, on a socket, saving nowhere by itself
start()
{
	rm -f "$socket"
	"$@" redis-server --port 0 --unixsocket "$socket" --save '' \
		--dir "$WORK" --enable-debug-command local >"$WORK/log" 2>&1 &
	server=$!
	PROGRAM_PIDS+=("$server")
	wait_until 20 cli ping
}

stop()
{
	local status

	cli shutdown nosave
	wait "$server"
	status=$?
	[ $status = 0 ] || cat "$WORK/log"
	return $status
}

# Commands whose result is the same each time.
workload()
{
	awk 'BEGIN {
		for (i = 0; i < 40000; i++) {
			n = (i * 7919) % 4000
			printf "SET key:%d %0*d\n", i, n, i
			if (i % 3 == 0)
				printf "DEL key:%d\n", (i * 31) % (i + 1)
			if (i % 5 == 0)
				printf "APPEND key:%d %0100d\n", i % 1000, i
			printf "HSET hash:%d field:%d %d\n", i % 100, i, i
			printf "LPUSH list:%d %d\n", i % 50, i
			printf "ZADD zset:%d %d m%d\n", i % 20, i % 997, i
		}
	}'
}

load()
{
	workload | cli >"$WORK/replies" && ! grep -i '^(error)' "$WORK/replies"
}

digest()
{
	cli debug digest
}

benchmark()
{
	redis-benchmark -s "$socket" -q -n 20000 -r 5000 -d 500 -c 20 \
		-t set,get,incr,lpush,rpop,sadd,hset,zadd,mset </dev/null |
		tr '\r' '\n' | grep 'requests per second' &&
		[ "$(cli dbsize)" -gt 1000 ]
}

same_after_reload()
{
	local before

	before=$(digest)
	cli bgsave
	wait_until 60 bgsave_done && cli debug reload &&
		[ "$(digest)" = "$before" ]
}

bgsave_done()
{
	cli info persistence | grep -q '^rdb_bgsave_in_progress:0' &&
		cli info persistence | grep -q '^rdb_last_bgsave_status:ok'
}

same_digest()
{
	echo "without: $expected, with: $(digest)"
	[ "$(digest)" = "$expected" ]
}

plan 8
check "runs without the library" start env
load >/dev/null && expected=$(digest)
check "stops without the library" stop
check "starts on ebbmalloc" start "${preload[@]}"
check "has the library mapped" is_mapped "$server"
load >/dev/null
check "holds the same data" same_digest
check "holds them after a save in a child and a reload" same_after_reload
check "serves redis-benchmark" benchmark
check "shuts down cleanly" stop
finish
