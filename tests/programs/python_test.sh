#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - python3 with threads, and with all its memory from malloc
#
# shellcheck source=tests/tap.sh disable=SC2317
. "$(dirname "$0")/../tap.sh"

needs python3

cat >"$WORK/work.py" <<'END'
import hashlib, json, re, sqlite3, sys, threading, zlib

def work(number):
    digest = hashlib.sha256()
    rows = [{"id": i, "name": f"name {i * number}", "list": list(range(i % 50))}
            for i in range(3000)]
    text = json.dumps(rows)
    digest.update(text.encode())
    assert json.loads(text) == rows
    packed = zlib.compress(text.encode(), 6)
    assert zlib.decompress(packed).decode() == text
    digest.update(packed)
    base = sqlite3.connect(":memory:")
    base.execute("create table t (id integer primary key, name text)")
    base.executemany("insert into t values (?, ?)",
                     ((row["id"], row["name"]) for row in rows))
    base.execute("delete from t where id % 3 = 0")
    digest.update(repr(base.execute(
        "select count(*), max(name), group_concat(name) from t "
        "order by 1").fetchall()).encode())
    words = {}
    for word in re.findall(r"[a-z]+|\d+", text):
        words[word] = words.get(word, 0) + 1
    digest.update(repr(sorted(words.items())).encode())
    return digest.hexdigest()

results = {}
def run(number):
    results[number] = [work(number) for _ in range(3)]

threads = [threading.Thread(target=run, args=(n,)) for n in range(1, 9)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(hashlib.sha256(repr(sorted(results.items())).encode()).hexdigest())
if len(sys.argv) > 1 and sys.argv[1] not in open("/proc/self/maps").read():
    sys.exit("the library is not mapped")
END

# same [VARIABLE=VALUE]: the same digest with the library, which is mapped
same()
{
	local got

	got=$(preloaded env "$@" python3 "$WORK/work.py" \
		"$(basename "$EBB_LIB")") || return 1
	echo "without: $expected, with: $got"
	[ "$got" = "$expected" ]
}

plan 3
expected=$(python3 "$WORK/work.py")
check "computes something without the library" test -n "$expected"
check "computes the same in eight threads" same
check "computes the same with PYTHONMALLOC=malloc" same PYTHONMALLOC=malloc
finish
