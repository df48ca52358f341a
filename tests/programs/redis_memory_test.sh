#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - redis, built for jemalloc, asks and purges this heap
#
# shellcheck source=tests/tap.sh disable=SC2317
. "$(dirname "$0")/../tap.sh"

needs redis-server redis-cli
socket=$WORK/redis.sock
nm -D "$(command -v redis-server)" 2>/dev/null | grep -q ' mallctl$' ||
	skip_all "this redis is not linked with a shared jemalloc"
grep -qs '^CONFIG_JEMALLOC=y' "$EBB_BUILD/.config" ||
	skip_all "the library does not answer to jemalloc's names"
MIB=$((1024 * 1024))

cli()
{
	redis-cli -s "$socket" "$@"
}

# The background thread is there, and gives back nothing by itself.
start()
{
	EBB_CONF="decay_ms=-1,lazy=off,dirty_max=0" "${preload[@]}" \
		redis-server --port 0 --unixsocket "$socket" --save '' \
		--dir "$WORK" --enable-debug-command local >"$WORK/log" 2>&1 &
	server=$!
	PROGRAM_PIDS+=("$server")
	wait_until 20 cli ping && is_mapped "$server"
}

# field NAME: of INFO, without the end of the line
field()
{
	cli info memory | tr -d '\r' | sed -n "s/^$1://p"
}

# ours NAME: what malloc_info() counts, too, here from MEMORY MALLOC-STATS
ours()
{
	sed -n "s/^$1: //p" "$WORK/stats"
}

rss()
{
	awk '/^VmRSS:/ { print $2 * 1024 }' "/proc/$server/status"
}

# near NAME A B SLACK
near()
{
	echo "$1: redis says $2, we $3"
	[ $(($2 > $3 ? $2 - $3 : $3 - $2)) -le "$4" ]
}

# redis reads the figures ten times a second: these are of now.
read_both()
{
	allocated=$(field allocator_allocated)
	active=$(field allocator_active)
	resident=$(field allocator_resident)
	cli memory malloc-stats >"$WORK/stats"
	live=$(ours live)
	in_use=$((live + $(ours cached) + $(ours stranded)))
	backed=$((in_use + $(ours dirty) + $(ours lazy) + $(ours metadata)))
}

agree()
{
	read_both
	# Clients come and go between the two readings.
	near allocated "$allocated" "$live" $((MIB / 4)) &&
		near resident "$resident" "$backed" "$MIB"
}

# What is free on pages in use is known from the last pass.
all_agree()
{
	agree && near active "$active" "$in_use" "$MIB"
}

# finally COMMAND: once more, for what it says
finally()
{
	wait_until 20 "$1"
	"$1"
}

fill()
{
	cli debug populate 150000 "$1" 400 && full=$(rss)
}

is_empty()
{
	[ "$(field used_memory)" -lt $((8 * MIB)) ]
}

# What another thread of redis frees, without a purge
empty()
{
	cli flushall async && wait_until 20 is_empty
	echo "full $full, empty $(rss)"
	[ "$(rss)" -gt $((full - 8 * MIB)) ]
}

purge()
{
	[ "$(cli memory purge)" = OK ]
	echo "full $full, purged $(rss)"
	[ "$(rss)" -lt $((full - 50 * MIB)) ]
}

# By itself redis purges after it has emptied a database at once.
flush()
{
	cli flushall sync
	echo "full $full, flushed $(rss)"
	[ "$(rss)" -lt $((full - 50 * MIB)) ]
}

report()
{
	head -3 "$WORK/stats"
	grep -q '^___ Begin ebbmalloc statistics ___$' "$WORK/stats" &&
		cli memory doctor >/dev/null
}

stop()
{
	cli shutdown nosave
	wait "$server"
}

plan 10
check "starts" start
check "takes memory" fill a
check "INFO's figures are ours while it is full" finally all_agree
check "MEMORY MALLOC-STATS speaks of this heap" report
check "what is deleted stays without a purge" empty
check "INFO's figures are ours while there is much to give back" finally agree
check "MEMORY PURGE lowers RSS" purge
check "INFO's figures are ours after it" finally all_agree
fill b >/dev/null
check "FLUSHALL SYNC lowers RSS" flush
check "shuts down cleanly" stop
finish
