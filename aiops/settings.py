"""
The settings file: YAML in which every key is optional, checked whole before anything starts.

Core groups are frozen dataclasses with their defaults, units and reasons beside them. What belongs to a plug-in
(``collect.<name>``, an element of ``notify.receivers``) stays a node of the document: the plug-in's own ``Config`` is
decoded later, by its stage, with the same file:line in complaints. `example` writes the file that shows every key.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import os
import textwrap
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field
from enum import Enum, StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from aiops.document import Duration, FieldError, Node, Ratio, Secret, Size, Unit, decode, doc
from aiops.document import load as load_document


class LogLevel(StrEnum):
    """How much the daemon says about itself on standard error."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How the daemon's own log lines look."""

    AUTO = "auto"
    """For people on a terminal, JSON elsewhere."""
    CONSOLE = "console"
    JSON = "json"


class Language(StrEnum):
    """In which language messages are written."""

    EN = "en"
    ZH = "zh"


def split_listen(text: str) -> tuple[str, int]:
    """
    Host and port of an address such as "127.0.0.1:9477", "localhost:0" or "[::1]:9477".

    Raises:
        ValueError: *text* is no such address.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    known_port = port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65_535
    if not colon or not bare or not known_port or (":" in bare) != bracketed or not bare.isprintable() or " " in bare:
        raise ValueError(f"expected host:port such as 127.0.0.1:9477, found {text!r}")
    return bare, int(port)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name may resolve to anything


@dataclass(frozen=True, slots=True)
class WebSettings:
    """The one port: /metrics, health, the incident page and the API."""

    listen: str = field(
        default="127.0.0.1:9477",
        metadata=doc("Address of the page, the API and /metrics, host:port. Port 0 takes a free one."),
    )
    public_url: str = field(
        default="",
        metadata=doc(
            "How people reach the page, put into messages: https://node1.example.org/aiops. Empty: from listen."
        ),
    )
    allow_insecure_bind: bool = field(
        default=False,
        metadata=doc(
            "Whether listen may be an address that other machines reach. Reading is open and nothing is encrypted: "
            "say true only behind something that adds TLS."
        ),
    )

    def __post_init__(self) -> None:
        try:
            host, _ = split_listen(self.listen)
        except ValueError as error:
            raise FieldError("listen", str(error)) from error
        if not self.allow_insecure_bind and not _is_loopback(host):
            raise FieldError(
                "listen",
                f"expected a loopback address such as 127.0.0.1:9477, found {self.listen!r}, which other machines may "
                "reach without TLS; set web.allow_insecure_bind: true to allow it",
            )
        if self.public_url and not _is_web_url(self.public_url):
            raise FieldError(
                "public_url", f"expected a URL such as https://node1.example.org, found {self.public_url!r}"
            )


def _is_web_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.netloc)


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """
    Where state is kept when nobody says: what systemd prepared, else the XDG state directory of this user.

    Args:
        environ: Environment variables.
    """
    if prepared := environ.get("STATE_DIRECTORY"):
        return Path(prepared.split(":")[0])  # systemd joins several with colons
    base = environ.get("XDG_STATE_HOME", "")
    # the XDG specification: a relative path is to be ignored
    if base.startswith("/"):
        return Path(base) / "aiops"
    try:
        return Path("~/.local/state/aiops").expanduser()
    except RuntimeError:  # a container's user without a home
        return Path("/var/lib/aiops")


@dataclass(frozen=True, slots=True)
class StateSettings:
    """The state file: alerts, incidents, messages not yet sent, minute history."""

    dir: Path = field(
        default_factory=lambda: default_state_dir(os.environ),
        metadata={
            **doc(
                "Folder of the state file and the API token. Default: what systemd prepared, else $XDG_STATE_HOME/aiops."
            ),
            "shown": "~/.local/state/aiops",
        },
    )
    retention: Duration = field(default=7 * 86_400.0, metadata=doc("How long closed incidents and history are kept."))
    max_size: Size = field(
        default=512 * 2**20, metadata=doc("How large the state file may grow; the oldest history goes first.")
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "dir", self.dir.expanduser())
        if self.retention < 3600:
            raise FieldError("retention", "expected an hour or more")
        if self.max_size < 16 * 2**20:
            raise FieldError("max_size", "expected 16MiB or more")


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The daemon's own log, on standard error."""

    level: LogLevel = field(default=LogLevel.INFO, metadata=doc("The least important lines that are written."))
    format: LogFormat = field(
        default=LogFormat.AUTO, metadata=doc("auto is for people on a terminal and JSON elsewhere.")
    )


@dataclass(frozen=True, slots=True)
class RulesSettings:
    """Alert rules, causes and log signatures."""

    dir: Path | None = field(
        default=None,
        metadata={
            **doc("A folder whose alerts/, causes/ and logs/ are added to the shipped ones."),
            "shown": "/etc/aiops/rules",
        },
    )

    def __post_init__(self) -> None:
        if self.dir is not None:
            object.__setattr__(self, "dir", self.dir.expanduser())


@dataclass(frozen=True, slots=True)
class SloSettings:
    """The promise: which share of a service's answers is good."""

    objective: Ratio = field(
        default=0.9995,
        metadata=doc(
            "Promised share of good answers over 30 days. 503, other 5xx, truncated and stalled answers break the "
            "promise; 4xx, 429 and 499 do not."
        ),
    )
    services: dict[str, Ratio] = field(
        default_factory=dict,
        metadata={**doc("Services that promise something else, by name."), "shown": "{batch: 99%}"},
    )

    def __post_init__(self) -> None:
        for name, objective in (
            ("objective", self.objective),
            *(("services", each) for each in self.services.values()),
        ):
            if not 0.0 < objective < 1.0:
                raise FieldError(name, f"expected more than 0% and less than 100%, found {objective * 100:g}%")


@dataclass(frozen=True, slots=True)
class NotifySettings:
    """Who is told."""

    language: Language = field(default=Language.EN, metadata=doc("Language of messages: en or zh."))
    receivers: tuple[Node, ...] = field(
        default=(),
        metadata={
            **doc("Where messages go. Without any, incidents are on the page only."),
            "shown": "[{name: oncall, kind: slack, url: {env: SLACK_URL}, severities: [page, ticket]}]",
        },
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a settings file can say."""

    web: WebSettings = field(default_factory=WebSettings)
    state: StateSettings = field(default_factory=StateSettings)
    log: LogSettings = field(default_factory=LogSettings)
    rules: RulesSettings = field(default_factory=RulesSettings)
    slo: SloSettings = field(default_factory=SloSettings)
    collect: dict[str, Node] = field(
        default_factory=dict,
        metadata=doc("What is read, one section a collector; `enabled: false` leaves one out."),
    )
    notify: NotifySettings = field(default_factory=NotifySettings)


def load(path: Path | None) -> Settings:
    """
    The settings in the file at *path*; the defaults without a file, or from an empty one.

    Raises:
        ConfigError: the file is missing, or anything in it is not as expected; all problems at once.
    """
    root = None if path is None else load_document(path)
    return Settings() if root is None else decode(root, Settings)


# --- the example file -----------------------------------------------------------------------------------------------

_COMMENT_WIDTH = 100
_SIZES = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
_TIMES = ((86_400.0, "d"), (3600.0, "h"), (60.0, "m"), (1.0, "s"))


def example(collectors: Mapping[str, type], receivers: Mapping[str, type]) -> str:
    """
    A settings file with every key, its meaning and its default; keys without a default are commented out.

    Args:
        collectors: Plug-in name to its ``Config``, in the order to be shown.
        receivers: Kind of receiver to its ``Config``, likewise.
    """
    lines = ["# Settings of aiops. Every key is optional; values given here are the defaults.", ""]
    hints = typing.get_type_hints(Settings)
    for group in dataclasses.fields(Settings):
        kind = hints[group.name]
        lines += _comment(group.metadata.get("doc") or _first_line(kind), 0)
        lines.append(f"{group.name}:")
        if dataclasses.is_dataclass(kind):
            lines += _section(typing.cast("type", kind), 2)
        for name, config in collectors.items() if group.name == "collect" else ():
            lines += ["", *_comment(_first_line(config), 2), f"  {name}:", *_section(config, 4)]
        if group.name == "notify":
            lines += _receivers(receivers)
        lines.append("")
    return "\n".join(lines)


def _receivers(kinds: Mapping[str, type]) -> Iterator[str]:
    for name, config in kinds.items():
        yield from ("", *_comment(f"kind: {name}. {_first_line(config)}", 2), *_fields_in_words(config, 2))


def _section(kind: type, indent: int) -> Iterator[str]:
    """Lines of the fields of the dataclass *kind*."""
    hints = typing.get_type_hints(kind, include_extras=True)
    for each in dataclasses.fields(kind):
        if not each.init:
            continue
        name = each.metadata.get("key") or each.name
        hint = hints[each.name]
        yield from _comment(each.metadata.get("doc", ""), indent)
        element = typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else None
        if element is not Node and dataclasses.is_dataclass(element):
            yield from _comment("A list of mappings:", indent)
            yield from _fields_in_words(typing.cast("type", element), indent)
        default = each.default_factory() if each.default_factory is not MISSING else each.default
        shown = each.metadata.get("shown")
        if shown is None and default is not MISSING and default is not None:
            yield f"{' ' * indent}{name}: {_written(default, hint)}"
        else:
            yield f"{' ' * indent}# {name}:" + (f" {shown}" if shown else "")


def _fields_in_words(kind: type, indent: int) -> Iterator[str]:
    """Comment lines: each field of the dataclass *kind* and its meaning."""
    for each in dataclasses.fields(kind):
        name = each.metadata.get("key") or each.name
        yield from _comment(f"  {name}: {each.metadata.get('doc', '')}", indent)


def _comment(text: str, indent: int) -> list[str]:
    prefix = " " * indent + "# "
    return textwrap.wrap(text, _COMMENT_WIDTH, initial_indent=prefix, subsequent_indent=prefix)


def _first_line(kind: type) -> str:
    return (kind.__doc__ or "").strip().partition("\n")[0]


def _written(value: Any, hint: Any) -> str:
    """*value* as it would be written in the file."""
    if typing.get_origin(hint) is Annotated:
        return _with_unit(value, hint.__metadata__[0])
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, Path):
        return json.dumps(str(value))
    if isinstance(value, Secret):
        return json.dumps(value.reveal())  # a default, which is nobody's secret
    if isinstance(value, tuple | list | frozenset):
        element = (typing.get_args(hint) or (Any,))[0]
        return "[" + ", ".join(_written(each, element) for each in value) + "]"
    return json.dumps(value, ensure_ascii=False)  # text, numbers, booleans and empty mappings read the same in YAML


def _with_unit(value: float, unit: Unit) -> str:
    if unit.name == "ratio":
        return f"{value * 100:g}%"
    table: tuple[tuple[float, str], ...] = {"duration": _TIMES, "size": _SIZES}.get(unit.name, ())
    for factor, suffix in table:
        if value >= factor and value % factor == 0:
            return f"{value / factor:g}{suffix}"
    return f"{value:g}" if unit.name == "quantity" else f"{value:g}{'s' if unit.name == 'duration' else 'B'}"
