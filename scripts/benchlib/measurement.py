# SPDX-License-Identifier: MIT
"""ebbmalloc bench - What a measurement is, and what a run of it said"""



class Column:
    """One figure of a measurement: its head, its key, how it is printed."""

    def __init__(self, head, key, form="%.2f"):
        self.head, self.key, self.form = head, key, form

    def text(self, value):
        if value is None:
            return "-"
        return value if isinstance(value, str) else self.form % value


class Measurement:
    """A program with arguments.  The first column is the one compared; with
    better "none" there is nothing to compare."""

    def __init__(self, name, args, columns, better="lower", **more):
        self.name, self.columns, self.better = name, columns, better
        self.program, self.args = args[0], args[1:]
        self.title = more.get("title", name)
        self.tiny = more.get("tiny", [])
        self.conf = more.get("conf", "")        # ebbmalloc's, if none is set
        self.rounds = more.get("rounds", 1000)  # no more than these
        self.runs = more.get("runs", 3)         # rounds, if not told
        self.swap = more.get("swap", False)
        self.linked = more.get("linked", False)  # with ebbmalloc, and no other


class SpeedMeasurement(Measurement):
    """A program that does a fixed amount of work.  How: "speed", one of
    tests/bench/speed; "replay", of the trace args[0]; "program", a real one
    that scripts/bench-program runs."""

    def __init__(self, how, name, args):
        super().__init__(how + "-" + name, args,
                         [Column("seconds", "seconds", "%.3f"),
                          Column("peak KB", "peak_rss_kb", "%d")],
                         title=" ".join([how] + args), tiny=["--work=1"],
                         runs=5)
        self.how = how


class Run:
    """What one run of a program said."""

    def __init__(self, measurement, allocator, number):
        self.measurement, self.allocator = measurement, allocator
        self.number = number
        self.values = {}
        self.lines = []
        self.skipped = None
        self.failed = None
        self.seconds = 0.0

    def as_dict(self):
        return {"measurement": self.measurement.name,
                "allocator": self.allocator.name, "run": self.number,
                "seconds": round(self.seconds, 2), "skipped": self.skipped,
                "failed": self.failed, "values": self.values,
                "lines": self.lines}

    def told(self):
        """In a line, for who waits."""
        first = self.measurement.columns[0]
        return "%s, %s, run %d: %s %s (%.1f s)" % (
            self.measurement.name, self.allocator.name, self.number,
            first.head, self.failed or self.skipped or
            first.text(self.values.get(first.key)), self.seconds)

    def take(self, item):
        """What as_dict() made, again."""
        self.seconds = item["seconds"]
        self.skipped, self.failed = item["skipped"], item["failed"]
        self.values, self.lines = item["values"], item["lines"]
