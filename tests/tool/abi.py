#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - Pages of a library one ABI apart
#
# Prints TAP.  EBB_BUILD says which tool is tested.

import json
import os
import struct
import subprocess
import sys
import tempfile

import pages

EBBCTL = os.path.join(os.environ["EBB_BUILD"], "bin/ebbctl")
failed = []
points = []


def check(name, good, note=""):
    points.append(name)
    if not good:
        failed.append(name)
        print("\n".join(f"# {line}" for line in str(note).splitlines()))
    print(f"{'ok' if good else 'not ok'} {len(points)} {name}")


def ebbctl(*args, status=0):
    done = subprocess.run([EBBCTL, *args], capture_output=True, text=True,
                          timeout=60, check=False)
    if done.returncode != status:
        print(f"# {args}: exit status {done.returncode}: {done.stderr}")
        return ""
    return done.stdout


def status_of(pid):
    return json.loads(ebbctl("status", "--json", str(pid)) or "{}")


def full(pid, **head):
    page = pages.Page(pid, **head)
    page.rows["counters"] = pages.counters(
        live=11 << 20, dirty=2 << 20, clean=3 << 20, limit=64 << 20,
        headroom=5 << 20, given_back=77)
    page.rows["histograms"] = [
        struct.pack("<34Q", 3, 30, 1, 2, *[0] * 30) for _ in range(3)]
    page.rows["signals"] = [pages.signal(b"headroom", events=4),
                            pages.signal(b"psi", live=0)]
    page.rows["backends"] = [b"madvise: chosen".ljust(128, b"\0")]
    page.rows["events"] = [pages.event(nr, 1_700_000_000_000 + nr)
                           for nr in (1, 2, 3)]
    page.rows["verdicts"] = [b"\0" * 256]
    page.rows["classes"] = [pages.size_class(64, 1000)]
    page.rows["threads"] = [pages.thread(pid, b"main", 64000)]
    page.rows["text"] = [bytes([c]) for c in b"decay_ms=77\nlimit=0\n"]
    return page


def lengthen(page, by):
    for name in pages.SECTIONS:
        if name not in ("counters", "text"):
            page.stride[name] = pages.ROWS[name] + by


def check_newer(pid, base):
    page = full(pid, abi=2, more_head=64, version=b"0.2.0")
    lengthen(page, 48)
    page.rows["counters"] += [struct.pack("<Q", 2**63 + i) for i in range(60)]
    page.rows["histograms"] += page.rows["histograms"][:1]
    page.rows["signals"] += [pages.signal(b"new%d" % i) for i in range(12)]
    page.rows["events"] = [pages.event(nr, 1_700_000_000_000 + nr)
                           for nr in range(1, 41)]
    page.rows["threads"] *= 100
    page.write(base)
    seen = status_of(pid)
    check("a page of ABI 2: the counters this tool knows are right",
          seen.get("abi") == 2 and seen["counters"]["live"] == 11 << 20 and
          seen["counters"]["headroom"] == 5 << 20 and
          len(seen["counters"]) == pages.NR_COUNTERS, seen)
    check("rows that are longer do not shift those behind them",
          [row["name"] for row in seen["signals"][:2]] == ["headroom", "psi"]
          and seen["signals"][0]["events"] == 4 and
          seen["classes"][0]["taken"] == 1000, seen)
    check("of more rows those that there is room for are read",
          len(seen["signals"]) == 8 and len(seen["events"]) == 32, seen)
    check("the report says that the library is newer",
          "newer than this tool" in ebbctl("status", str(pid)))
    check("options are read", ebbctl("get", str(pid), "decay_ms") == "77\n")
    threads = json.loads(ebbctl("threads", "--json", str(pid)) or "[]")
    check("threads are read", len(threads) == 64 and
          all(row == {"tid": pid, "name": "main", "taken": 64000, "cached": 0,
                      "slabs": 1, "live": 64000, "rate": 9,
                      "allocated": 70, "freed_self": 60, "freed_by_others": 5,
                      "freed_for_others": 4, "ended": False}
              for row in threads), threads)


def check_fewer(pid, base):
    page = full(pid)
    page.rows["counters"] = page.rows["counters"][:20]
    page.rows["histograms"] = page.rows["histograms"][:1]
    page.rows["events"] = []
    page.rows["backends"] = []
    for name, size in (("signals", 136), ("classes", 24), ("threads", 32)):
        page.rows[name] = [row[:size] for row in page.rows[name]]
        page.stride[name] = size
    page.write(base)
    seen = status_of(pid)
    check("of a page with fewer rows the rest is 0",
          seen.get("counters", {}).get("live") == 11 << 20 and
          seen["counters"]["given_back"] == 77 and
          seen["counters"]["limit"] == 0 and
          seen["counters"]["inband_refused"] == 0 and seen["events"] == [],
          seen)
    check("members that a shorter row has not are 0",
          seen["signals"][0]["live"] is True and
          seen["signals"][0]["events"] == 0 and
          seen["classes"][0]["taken"] == 1000 and
          seen["classes"][0]["clean"] == 0, seen)


def check_foreign(pid, base):
    page = full(pid)
    where = page.write(base)
    check("the page is found", pid in listed())
    page.ticks += 1
    page.write(base)
    check("a page of who had the number before is nobody's",
          pid not in listed())
    page.ticks -= 1
    page.ns += 1
    page.write(base)
    check("a page of another pid namespace is nobody's", pid not in listed())
    page.ns -= 1
    page.write(base)
    other = os.path.join(base, "1")
    os.rename(where, other)
    check("a directory with another number is not its own",
          pid not in listed())
    os.rename(other, where)
    os.chmod(where, 0o770)
    check("a directory others may write to is not looked into",
          pid not in listed())
    os.chmod(where, 0o700)
    if os.geteuid():
        return
    os.chown(where, 65534, 65534)
    check("root's process has no page in somebody else's directory",
          pid not in listed())
    os.chown(where, 0, 0)
    check("it is found again", pid in listed())


def listed():
    return [row["pid"] for row in json.loads(ebbctl("list", "--json"))]


def check_torn(pid, base):
    page = full(pid)
    data = bytearray(page.build())
    where = page.write(base)
    data[-8:] = struct.pack("<Q", 2)
    with open(os.path.join(where, "page"), "wb") as file:
        file.write(data)
    check("a page that is never whole is not shown", pid not in listed())


def main():
    with tempfile.TemporaryDirectory() as base:
        os.environ["EBB_CONTROL_DIR"] = base
        sleeper = subprocess.Popen(["sleep", "1000"])
        try:
            print("TAP version 13")
            print(f"1..{13 if os.geteuid() else 16}")
            check_newer(sleeper.pid, base)
            check_fewer(sleeper.pid, base)
            check_foreign(sleeper.pid, base)
            check_torn(sleeper.pid, base)
        finally:
            sleeper.kill()
            sleeper.wait()
    sys.exit(bool(failed))


main()
