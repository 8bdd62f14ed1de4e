"""Nodes into frozen dataclasses, with file:line on every complaint and all problems of a document at once."""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
import os
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml

from aiops.document.nodes import Node, expected, is_null, join, plain, scalar
from aiops.errors import ConfigError, Problem
from aiops.units import parse_duration_s, parse_quantity, parse_ratio, parse_size_bytes

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Unit:
    """Marks a float or int field that is written with a unit."""

    name: str
    parse: Callable[[str], Any]


Duration = Annotated[float, Unit("duration", parse_duration_s)]
"""Seconds, written "5m"."""
Size = Annotated[int, Unit("size", parse_size_bytes)]
"""Bytes, written "16MiB"."""
Ratio = Annotated[float, Unit("ratio", parse_ratio)]
"""0 to 1, written "80%" or 0.8."""
Quantity = Annotated[float, Unit("quantity", parse_quantity)]
"""A threshold in any of these units, or a plain number."""


class Secret:
    """
    A value that is never printed. Written as text, ``{file: PATH}`` or ``{env: NAME}``.

    `reveal` gives the value to the one place that needs it.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def doc(text: str, *, key: str = "") -> dict[str, str]:
    """Metadata of a dataclass field: what it means (unit, default, why), and its name in YAML if not the field's."""
    return {"doc": text, "key": key} if key else {"doc": text}


class FieldError(ValueError):
    """
    A dataclass's own check found one field wrong; the complaint then points at that field's line.

    Args:
        field: The field's name in the dataclass.
        text: What was expected, and what was found.
    """

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


def decode(node: Node, kind: type[T], where: str = "") -> T:
    """
    *node* as a value of type *kind*.

    Args:
        node: A place in a document.
        kind: A dataclass, or any field type named in the module's docstring.
        where: The path so far, put before names in complaints: "collect.host".

    Raises:
        ConfigError: every problem found, in file order.
    """
    return typing.cast("T", _decode(node, kind, where))


def _decode(node: Node, kind: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if kind is Any:
        return plain(node)
    if kind is Node:
        return node
    if origin is Annotated:
        return _with_unit(node, kind.__metadata__[0], where)
    if origin in {typing.Union, types.UnionType}:
        return _optional(node, kind, where)
    if origin in {tuple, dict, Mapping} and is_null(node):
        return () if origin is tuple else {}
    if origin is tuple:
        element = typing.get_args(kind)[0]
        return _all(
            [functools.partial(_decode, e, element, f"{where}[{i}]") for i, e in enumerate(node.elements(where))], tuple
        )
    if origin in {dict, Mapping}:
        element = typing.get_args(kind)[1]
        entries = node.items(where)
        values = _all([functools.partial(_decode, v, element, join(where, n)) for n, _, v in entries], tuple)
        return dict(zip([name for name, _, _ in entries], values, strict=True))
    if dataclasses.is_dataclass(kind):
        return _dataclass(node, typing.cast("type", kind), where)
    if kind is Secret:
        return _secret(node, where)
    return _simple(node, kind, where)


def _all(parts: list[Callable[[], Any]], into: Callable[[list[Any]], Any]) -> Any:
    """Run every part, and complain of all failures at once."""
    values: list[Any] = []
    problems: list[Problem] = []
    for part in parts:
        try:
            values.append(part())
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(*problems)
    return into(values)


def _optional(node: Node, kind: Any, where: str) -> Any:
    options = [option for option in typing.get_args(kind) if option is not type(None)]
    nothing = is_null(node) or (options[0] is Path and node.yaml.value == "")
    return None if nothing else _decode(node, options[0], where)


def _with_unit(node: Node, unit: Unit, where: str) -> Any:
    if not isinstance(node.yaml, yaml.ScalarNode):
        raise expected(node, where, f"a {unit.name}")
    value = scalar(node.yaml)
    try:
        if isinstance(value, str):
            return unit.parse(value)
        bare = unit.name in {"ratio", "quantity"} or value == 0
        if bare and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
        return unit.parse(str(node.yaml.value))
    except ValueError as error:
        raise ConfigError(node.problem(f"{where}: {error}")) from error


def _secret(node: Node, where: str) -> Secret:
    if isinstance(node.yaml, yaml.ScalarNode):
        return Secret(str(node.yaml.value))
    entries = node.items(where)
    if len(entries) != 1 or entries[0][0] not in {"file", "env"}:
        raise expected(node, where, "text, {file: PATH} or {env: NAME}")
    source, _, value = entries[0]
    name = _simple(value, str, join(where, source))
    if source == "env":
        if name not in os.environ:
            raise ConfigError(value.problem(f"{where}: the environment has no {name}"))
        return Secret(os.environ[name])
    try:
        return Secret(Path(name).expanduser().read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(value.problem(f"{where}: {name} cannot be read")) from error


def _simple(node: Node, kind: Any, where: str) -> Any:
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}
    if not isinstance(node.yaml, yaml.ScalarNode):
        raise expected(node, where, names.get(kind, "a single value"))
    value = scalar(node.yaml)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        choices = [str(member.value) for member in kind]
        if str(node.yaml.value) not in choices:
            raise expected(node, where, "one of " + ", ".join(choices))
        return kind(str(node.yaml.value))
    if kind in {str, Path} and value is not None and (kind is str or value != ""):
        return kind(str(node.yaml.value))
    if kind is bool and isinstance(value, bool):
        return value
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise expected(node, where, names.get(kind, f"a {kind}"))


@functools.cache
def _fields(kind: type) -> dict[str, tuple[dataclasses.Field[Any], Any]]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return {
        field.metadata.get("key") or field.name: (field, hints[field.name])
        for field in dataclasses.fields(kind)
        if field.init
    }


def _dataclass(node: Node, kind: type, where: str) -> Any:
    fields = _fields(kind)
    values: dict[str, Any] = {}
    places: dict[str, tuple[str, Node]] = {}
    problems: list[Problem] = []
    # a section with nothing after its colon is an empty one
    for name, key, value in [] if is_null(node) else node.items(where):
        if name not in fields:
            known = ", ".join(sorted(fields))
            problems.append(key.problem(f"{join(where, name)}: unknown key; expected one of {known}"))
            continue
        field, hint = fields[name]
        places[field.name] = (name, value)
        try:
            values[field.name] = _decode(value, hint, join(where, name))
        except ConfigError as error:
            problems.extend(error.problems)
    for name, (field, _) in fields.items():
        required = field.default is MISSING and field.default_factory is MISSING
        if required and field.name not in values and not problems:
            problems.append(node.problem(f"{join(where, name)}: missing"))
    if problems:
        raise ConfigError(*problems)
    try:
        return kind(**values)
    except ValueError as error:  # a dataclass's own __post_init__ check
        if isinstance(error, FieldError) and error.field in places:
            name, node = places[error.field]
            where = join(where, name)
        raise ConfigError(node.problem(f"{where}: {error}" if where else str(error))) from error
