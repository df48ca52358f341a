#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - sqlite3: the same answers
#
# shellcheck source=tests/tap.sh disable=SC2317
. "$(dirname "$0")/../tap.sh"

needs sqlite3

cat >"$WORK/work.sql" <<'END'
create table t (id integer primary key, a int, b text, c blob);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 60000)
insert into t select i, (i * 7919) % 10007, printf('text %d %s', i % 997,
	substr('abcdefghijklmnopqrstuvwxyz', i % 20 + 1)), zeroblob(i % 300)
	from n;
create index ta on t (a);
create index tb on t (b, a);
select count(*), sum(a), min(b), max(b), sum(length(c)) from t;
delete from t where id % 7 = 3;
update t set b = b || ' changed', c = zeroblob(length(c) * 2) where a % 5 = 0;
select a % 10, count(*), group_concat(id) from t where id < 20000
	group by 1 order by 2, 1;
select x.id, y.b from t x join t y on x.a = y.a and x.id < y.id
	where x.id % 100 = 1 order by 1, 2 limit 2000;
with recursive f(n, a, b) as (select 0, 0, 1 union all
	select n + 1, b, a + b from f where n < 80) select * from f;
vacuum;
pragma integrity_check;
END

# run DATABASE RUNNER...
run()
{
	local base=$1

	shift
	rm -f "$WORK/base"
	"$@" sqlite3 -bail "$base" <"$WORK/work.sql"
}

same()
{
	run "$1" loaded >"$WORK/with" || return 1
	wc -l <"$WORK/with"
	cmp "$WORK/with" "$WORK/without"
}

plan 3
run "$WORK/base" env >"$WORK/without"
check "answers without the library" grep -qx ok "$WORK/without"
check "answers the same from a file" same "$WORK/base"
check "answers the same from memory" same :memory:
finish
