# SPDX-License-Identifier: MIT
"""ebbmalloc bench - What every part needs"""
import os
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
START = time.monotonic()


class BenchError(Exception):
    """The benchmark cannot go on; the text is for the user."""


def say(text):
    print("[%6.1f s] %s" % (time.monotonic() - START, text), file=sys.stderr,
          flush=True)


def print_rows(rows):
    """A table whose first row is the head; the last column is flush left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [c.rjust(w) for c, w in zip(row[1:-1], widths[1:-1])]
        print("  ".join(cells + [row[-1]]).rstrip())
