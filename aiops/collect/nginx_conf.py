"""
What nginx's configuration says about its logs: which files, and the format each access log is written in.

Only ``log_format``, ``access_log``, ``error_log`` and ``include`` are looked at; a configuration that cannot be read, or
says nothing, is none. Logs that go to a terminal, to syslog or to a name with variables in it cannot be followed and are
left out. Two logs of one block hold the same requests: the one that says less is a double of the other.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiops.collect.access_layout import tells

_TOKEN = re.compile(
    r"#[^\n]*|\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'|([{};])|([^\s{};\"'#](?:[^\s{};\"'\\]|\\.)*)", re.DOTALL
)
_ESCAPED = re.compile(r"\\([\"'\\trn])")
_CONTROLS = {"t": "\t", "r": "\r", "n": "\n"}
_MAX_FILES = 64
_MAX_BYTES = 1 * 2**20
_MAX_DEPTH = 8
_MAX_LOGS = 16
_MAX_FORMATS = 4
"""Formats of one log."""
_COMBINED = "combined"
_COMBINED_TELLS = "$time_local $request $status $http_user_agent"
"""Of the combined format, what is of use."""


@dataclass(slots=True)
class _Found:
    formats: dict[str, str] = field(default_factory=dict)
    logs: list[tuple[str, str, int]] = field(default_factory=list)
    """File, name of its format, and the block it stands in."""
    errors: list[str] = field(default_factory=list)
    """Error logs."""
    blocks: int = 0
    reads: int = 0
    """A file may be included by several blocks."""
    files: dict[Path, float] = field(default_factory=dict)
    """What was read, and when it had changed last."""


class NginxConf:
    """
    Knows the logs of an nginx on this machine.

    Args:
        root: Where the file system begins.
        places: Main configuration files; the first that can be read counts.
    """

    def __init__(self, root: Path, places: Sequence[str]) -> None:
        self._places = tuple(root / place.lstrip("/") for place in places)
        self._root = root
        self._files: dict[Path, float] | None = None
        self.logs: Mapping[str, tuple[str, ...]] = {}
        """Path of each log, and the definitions of its formats; none for the combined format."""
        self.error_logs: Sequence[str] = ()
        """Paths of error logs."""
        self.doubles: frozenset[str] = frozenset()
        """Logs, by their real paths, whose every request stands in another one that says more."""

    def look(self) -> bool:
        """Read the configuration again if it has changed; whether it had."""
        if self._files is not None and all(changed_s(path) == at_s for path, at_s in self._files.items()):
            return False
        found = _Found()
        for place in self._places:
            _read(place, place.parent, self._root, found, (0, 0))
            if found.files:
                break
        self._files = found.files or {place: changed_s(place) for place in self._places}
        self.logs = self._resolved(found)
        main = next(iter(found.files), None)
        paths = (self._path(name, main) for name in found.errors if main is not None)
        self.error_logs = tuple(dict.fromkeys(path for path in paths if path))[:_MAX_LOGS]
        return True

    def definitions(self, path: str) -> tuple[str, ...]:
        """The formats that the log called *path* is written in, as far as the configuration defines them."""
        real = os.path.realpath(path)
        return next((found for name, found in self.logs.items() if os.path.realpath(name) == real), ())

    def _resolved(self, found: _Found) -> dict[str, tuple[str, ...]]:
        main = next(iter(found.files), None)
        logs: dict[str, tuple[str, ...]] = {}
        blocks: dict[int, dict[str, int]] = {}
        for name, form, block in found.logs:
            path = self._path(name, main) if main is not None else ""
            if path and (path in logs or len(logs) < _MAX_LOGS):
                known = logs.setdefault(path, ())
                definition = found.formats.get(form, "")
                if definition and definition not in known and len(known) < _MAX_FORMATS:
                    logs[path] = (*known, definition)
                blocks.setdefault(block, {})[path] = tells(definition or _COMBINED_TELLS)
        needed = {max(told, key=told.__getitem__) for told in blocks.values()}
        self.doubles = frozenset(os.path.realpath(path) for path in logs if path not in needed)
        return logs

    def _path(self, name: str, main: Path) -> str:
        if name.startswith("/"):
            return str(self._root / name[1:])
        # relative to a prefix that only the running nginx knows
        prefixes = (main.parent, main.parent.parent, self._root / "usr/share/nginx")
        return next((str(prefix / name) for prefix in prefixes if (prefix / name).is_file()), "")


def definition_of(text: str) -> str:
    """The format itself, of *text* that may be a whole ``log_format`` directive."""
    if not text.lstrip().startswith("log_format"):
        return text.strip("\r\n")
    words, _ = next(_directives(text if text.rstrip().endswith(";") else text + ";"))
    return _joined(words)


def _joined(words: Sequence[str]) -> str:
    return "".join(word for word in words[2:] if not word.startswith("escape="))


def _read(path: Path, base: Path, root: Path, found: _Found, place: tuple[int, int]) -> None:
    """
    Take what *path* says into *found*.

    Args:
        path: The file.
        base: Where names of included files begin.
        root: Where the file system begins.
        found: What was found so far.
        place: How deep in includes the file is, and the block that includes it.
    """
    depth, block = place
    if found.reads >= _MAX_FILES or depth > _MAX_DEPTH:
        return
    found.reads += 1
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES).decode("utf-8", "replace")
    except OSError:
        return
    found.files[path] = changed_s(path)
    blocks = [block]
    for words, sign in _directives(text):
        _take(words, blocks[-1], found)
        if words[:1] == ["include"] and len(words) == 2:
            for each in _included(words[1], base, root):
                _read(each, base, root, found, (depth + 1, blocks[-1]))
        if sign == "{":
            found.blocks += 1
            blocks.append(found.blocks)
        elif sign == "}" and len(blocks) > 1:
            blocks.pop()


def _take(words: Sequence[str], block: int, found: _Found) -> None:
    if words[:1] == ["log_format"] and len(words) > 2:
        found.formats[words[1]] = _joined(words)
    elif words[:1] == ["access_log"] and len(words) > 1 and _can_be_followed(words[1]):
        form = words[2] if len(words) > 2 and "=" not in words[2] else _COMBINED
        found.logs.append((words[1], form, block))
    elif words[:1] == ["error_log"] and len(words) > 1 and words[1] != "stderr" and _can_be_followed(words[1]):
        found.errors.append(words[1])


def _included(pattern: str, base: Path, root: Path) -> list[Path]:
    folder, name = (root, pattern[1:]) if pattern.startswith("/") else (base, pattern)
    try:
        return sorted(folder.glob(name))[:_MAX_FILES]
    except (OSError, ValueError, NotImplementedError):
        return []


def _directives(text: str) -> Iterator[tuple[list[str], str]]:
    """Words of each directive and the sign that ends it; a block's name is a directive of its own."""
    words: list[str] = []
    for token in _TOKEN.finditer(text):
        double, single, sign, word = token.groups()
        if sign is not None:
            yield words, sign
            words = []
        elif (quoted := next((text for text in (double, single, word) if text is not None), None)) is not None:
            words.append(_ESCAPED.sub(lambda found: _CONTROLS.get(found[1], found[1]), quoted))


def _can_be_followed(name: str) -> bool:
    return name != "off" and "$" not in name and not name.startswith(("syslog:", "/dev/", "memory:"))


def changed_s(path: Path) -> float:
    """When the file at *path* was written last; 0 where there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
