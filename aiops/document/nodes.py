"""YAML as a tree of nodes that know their file and line, with nothing constructed and nothing unbounded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from aiops.errors import ConfigError, Problem

_MAX_BYTES = 4 * 2**20
_MAX_DEPTH = 24
_MAX_NODES = 200_000

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Node:
    """A place in a document."""

    file: str
    yaml: yaml.Node

    @property
    def line(self) -> int:
        """Line of this node, from 1."""
        return int(self.yaml.start_mark.line) + 1

    def bare(self) -> Node:
        """This place without what stands there: a few bytes, good for complaints."""
        return Node(self.file, yaml.ScalarNode("", "", self.yaml.start_mark, self.yaml.end_mark))

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
            raise expected(self, where, "a mapping")
        found: dict[str, tuple[str, Node, Node]] = {}
        for key_node, value_node in self.yaml.value:
            key = Node(self.file, key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(key.problem("expected a name before the colon"))
            if key_node.value in found:
                raise ConfigError(key.problem(f"{join(where, key_node.value)}: given twice"))
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
            raise expected(self, where, "a list")
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


def plain(node: Node) -> Any:
    """*node* as plain data: dict, list, str, int, float, bool, None."""
    if isinstance(node.yaml, yaml.MappingNode):
        return {name: plain(value) for name, _, value in node.items()}
    if isinstance(node.yaml, yaml.SequenceNode):
        return [plain(element) for element in node.elements()]
    return scalar(node.yaml)


def scalar(node: yaml.Node) -> Any:
    """A single value as str, int, float, bool or None, as YAML 1.1 resolves it."""
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


def is_null(node: Node) -> bool:
    """Whether nothing stands there: a name with nothing after its colon, ``~`` or ``null``."""
    return isinstance(node.yaml, yaml.ScalarNode) and scalar(node.yaml) is None


def describe(node: yaml.Node) -> str:
    """What was found, for a complaint; long values are cut."""
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    value = scalar(node)
    return "nothing" if value is None else repr(value if len(str(value)) <= 60 else str(value)[:60] + "…")


def join(where: str, name: str) -> str:
    """The path *where*, one name deeper."""
    return f"{where}.{name}" if where else name


def expected(node: Node, where: str, what: str) -> ConfigError:
    """The complaint that at *where* something other than *what* was found."""
    prefix = f"{where}: " if where else ""
    return ConfigError(node.problem(f"{prefix}expected {what}, found {describe(node.yaml)}"))
