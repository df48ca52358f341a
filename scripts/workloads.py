# SPDX-License-Identifier: MIT
"""ebbmalloc - Fixed workloads of real programs, to be recorded and to be timed

Each is made here from fixed seeds, in a directory of the caller's: no input but
the number that says how much of it.  Used by scripts/bench-record and
scripts/bench-program.
"""
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

SKIPPED = 4
PR_SET_PDEATHSIG = 1
PATIENCE = 60


class CannotRun(Exception):
    """The program cannot run here; the text is the reason."""


class Failed(Exception):
    """It should have, but did not; the text is for the user."""


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def need(command):
    path = shutil.which(command)
    if not path:
        raise CannotRun("%s is not installed" % command)
    return path


def write(directory, name, text):
    path = os.path.join(directory, name)
    with open(path, "w") as file:
        file.write(text)
    return path


class Job:
    """A program to run: arguments, what it reads, more environment."""

    def __init__(self, argv, operations, stdin=os.devnull, env=()):
        self.argv, self.operations = argv, operations
        self.stdin, self.env = stdin, dict(env)

    def environment(self, more=()):
        return {**os.environ, **self.env, **dict(more)}


# === python ================================================================

PYTHON_WORK = '''
import json, random, sys

rng = random.Random(1)
words = ["".join(rng.choice("abcdefghij") for _ in range(rng.randrange(3, 12)))
         for _ in range(3000)]

class Node:
    def __init__(self, key, left, right):
        self.key, self.left, self.right = key, left, right

def tree(depth):
    if not depth:
        return None
    return Node(depth, tree(depth - 1), tree(depth - 1))

def count(text):
    found = {}
    for word in text.split():
        found[word] = found.get(word, 0) + 1
    return found

def step(number):
    rows = [{"id": i, "name": rng.choice(words), "tags": rng.sample(words, 5),
             "size": i * 1.5, "list": list(range(i % 30))} for i in range(500)]
    text = json.dumps(rows)
    total = sum(len(row["tags"]) for row in json.loads(text))
    lines = [" ".join(rng.choice(words) for _ in range(20)) for _ in range(200)]
    found = count("\\n".join(lines))
    total += sum(found.values()) + len(sorted(found, key=found.get))
    total += len("".join(str(i) for i in range(2000)))
    node = tree(9)
    while node:
        total, node = total + node.key, node.left
    return total

kept = []
total = 0
for number in range(int(sys.argv[1])):
    total += step(number)
    kept.append([dict.fromkeys(words[number % 100:number % 100 + 50], number)
                 for _ in range(20)])
    if len(kept) > 20:
        del kept[::2]
print(total)
'''


def python(directory, steps, malloc=False):
    """The interpreter that runs this script: what is called python3 may be a
    shell script."""
    env = {"PYTHONHASHSEED": "0"}
    if malloc:
        env["PYTHONMALLOC"] = "malloc"
    path = write(directory, "work.py", PYTHON_WORK)
    return Job([sys.executable, "-B", "-S", path, str(steps)], steps, env=env)


# === sqlite ================================================================

SQLITE_STEP = '''
with recursive n(i) as (select 1 union all select i + 1 from n where i < 4000)
insert into t(a, b, c) select (i * 7919 + {0}) % 10007,
	printf('text %d of {0}, %s', i % 997,
	substr('abcdefghijklmnopqrstuvwxyz', i % 20 + 1)), zeroblob(i % 300)
	from n;
select count(*), sum(a), max(b), sum(length(c)) from t;
select a % 100, count(*), group_concat(b, ';') from t
	where id > (select max(id) - 3000 from t) group by 1 order by 2, 1;
select x.id, y.b from t x join t y on x.a = y.a and x.id < y.id
	where x.id % 50 = {0} % 50 order by y.b, 1 limit 1000;
select json_group_array(json_object('a', a, 'b', b)) from t where id % 7 = 1;
update t set b = upper(b), c = zeroblob(length(c) + 10) where a % 9 = {0} % 9;
delete from t where id % 5 = {0} % 5;
'''

SQLITE_BEGIN = '''
create table t (id integer primary key, a int, b text, c blob);
create index ta on t (a);
create index tb on t (b, a);
'''


def sqlite(directory, steps):
    text = SQLITE_BEGIN + "".join(SQLITE_STEP.format(i) for i in range(steps))
    path = write(directory, "work.sql", text)
    return Job([need("sqlite3"), "-bail", ":memory:"], steps, stdin=path)


# === gcc ===================================================================

GCC_HEAD = '''
struct item { struct item *next; unsigned long key; int kind; char name[24]; };
struct table { struct item *slots[64]; unsigned long nr, sum; double mean; };
extern void *take(unsigned long size);
extern int print(const char *format, ...);
'''


def gcc_expression(rng, depth):
    if not depth:
        return rng.choice(["a", "b", "c", "t->nr", "t->sum", "i",
                           str(rng.randrange(1, 1000))])
    left, right = (gcc_expression(rng, depth - 1) for _ in range(2))
    return "(%s %s %s)" % (left, rng.choice("+-*^&|"), right)


def gcc_function(rng, number):
    """Loops, a switch, a list, floating point: something for each pass."""
    cases = "\n".join(
        "\t\tcase %d: c += %s; t->slots[%d] = 0; break;" %
        (i, gcc_expression(rng, 2), rng.randrange(64))
        for i in range(rng.randrange(4, 12)))
    return '''
%(static)sunsigned long f%(n)d(struct table *t, unsigned long a, unsigned long b)
{
	unsigned long c = %(e1)s, i = 0;
	struct item *at;

	for (i = 0; i < (a & %(mask)d); i++) {
		switch (c %% %(mod)d) {
%(cases)s
		default: t->mean += (double)c / (double)(i + 1);
		}
		for (at = t->slots[i & 63]; at; at = at->next) {
			if (at->key == (%(e2)s))
				at->kind = (int)(at->key >> %(shift)d);
			else if (at->name[i & 15] == 'x')
				print("%%s of %(n)d\\n", at->name);
			c ^= at->key * %(mul)dul;
		}
	}
	if (c > b) {
		at = take(sizeof(*at));
		at->next = t->slots[c & 63];
		at->key = %(e3)s;
		t->slots[c & 63] = at;
		t->nr++;
	}
	%(call)s
	return c + t->nr;
}
''' % {"n": number, "mask": rng.choice([15, 63, 255]),
       "static": "static inline " if number % 4 == 1 else "",
       "mod": rng.randrange(5, 20), "cases": cases,
       "shift": rng.randrange(1, 30), "mul": rng.randrange(3, 99999),
       "e1": gcc_expression(rng, 2).replace("i", "a"),
       "e2": gcc_expression(rng, 3), "e3": gcc_expression(rng, 3),
       "call": "c += f%d(t, c, a);" % (number - 1) if number % 2 == 0 and
               number else ""}


def gcc_source(directory, functions):
    rng = random.Random(2)
    return write(directory, "work.c", GCC_HEAD + "".join(
        gcc_function(rng, i) for i in range(functions)))


def gcc(directory, functions):
    """All of it: driver, compiler, assembler."""
    source = gcc_source(directory, functions)
    return Job([need("gcc"), "-w", "-O2", "-c", source, "-o",
                os.path.join(directory, "work.o")], functions)


def cc1(directory, functions):
    """The compiler proper, which is what allocates."""
    found = subprocess.run([need("gcc"), "-print-prog-name=cc1"], text=True,
                           stdout=subprocess.PIPE, check=True).stdout.strip()
    if not os.path.isabs(found):
        raise CannotRun("gcc has no cc1 of its own (%s)" % found)
    source = gcc_source(directory, functions)
    return Job([found, "-quiet", "-w", "-O2", source, "-o", os.devnull],
               functions)


# === perl ==================================================================

PERL_WORK = '''
use strict;
use warnings;
my ($seed, %hash, @list) = (42);
sub draw { $seed = ($seed * 1103515245 + 12345) % 2147483648; return $seed }
for my $i (1 .. $ARGV[0]) {
	my $key = "key " . draw() % 20000;
	$hash{$key} .= chr(97 + $i % 26) x (draw() % 40);
	delete $hash{"key " . draw() % 20000} if $i % 3 == 0;
	push @list, { n => $i, text => "x" x ($i % 100), pair => [$i, $key] };
	splice @list, draw() % 1000, 500 if @list > 2000;
	if ($i % 1000 == 0) {
		my $text = join ",", map { $_->{text} . $_->{n} } @list;
		my @words = split /,/, $text;
		my %seen = map { $_ => length } grep { /x+\\d*7/ } @words;
		$text =~ s/(x{3,})(\\d+)/<$2>/g;
	}
}
print scalar(keys %hash), " ", scalar(@list), "\\n";
'''


def perl(directory, steps):
    path = write(directory, "work.pl", PERL_WORK)
    return Job([need("perl"), path, str(steps)], steps,
               env={"PERL_HASH_SEED": "0", "PERL_PERTURB_KEYS": "0"})


# === git ===================================================================

GIT_ENV = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull,
           "GIT_PAGER": "cat", "LC_ALL": "C"}


def git_stream(commits):
    """A history for git fast-import: some files change in each commit."""
    rng = random.Random(3)
    files = {"d%d/f%d" % (i % 7, i): ["line %d of %d" % (j, i)
                                      for j in range(200)] for i in range(60)}
    for number in range(commits):
        changed = list(files) if not number else rng.sample(list(files), 8)
        yield "commit refs/heads/main\ncommitter a <a@b> %d +0000\n" % (
            1700000000 + number)
        yield git_data("commit %d\n" % number)
        for name in changed:
            lines = files[name]
            at = rng.randrange(len(lines))
            lines[at:at + rng.randrange(3)] = [
                "%x" % rng.getrandbits(99) for _ in range(rng.randrange(3))]
            yield "M 644 inline %s\n" % name
            yield git_data("\n".join(lines) + "\n")


def git_data(text):
    return "data %d\n%s\n" % (len(text), text)


def git(directory, commits):
    """A history is packed, by two threads that look for differences."""
    command, base = need("git"), os.path.join(directory, "base")
    env = {**os.environ, **GIT_ENV}
    subprocess.run([command, "init", "-q", "--bare", "-b", "main", base],
                   env=env, check=True)
    subprocess.run([command, "-C", base, "fast-import", "--quiet"],
                   input="".join(git_stream(commits)), text=True, env=env,
                   check=True)
    refs = write(directory, "refs", "main\n")
    return Job([command, "-C", base, "pack-objects", "--quiet", "--revs",
                "--stdout", "--no-reuse-delta", "--no-reuse-object",
                "--threads=2", "--window=10"], commits, stdin=refs,
               env=GIT_ENV)


# === redis =================================================================

def resp(*words):
    """One command in redis's protocol."""
    return b"*%d\r\n" % len(words) + b"".join(
        b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


class RedisServer:
    """A server of its own on a socket in @directory, saving nothing."""

    def __init__(self, directory, env):
        self.socket = os.path.join(directory, "redis.sock")
        self.log = os.path.join(directory, "log")
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [need("redis-server"), "--port", "0", "--unixsocket",
                 self.socket, "--save", "", "--appendonly", "no", "--dir",
                 directory], env=env, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, preexec_fn=die_with_parent)

    def __enter__(self):
        try:
            self.wait_for_it()
        except BaseException:
            self.__exit__(Failed)
            raise
        return self

    def __exit__(self, kind, *_):
        if kind:
            self.process.kill()
        self.process.wait(PATIENCE)

    def wait_for_it(self):
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < end:
            try:
                self.send([resp(b"PING")])
                return
            except OSError:
                time.sleep(0.02)
        with open(self.log) as log:
            last = (log.read().strip().splitlines() or ["said nothing"])[-1]
        raise Failed("redis-server does not answer: " + last)

    def send(self, batches):
        """Send each, and wait for its answers, which must all be lines and
        none of them an error."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(self.socket)
            for batch in batches:
                sock.sendall(batch)
                self.hear(sock, batch.count(b"\r\n*") + 1)

    @staticmethod
    def hear(sock, nr):
        got = b""
        while got.count(b"\n") < nr:
            part = sock.recv(65536)
            if not part:
                raise Failed("redis-server closed the connection")
            got += part
        errors = [line for line in got.splitlines() if line[:1] == b"-"]
        if errors:
            raise Failed("redis-server: " + errors[0].decode())

    def stop(self):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(self.socket)
            sock.sendall(resp(b"SHUTDOWN", b"NOSAVE"))
            sock.recv(1)
        if self.process.wait(PATIENCE):
            raise Failed("redis-server: exit status %d" %
                         self.process.returncode)


def redis_commands(steps):
    """Batches of commands that are answered by a line each."""
    rng = random.Random(4)
    block = b"0123456789abcdef" * 256
    for _ in range(steps):
        batch = []
        for _ in range(100):
            key = b"%d" % rng.randrange(20000)
            value = block[:round(16 * 256 ** rng.random())]
            batch += [resp(b"SET", b"key:" + key, value),
                      resp(b"DEL", b"key:%d" % rng.randrange(20000)),
                      resp(b"HSET", b"hash:" + key[:2], key, value[:50]),
                      resp(b"LPUSH", b"list:" + key[:1], value[:100]),
                      resp(b"LTRIM", b"list:" + key[:1], b"0", b"999"),
                      resp(b"ZADD", b"zset:" + key[:1], key, key),
                      resp(b"APPEND", b"text:" + key, b"more")]
        # Freed by a thread of its own.
        batch += [resp(b"UNLINK", b"%s:%d" % (kind, rng.randrange(10)))
                  for kind in (b"list", b"zset")]
        yield b"".join(batch)
