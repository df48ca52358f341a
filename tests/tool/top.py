#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - ebbctl top, status and postmortem on a terminal of 80x24
#
#	top.py EBBCTL PID NAME DEAD
#
# PID is a process that runs on ebbmalloc, called NAME; DEAD is one that was
# killed.  Prints TAP.

import os
import signal
import subprocess
import sys
import tempfile

import pages
from screen import Terminal

EBBCTL, PID, NAME, DEAD = sys.argv[1:5]
TERMS = ("vt100", "xterm-256color")
# As xterm sends them to a program that asked for its keypad
UP, PAGE_DOWN, HOME = "\x1bOA", "\x1b[6~", "\x1bOH"
TITLE = ("    PID NAME           LIVE DIRTY  LAZY CLEAN CACHE BACK/s LEVEL   "
         "ROOM LIMIT")
failed = []
points = []


def check(name, good, note=""):
    points.append(name)
    if not good:
        failed.append(name)
        print("\n".join(f"# {line}" for line in
                        (note if isinstance(note, list) else [str(note)])))
    print(f"{'ok' if good else 'not ok'} {len(points)} {name}", flush=True)


def rows(lines):
    return [line for line in lines[2:-1] if line.strip()]


def row_of(lines, pid):
    return next((line for line in rows(lines) if line.split()[0] == str(pid)),
                None)


def check_live(term):
    top = Terminal([EBBCTL, "top", "--delay", "0.2"], term=term)
    lines = top.wait_for(lambda lines: row_of(lines, PID))
    check(f"{term}: the process has a row", lines, top.screen.text())
    lines = lines or top.screen.text()
    check("there is a line of titles", lines[1] == TITLE, lines)
    row = row_of(lines, PID) or ""
    check("with its name, what is live, and a rate",
          row.split()[1:2] == [NAME] and row.split()[2].endswith("M") and
          len(row.split()) == 11, lines)
    check("the first line has the sums", lines[0].split()[0] == "all" and
          lines[0].split()[2].startswith("process"), lines)
    check("the last one says which keys there are", "q quit" in lines[-1],
          lines)
    check("nothing is wider than the screen", not top.screen.wrapped, lines)
    top.resize(10, 100)
    lines = top.wait_for(lambda lines: "q quit" in lines[9] and
                         lines[1] == TITLE)
    check("another size is taken on", lines, top.screen.text())
    top.resize(24, 60)
    lines = top.wait_for(lambda lines: "q quit" in lines[23] and
                         lines[1] == TITLE[:60].rstrip())
    check("in less than 80 columns lines are cut", lines and
          not top.screen.wrapped, top.screen.text())
    top.press("q")
    check("q ends it", top.finish() == 0, top.raw[-200:])


def check_signals():
    for number in (signal.SIGINT, signal.SIGTERM):
        top = Terminal([EBBCTL, "top"], term="xterm")
        top.wait_for(lambda lines: "q quit" in lines[-1])
        os.kill(top.pid, number)
        status = top.finish()
        check(f"{number.name} ends it, and the terminal is as before",
              status == 0 and "\x1b[?1049l" in top.raw.split("\x1b[?1049h")[1],
              (status, top.raw[-200:]))
    top = Terminal([EBBCTL, "top", "--delay", "3600"])
    top.wait_for(lambda lines: "q quit" in lines[-1])
    # As when the connection is lost
    os.close(top.fd)
    check("it ends with its terminal", wait_end(top.pid) is not None)
    odd = Terminal([EBBCTL, "top"], term="no-such-terminal")
    check("an unknown terminal is an error that says so",
          odd.finish() == 125 and "no-such-terminal" in odd.raw, odd.raw)


def wait_end(pid, seconds=30):
    for _ in range(seconds * 20):
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
        signal.sigtimedwait([], 0.05)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def forge(base, children):
    """More than any real process has, and nearer their limits."""
    for i, child in enumerate(children):
        page = pages.Page(child.pid, comm=f"forged-{255 - i:03}".encode())
        page.rows["counters"] = pages.counters(
            live=(1000 + i) << 30, dirty=(1000 - i) << 30, limit=1 << 40,
            headroom=i + 1)
        page.write(base)


def first_is(top, name):
    return top.wait_for(lambda lines: rows(lines) and
                        rows(lines)[0].split()[1] == name)


def order(top, key, name):
    """Press KEY; whether the first row then is NAME."""
    top.press(key)
    return first_is(top, name)


def check_order(top):
    lines = first_is(top, "forged-255")
    check("256 processes: the least headroom is first", lines and
          len(rows(lines)) == 21, top.screen.text())
    check("a letter sorts by its column", order(top, "l", "forged-000"),
          top.screen.text())
    check("> sorts by the next one", order(top, ">", "forged-255"),
          top.screen.text())
    top.press("lR\x1bOF")
    check("R turns the order round: the most is at the end",
          top.wait_for(lambda lines: rows(lines) and
                       "by live, reversed" in lines[-1] and
                       rows(lines)[-1].split()[1] == "forged-000"),
          top.screen.text())
    top.press(HOME)
    top.wait_for(lambda lines: " 1-21 of " in lines[-1])


def check_many():
    children = [subprocess.Popen(["sleep", "1000"]) for _ in range(256)]
    own = os.environ["EBB_CONTROL_DIR"]
    with tempfile.TemporaryDirectory() as base:
        os.environ["EBB_CONTROL_DIR"] = base
        try:
            forge(base, children)
            top = Terminal([EBBCTL, "top", "--sort", "headroom", "--delay",
                            "3600"], term="xterm")
            check_order(top)
            check_scrolling(top)
            top.press("q")
            check("q still ends it", top.finish() == 0)
        finally:
            for child in children:
                child.kill()
            for child in children:
                child.wait()
            os.environ["EBB_CONTROL_DIR"] = own


def check_scrolling(top):
    seen = set()
    for _ in range(20):
        lines = top.screen.text()
        seen |= {row.split()[1] for row in rows(lines)}
        if f"of {total(lines)}" in lines[-1] and last(lines) == total(lines):
            break
        before = last(lines)
        top.press(PAGE_DOWN)
        top.wait_for(lambda now, old=before: last(now) != old)
    check("Page Down shows all of them",
          {f"forged-{i:03}" for i in range(256)} <= seen, sorted(seen))
    here = last(top.screen.text())
    top.press(UP)
    check("an arrow scrolls by one",
          top.wait_for(lambda lines: last(lines) == here - 1),
          top.screen.text())
    top.press(HOME)
    check("Home is the beginning",
          top.wait_for(lambda lines: " 1-21 of " in lines[-1]),
          top.screen.text())


def last(lines):
    """Of the rows shown, as the last line says"""
    words = lines[-1].split()
    return int(words[words.index("of") - 1].split("-")[1])


def total(lines):
    words = lines[-1].split()
    return int(words[words.index("of") + 1].rstrip(","))


def check_reports():
    status = Terminal([EBBCTL, "status", PID])
    code = status.finish()
    lines = status.screen.text()
    check("status ends with the directory, on the screen", code == 0 and
          any(line.startswith("directory ") for line in lines), lines)
    check("status has the process, what is live, and its signals",
          f"process     {PID} {NAME}, user" in status.raw and
          "\nlive " in status.raw and "\nsignal      headroom " in status.raw,
          status.raw)
    dead = Terminal([EBBCTL, "postmortem", DEAD], rows=60)
    code = dead.finish()
    lines = dead.screen.text()
    check("postmortem has the victim, its threads and classes", code == 0 and
          any(line.startswith(f"process     {DEAD} ") for line in lines) and
          any(line.split()[:2] == ["TID", "NAME"] for line in lines) and
          any(line.split()[:2] == ["CLASS", "TAKEN"] for line in lines), lines)
    listed = Terminal([EBBCTL, "postmortem", "--list", DEAD])
    code = listed.finish()
    lines = listed.screen.text()
    check("its list has a line for it, within 80 columns", code == 0 and
          DEAD in lines[1].split() and not listed.screen.wrapped, lines)


def main():
    print(f"TAP version 13\n1..{9 * len(TERMS) + 4 + 8 + 4}")
    for term in TERMS:
        check_live(term)
    check_signals()
    check_many()
    check_reports()
    sys.exit(bool(failed))


main()
