"""The daemon shares its node with an engine that wants every byte: what lies around its own objects is kept small."""

from __future__ import annotations

import subprocess
import sys


def test_a_frugal_process_starts_no_thread_for_matrices_and_loads_no_terminal_library() -> None:
    """On a node of 128 cores numpy's library would start as many threads with a buffer each."""
    program = (
        "from aiops import memory; memory.be_frugal(); import sys, os, numpy, structlog;"
        "print(len(os.listdir('/proc/self/task')), bool(sys.modules.get('rich')))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout.split() == ["1", "False"]


def test_memory_nobody_uses_goes_back_to_the_system() -> None:
    """A burst of lines leaves megabytes in the allocator that the kernel counts as ours."""
    program = (
        "from aiops import memory; memory.be_frugal()\n"
        "def rss(): return int(open('/proc/self/statm').read().split()[1])\n"
        "held = [bytes(2000) for _ in range(20_000)]; last = bytes(2000); del held; before = rss()\n"
        "memory.give_back(); print(before - rss())"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert int(said.stdout) > 2_000  # pages; twenty thousand blocks are ten thousand of them


def test_what_was_loaded_at_the_start_is_not_searched_for_garbage_again() -> None:
    """A look at an incident makes garbage enough for a full collection; the modules must not be its price."""
    program = (
        "import gc; from aiops import memory, settings; memory.settle(); kept = gc.get_freeze_count();"
        "held = [[] for _ in range(1000)]; memory.settle();"
        "print(kept > 10_000, gc.get_freeze_count() > kept, len(gc.get_objects()) < 100)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout.split() == ["True", "True", "True"]
