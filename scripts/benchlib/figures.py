# SPDX-License-Identifier: MIT
"""ebbmalloc bench - Tables and figure of what was measured near a limit"""
import math
import statistics
import xml.etree.ElementTree

from benchlib.allocators import OURS
from benchlib.common import print_rows


class Figures:
    """Medians of all runs of a measurement by allocator."""

    def __init__(self, measurement, runs):
        self.measurement = measurement
        self.runs = [r for r in runs if r.measurement is measurement]
        self.names = list(dict.fromkeys(r.allocator.name for r in self.runs))

    def of(self, name):
        return [r for r in self.runs if r.allocator.name == name]

    def value(self, name, key):
        found = [r.values[key] for r in self.of(name)
                 if isinstance(r.values.get(key), (int, float))]
        return statistics.median(found) if found else None

    def primary(self, name):
        """The compared figure; None where the allocator died or did nothing."""
        if self.value(name, "deaths"):
            return None
        for key in ("came_back_percent", "given_back_percent"):
            share = self.value(name, key)
            if share is not None and share < 50:
                return None
        value = self.value(name, self.measurement.columns[0].key)
        return value if value else None

    def best_peer(self):
        values = [self.primary(n) for n in self.names if n != OURS]
        values = [v for v in values if v is not None]
        if not values or self.measurement.better == "none":
            return None
        return (min if self.measurement.better == "lower" else max)(values)

    def ratio(self, name):
        best, value = self.best_peer(), self.primary(name)
        return value / best if best and value is not None else None

    def remark(self, name):
        """Why there is no figure, or how it ended."""
        for run in self.of(name):
            if run.skipped or run.failed:
                return run.skipped or run.failed
        for run in self.of(name):
            if run.values.get("ending", "ended well") != "ended well":
                return run.values["ending"]
            for line in run.lines:
                if line["kind"] == "trial" and not line.get("survived", True) \
                        and self.measurement.program != "density":
                    return line["ending"]
        return ""


def print_figures(figures):
    m = figures.measurement
    print("\n%s (%s)" % (m.title, m.name))
    compared = m.better != "none"
    rows = [[""] + [c.head for c in m.columns] +
            (["x best peer"] if compared else []) + [""]]
    for name in figures.names:
        ratio = figures.ratio(name)
        rows.append([name] + [c.text(figures.value(name, c.key))
                              for c in m.columns] +
                    (["%.2f" % ratio if ratio else "-"] if compared else []) +
                    [figures.remark(name)])
    print_rows(rows)


def geometric_means(all_figures):
    """{allocator: (mean of its ratios, below 1 being better, how many)}."""
    ratios = {}
    for figures in all_figures:
        for name in figures.names:
            ratio = figures.ratio(name)
            if ratio:
                if figures.measurement.better == "higher":
                    ratio = 1 / ratio
                ratios.setdefault(name, []).append(ratio)
    return {name: (math.exp(sum(map(math.log, r)) / len(r)), len(r))
            for name, r in ratios.items()}


def print_means(all_figures):
    means = geometric_means(all_figures)
    compared = sum(1 for f in all_figures if f.best_peer() is not None)
    if not means:
        return
    print("\nGeometric mean of the ratios to the best peer (less is better; "
          "of those it finished)")
    print_rows([["", "mean", "of %d" % compared, ""]] +
               [[name, "%.3f" % mean, str(nr), ""]
                for name, (mean, nr) in means.items()])


# === Which line of defence saved what ======================================

def counters_of(text):
    """Every number among the attributes of malloc_info()'s elements."""
    counters = {}
    try:
        root = xml.etree.ElementTree.fromstring(text)
    except xml.etree.ElementTree.ParseError:
        return counters
    for element in root.iter():
        path = [element.tag] if element.tag != "counter" else []
        path += [element.get("name")] if element.get("name") else []
        for key, value in element.attrib.items():
            if value.isdigit():
                name = ".".join(path + ([key] if key != "value" else []))
                counters[name] = counters.get(name, 0) + int(value)
    return counters


def sum_counters(figures):
    """Over all workers that ended well in the last run."""
    total = {}
    for run in figures.of(OURS)[-1:]:
        for line in run.lines:
            if line["kind"] != "info":
                continue
            for name, value in counters_of(line["xml"]).items():
                total[name] = total.get(name, 0) + value
    return total


def print_counters(all_figures):
    columns = {f.measurement.name: sum_counters(f) for f in all_figures}
    columns = {name: c for name, c in columns.items() if any(c.values())}
    names = dict.fromkeys(n for c in columns.values() for n in c if c[n])
    if not names:
        return
    print("\nebbmalloc's counters at the end of the last run, summed over its "
          "processes (none are zero everywhere)")
    print_rows([[""] + list(columns) + [""]] +
               [[name] + [str(c.get(name, 0)) for c in columns.values()] +
                [""] for name in names])


# === Output ================================================================

def as_dict(all_figures):
    return {
        "medians": {f.measurement.name: {
            name: {c.key: f.value(name, c.key)
                   for c in f.measurement.columns} for name in f.names}
            for f in all_figures},
        "counters": {f.measurement.name: sum_counters(f)
                     for f in all_figures},
        "geometric_means": {n: m for n, (m, _) in
                            geometric_means(all_figures).items()},
    }


def chart(all_figures):
    """In the terms of scripts/plot-svg."""
    groups = []
    for figures in all_figures:
        first = figures.measurement.columns[0]
        bars = []
        for name in figures.names:
            value = figures.value(name, first.key)
            dead = figures.measurement.better != "none" and \
                figures.primary(name) is None
            bars.append({"name": name, "emphasis": name == OURS,
                         "value": None if dead else value,
                         "text": figures.remark(name) or "-"
                         if dead or value is None else first.text(value)})
        groups.append({"label": "%s: %s" % (figures.measurement.title,
                                            first.head), "bars": bars})
    return {"title": "ebbmalloc and others near their memory limit",
            "groups": groups}
