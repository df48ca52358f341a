# SPDX-License-Identifier: MIT
"""ebbmalloc bench - Speed: ratios to the best peer, their means, the figure"""
import math
import statistics
import textwrap

from benchlib.allocators import OURS, SPEED_PEERS
from benchlib.common import print_rows

MOST_SLOWER = 1.05
TABLE_MOST = 5          # allocators side by side in 100 columns


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def family(name):
    """The program of a measurement's name: speed-pair-64-100 is a pair."""
    return "-".join(name.split("-")[:2])


class Speed:
    """Medians of all runs, as ratios.  @key is the time that counts."""

    def __init__(self, measurements, runs, key="seconds"):
        self.names = list(dict.fromkeys(r.allocator.name for r in runs))
        self.programs = [m.name for m in measurements]
        self.figures = {"time": self.medians(runs, key),
                        "rss": self.medians(runs, "peak_rss_kb")}
        self.remarks = self.collect_remarks(runs)

    @staticmethod
    def medians(runs, key):
        found = {}
        for run in runs:
            if isinstance(run.values.get(key), (int, float)) and \
                    not run.failed and not run.skipped:
                found.setdefault((run.measurement.name, run.allocator.name),
                                 []).append(run.values[key])
        return {at: statistics.median(values) for at, values in found.items()}

    @staticmethod
    def collect_remarks(runs):
        """Why there is no figure, and a run that failed among others."""
        remarks = {}
        for run in runs:
            if run.failed or run.skipped:
                remarks.setdefault(
                    (run.measurement.name, run.failed or run.skipped),
                    {})[run.allocator.name] = True
        return remarks

    def peers(self):
        return [n for n in self.names if n in SPEED_PEERS]

    def value(self, what, program, name):
        """A median; None where there is none, or nothing was measured."""
        return self.figures[what].get((program, name)) or None

    def best(self, what, program):
        values = [self.value(what, program, n) for n in self.peers()]
        return min((v for v in values if v), default=None)

    def ratio(self, what, program, name):
        best, value = self.best(what, program), self.value(what, program, name)
        return value / best if best and value else None

    def ratios(self, what, name):
        """{program: ratio}, of those that there are."""
        found = {p: self.ratio(what, p, name) for p in self.programs}
        return {p: r for p, r in found.items() if r}

    def mean(self, what, name):
        ratios = self.ratios(what, name)
        return geometric_mean(ratios.values()) if ratios else None

    def mean_of_families(self, what, name):
        """Each program counted once, however many parameters it has."""
        families = {}
        for program, ratio in self.ratios(what, name).items():
            families.setdefault(family(program), []).append(ratio)
        means = [geometric_mean(r) for r in families.values()]
        return geometric_mean(means) if means else None

    def best_single(self, what):
        """The peer with the best mean, among those with most programs."""
        peers = [n for n in self.peers() if self.ratios(what, n)]
        return min(peers, key=lambda n: (-len(self.ratios(what, n)),
                                         self.mean(what, n)), default=None)

    def against(self, what, name, peer):
        """Geometric mean of @name's over @peer's, where both have one."""
        both = [self.value(what, p, name) / self.value(what, p, peer)
                for p in self.programs
                if self.value(what, p, name) and self.value(what, p, peer)]
        return geometric_mean(both) if both else None

    def slower(self, name=OURS):
        """[(program, ratio)] above what is allowed, the slowest first."""
        above = [(p, r) for p, r in self.ratios("time", name).items()
                 if r > MOST_SLOWER]
        return sorted(above, key=lambda pr: -pr[1])

    def as_dict(self):
        peer = self.best_single("time")
        return {
            "ratios": {what: {n: self.ratios(what, n) for n in self.names}
                       for what in self.figures},
            "geometric_means": {what: {n: self.mean(what, n)
                                       for n in self.names}
                                for what in self.figures},
            "geometric_means_by_program": {
                what: {n: self.mean_of_families(what, n) for n in self.names}
                for what in self.figures},
            "best_single_peer": peer,
            "against_best_single_peer": self.against("time", OURS, peer)
            if peer else None,
            "slower": dict(self.slower()),
        }


# === Table =================================================================

def cell(value, form=None):
    """Three digits and more, in at most five places."""
    if not value:
        return "-"
    if not form:
        form = "%.2f" if value < 10 else "%.1f" if value < 1000 else "%.0f"
    return form % value


def pair_of_cells(speed, program, name):
    ratio = speed.ratio("time", program, name)
    mark = "*" if name == OURS and ratio and ratio > MOST_SLOWER else " "
    return "%6s%s%5s" % (cell(ratio), mark,
                         cell(speed.ratio("rss", program, name)))


def print_table(speed, names):
    width = max(len(p) for p in speed.programs)
    print("\n%s%17s%s" % (" " * width, "best peers ",
                          "".join("%12s" % n[:11] for n in names)))
    print("%s%9s%7s " % (" " * width, "seconds", "MiB") +
          "  time   rss" * len(names))
    for program in speed.programs:
        best, low = (speed.best(what, program) for what in ("time", "rss"))
        print("%-*s%9s%7s " % (width, program, cell(best, "%.3f"),
                               cell(low and low / 1024, "%.1f")) +
              "".join(pair_of_cells(speed, program, n)
                      for n in names).rstrip())


def print_remarks(speed, left):
    for (program, why), names in speed.remarks.items():
        print("%s, %s: %s" % (program, ", ".join(names), why))
    for name, why in left:
        print("%s: skipped: %s" % (name, why))


def print_means(speed):
    rows = [["Geometric means"] + speed.names + ["programs"]]
    for label, function, what in (
            ("time, x best peer of each", speed.mean, "time"),
            ("  each program counted once", speed.mean_of_families, "time"),
            ("peak RSS, x lowest of each", speed.mean, "rss"),
            ("  each program counted once", speed.mean_of_families, "rss")):
        counts = sorted({len(speed.ratios(what, n)) for n in speed.names})
        rows.append([label] + [cell(function(what, n), "%.3f")
                               for n in speed.names] +
                    ["-".join(map(str, counts))])
    print()
    print_rows(rows)


def print_verdict(speed):
    compared = len(speed.ratios("time", OURS))
    if not compared:
        return
    print()
    for what, label in (("time", "Time"), ("rss", "Peak RSS")):
        peer = speed.best_single(what)
        print("%s, ebbmalloc to the best single peer (%s): %.3f" %
              (label, peer, speed.against(what, OURS, peer)))
    slower = speed.slower()
    print("ebbmalloc above %.2f x the best peer: %d of %d%s" %
          (MOST_SLOWER, len(slower), compared,
           ", marked *; the slowest is %s, %.2f" % slower[0] if slower
           else ""))


def print_speed(speed, left, heading):
    print("\n" + textwrap.fill(heading, 98))
    if speed.programs:
        for at in range(0, len(speed.names), TABLE_MOST):
            print_table(speed, speed.names[at:at + TABLE_MOST])
    print_remarks(speed, left)
    if any(speed.ratios("time", n) for n in speed.names):
        print_means(speed)
        print_verdict(speed)


# === Figure ================================================================

def chart(speed, heading):
    """In the terms of scripts/plot-svg."""
    kinds = (("time", "time, x best peer"), ("rss", "peak RSS, x lowest peer"))
    rows = [{"label": p, "values": [[speed.ratio(what, p, n)
                                     for n in speed.names]
                                    for what, _ in kinds]}
            for p in speed.programs]
    rows.append({"label": "geometric mean", "emphasis": True,
                 "values": [[speed.mean(what, n) for n in speed.names]
                            for what, _ in kinds]})
    return {"title": "ebbmalloc and others: time and memory of each program",
            "subtitle": heading, "rows": rows,
            "columns": [{"label": label, "min": 0.5, "max": 4,
                         "ticks": [0.5, 0.7, 1, 1.5, 2, 3, 4]}
                        for _, label in kinds],
            "names": [{"name": n, "emphasis": n == OURS}
                      for n in speed.names],
            "note": "The best peer of a program is 1, less is better; a dot "
                    "on the border is beyond it."}
