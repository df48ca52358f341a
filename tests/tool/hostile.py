#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - Pages that mean harm
#
#	hostile.py EBBCTL [ROUNDS [SEED]]
#
# Puts what a hostile user may put into a control directory where EBBCTL looks,
# and runs each command on it.  No command may end by a signal or with an exit
# status that is not documented, print a control character, or print JSON or
# metrics that others cannot read; a process beside it that is in order stays
# visible.  Prints TAP; a failure names the seed that finds it again.

import json
import os
import random
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time

import pages
import prom

SECONDS = 60
# Control characters, of C1 too, and marks that turn the direction round
ACTS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e"
                  "\u2066-\u2069]")
BAD_TEXT = (b"\x1b[2J\x1b]0;owned\x07", b"a\nb 1\nc", b"\x9b31m", b"\xff\xfe",
            b'"} 1\nx{y="', b"\\", "\u202egnp".encode(), b"%s%n", b"\xc3",
            "\u0085".encode(), b"ok", b"")
BIG = (0, 1, 7, 2**31 - 1, 2**31, 2**32 - 1)
HUGE = BIG + (2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1)


class Wrong(Exception):
    pass


def text(rng, size):
    return (rng.choice(BAD_TEXT) * rng.choice((1, 100)))[:size].ljust(
        size, rng.choice((b"\0", b"A", b"\x1b")))


def hostile_page(rng, pid):
    """Right in form, wrong in all that it says."""
    page = pages.Page(pid, abi=rng.choice((1, 2, 2**32 - 1)),
                      state=rng.choice(BIG), uid=rng.choice(BIG),
                      time_ms=rng.choice(HUGE), version=text(rng, 32),
                      comm=text(rng, 16), reclaimer=text(rng, 64),
                      cgroup=text(rng, 512))
    for name, size in pages.ROWS.items():
        nr = rng.choice((0, 1, 40, 200))
        if name == "text":
            page.rows[name] = [bytes([c]) for c in text(rng, 5000)]
        else:
            page.rows[name] = [
                rng.choice((rng.randbytes(size), b"\xff" * size, b"\0" * size,
                            text(rng, size))) for _ in range(nr)]
    if rng.random() < 0.5:
        page.rows["signals"] = [pages.signal(text(rng, 16), what=text(rng, 112),
                                             live=rng.choice(BIG))
                                for _ in range(rng.choice((1, 8, 20)))]
    return page.build()


def damaged(rng, data):
    """One thing about it is not even right in form."""
    kind = rng.randrange(6)
    data = bytearray(data)
    sections = pages.HEAD.size
    if kind == 0:
        return data[:rng.randrange(len(data))]
    if kind == 1:
        return bytearray(rng.randbytes(rng.randrange(200000)))
    if kind == 2:
        for _ in range(rng.randrange(1, 40)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    elif kind == 3:
        where = sections + 16 * rng.randrange(9)
        data[where:where + 16] = struct.pack(
            "<4I", *(rng.choice(BIG + (rng.randrange(2**32), 4096))
                     for _ in range(4)))
    elif kind == 4:
        # All sections lie over each other, or over the end.
        for i in range(9):
            data[sections + 16 * i:sections + 16 * i + 16] = struct.pack(
                "<4I", rng.choice((0, len(data) - 9, len(data))),
                rng.choice((0, 1, 3, 2**32 - 1)), 2**32 - 1, 2**32 - 1)
    else:
        data[12:16] = struct.pack("<I", rng.choice(BIG))
    return data


def plant(rng, base, pid):
    """Put something into PID/."""
    where = os.path.join(base, str(pid))
    path = os.path.join(where, "page")
    os.mkdir(where, 0o700)
    kind = rng.randrange(12)
    data = hostile_page(rng, pid)
    if kind == 0:
        os.symlink(rng.choice(("/etc/passwd", "/dev/zero", "/proc/self/mem",
                               "page", "/nowhere")), path)
    elif kind == 1:
        os.mkfifo(path)
    elif kind == 2:
        os.mkdir(path)
    elif kind == 3:
        # Larger than any page, without taking memory
        with open(path, "wb") as file:
            file.write(data)
            file.truncate(1 << 40)
    elif kind == 4:
        os.rmdir(where)
        os.symlink("/proc/self", where)
    else:
        with open(path, "wb") as file:
            file.write(data if kind < 8 else damaged(rng, data))
        os.mkdir(os.path.join(where, "trim"))


def plant_dead(rng, base, pid):
    dead = os.path.join(base, f"dead-{os.geteuid()}")
    os.mkdir(dead, 0o700)
    for i in range(rng.randrange(12)):
        data = hostile_page(rng, rng.choice((pid, 2**22 - i, 2**32 - 1)))
        name = rng.choice((f"{i}-{pid}", f"17000000000{i:02}-{pid}", f"x{i}",
                           "1-", f"-{i}", "9" * 200 + f"-{i}", f"a\x1b{i}"))
        with open(os.path.join(dead, name), "wb") as file:
            file.write(damaged(rng, data) if i % 2 else data)
    for name in ("dead-", "dead-x", "dead-99999999999", "1" * 200, "-1"):
        os.mkdir(os.path.join(base, name), 0o700)
    # Of a process that is dead, to be buried
    gone = 2**22 + 1
    where = os.path.join(base, str(gone))
    os.mkdir(where, 0o700)
    with open(os.path.join(where, "page"), "wb") as file:
        file.write(hostile_page(rng, gone))
    os.mkdir(os.path.join(where, "full"))
    os.mkdir(os.path.join(where, "full", "er"))


def catches(pid):
    """Whether it has got so far that SIGTERM ends it cleanly"""
    with open(f"/proc/{pid}/status", encoding="ascii",
              errors="replace") as file:
        caught = re.search(r"^SigCgt:\s*(\w+)$", file.read(), re.MULTILINE)
    return caught and int(caught[1], 16) >> signal.SIGTERM - 1 & 1


class Round:
    def __init__(self, tool, pid):
        self.tool = tool
        self.pid = str(pid)

    def run(self, *args, may=(0, 1, 3, 125), seconds=SECONDS):
        done = subprocess.run([self.tool, *args], capture_output=True,
                              timeout=seconds, check=False,
                              stdin=subprocess.DEVNULL)
        if done.returncode not in may:
            raise Wrong(f"{args}: exit status {done.returncode}: "
                        f"{done.stderr.decode('utf-8', 'replace')}")
        for stream in (done.stdout, done.stderr):
            try:
                acting = ACTS.search(stream.decode("utf-8"))
            except UnicodeDecodeError as why:
                raise Wrong(f"{args}: {why}") from None
            if acting:
                raise Wrong(f"{args} prints {acting[0]!r}")
        return done.stdout.decode("utf-8")

    def json(self, *args):
        out = self.run(*args)
        try:
            return json.loads(out) if out else None
        except json.JSONDecodeError as why:
            raise Wrong(f"{args}: {why}") from None

    def metrics(self, *args):
        try:
            prom.Scrape(self.run("metrics", *args))
        except prom.Wrong as why:
            raise Wrong(f"metrics {args}: {why}") from None

    def watch(self):
        """Starting it is what can go wrong."""
        with subprocess.Popen([self.tool, "watch", "--json", "--all-passes"],
                              stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as watch:
            end = time.monotonic() + SECONDS
            while watch.poll() is None and not catches(watch.pid) and \
                    time.monotonic() < end:
                time.sleep(0.01)
            try:
                watch.wait(0.3)
            except subprocess.TimeoutExpired:
                watch.terminate()
            out, err = watch.communicate(timeout=SECONDS)
        if watch.returncode:
            raise Wrong(f"watch: exit status {watch.returncode}: {err}")
        for line in out.decode("utf-8").splitlines():
            json.loads(line)

    def go(self, neighbour):
        seen = [row["pid"] for row in self.json("list", "--json")]
        if neighbour not in seen:
            raise Wrong(f"list: {neighbour} is missing: {seen}")
        self.run("list")
        for command in ("status", "threads", "get"):
            self.run(command, self.pid)
            self.json(command, "--json", self.pid)
        self.run("get", self.pid, "decay_ms")
        self.run("set", "--wait", "0", self.pid, "decay_ms=1",
                 may=(0, 1, 3, 4, 125))
        self.run("trim", "--wait", "0", self.pid, may=(0, 1, 3, 4, 125))
        self.metrics()
        self.metrics("--by-pid")
        self.run("top", "--once", "--delay", "0.1")
        self.json("top", "--once", "--json", "--delay", "0.1")
        self.watch()
        self.run("postmortem", "--list")
        self.run("postmortem", self.pid)
        self.json("postmortem", "--json")


def one_round(tool, pids, seed):
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as base:
        os.environ["EBB_CONTROL_DIR"] = base
        pages.Page(pids[0]).write(base)
        plant(rng, base, pids[1])
        plant_dead(rng, base, pids[1])
        Round(tool, pids[1]).go(pids[0])


def main():
    tool = sys.argv[1]
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    sleepers = [subprocess.Popen(["sleep", "1000"]) for _ in range(2)]
    failures = 0
    print(f"TAP version 13\n1..{rounds}", flush=True)
    try:
        for nr in range(seed, seed + rounds):
            try:
                one_round(tool, [child.pid for child in sleepers], nr)
                print(f"ok {nr - seed + 1} seed {nr} does no harm", flush=True)
            except (Wrong, subprocess.TimeoutExpired, ValueError) as why:
                failures += 1
                for line in str(why).splitlines():
                    print(f"# {line}")
                print(f"not ok {nr - seed + 1} seed {nr} does no harm",
                      flush=True)
    finally:
        for child in sleepers:
            child.kill()
            child.wait()
    sys.exit(failures > 0)


main()
