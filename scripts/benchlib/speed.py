# SPDX-License-Identifier: MIT
"""ebbmalloc bench - What is measured for speed

The list was fixed before anything was tuned by it, and none is dropped.
Amounts of work are such that the best of Debian 12's allocators needs about a
third of a second, less where others need a hundred times as long.
Documentation/process/benchmarks.rst says what each is.
"""
from benchlib.measurement import SpeedMeasurement

# Millions of pairs: size, then for 1, 100 and 1600 live objects.
PAIRS = ((16, 50, 50, 50), (64, 50, 50, 50), (256, 50, 50, 35),
         (1024, 50, 45, 15), (8192, 40, 10, 7))


def millions(number):
    return "--operations=%d" % round(number * 1e6)


def pairs():
    for size, *amounts in PAIRS:
        for live, amount in zip((1, 100, 1600), amounts):
            yield ("pair-%d-%d" % (size, live),
                   ["pair", "--size=%d" % size, "--live=%d" % live,
                    millions(amount)])


# Name, program and its arguments.
PROGRAMS = (
    *pairs(),
    ("pair-2t", ["pair", "--size=64", "--live=100", "--threads=2",
                 millions(35)]),
    ("batch-lifo", ["batch", "--order=lifo", millions(40)]),
    ("batch-fifo", ["batch", "--order=fifo", millions(40)]),
    ("batch-fifo-100k", ["batch", "--order=fifo", "--count=100000",
                         millions(8)]),
    ("batch-lifo-2t", ["batch", "--order=lifo", "--threads=2",
                       millions(24)]),
    ("batch-fifo-2t", ["batch", "--order=fifo", "--threads=2",
                       millions(24)]),
    ("lifetimes", ["lifetimes", millions(16)]),
    ("lifetimes-2t", ["lifetimes", "--threads=2", millions(8)]),
    ("server", ["server", millions(16)]),
    ("server-2t", ["server", "--threads=2", millions(8)]),
    ("handover-oneway", ["handover", "--kind=oneway", millions(10)]),
    ("handover-mutual", ["handover", "--kind=mutual", millions(6)]),
    ("churn", ["churn", millions(0.008)]),
    ("churn-2t", ["churn", "--threads=2", millions(0.004)]),
    ("idle-400", ["idle", "--idle=400", millions(16)]),
    ("grow-string", ["grow", "--kind=string", millions(22)]),
    ("grow-string-2t", ["grow", "--kind=string", "--threads=2",
                        millions(12)]),
    ("grow-vector", ["grow", "--kind=vector", "--many=16", millions(0.2)]),
    ("large-64k-1m", ["large", millions(0.4)]),
    ("large-64k-1m-2t", ["large", "--threads=2", millions(0.2)]),
    ("large-1m-32m", ["large", "--low-kb=1024", "--high-kb=32768",
                      "--live=8", millions(0.003)]),
    ("zeroed-small", ["zeroed", "--kind=small", millions(4.5)]),
    ("zeroed-table", ["zeroed", "--kind=table", "--live=32",
                      millions(0.03)]),
    ("aligned", ["aligned", millions(14)]),
    ("aligned-2t", ["aligned", "--threads=2", millions(8)]),
    ("sharing-passive", ["sharing", "--kind=passive", millions(2)]),
    ("sharing-active", ["sharing", "--kind=active", millions(2)]),
)

REPLAYS = ("redis", "python", "gcc", "sqlite", "perl", "git")
REAL = ("redis", "sqlite", "gcc", "python", "python-malloc")

MEASUREMENTS = tuple(
    [SpeedMeasurement("speed", name, args) for name, args in PROGRAMS] +
    [SpeedMeasurement("replay", name, [name]) for name in REPLAYS] +
    [SpeedMeasurement("program", name, [name]) for name in REAL])
