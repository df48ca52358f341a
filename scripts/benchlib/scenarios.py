# SPDX-License-Identifier: MIT
"""ebbmalloc bench - What is measured near a memory limit"""
from benchlib.measurement import Column, Measurement

# Memory stays where it was freed, to be given back when it is asked for.
KEEP = "dirty_max=0,decay_ms=60000,lazy_ms=60000"

MEASUREMENTS = (
    Measurement(
        "density", ["density"], [Column("limit / W", "limit_per_w"),
                                 Column("trials", "trials", "%d")],
        title="Density: smallest limit that 4 tenants survive, in peaks of "
              "one (64 MiB)", rounds=1,
        tiny=["--tenants=2", "--peak-mb=2", "--repeat=1", "--rounds=1",
              "--step-percent=50", "--idle-ms=10"]),
    Measurement(
        "latency", ["latency"],
        [Column("p99 ms", "p99_ms"), Column("p50 ms", "p50_ms"),
         Column("CPU p99 ms", "cpu_p99_ms"),
         Column("came back %", "came_back_percent", "%.0f"),
         Column("left MiB", "still_there_mib", "%.0f"),
         Column("blocked us", "blocked.blocked_most_us", "%.0f")],
        title="Latency: from a limit that draws near to 64 MiB of scattered "
              "pages given back", conf=KEEP,
        tiny=["--mb=4", "--limit-mb=32", "--rounds=2", "--wait-ms=50"]),
    Measurement(
        "latency-default", ["latency"],
        [Column("p99 ms", "p99_ms"), Column("p50 ms", "p50_ms"),
         Column("CPU p99 ms", "cpu_p99_ms"),
         Column("came back %", "came_back_percent", "%.0f"),
         Column("left MiB", "still_there_mib", "%.0f"),
         Column("blocked us", "blocked.blocked_most_us", "%.0f")],
        title="Latency, ebbmalloc in its default configuration",
        tiny=["--mb=4", "--limit-mb=32", "--rounds=2", "--wait-ms=50"]),
    Measurement(
        "cost-trim", ["cost", "--what=trim"],
        [Column("x kernel", "cost_per_kernel"),
         Column("us per MiB", "us_per_mib", "%.1f"),
         Column("given back %", "given_back_percent", "%.0f")],
        title="Cost: giving back 1 GiB of scattered 4-64 KiB ranges, against "
              "the kernel's best on the same", conf="reclaim=off",
        tiny=["--mb=8", "--passes=1"]),
    Measurement(
        "cost-scan", ["cost", "--what=scan"],
        [Column("us per MiB", "scan.published_us_per_mib", "%.3f"),
         Column("nothing changed", "scan.idle_us_per_mib", "%.3f"),
         Column("background", "background.us_per_mib_per_wakeup", "%.3f"),
         Column("its ms per s", "background.cpu_ms_per_s", "%.2f")],
        title="Cost: a pass over 1 GiB that finds nothing", better="none",
        tiny=["--mb=8", "--passes=1", "--seconds=1"]),
    Measurement(
        "cost-wake", ["cost", "--what=wake", "--mb=64"],
        [Column("calm per s", "wake.calm.wakeups_per_s"),
         Column("idle per s", "wake.idle.wakeups_per_s"),
         Column("calm us per s", "wake.calm.cpu_us_per_s", "%.1f"),
         Column("idle us per s", "wake.idle.cpu_us_per_s", "%.1f")],
        title="Cost: how often the background thread wakes", better="none",
        tiny=["--mb=8", "--seconds=1", "--settle-ms=50"]),
    Measurement(
        "steady", ["steady"],
        [Column("kept", "kept", "%.3f"), Column("by CPU", "kept_cpu", "%.3f"),
         Column("op/s", "limited_ops", "%.0f"),
         Column("deaths", "deaths", "%d")], better="higher",
        title="Steady load, 90 % of the limit requested: throughput of that "
              "without",
        tiny=["--limit-mb=16", "--fill-percent=50", "--seconds=1",
              "--settle-ms=10", "--repeat=1"]),
    Measurement(
        "steady-own", ["steady", "--own=1"],
        [Column("kept", "kept", "%.3f"), Column("by CPU", "kept_cpu", "%.3f"),
         Column("op/s", "limited_ops", "%.0f"),
         Column("deaths", "deaths", "%d"),
         Column("limit MiB", "limit_mib", "%.0f")], better="higher",
        title="Steady load, own usage 90 % of the limit: throughput of that "
              "without",
        tiny=["--limit-mb=16", "--fill-percent=50", "--seconds=1",
              "--settle-ms=10", "--repeat=1"]),
    Measurement(
        "steady-zram", ["steady", "--zram-mb=256"],
        [Column("kept", "kept", "%.3f"), Column("by CPU", "kept_cpu", "%.3f"),
         Column("op/s", "limited_ops", "%.0f"),
         Column("deaths", "deaths", "%d")], better="higher", swap=True,
        title="Steady load, 90 % of the limit requested, with swap in zram",
        tiny=["--limit-mb=16", "--fill-percent=50", "--seconds=1",
              "--settle-ms=10", "--repeat=1", "--zram-mb=16"]),
    Measurement(
        "walk", ["walk"],
        [Column("survived", "survived_percent", "%.0f %%"),
         Column("floor MiB", "floor_mib", "%.1f"),
         Column("limit MiB", "limit_mib", "%.1f"),
         Column("least rounds", "least_rounds", "%d")], better="none",
        rounds=1,
        title="Walk: 200 rounds at the page floor plus 10 %",
        tiny=["--mb=4", "--rounds=3", "--repeat=1", "--margin-percent=100"]),
    Measurement(
        "walk-container", ["walk", "--container=1"],
        [Column("survived", "survived_percent", "%.0f %%"),
         Column("floor MiB", "floor_mib", "%.1f"),
         Column("limit MiB", "limit_mib", "%.1f"),
         Column("least rounds", "least_rounds", "%d")], better="none",
        rounds=1,
        title="Walk, confined as in a container",
        tiny=["--mb=4", "--rounds=3", "--repeat=1", "--margin-percent=100"]),
    Measurement(
        "contexts", ["contexts"],
        [Column("context", "context.x_malloc"),
         Column("reset", "reset.x_malloc"),
         Column("called", "call.x_malloc"), Column("bump", "bump.x_malloc"),
         Column("APR", "apr.x_malloc"), Column("talloc", "talloc.x_malloc"),
         Column("glibc", "glibc.x_malloc"),
         Column("malloc ns", "malloc.ns"),
         Column("context ns", "context.ns")], better="none", linked=True,
        title="Requests of 50 to 200 objects, in times the speed of malloc "
              "and free", tiny=["--requests=100", "--rounds=3"]),
)
