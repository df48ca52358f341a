#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - Programs that misuse nothing, in guard mode
#
# shellcheck source=tests/tap.sh disable=SC2317
. "$(dirname "$0")/../tap.sh"

# same CONF COMMAND...: its output is as without the library, and nothing more.
same()
{
	local conf=$1

	shift
	"$@" >"$WORK/without" 2>&1 || return 1
	EBB_CONF=$conf LD_PRELOAD=$EBB_LIB "$@" >"$WORK/with" 2>&1 ||
		{ cat "$WORK/with"; return 1; }
	cmp "$WORK/without" "$WORK/with"
}

cat >"$WORK/base.sql" <<'END'
create table t (a, b);
with recursive c(x) as (select 1 union all select x + 1 from c where x < 2000)
insert into t select x, printf('row %d', x * 7919 % 2000) from c;
create index i on t (b);
delete from t where a % 3 = 0;
select count(*), sum(a), max(b), group_concat(b) from t;
END

base()
{
	sqlite3 :memory: <"$WORK/base.sql"
}

cat >"$WORK/words.pl" <<'END'
my (%seen, @list);
for my $i (1 .. 3000) {
	push @list, join(",", map { $_ * $i % 97 } 1 .. $i % 9);
	$seen{$list[-1]}++;
	shift @list if @list > 50;
}
print join(";", map { "$_=$seen{$_}" } sort keys %seen), "\n";
END

cat >"$WORK/rows.py" <<'END'
import json, re
rows = [{"id": i, "name": f"name {i * 7}"} for i in range(2000)]
text = json.dumps(rows)
assert json.loads(text) == rows
print(len(re.findall(r"\d+", text)), sorted({len(t) for t in text.split()}))
END

cat >"$WORK/main.c" <<'END'
#include <stdio.h>
int main(int argc, char **argv) { return printf("%s %d\n", argv[0], argc) < 0; }
END

history()
{
	rm -rf "$WORK/tree"
	git init -q "$WORK/tree" && cp "$WORK"/*.* "$WORK/tree" &&
		git -C "$WORK/tree" add . &&
		git -C "$WORK/tree" -c user.name=a -c user.email=b \
			-c maintenance.auto=false commit -qm first --date=@0 &&
		git -C "$WORK/tree" show --stat --format=%s | cat
}

plan 10
for conf in guard=sampled,guard_every=20 guard=all; do
	for name in sqlite3 perl python3 gcc git; do
		if ! command -v $name >/dev/null; then
			skip "$name with $conf" "it is not installed"
			continue
		fi
		case $name in
		sqlite3) check "$name with $conf" same $conf base ;;
		perl) check "$name with $conf" same $conf \
			perl "$WORK/words.pl" ;;
		gcc) check "$name with $conf" \
			same $conf gcc -O2 -Wall -S -o - "$WORK/main.c" ;;
		git) check "$name with $conf" same $conf history ;;
		python3) check "$name with $conf" \
			same $conf env PYTHONHASHSEED=1 python3 "$WORK/rows.py" ;;
		esac
	done
done
finish
