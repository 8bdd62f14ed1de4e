"""The stand-in for NVIDIA's management library, built where it is needed; what it does stands in a state file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "cases/collect/nvml_stub/nvml_stub.c"


def build_library(folder: Path) -> Path:
    """*folder*, with a libnvidia-ml.so.1 in it; without a compiler the test is skipped, or fails in CI."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        if os.environ.get("CI"):
            pytest.fail("no C compiler, though .ci/run installs one")
        pytest.skip("no C compiler to build the stand-in for libnvidia-ml with")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", folder / "libnvidia-ml.so.1", SOURCE], check=True, timeout=60
    )
    return folder


class StubState:
    """
    What the stand-in does.

    Args:
        path: Its state file; lines as `SOURCE` explains them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.set()

    def set(self, *lines: str) -> None:
        """Replace the state in one step: it is read at any moment."""
        new = self.path.with_suffix(".new")
        new.write_text("".join(f"{line}\n" for line in lines))
        new.replace(self.path)

    def environment(self, library: Path) -> Mapping[str, str]:
        """Variables under which a program meets the stand-in in folder *library*."""
        return {"LD_LIBRARY_PATH": str(library), "NVML_STUB_STATE": str(self.path)}

    def command(self, library: Path) -> tuple[str, ...]:
        """The collector's child on the stand-in; through env, since a test must not change its own environment."""
        settings = [f"{name}={value}" for name, value in self.environment(library).items()]
        return (shutil.which("env") or "env", *settings, sys.executable, "-m", "aiops.collect.nvml")
