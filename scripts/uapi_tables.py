# SPDX-License-Identifier: MIT
#
# ebbmalloc - The tables of uapi/ebb, for the checks of the documentation
#
# Options come from the built ebbctl, which is made from the table; counters,
# histograms and files from the header itself: one row is { "text", ... }.

import json
import os
import pathlib
import re
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
PAGE = TOP / "uapi/ebb/stat_page.h"
TEXTS = (TOP / "src/ctl/text.c", TOP / "tools/ebbctl/metrics.c")
STRING = r'(?:"(?:[^"\\]|\\.)*"\s*)+'


def ebbctl():
    """The built tool; ends the check, as skipped, where there is none."""
    tool = pathlib.Path(os.environ.get("O", TOP / "build"), "bin", "ebbctl")
    if not tool.is_file():
        print(f"{tool} is not built")
        sys.exit(4)
    return tool


def options():
    """{name: row of `ebbctl options --json`}"""
    table = subprocess.run([ebbctl(), "options", "--json"], check=True,
                           capture_output=True, text=True).stdout
    return {option["name"]: option for option in json.loads(table)}


def accepts(option):
    """What an option takes, as manual page and ABI say it."""
    zero = ""
    if option["zero"]:
        zero = "off" if option["type"] == "bool" else "0"
        zero = f"; {zero}: {option['zero']}"
    return (f"Accepts {option['accepts']}; "
            f"default {option['default'] or '(none)'}{zero}.")


def text_of(strings):
    """What adjacent C strings say together."""
    return "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', strings))


def rows(table, fields):
    """{name: {field: text}} of a table in the header; numbers are left out."""
    text = PAGE.read_text()
    body = re.search(r"\b%s\[\] = \{\n(.*?)\n\};" % table, text, re.S)[1]
    for name, value in re.findall(r'#define (EBB_\w+_FILE)\s+"(\w+)"', text):
        body = body.replace(name, f'"{value}"')
    found = {}
    for row in re.findall(r"\{((?:[^{}\"]|" + STRING + r")*)\}", body):
        items = [text_of(item) if '"' in item else item.strip()
                 for item in re.findall(STRING + r"|[^,\"]+", row)
                 if item.strip()]
        found[items[0]] = dict(zip(fields, items))
    assert len(found) == len(re.findall(r"\{", body)), table
    return found


def counters():
    return rows("ebb_counters",
                ("name", "unit", "kind", "metric", "since", "help"))


def histograms():
    return rows("ebb_histograms",
                ("name", "unit", "shift", "metric", "since", "help"))


def files():
    return rows("ebb_files", ("name", "mode", "since", "help"))


def metrics():
    """What `metrics' and the tool have, histograms with their suffixes."""
    names = {row["metric"] for row in counters().values()}
    for row in histograms().values():
        names |= {row["metric"] + end for end in ("_bucket", "_sum", "_count")}
    extra = set()
    for path in TEXTS:
        heads = re.findall(r'(?:add|put)_head\(\w+, "(\w+)"', path.read_text())
        assert heads, path
        extra |= set(heads)
    return names | extra
