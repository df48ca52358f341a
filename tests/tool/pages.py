# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - Counters pages made by hand
#
# The layout is that of uapi/ebb/stat_page.h, written down once more: a change
# there that moves something is a change of what others rely on.

import os
import struct

MAGIC = b"ebbpage\0"
SECTIONS = ("counters", "histograms", "signals", "backends", "events",
            "verdicts", "classes", "threads", "text")
# Of a row in ABI 1
ROWS = {"counters": 8, "histograms": 8 * 34, "signals": 168, "backends": 128,
        "events": 64, "verdicts": 256, "classes": 40, "threads": 96, "text": 1}
HEAD = struct.Struct("<8sIIQ4I7Q32s16s64s512s")
SECTION = struct.Struct("<4I")
LIVE, CACHED, DIRTY, LAZY, CLEAN = range(5)
PRESSURE, GIVEN_BACK, LIMIT, HEADROOM = 12, 18, 25, 26
NR_COUNTERS = 52


def start_ticks(pid):
    with open(f"/proc/{pid}/stat", encoding="latin-1") as file:
        return int(file.read().rsplit(")", 1)[1].split()[19])


def pid_ns():
    return os.stat("/proc/self/ns/pid").st_ino


def counters(**values):
    row = [0] * NR_COUNTERS
    for name, value in values.items():
        row[globals()[name.upper()]] = value
    return [struct.pack("<Q", value) for value in row]


def signal(name, live=1, events=0, what=b"by hand"):
    return struct.pack("<16s112sIIQQQQ", name, what, live, 0, events, 0, 0, 0)


def event(nr, time_ms, by=1, pressure=2, flags=1, given=1 << 20):
    return struct.pack("<6Q3IBBH", time_ms, nr, 2**64 - 1, 0, 0, given, 100,
                       200, by, pressure, flags, 0)


def thread(tid, name, taken):
    return struct.pack("<II16s8QII", tid, 1, name, taken, 0, taken, 70, 60, 5,
                       4, 9, 0, 0)


def size_class(size, taken):
    return struct.pack("<IIQQQQ", size, 1, taken, taken, 0, 0)


class Page:
    """A page; rows are bytes, shorter or longer than those of ABI 1."""

    def __init__(self, pid, **head):
        self.abi = 1
        self.pid = pid
        self.uid = os.geteuid()
        self.state = 1
        self.seq = 1
        self.ticks = start_ticks(pid) if os.path.exists(f"/proc/{pid}") else 1
        self.ns = pid_ns()
        self.time_ms = 1_700_000_000_000
        self.version = b"0.1.0"
        self.comm = b"forged"
        self.reclaimer = b"running"
        self.cgroup = b"0::/\n"
        self.more_head = 0      # bytes that ABI 1 does not know
        self.stride = {}        # where rows are longer: bytes of a row
        self.rows = {name: [] for name in SECTIONS}
        self.rows["counters"] = counters()
        self.__dict__.update(head)

    def build(self):
        at = HEAD.size + len(SECTIONS) * SECTION.size + self.more_head
        sections, body = b"", b""
        for name in SECTIONS:
            rows = self.rows[name]
            stride = self.stride.get(name) or max(
                [ROWS[name]] + [len(row) for row in rows])
            sections += SECTION.pack(at + len(body), stride, len(rows),
                                     len(rows))
            # What others do not know is anything but zero.
            body += b"".join(row + b"\xa5" * (stride - len(row))
                             for row in rows)
        body += b"\xa5" * (-len(body) % 8)
        size = at + len(body) + 8
        head = HEAD.pack(MAGIC, self.abi, size, self.seq, self.state, self.pid,
                         self.uid, 4096, self.ticks, self.ns, 7, 0,
                         self.time_ms, self.time_ms, 1, self.version,
                         self.comm, self.reclaimer, self.cgroup)
        return head + sections + b"\xa5" * self.more_head + body + \
            struct.pack("<Q", self.seq)

    def write(self, base):
        """Put it where the tool finds it; its directory."""
        where = os.path.join(base, str(self.pid))
        os.makedirs(where, mode=0o700, exist_ok=True)
        with open(os.path.join(where, "page.new"), "wb") as file:
            file.write(self.build())
        os.rename(os.path.join(where, "page.new"), os.path.join(where, "page"))
        return where
