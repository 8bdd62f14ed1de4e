from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import pytest

from aiops import settings
from aiops.document import Duration, Ratio, Secret, Size, decode, doc, parse
from aiops.errors import ConfigError
from aiops.settings import Language, Settings


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "aiops.yaml"
    path.write_text(text)
    return path


def complaints(tmp_path: Path, text: str) -> list[str]:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        settings.load(path)
    return [str(problem).removeprefix(f"{path}:") for problem in caught.value.problems]


def test_without_a_file_everything_has_a_default():
    """`aiops run` must work on a machine nobody prepared."""
    found = settings.load(None)

    assert found.web.listen == "127.0.0.1:9477"
    assert found.state.retention == 7 * 86_400
    assert found.rules.dir is None
    assert found.notify.receivers == ()


@pytest.mark.parametrize("text", ["", "# all commented out\n", "web:\nstate:\nrules:\ncollect:\nnotify:\n", "{}"])
def test_an_empty_file_and_empty_sections_are_the_defaults(tmp_path: Path, text: str):
    """Every key is optional, and so is every section."""
    assert settings.load(written(tmp_path, text)) == Settings()


def test_every_core_key_is_read(tmp_path: Path):
    """The keys of the published contract, spelled as people write them."""
    found = settings.load(
        written(
            tmp_path,
            "web: {listen: '[::1]:0', public_url: 'https://n1.example.org/aiops'}\n"
            "state: {dir: ~/aiops-state, retention: 30d, max_size: 2GiB}\n"
            "log: {level: debug, format: json}\n"
            "rules: {dir: /etc/aiops/rules}\n"
            "notify: {language: zh}\n",
        )
    )

    assert found.web.listen == "[::1]:0"
    assert found.state.dir == Path.home() / "aiops-state"
    assert (found.state.retention, found.state.max_size) == (30 * 86_400, 2 * 2**30)
    assert found.rules.dir == Path("/etc/aiops/rules")
    assert found.notify.language is Language.ZH


def test_what_belongs_to_a_plug_in_keeps_its_line(tmp_path: Path):
    """The stage that owns the plug-in decodes it later and complains about the same file."""
    found = settings.load(
        written(tmp_path, "collect:\n  host:\n    interval: 5s\nnotify:\n  receivers:\n    - name: oncall\n")
    )

    assert found.collect["host"].line == 3
    assert found.notify.receivers[0].line == 6


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("webb: {}", "1: webb: unknown key; expected one of collect, log, notify, rules, slo, state, web"),
        ("web:\n  port: 80", "2: web.port: unknown key; expected one of allow_insecure_bind, listen, public_url"),
        ("web: {listen: 9477}", "1: web.listen: expected host:port such as 127.0.0.1:9477, found '9477'"),
        ("web:\n  public_url: ''\n  listen: localhost:99999", "3: web.listen: expected host:port such as"),
        ("web: {listen: '::1:80'}", "1: web.listen: expected host:port such as"),
        ("web:\n  listen: 0.0.0.0:80", "2: web.listen: expected a loopback address such as 127.0.0.1:9477, found"),
        ("web: {listen: 'gpu-node:80'}", "1: web.listen: expected a loopback address"),
        ("web: {public_url: n1.example.org}", "1: web.public_url: expected a URL such as https://"),
        ("state:\n\n  retention: forever", "3: state.retention: expected a duration such as 15s, 5m or 1h30m"),
        ("state: {retention: 1m}", "1: state.retention: expected an hour or more"),
        ("state: {max_size: 1GB2}", "1: state.max_size: expected a size such as 512MiB or 20GB"),
        ("state: {max_size: 1kB}", "1: state.max_size: expected 16MiB or more"),
        ("state: {dir: [a]}", "1: state.dir: expected a path, found a list"),
        ("log: {level: verbose}", "1: log.level: expected one of debug, info, warning, error, found 'verbose'"),
        ("slo: {objective: 100%}", "1: slo.objective: expected more than 0% and less than 100%, found 100%"),
        ("slo:\n  services: {batch: 0%}", "2: slo.services: expected more than 0% and less than 100%, found 0%"),
        ("notify: {language: de}", "1: notify.language: expected one of en, zh, found 'de'"),
        ("notify: {receivers: {name: a}}", "1: notify.receivers: expected a list, found a mapping"),
        ("collect: [host]", "1: collect: expected a mapping, found a list"),
        ("- web", "1: expected a mapping, found a list"),
        ("web: {listen: 'a", "1: no valid YAML"),
    ],
)
def test_a_wrong_setting_is_one_message_with_line_key_and_what_was_expected(tmp_path: Path, text: str, complaint: str):
    """Exit 78 and nothing started; the message is all there is to go by."""
    (found,) = complaints(tmp_path, text)

    assert found.startswith(complaint)


def test_a_missing_file_is_named(tmp_path: Path):
    """A typo in -c must not start the daemon with defaults."""
    with pytest.raises(ConfigError, match=r"nowhere\.yaml:1: cannot be read: No such file"):
        settings.load(tmp_path / "nowhere.yaml")


def test_another_address_needs_an_explicit_word(tmp_path: Path):
    """Reading is open: nobody should expose prompts' neighbourhood by accident."""
    found = settings.load(written(tmp_path, "web: {listen: 0.0.0.0:80, allow_insecure_bind: true}"))

    assert found.web.listen == "0.0.0.0:80"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("127.0.0.1:9477", ("127.0.0.1", 9477)), ("localhost:0", ("localhost", 0)), ("[::1]:65535", ("::1", 65535))],
)
def test_an_address_is_split_into_host_and_port(text: str, expected: tuple[str, int]):
    """IPv6 has colons of its own."""
    assert settings.split_listen(text) == expected


@pytest.mark.parametrize("text", ["", ":80", "a:", "a:b", "a:-1", "a:65536", "a:٣", "::1", "[::1]", "[]:1", "a b:1"])
def test_what_is_no_address_is_refused(text: str):
    """Better here, with a line, than from the socket."""
    with pytest.raises(ValueError, match="expected host:port"):
        settings.split_listen(text)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"STATE_DIRECTORY": "/var/lib/aiops", "XDG_STATE_HOME": "/x"}, Path("/var/lib/aiops")),
        ({"STATE_DIRECTORY": "/var/lib/aiops:/var/lib/other"}, Path("/var/lib/aiops")),
        ({"XDG_STATE_HOME": "/x"}, Path("/x/aiops")),
        ({"XDG_STATE_HOME": "relative"}, Path.home() / ".local/state/aiops"),
        ({}, Path.home() / ".local/state/aiops"),
    ],
)
def test_state_goes_where_the_machine_keeps_state(environ: dict[str, str], expected: Path):
    """Under systemd the unit may write nowhere else."""
    assert settings.default_state_dir(environ) == expected


# --- the example file ---


class Mode(StrEnum):
    FAST = "fast"


@dataclass(frozen=True, slots=True)
class Target:
    url: str = field(metadata=doc("where the page is"))
    gpu: str = field(default="", metadata=doc("its card"))


@dataclass(frozen=True, slots=True)
class Plugin:
    """Reads something."""

    enabled: bool = field(default=True, metadata=doc("whether it runs"))
    interval: Duration = field(default=90.0, metadata=doc("time between readings"))
    deadline: Duration = field(default=0.25, metadata=doc("time for one reading"))
    room: Size = field(default=64 * 2**20, metadata=doc("memory it may use"))
    share: Ratio = field(default=0.025, metadata=doc("a share"))
    mode: Mode = field(default=Mode.FAST, metadata=doc("how"))
    pattern: str = field(default='yes: no # "x"', metadata=doc("a text that YAML would misread"))
    paths: tuple[Path, ...] = field(default=(Path("/var/log/a.log"),), metadata=doc("files"))
    targets: tuple[Target, ...] = field(default=(), metadata=doc("pages"))
    token: Secret | None = field(default=None, metadata=doc("a secret"))
    labels: dict[str, str] = field(default_factory=dict, metadata=doc("more labels"))


@dataclass(frozen=True, slots=True)
class Hook:
    """Posts JSON."""

    url: Secret = field(metadata=doc("where to post"))


def test_the_example_file_says_every_default():
    """What it shows must be what happens without it."""
    root = parse(settings.example({"plugin": Plugin}, {"webhook": Hook}), "aiops.example.yaml")
    assert root is not None

    found = decode(root, Settings)

    assert (found.web, found.state, found.log, found.rules, found.notify) == (
        Settings().web, Settings().state, Settings().log, Settings().rules, Settings().notify,
    )  # fmt: skip
    assert decode(found.collect["plugin"], Plugin) == Plugin()


def test_the_example_file_documents_every_key():
    """It is the reference people read; units stand beside values."""
    text = settings.example({"plugin": Plugin}, {"webhook": Hook})

    for line in ("interval: 90s", "deadline: 0.25s", "room: 64MiB", "share: 2.5%", "retention: 7d", "# token:", "#   url: where the page is", "# kind: webhook. Posts JSON.", "#   url: where to post", "# dir: ~/.local/state/aiops"):  # fmt: skip
        assert re.search(rf"^ *{re.escape(line)}$", text, re.MULTILINE), line


def test_no_setting_is_without_words():
    """A key nobody explains is a key nobody dares to change."""
    from dataclasses import fields, is_dataclass
    from typing import get_type_hints

    groups = [kind for kind in get_type_hints(Settings).values() if is_dataclass(kind)]

    assert all(each.metadata.get("doc") for group in groups for each in fields(group))


def test_settings_and_rules_are_checked_without_the_heavy_libraries():
    """The port must answer within a second of the start; numpy alone takes a tenth of it."""
    import subprocess
    import sys

    code = "import sys, aiops.settings, aiops.rulebook.alerts, aiops.rulebook.places; print('numpy' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
