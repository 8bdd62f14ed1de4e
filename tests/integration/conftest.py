"""Programs the integration tests talk to: skipped when missing at a desk, a failure in CI."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _no_cuda() -> Iterator[None]:
    """Demos that run beside one another on a machine with a GPU would meet on it: they simulate theirs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        yield


def require_program(name: str) -> str:
    """The path of program *name*; without it the test is skipped, or fails where CI promises to have it."""
    # Debian keeps daemons where an ordinary user's PATH does not look
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None and os.environ.get("CI"):
        pytest.fail(f"{name} is missing, though .ci/run installs it")
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path
