#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
#
# ebbmalloc tests - A strict reader of Prometheus's text format
#
#	prom.py check FILE		whether FILE is right, to the letter
#	prom.py same FILE OTHER NAME...	whether samples and types are the same,
#					but for the metrics NAME
#	prom.py sum FILE BY_PID NAME...	whether each NAME in FILE is the sum of
#					those in BY_PID
#
# Stricter than the format: HELP, TYPE and all samples of a metric stand
# together, in this order, and no time is given.

import re
import sys

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"'
SAMPLE = re.compile(rf"({NAME})(?:\{{((?:{LABEL},?)*)\}})? (\S+)")
VALUE = re.compile(r"\d+(\.\d+)?")


class Wrong(Exception):
    pass


def parse_labels(text):
    labels = re.findall(LABEL, text or "")
    if ",".join(f'{name}="{value}"' for name, value in labels) != (text or ""):
        raise Wrong(f"labels {text}")
    if len(dict(labels)) != len(labels):
        raise Wrong(f"a label twice: {text}")
    return tuple(sorted(labels))


class Scrape:
    def __init__(self, text):
        self.types = {}
        self.samples = {}
        self.order = []
        helped = None
        if text and not text.endswith("\n"):
            raise Wrong("the last line has no end")
        for line in text.splitlines():
            if line.startswith("# HELP "):
                helped = self.read_help(line)
            elif line.startswith("# TYPE "):
                self.read_type(line, helped)
            elif not line.startswith("#"):
                self.read_sample(line)
        for name, kind in self.types.items():
            if kind == "histogram":
                self.check_histogram(name)

    def read_help(self, line):
        match = re.fullmatch(rf"# HELP ({NAME}) (.+)", line)
        if not match:
            raise Wrong(line)
        if re.search(r"\\(?![\\n])", match[2]):
            raise Wrong(f"a backslash alone: {line}")
        return match[1]

    def read_type(self, line, helped):
        match = re.fullmatch(rf"# TYPE ({NAME}) (counter|gauge|histogram)",
                             line)
        if not match:
            raise Wrong(line)
        if match[1] != helped:
            raise Wrong(f"TYPE without HELP before it: {line}")
        if match[1] in self.types:
            raise Wrong(f"TYPE twice: {line}")
        if (match[2] == "counter") != match[1].endswith("_total"):
            raise Wrong(f"only counters end in _total: {line}")
        self.types[match[1]] = match[2]
        self.order.append(match[1])

    def family(self, name):
        for suffix in ("_bucket", "_sum", "_count"):
            base = name.removesuffix(suffix)
            if base != name and self.types.get(base) == "histogram":
                return base
        return name

    def read_sample(self, line):
        match = SAMPLE.fullmatch(line)
        if not match or not VALUE.fullmatch(match[5]):
            raise Wrong(line)
        name = match[1]
        if not self.order or self.family(name) != self.order[-1]:
            raise Wrong(f"not below its TYPE: {line}")
        if self.types[self.order[-1]] == "histogram" and \
                name == self.order[-1]:
            raise Wrong(f"a histogram has no value of its own: {line}")
        key = (name, parse_labels(match[2]))
        if key in self.samples:
            raise Wrong(f"twice: {line}")
        self.samples[key] = float(match[5])

    def check_histogram(self, name):
        series = {}
        for (metric, labels), value in self.samples.items():
            if metric == name + "_bucket":
                rest = tuple(x for x in labels if x[0] != "le")
                bound = float(dict(labels)["le"].replace("+Inf", "inf"))
                series.setdefault(rest, []).append((bound, value))
        for rest, buckets in series.items():
            bounds = [bound for bound, _ in buckets]
            values = [value for _, value in buckets]
            if bounds != sorted(set(bounds)) or values != sorted(values):
                raise Wrong(f"buckets of {name}{rest} do not rise")
            if bounds[-1] != float("inf"):
                raise Wrong(f"{name}{rest} has no bucket +Inf")
            if self.samples.get((name + "_count", rest)) != values[-1] or \
                    (name + "_sum", rest) not in self.samples:
                raise Wrong(f"{name}{rest} has another count, or no sum")
        counts = [key for key in self.samples if key[0] == name + "_count"]
        if len(counts) != len(series):
            raise Wrong(f"{name}: a count without buckets")


def read(path):
    with open(path, encoding="utf-8", newline="\n") as file:
        return Scrape(file.read())


def same(path, other, *names):
    one, two = read(path), read(other)
    for what in ("types", "samples"):
        left, right = (
            {key: value for key, value in getattr(scrape, what).items()
             if (key if what == "types" else key[0]) not in names}
            for scrape in (one, two))
        for key in left.keys() | right.keys():
            if left.get(key) != right.get(key):
                raise Wrong(f"{key}: {left.get(key)} in {path}, "
                            f"{right.get(key)} in {other}")
    print(f"{len(one.samples)} samples are the same")


def add_up(path, by_pid, *names):
    one, two = read(path), read(by_pid)
    for name in names:
        parts = [value for key, value in two.samples.items()
                 if key[0] == name]
        if len(parts) < 2:
            raise Wrong(f"{name}: {len(parts)} processes")
        if one.samples[name, ()] != sum(parts):
            raise Wrong(f"{name}: {one.samples[name, ()]} is not {parts}")
        print(f"{name}: {parts}")


def main():
    try:
        if sys.argv[1] == "check":
            print(f"{len(read(sys.argv[2]).samples)} samples")
        elif sys.argv[1] == "same":
            same(*sys.argv[2:])
        else:
            add_up(*sys.argv[2:])
    except Wrong as why:
        sys.exit(f"{sys.argv[2]}: {why}")


if __name__ == "__main__":
    main()
