#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - Leaks, in programs whose every object is a pool's buffer
#
# None is reported that is none; so the programs are such as lose nothing that
# they do not find again at exit.  Then some are lost on purpose.
#
# shellcheck source=tests/tap.sh disable=SC2317
. "$(dirname "$0")/../tap.sh"

pooled=$EBB_BUILD/tests/programs/pooled.so
grep -q "^CONFIG_LEAK=y" "$EBB_BUILD/.config" ||
	skip_all "built without CONFIG_LEAK"
needs git

# run COMMAND...: on buffers of a pool
run()
{
	env LD_PRELOAD="$pooled:$EBB_LIB" EBB_CONF= "$@" \
		>"$WORK/out" 2>"$WORK/said"
}

cat >"$WORK/work.py" <<'END'
import json, re, threading, zlib
table = {str(i): [i, "x" * (i % 50), {"n": i}] for i in range(5000)}
threads = [threading.Thread(target=lambda: zlib.compress(repr(table).encode()))
           for i in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(json.dumps(table)), len(re.findall("[0-7]+", repr(table))))
END

use_python3()
{
	PYTHONMALLOC=malloc run python3 "$WORK/work.py"
}

use_sqlite3()
{
	run sqlite3 :memory: "create table t (a integer primary key, b text);
		with recursive n(i) as (select 1 union all
			select i + 1 from n where i < 5000)
		insert into t select i, hex(randomblob(i % 50)) from n;
		create index tb on t (b); delete from t where a % 7 = 3;
		select count(*), max(b) from t where b > 'A';"
}

use_git()
{
	rm -rf "$WORK/repository"
	git init -q "$WORK/repository" && cd "$WORK/repository" || return 1
	seq 20000 >file && run git add . &&
		run git -c user.name=a -c user.email=a@b commit -qm one &&
		run git log -p --stat
}

use_gcc()
{
	run "$(gcc -print-prog-name=cc1)" -quiet -O2 -fpreprocessed \
		-o "$WORK/out.s" "$WORK/in.i"
}

use_redis()
{
	local socket=$WORK/redis.sock server

	rm -f "$socket"
	run redis-server --port 0 --unixsocket "$socket" --save "" \
		--dir "$WORK" &
	server=$!
	PROGRAM_PIDS+=("$server")
	wait_until 60 redis-cli -s "$socket" ping || return 1
	redis-benchmark -s "$socket" -q -n 2000 -r 500 \
		-t set,lpush,sadd,hset,zadd >/dev/null || return 1
	redis-cli -s "$socket" shutdown nosave
	wait "$server"
}

# no_leak PROGRAM
no_leak()
{
	"use_$1" && ! grep "leaked buffer" -A 12 "$WORK/said" &&
		! grep "ld.so" "$WORK/said"
}

# A buffer that was forgotten may still be found in an old register or word.
finds_what_was_dropped()
{
	local found

	POOLED_DROP=50 "use_$1" || return 1
	found=$(grep -c "leaked buffer: " "$WORK/said")
	grep "more leaked buffers" "$WORK/said"
	head -8 "$WORK/said"
	[ "$found" -gt 2 ] &&
		[ "$(grep -c " in drop_one+" "$WORK/said")" = "$found" ]
}

both()
{
	if ! command -v "$2" >/dev/null; then
		skip "$1 has no leak" "$2 is not installed"
		skip "$1: what it is made to drop is found" \
			"$2 is not installed"
		return
	fi
	check "$1 has no leak" no_leak "$1"
	check "$1: what it is made to drop is found" finds_what_was_dropped "$1"
}

gcc -E -O2 -include stdio.h -include stdlib.h -x c - -o "$WORK/in.i" \
	<<<'int main(void) { return printf("%d", rand()); }'
plan 10
both python3 python3
both sqlite3 sqlite3
both git git
both gcc gcc
both redis redis-server
finish
