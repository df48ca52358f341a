# SPDX-License-Identifier: MIT
"""ebbmalloc bench - One run of one program under one allocator"""
import ctypes
import json
import math
import os
import signal
import subprocess
import time

from benchlib.allocators import OURS, SPEED_PEERS, environment
from benchlib.common import TOP, say
from benchlib.measurement import Run

SKIPPED = 4
PR_SET_PDEATHSIG = 1
HOPELESS_SECONDS, HOPELESS_RATIO = 1, 4


def die_with_parent():
    """The program ends, with its workers and cgroup, when this one does."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def collect(run, text):
    """Flatten the JSON lines: result members as they are, those of a sample
    below what it is of."""
    for line in text.splitlines():
        try:
            item = json.loads(line)
        except ValueError:
            run.failed = "not JSON: " + line[:60]
            return
        run.lines.append(item)
        if item["kind"] not in ("result", "sample"):
            continue
        prefix = ""
        if item["kind"] == "sample":
            prefix = ".".join([item["what"]] + ([item["state"]] if "state" in
                                                item else [])) + "."
        for key, value in item.items():
            if key not in ("kind", "scenario", "what", "state"):
                run.values[prefix + key] = value
    derive(run)


def derive(run):
    """Figures that follow from others."""
    values = run.values
    for key in ("floor", "limit"):
        if values.get(key + "_bytes"):
            values[key + "_mib"] = values[key + "_bytes"] / 2**20
    if values.get("of") and "survived" in values:
        values["survived_percent"] = values["survived"] * 100 / values["of"]
    rounds = [l["rounds"] for l in run.lines if l["kind"] == "trial" and
              "rounds" in l]
    if rounds:
        values["least_rounds"] = min(rounds)


def run_program(command, env, timeout):
    """(status, stdout, stderr); the program is never left running."""
    with subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, preexec_fn=die_with_parent) as child:
        try:
            out, err = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            child.terminate()
            out, err = child.communicate()
            err += "\nstopped after %d s" % timeout
        except BaseException:
            # It takes its workers and its cgroup away.
            child.terminate()
            child.wait()
            raise
    return child.returncode, out, err


def trace_of(bench, measurement):
    return os.path.join(bench.build, "bench", "traces",
                        measurement.program + ".trace")


def command_of(bench, measurement, allocator):
    """What to run, and whether it preloads the allocator by itself."""
    how = getattr(measurement, "how", "scenario")
    programs = os.path.join(bench.build, "tests", "bench")
    options = [*measurement.args,
               *(measurement.tiny if bench.args.tiny else []),
               *("--" + o for o in bench.args.option)]
    if how == "speed":
        return [os.path.join(programs, "speed", measurement.program),
                *options], False
    if how == "replay":
        return [os.path.join(programs, "replay"), "--trace=" +
                trace_of(bench, measurement), *options], False
    if how == "program":
        command = [script("bench-program"), measurement.program]
    else:
        command = [os.path.join(programs, measurement.program)]
    if allocator.preload and not measurement.linked:
        options.append("--preload=" + allocator.preload)
    return command + options, True


def script(name):
    return os.path.join(TOP, "scripts", name)


def record(bench, measurement):
    """Make the trace, if there is none; why not, or None."""
    trace = trace_of(bench, measurement)
    if os.path.exists(trace):
        return None
    say("recording %s" % trace)
    status, _, err = run_program([script("bench-record"), measurement.program],
                                 dict(os.environ, O=bench.build),
                                 bench.args.timeout)
    if status or not os.path.exists(trace):
        return last_line(err) or "bench-record: exit status %d" % status
    return None


def why_not(bench, measurement):
    """Why a measurement is not possible here; None: it is."""
    how = getattr(measurement, "how", "scenario")
    needed = {"replay": ["bench-record"], "program": ["bench-program"]}
    for name in needed.get(how, []):
        if not os.path.exists(script(name)):
            return "scripts/%s is missing" % name
    if how != "replay":
        return None
    replay = os.path.join(bench.build, "tests", "bench", "replay")
    if not os.path.exists(replay):
        return "%s is not built" % replay
    return record(bench, measurement)


def last_line(text):
    return (text.strip().splitlines() or [""])[-1]


def perform(bench, measurement, allocator, number):
    run = Run(measurement, allocator, number)
    command, preloads = command_of(bench, measurement, allocator)
    env = dict(environment(allocator, measurement.conf), O=bench.build)
    if allocator.preload and not preloads:
        env["LD_PRELOAD"] = allocator.preload
    begin = time.monotonic()
    status, out, err = run_program(command, env, bench.args.timeout)
    run.seconds = time.monotonic() - begin
    collect(run, out)
    last = last_line(err)
    if status == SKIPPED:
        run.skipped = last
    elif status:
        run.failed = last or "exit status %d" % status
    elif not any(l["kind"] in ("result", "sample") for l in run.lines):
        run.failed = "said nothing"
    elif "cannot be preloaded" in err:
        run.failed = "ld.so did not preload %s" % allocator.preload
    return run


def without_hopeless(plan, first_round):
    """@plan without further runs of those that needed seconds where the best
    peer needed a fraction: they are the best in no round, and would take most
    of the time."""
    seconds = {r.allocator.name: r.values["seconds"] for r in first_round
               if "seconds" in r.values}
    best = min((s for n, s in seconds.items() if n in SPEED_PEERS),
               default=math.inf)
    hopeless = [n for n, s in seconds.items()
                if s > HOPELESS_SECONDS and s > HOPELESS_RATIO * best and
                n != OURS]
    measurement = first_round[0].measurement
    for name in hopeless:
        say("%s, %s: once is enough" % (measurement.name, name))
    return [p for p in plan
            if p[1] is not measurement or p[2].name not in hopeless]
