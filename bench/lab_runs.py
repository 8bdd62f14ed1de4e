"""
Runs of the lab, as they were left in a folder: what was done (`truth.json`), what was recorded, what was said live.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TRUTH, RECORDING, MESSAGES = "truth.json", "recording", "messages.json"
FAILED = "failed"
"""Experiments that failed as such lie in a folder of this name, and are not counted."""


@dataclass(frozen=True)
class Truth:
    fault: str
    kind: str
    """fault, two, none, lookalike or undescribed."""
    causes: tuple[str, ...]
    """All that are right; two where two faults were at work."""
    where: dict[str, str]
    stub: bool
    """Whether its decisive signal came from a stub of a driver."""
    gateway: str
    dialect: str
    seed: int
    began_s: float
    first_bad_s: float | None
    """When users met the first bad answer."""
    ended_s: float
    revision: str = ""
    magnitudes: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    name: str
    folder: Path
    truth: Truth

    @property
    def recording(self) -> Path:
        return self.folder / RECORDING

    def messages(self) -> list[dict] | None:
        """What the chat got, each with its time; None where nobody kept it."""
        path = self.folder / MESSAGES
        if not path.exists():
            return None
        held = json.loads(path.read_text())
        return held["messages"] if isinstance(held, dict) else held


def read_truth(path: Path) -> Truth:
    told = json.loads(path.read_text())
    causes = tuple(told.get("causes") or ([told["cause"]] if told.get("cause") else []))
    return Truth(
        fault=told["fault"], kind=told.get("kind", "fault"), causes=causes, where=told.get("where") or {},
        stub=bool(told.get("stub")), gateway=told["gateway"], dialect=told["dialect"], seed=int(told["seed"]),
        began_s=float(told["began_s"]), first_bad_s=told.get("first_bad_s"), ended_s=float(told["ended_s"]),
        revision=str(told.get("revision", "")), magnitudes=told.get("magnitudes") or {},
    )  # fmt: skip


def read_runs(folders: Iterable[Path]) -> list[Run]:
    """Every run in *folders*, in folders in them, or a folder that is one itself; failed experiments are left out."""
    found: dict[Path, Run] = {}
    for folder in folders:
        for path in sorted([*folder.glob(TRUTH), *folder.glob(f"*/{TRUTH}"), *folder.glob(f"*/*/{TRUTH}")]):
            whole = (path.parent / RECORDING / "meta.json").exists()
            if whole and FAILED not in path.parts:
                found[path.parent.resolve()] = Run(path.parent.name, path.parent, read_truth(path))
    return list(found.values())


def failed(folders: Iterable[Path]) -> int:
    """How many experiments in *folders* failed as such."""
    return sum(path.is_dir() for folder in folders for path in folder.glob(f"{FAILED}/*"))


def named(runs: Sequence[Run], name: str) -> Run:
    """
    The run called *name*, or the only one whose name begins so.

    Raises:
        SystemExit: there is none, or several.
    """
    fit = [run for run in runs if run.name == name] or [run for run in runs if run.name.startswith(name)]
    if len(fit) != 1:
        raise SystemExit(f"{len(fit)} runs are called {name}: {', '.join(run.name for run in fit) or 'none'}")
    return fit[0]
