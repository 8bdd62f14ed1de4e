"""
Fake GPUs for whole processes: a library that stands in for the driver, and the ledger of memory it keeps.

The library is compiled from tests/cases/demo/card_stub; a process gets it by `FakeCards.environment`.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "cases/demo/card_stub/card_stub.c"
_HEAD = struct.Struct("=4I3Q")
_SLOT = struct.Struct("=IIQq")
_SLOTS = 4096
_HANG = 4
MIB = 2**20


def build_driver(folder: Path) -> Path:
    """A folder with the fake driver's libraries; without a C compiler the test is skipped."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to build the fake driver with")
    library = folder / "libcuda.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE], check=True, timeout=60)
    (folder / "libnvidia-ml.so.1").symlink_to(library)
    return folder


class FakeCards:
    """
    Cards of one test.

    Args:
        ledger: File that is made.
        driver: As `build_driver` made it.
    """

    def __init__(
        self, ledger: Path, driver: Path, *, cards: int = 1, total_mib: int = 24_576, context_mib: int = 400,
        integrated: bool = False, exclusive: bool = False,
    ) -> None:  # fmt: skip
        self._ledger, self._driver = ledger, driver
        head = _HEAD.pack(cards, 0, integrated, exclusive, total_mib * MIB, context_mib * MIB, 0)
        ledger.write_bytes(head + bytes(_SLOT.size * _SLOTS))

    @property
    def environment(self) -> dict[str, str]:
        """A process's environment, so that it finds these cards and no others."""
        return {**os.environ, "LD_LIBRARY_PATH": str(self._driver), "CARD_STUB_LEDGER": str(self._ledger)}

    def held(self) -> list[tuple[int, int, int]]:
        """Process, card and bytes of all that living processes hold."""
        data = self._ledger.read_bytes()[_HEAD.size :]
        slots = (_SLOT.unpack_from(data, _SLOT.size * number) for number in range(_SLOTS))
        return [(pid, card, size) for pid, card, size, _ in slots if pid and Path(f"/proc/{pid}").exists()]

    def take(self, card: int, mib: int, pid: int) -> None:
        """Let process *pid* hold *mib* of *card* beside its context, as somebody else would."""
        with self._ledger.open("r+b") as file:
            for number, (size, pointer) in enumerate(((0, -1), (mib * MIB, 1 << 40))):
                file.seek(_HEAD.size + _SLOT.size * (_SLOTS - 1 - number))
                file.write(_SLOT.pack(pid, card, size, pointer))

    def hang(self) -> None:
        """Let every call hang from now on."""
        with self._ledger.open("r+b") as file:
            file.seek(_HANG)
            file.write(struct.pack("=I", 1))
