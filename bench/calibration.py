"""
Whether a probability says how often the answer is right: expected calibration error, Brier skill, and the picture.

Bins have equal width, a tenth each: most answers carry the highest probability that may be shown, so that bins of equal
mass would part like from like. The Brier score is held against that of somebody who always says the share that is right.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

from shares import wilson

BINS = 10
_DRAWS, _SEED = 400, 7
_LEFT, _TOP, _SIDE, _COUNTS = 56, 16, 320, 56
_STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #333 } .axis { stroke: #555 } .grid { stroke: #8884 }
  .ideal { stroke: #777; stroke-dasharray: 4 4 } .bar { fill: #4a7fb5 } .range { stroke: #4a7fb5; stroke-width: 2 }
  .count { fill: #8a8a8a } .quiet { fill: #666 } .plate { fill: #fff }
  @media (prefers-color-scheme: dark) {
    text { fill: #ddd } .axis { stroke: #aaa } .bar { fill: #7fb2e5 } .range { stroke: #7fb2e5 }
    .quiet { fill: #aaa } .plate { fill: #16191d } .ideal { stroke: #999 }
  }
"""


def first_answers(rows: Sequence[Mapping]) -> list[tuple[float, bool]]:
    """The probability of the cause that is named or ranked first in each run, and whether it is the cause."""
    return [
        (row["ranked"][0]["probability"], row["ranked"][0]["cause"] in row["causes"])
        for row in rows
        if row.get("ranked")
    ]


def all_answers(rows: Sequence[Mapping], leads: Mapping[str, Sequence[str]]) -> list[tuple[float, bool]]:
    """
    The same of the causes among the first five hypotheses of each run, as far as the truth knows.

    What the true cause leads to may well be at work too, and is left out.
    """
    found = []
    for row in rows:
        unknown = {after for cause in row["causes"] for after in leads.get(cause, ())} - set(row["causes"])
        best: dict[str, float] = {}
        for h in row.get("ranked", ()):
            best.setdefault(h["cause"], h["probability"])
        found += [(p, cause in row["causes"]) for cause, p in best.items() if cause not in unknown]
    return found


def judged(pairs: Sequence[tuple[float, bool]]) -> dict:
    if not pairs:
        return {"of": 0}
    base = sum(right for _, right in pairs) / len(pairs)
    brier = sum((p - right) ** 2 for p, right in pairs) / len(pairs)
    constant = base * (1.0 - base)
    bins = binned(pairs)
    return {
        "of": len(pairs),
        "right_share": round(base, 4),
        "ece": round(_ece(pairs), 4),
        "ece_by_chance": round(_ece_by_chance([p for p, _ in pairs]), 4),
        "brier": round(brier, 4),
        "brier_skill": round(1.0 - brier / constant, 4) if constant else None,
        "bins": bins,
    }


def _ece(pairs: Sequence[tuple[float, bool]]) -> float:
    return sum(b["of"] * abs(b["said"] - b["right"]) for b in binned(pairs)) / len(pairs)


def _ece_by_chance(said: Sequence[float]) -> float:
    """What the error would be in the mean if each probability were exactly true: few answers scatter."""
    draw = random.Random(_SEED)
    return sum(_ece([(p, draw.random() < p) for p in said]) for _ in range(_DRAWS)) / _DRAWS


def binned(pairs: Sequence[tuple[float, bool]]) -> list[dict]:
    """Per tenth that is not empty: how many, the mean probability, the share that is right."""
    held: dict[int, list[tuple[float, bool]]] = {}
    for p, right in pairs:
        held.setdefault(min(int(p * BINS + 1e-9), BINS - 1), []).append((p, right))
    return [
        {
            "from": number / BINS,
            "of": len(inside),
            "hits": sum(right for _, right in inside),
            "said": sum(p for p, _ in inside) / len(inside),
            "right": sum(right for _, right in inside) / len(inside),
        }
        for number, inside in sorted(held.items())
    ]


def picture(bins: Sequence[Mapping]) -> str:
    """A reliability plot as SVG: share right over probability, with 95 % intervals, and how many there are below."""
    width, height = _LEFT + _SIDE + 16, _TOP + _SIDE + _COUNTS + 56
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
            "<title>How often the first answer is right, by the probability it carries</title>",
            f"<style>{_STYLE}</style>",
            f'<rect class="plate" width="{width}" height="{height}"/>',
            *_axes(),
            *(part for each in bins for part in _bin(each, max(b["of"] for b in bins))),
            "</svg>\n",
        ]
    )


def _x(value: float) -> float:
    return _LEFT + value * _SIDE


def _y(value: float) -> float:
    return _TOP + (1.0 - value) * _SIDE


def _axes() -> Iterator[str]:
    bottom = _TOP + _SIDE
    for tick in range(0, BINS + 1, 2):
        value = tick / BINS
        yield _line("grid", _x(0), _y(value), _x(1), _y(value))
        yield f'<text x="{_LEFT - 8}" y="{_y(value) + 4:.0f}" text-anchor="end">{value:.1f}</text>'
        yield f'<text x="{_x(value):.0f}" y="{bottom + _COUNTS + 24}" text-anchor="middle">{value:.1f}</text>'
    yield _line("ideal", _x(0), _y(0), _x(1), _y(1))
    yield _line("axis", _x(0), _y(0), _x(0), _y(1))
    yield _line("axis", _x(0), _y(0), _x(1), _y(0))
    yield _line("axis", _x(0), bottom + _COUNTS + 8, _x(1), bottom + _COUNTS + 8)
    middle = _TOP + _SIDE / 2
    yield f'<text x="14" y="{middle:.0f}" text-anchor="middle" transform="rotate(-90 14 {middle:.0f})">share that is right</text>'
    yield f'<text x="{_x(0.5):.0f}" y="{bottom + _COUNTS + 46}" text-anchor="middle">probability of the first answer</text>'
    yield f'<text class="quiet" x="{_LEFT - 8}" y="{bottom + _COUNTS + 4}" text-anchor="end">runs</text>'


def _bin(each: Mapping, most: int) -> Iterator[str]:
    low, high = wilson(each["hits"], each["of"])
    x, bottom = _x(each["said"]), _TOP + _SIDE + _COUNTS + 8
    tall = max(each["of"] / most * (_COUNTS - 18), 1.0)
    left = _x(each["from"]) + 3
    yield _line("range", x, _y(low), x, _y(high))
    yield f'<circle class="bar" cx="{x:.1f}" cy="{_y(each["right"]):.1f}" r="5"/>'
    yield f'<rect class="count" x="{left:.1f}" y="{bottom - tall:.1f}" width="{_SIDE / BINS - 6:.1f}" height="{tall:.1f}"/>'
    centre = left + _SIDE / BINS / 2 - 3
    yield f'<text class="quiet" x="{centre:.1f}" y="{bottom - tall - 4:.1f}" text-anchor="middle">{each["of"]}</text>'


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
