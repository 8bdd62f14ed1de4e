"""
Series as Prometheus' rule tests write them: ``name{label="value"}`` and ``0+10x100 _x3 5``.

Values stand one interval apart. ``AxN`` is A and N more of it, ``A+BxN`` A and N steps up, ``A-BxN`` A and N steps down,
``_`` nothing, ``_xN`` N times nothing. ``stale`` ends a series: nothing from there on, until the next value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from aiops.catalog import CATALOG
from aiops.model import Labels

_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_ITEM = re.compile(
    rf"(?P<first>{_NUMBER})(?P<step>[+-](?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)?(?:x(?P<more>\d{{1,6}}))?"
)
_NOTHING = re.compile(r"_(?:x(\d{1,6}))?|stale")
_SERIES = re.compile(r"\s*(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{(?P<labels>.*)\}\s*)?", re.DOTALL)
_LABEL = re.compile(
    r'\s*(?P<name>[a-zA-Z_]\w*)\s*=\s*"(?P<value>(?:[^"\\]|\\.)*)"\s*(?P<end>,|$)', re.ASCII | re.DOTALL
)
_ESCAPED = {"n": "\n", "\\": "\\", '"': '"'}
_MAX_VALUES = 200_000


def values_of(text: str) -> list[float | None]:
    """
    The values that *text* writes; None where there is none.

    Raises:
        ValueError: it is no such text, or stands for more values than any honest test needs.
    """
    values: list[float | None] = []
    for word in text.split():
        values.extend(_values_of_word(word, _MAX_VALUES - len(values)))
    if not values:
        raise ValueError("expected values such as 0.5x10 or 0+10x100, found none")
    return values


def _values_of_word(word: str, room: int) -> Iterator[float | None]:
    nothing = _NOTHING.fullmatch(word)
    item = _ITEM.fullmatch(word)
    if item is None and nothing is None:
        raise ValueError(f"expected a value such as 1, 0.5x10, 0+10x100, _x3 or stale, found {word!r}")
    times = int(item["more"] or 0) + 1 if item else int(nothing[1] or 1) if nothing else 0
    if times > room:
        raise ValueError(f"more than {_MAX_VALUES} values")
    if item is None:
        yield from [None] * times
        return
    if item["step"] and not item["more"]:
        raise ValueError(f"expected how often, such as {word}x10")
    value, step = float(item["first"]), float(item["step"] or 0.0)
    for _ in range(times):
        yield value
        value += step  # added up as Prometheus does, so that both see the same rounding


def series_of(text: str) -> tuple[str, Labels]:
    """
    Metric and labels of a series such as ``hw_gpu_up{gpu="3"}``.

    Raises:
        ValueError: it is no such text, or the catalogue has no such metric or label.
    """
    found = _SERIES.fullmatch(text)
    if found is None:
        raise ValueError(f'expected a series such as hw_gpu_up{{gpu="3"}}, found {text!r}')
    metric = CATALOG.get(found["name"])
    if metric is None:
        raise ValueError(f"the catalogue has no metric {found['name']!r}")
    labels = dict(_labels(found["labels"] or ""))
    for name in labels:
        if name not in metric.labels:
            raise ValueError(f"{metric.name} has no label {name!r}; expected some of {', '.join(metric.labels)}")
    return metric.name, Labels.from_mapping(labels)


def _labels(text: str) -> Iterator[tuple[str, str]]:
    place = 0
    while text[place:].strip():
        found = _LABEL.match(text, place)
        if found is None:
            raise ValueError(f'expected labels such as gpu="3", found {text[place:].strip()!r}')
        yield found["name"], re.sub(r"\\(.)", lambda escape: _ESCAPED.get(escape[1], escape[0]), found["value"])
        place = found.end()
