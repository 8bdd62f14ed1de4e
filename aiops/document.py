"""
YAML written by people, into frozen dataclasses, with file:line on every complaint.

Settings, alert rules, causes and log signatures all come through here, so that a wrong unit in any of them reads the
same: ``rules/alerts/gpu.yaml:12: for: expected a duration such as 15s, found 'soon'``. The YAML is composed into nodes
(which carry their line), never constructed into objects; all problems of a file are reported at once.

Field types understood: str, int, float, bool, enums, `Duration`, `Size`, `Ratio`, `Quantity`, `Secret`, Path, nested
dataclasses, tuple[T, ...], dict[str, T], T | None, `Node` (left as it is, for a plug-in to decode) and `Any` (plain
data). A dataclass field may carry ``metadata=doc("text", key="yaml-name")``; `key` is for names Python reserves
(``for``, ``class``). A dataclass's own check (``__post_init__``) raises `FieldError` or ValueError.
"""

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

from aiops.errors import ConfigError, Problem
from aiops.units import parse_duration_s, parse_quantity, parse_ratio, parse_size_bytes

_MAX_BYTES = 4 * 2**20
_MAX_DEPTH = 24
_MAX_NODES = 200_000

T = TypeVar("T")

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


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


@dataclass(frozen=True, slots=True)
class Node:
    """A place in a document."""

    file: str
    yaml: yaml.Node

    @property
    def line(self) -> int:
        """Line of this node, from 1."""
        return int(self.yaml.start_mark.line) + 1

    def problem(self, text: str) -> Problem:
        """A complaint about this place."""
        return Problem(self.file, self.line, text)

    def items(self, where: str = "") -> list[tuple[str, Node, Node]]:
        """
        Entries of a mapping: name, the key's place, the value's place.

        Args:
            where: The path so far, put before names in complaints.

        Raises:
            ConfigError: this is no mapping, a key is no text, or a key stands twice.
        """
        if not isinstance(self.yaml, yaml.MappingNode):
            raise _expected(self, where, "a mapping")
        found: dict[str, tuple[str, Node, Node]] = {}
        for key_node, value_node in self.yaml.value:
            key = Node(self.file, key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(key.problem("expected a name before the colon"))
            if key_node.value in found:
                raise ConfigError(key.problem(f"{_join(where, key_node.value)}: given twice"))
            found[key_node.value] = (key_node.value, key, Node(self.file, value_node))
        return list(found.values())

    def split(self, name: str) -> tuple[Node | None, Node]:
        """
        The value under *name* (None if there is none), and this mapping without it.

        Raises:
            ConfigError: this is no mapping, a key is no text, or a key stands twice.
        """
        found = next((value for key, _, value in self.items() if key == name), None)
        rest = [pair for pair in self.yaml.value if pair[0].value != name]
        mapping = yaml.MappingNode(self.yaml.tag, rest, self.yaml.start_mark, self.yaml.end_mark)
        return found, Node(self.file, mapping)

    def elements(self, where: str = "") -> list[Node]:
        """
        Elements of a list.

        Args:
            where: The path so far, put before names in complaints.

        Raises:
            ConfigError: this is no list.
        """
        if not isinstance(self.yaml, yaml.SequenceNode):
            raise _expected(self, where, "a list")
        return [Node(self.file, element) for element in self.yaml.value]


def load(path: Path) -> Node | None:
    """
    The root of the YAML file at *path*; None when it is empty.

    Raises:
        ConfigError: the file is missing, unreadable, too large or no YAML.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(Problem(str(path), 1, f"larger than {_MAX_BYTES} bytes"))
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(Problem(str(path), 1, f"cannot be read: {reason}")) from error
    return parse(text, str(path))


def parse(text: str, file: str) -> Node | None:
    """
    The root of YAML *text*, named *file* in complaints; None when it is empty.

    Raises:
        ConfigError: no YAML, or nested deeper or larger than any honest file.
    """
    try:
        _refuse_deep(text, file)
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(Problem(file, line, f"no valid YAML: {error.problem or error.context}")) from error
    except yaml.YAMLError as error:
        raise ConfigError(Problem(file, 1, f"no valid YAML: {str(error).partition(chr(10))[0]}")) from error
    if root is None:
        return None
    _measure(Node(file, root))
    return Node(file, root)


def _refuse_deep(text: str, file: str) -> None:
    """Count nesting on the stream of events first: composing recurses in C, where too deep is a crash."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise ConfigError(Problem(file, event.start_mark.line + 1 if event.start_mark else 1, "nested too deep"))


def _measure(root: Node) -> None:
    """Refuse documents that alias themselves into something huge or endless."""
    stack, seen = [(root.yaml, 0)], 0
    while stack:
        node, depth = stack.pop()
        seen += 1
        if depth > _MAX_DEPTH or seen > _MAX_NODES:
            raise ConfigError(root.problem("nested too deep or too large"))
        if isinstance(node, yaml.MappingNode):
            stack.extend((child, depth + 1) for pair in node.value for child in pair)
        elif isinstance(node, yaml.SequenceNode):
            stack.extend((child, depth + 1) for child in node.value)


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


def plain(node: Node) -> Any:
    """*node* as plain data: dict, list, str, int, float, bool, None."""
    if isinstance(node.yaml, yaml.MappingNode):
        return {name: plain(value) for name, _, value in node.items()}
    if isinstance(node.yaml, yaml.SequenceNode):
        return [plain(element) for element in node.elements()]
    return _scalar(node.yaml)


def _scalar(node: yaml.Node) -> Any:
    tag, text = node.tag.rsplit(":", 1)[-1], str(node.value)
    if tag == "null":
        return None
    if tag == "bool":
        return text.lower() in {"true", "yes", "on"}
    try:
        if tag == "int":
            return int(text.replace("_", ""), 0)
        if tag == "float":
            return float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        return text
    return text


def _is_null(node: Node) -> bool:
    return isinstance(node.yaml, yaml.ScalarNode) and _scalar(node.yaml) is None


def _describe(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    value = _scalar(node)
    return "nothing" if value is None else repr(value if len(str(value)) <= 60 else str(value)[:60] + "…")


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
    if origin is tuple:
        element = typing.get_args(kind)[0]
        return _all(
            [functools.partial(_decode, e, element, f"{where}[{i}]") for i, e in enumerate(node.elements(where))], tuple
        )
    if origin in {dict, Mapping}:
        element = typing.get_args(kind)[1]
        entries = node.items(where)
        values = _all([functools.partial(_decode, v, element, _join(where, n)) for n, _, v in entries], tuple)
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


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _expected(node: Node, where: str, what: str) -> ConfigError:
    prefix = f"{where}: " if where else ""
    return ConfigError(node.problem(f"{prefix}expected {what}, found {_describe(node.yaml)}"))


def _optional(node: Node, kind: Any, where: str) -> Any:
    options = [option for option in typing.get_args(kind) if option is not type(None)]
    nothing = _is_null(node) or (options[0] is Path and node.yaml.value == "")
    return None if nothing else _decode(node, options[0], where)


def _with_unit(node: Node, unit: Unit, where: str) -> Any:
    if not isinstance(node.yaml, yaml.ScalarNode):
        raise _expected(node, where, f"a {unit.name}")
    value = _scalar(node.yaml)
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
        raise _expected(node, where, "text, {file: PATH} or {env: NAME}")
    source, _, value = entries[0]
    name = _simple(value, str, _join(where, source))
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
        raise _expected(node, where, names.get(kind, "a single value"))
    value = _scalar(node.yaml)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        choices = [str(member.value) for member in kind]
        if str(node.yaml.value) not in choices:
            raise _expected(node, where, "one of " + ", ".join(choices))
        return kind(str(node.yaml.value))
    if kind in {str, Path} and value is not None and (kind is str or value != ""):
        return kind(str(node.yaml.value))
    if kind is bool and isinstance(value, bool):
        return value
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise _expected(node, where, names.get(kind, f"a {kind}"))


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
    for name, key, value in [] if _is_null(node) else node.items(where):
        if name not in fields:
            known = ", ".join(sorted(fields))
            problems.append(key.problem(f"{_join(where, name)}: unknown key; expected one of {known}"))
            continue
        field, hint = fields[name]
        places[field.name] = (name, value)
        try:
            values[field.name] = _decode(value, hint, _join(where, name))
        except ConfigError as error:
            problems.extend(error.problems)
    for name, (field, _) in fields.items():
        required = field.default is MISSING and field.default_factory is MISSING
        if required and field.name not in values and not problems:
            problems.append(node.problem(f"{_join(where, name)}: missing"))
    if problems:
        raise ConfigError(*problems)
    try:
        return kind(**values)
    except ValueError as error:  # a dataclass's own __post_init__ check
        if isinstance(error, FieldError) and error.field in places:
            name, node = places[error.field]
            where = _join(where, name)
        raise ConfigError(node.problem(f"{where}: {error}" if where else str(error))) from error
