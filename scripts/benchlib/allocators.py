# SPDX-License-Identifier: MIT
"""ebbmalloc bench - The allocators: which there are, and how each is chosen"""
import glob
import os

from benchlib.common import BenchError, say

# Settings that would give an allocator other than its default behaviour.
# EBB_CONF is left, so that options can be compared.
UNSET = ("LD_PRELOAD", "MALLOC_CONF", "GLIBC_TUNABLES", "MALLOC_ARENA_MAX",
         "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_",
         "MALLOC_MMAP_THRESHOLD_", "MALLOC_PERTURB_", "MALLOC_CHECK_")

OURS = "ebbmalloc"
EAGER = "background_thread:true,dirty_decay_ms:0,muzzy_decay_ms:0"

# Name, file name of the library ("": none), environment.
PEERS = (("glibc", "", {}),
         ("jemalloc", "libjemalloc.so.2", {}),
         ("jemalloc-d0", "libjemalloc.so.2", {"MALLOC_CONF": EAGER}),
         ("mimalloc", "libmimalloc.so.2", {}),
         ("tcmalloc", "libtcmalloc_minimal.so.4", {}))

# With whom speed is compared, and who buys memory with it.
SPEED_PEERS = ("glibc", "jemalloc", "mimalloc", "tcmalloc")
WITHOUT_SPEED = ("jemalloc-d0",)

LIBRARY_DIRS = ("/usr/lib/*-linux-gnu", "/usr/lib64", "/usr/lib",
                "/usr/local/lib")


class Allocator:
    def __init__(self, name, preload, env):
        self.name, self.preload, self.env = name, preload, env


def find_library(name):
    for directory in LIBRARY_DIRS:
        found = sorted(glob.glob(os.path.join(directory, name)))
        if found:
            return found[0]
    return None


def extra_allocator(text):
    name, _, path = text.rpartition("=")
    if not os.path.exists(path):
        raise BenchError("--with %s: expected LIBRARY or NAME=LIBRARY" % text)
    name = name or os.path.basename(path).split(".so")[0].removeprefix("lib")
    return Allocator(name, os.path.abspath(path), {})


def all_allocators(library, more):
    """ebbmalloc's @library, the peers that are installed, and @more."""
    if not os.path.exists(library):
        raise BenchError("%s is missing: run make first" % library)
    found = [Allocator(OURS, library, {})]
    for name, file, env in PEERS:
        path = find_library(file) if file else ""
        if path is None:
            say("%s: no %s here (scripts/setup installs it)" % (name, file))
            continue
        found.append(Allocator(name, path, env))
    return found + [extra_allocator(text) for text in more]


def environment(allocator, conf=""):
    """Of a program under @allocator; @conf is ebbmalloc's, if none is set."""
    env = {k: v for k, v in os.environ.items() if k not in UNSET}
    if allocator.name == OURS and conf and "EBB_CONF" not in env:
        env["EBB_CONF"] = conf
    env.update(allocator.env)
    return env
