"""
Other ways to rank the columns of a case, in a few lines each; and BARO, asked of another interpreter.

A way gets the series and a time, and answers with columns, best first. What it leaves out is never found.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from aiops.offline.columns import Columns
from aiops.offline.explain import service_of

Way = Callable[[Columns, float], list[str]]

ALERT_SIGMA = 3.0


def _parts(columns: Columns, at_s: float) -> tuple[np.ndarray, np.ndarray]:
    after = columns.at_s >= at_s
    return columns.values[:, ~after], columns.values[:, after]


def _z(columns: Columns, at_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Standard scores after the time by mean and deviation before it; and which columns vary in both parts."""
    past, recent = _parts(columns, at_s)
    spread = past.std(axis=1)
    varies = (spread > 0) & (np.ptp(recent, axis=1) > 0)
    return (recent - past.mean(axis=1)[:, None]) / np.where(spread > 0, spread, 1.0)[:, None], varies


def _best(columns: Columns, score: np.ndarray) -> list[str]:
    return [columns.names[i] for i in np.argsort(-score, kind="stable") if np.isfinite(score[i])]


def nsigma(columns: Columns, at_s: float) -> list[str]:
    """The highest standard score upward, of columns that vary before and after (as in fse-baro)."""
    score, varies = _z(columns, at_s)
    return _best(columns, np.where(varies, score.max(axis=1), -np.inf))


def max_abs_z(columns: Columns, at_s: float) -> list[str]:
    """The largest standard score in either direction, of columns that vary before."""
    score, _ = _z(columns, at_s)
    moved = _parts(columns, at_s)[0].std(axis=1) > 0
    return _best(columns, np.where(moved, np.abs(score).max(axis=1), -np.inf))


def most_alerts(columns: Columns, at_s: float) -> list[str]:
    """The service with the most readings beyond three sigma: what a person does who counts alerts."""
    score, _ = _z(columns, at_s)
    alerts: Counter[str] = Counter()
    for name, readings in zip(columns.names, score, strict=True):
        alerts[service_of(name)] += int((np.abs(readings) > ALERT_SIGMA).sum())
    return [service for service, _ in alerts.most_common()]


def baro(python: str, files: Sequence[Path], times: Sequence[Sequence[float]]) -> list[list[dict]]:
    """For each file and each of its times BARO's ranks and CPU seconds."""
    with tempfile.TemporaryDirectory() as folder:
        cases, result = Path(folder) / "cases.json", Path(folder) / "result.json"
        cases.write_text(
            json.dumps([{"csv": str(file), "times": list(at)} for file, at in zip(files, times, strict=True)])
        )
        subprocess.run([python, str(Path(__file__).parent / "rca_baro.py"), str(cases), str(result)], check=True)
        return json.loads(result.read_text())
