from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.document import (
    Duration,
    FieldError,
    Node,
    Quantity,
    Ratio,
    Secret,
    Size,
    decode,
    doc,
    load,
    parse,
    plain,
)
from aiops.errors import ConfigError


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Leaf:
    name: str
    count: int = 1

    def __post_init__(self) -> None:
        if self.count > 100:
            raise FieldError("count", f"expected 100 or less, found {self.count}")
        if self.name == "odd":
            raise ValueError("odd names are refused")


@dataclass(frozen=True, slots=True)
class Tree:
    wait: Duration = 1.0
    room: Size = 0
    share: Ratio = 0.0
    limit: Quantity | None = None
    weight: float = 0.0
    on: bool = False
    colour: Colour = Colour.RED
    where: Path | None = None
    leaf: Leaf | None = None
    leaves: tuple[Leaf, ...] = ()
    words: dict[str, str] = field(default_factory=dict)
    for_s: Duration = field(default=0.0, metadata=doc("how long", key="for"))
    key: Secret | None = None
    free: Any = None
    later: Node | None = None


def read(text: str) -> Tree:
    root = parse(text, "f.yaml")
    assert root is not None
    return decode(root, Tree)


def complaints(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return [str(problem) for problem in caught.value.problems]


def test_every_type_is_read_as_people_write_it():
    """One place converts units; everything behind it sees seconds, bytes and ratios."""
    tree = read(
        "{wait: 1m30s, room: 16MiB, share: 80%, limit: 90%, weight: 2, on: yes, colour: blue, where: /tmp,"
        " leaf: {name: a}, leaves: [{name: b, count: 2}], words: {code: 503}, for: 5m, key: s3cret, free: {a: [1, x]}}"
    )

    assert tree == Tree(
        90.0, 16 * 2**20, 0.8, 0.9, 2.0, True, Colour.BLUE, Path("/tmp"), Leaf("a"), (Leaf("b", 2),), {"code": "503"},
        300.0, Secret("s3cret"), {"a": [1, "x"]},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("waite: 5s", "f.yaml:1: waite: unknown key; expected one of colour, for, free, key, "),
        ("on: true\nwait: soon", "f.yaml:2: wait: expected a duration such as 15s, 5m or 1h30m, found 'soon'"),
        ("wait: 5", "f.yaml:1: wait: expected a duration such as 15s, 5m or 1h30m, found '5'"),
        ("room: 5 apples", "f.yaml:1: room: expected a size such as 512MiB or 20GB, found '5 apples'"),
        ("share: 8s", "f.yaml:1: share: expected a percentage such as 80%, found '8s'"),
        ("limit: high", "f.yaml:1: limit: expected a number, percentage, duration or size, found 'high'"),
        ("weight: heavy", "f.yaml:1: weight: expected a number, found 'heavy'"),
        ("weight: .nan", "f.yaml:1: weight: expected a number, found nan"),
        ("on: 1", "f.yaml:1: on: expected true or false, found 1"),
        ("colour: green", "f.yaml:1: colour: expected one of red, blue, found 'green'"),
        ("leaf: {count: 2}", "f.yaml:1: leaf.name: missing"),
        ("leaf: [1]", "f.yaml:1: leaf: expected a mapping, found a list"),
        ("leaf: {name: a, count: many}", "f.yaml:1: leaf.count: expected a whole number, found 'many'"),
        ("leaves: {name: a}", "f.yaml:1: leaves: expected a list, found a mapping"),
        ("leaves:\n- {name: a}\n- {name: [b]}", "f.yaml:3: leaves[1].name: expected text, found a list"),
        ("leaf:\n  name: a\n  count: 200", "f.yaml:3: leaf.count: expected 100 or less, found 200"),
        ("leaf: {name: odd}", "f.yaml:1: leaf: odd names are refused"),
        ("words: {a: [b]}", "f.yaml:1: words.a: expected text, found a list"),
        ("wait: [5s]", "f.yaml:1: wait: expected a duration, found a list"),
        ("where: 3s\nwhere: 4s", "f.yaml:2: where: given twice"),
        ("{[a]: 1}", "f.yaml:1: expected a name before the colon"),
        ("- 1", "f.yaml:1: expected a mapping, found a list"),
        ("just text", "f.yaml:1: expected a mapping, found 'just text'"),
        ("key: {vault: x}", "f.yaml:1: key: expected text, {file: PATH} or {env: NAME}, found a mapping"),
        ("key: {env: AIOPS_NOT_SET_ANYWHERE}", "f.yaml:1: key: the environment has no AIOPS_NOT_SET_ANYWHERE"),
        ("key: {file: /nonexistent/x}", "f.yaml:1: key: /nonexistent/x cannot be read"),
    ],
)
def test_a_complaint_names_file_line_key_and_what_was_expected(text: str, complaint: str):
    """At three in the morning nobody should have to guess which of the files is wrong."""
    (found,) = complaints(text)

    assert found.startswith(complaint)


def test_all_problems_are_told_at_once_in_file_order():
    """Fixing a file one error a run is misery."""
    found = complaints("wait: soon\nleaf:\n  count: x\n  nam: y\ncolour: green")

    assert [line.split(":")[1] for line in found] == ["1", "3", "4", "5"]


def test_an_empty_section_is_the_section_with_its_defaults():
    """People comment out the last line of a section and leave its name standing."""
    assert read("leaves:\n  - name: a\nleaf:\nlater:\n") == Tree(leaves=(Leaf("a"),))


def test_an_empty_path_is_no_path():
    """Path("") is the working directory, which nobody means."""
    assert read('where: ""').where is None


def test_a_node_is_left_for_the_plug_in_to_decode():
    """The core knows nothing of a plug-in's settings, but their complaints carry the line all the same."""
    later = read("on: true\nlater:\n  name: a\n  count: x").later
    assert later is not None

    with pytest.raises(ConfigError, match=r"^f\.yaml:4: collect\.host\.count: expected a whole number"):
        decode(later, Leaf, "collect.host")


def test_a_mapping_is_split_into_one_entry_and_the_rest():
    """A rule names its detector; the rest of the rule is decoded without the detector's block."""
    root = parse("name: a\nblock: {x: 1}\ncount: 2", "f.yaml")
    assert root is not None

    block, rest = root.split("block")

    assert block is not None
    assert plain(block) == {"x": 1}
    assert decode(rest, Leaf) == Leaf("a", 2)
    assert root.split("nothing")[0] is None


def test_secrets_come_from_files_and_the_environment_and_are_never_printed(tmp_path: Path, monkeypatch):
    """Settings end up in tickets and terminals."""
    (tmp_path / "token").write_text("from-file\n")
    monkeypatch.setenv("AIOPS_TEST_TOKEN", "from-env")

    from_file = read(f"key: {{file: {tmp_path}/token}}").key
    from_env = read("key: {env: AIOPS_TEST_TOKEN}").key

    assert from_file is not None
    assert from_env is not None
    assert (from_file.reveal(), from_env.reveal()) == ("from-file", "from-env")
    assert "from-file" not in f"{from_file} {from_file!r} {read(f'key: {{file: {tmp_path}/token}}')}"


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "---\n"])
def test_an_empty_file_has_no_root_or_an_empty_one(text: str):
    """It means: the defaults."""
    root = parse(text, "f.yaml")

    assert root is None or decode(root, Tree) == Tree()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: [1, 2", r"^f\.yaml:\d: no valid YAML"),
        ("a: b: c", r"^f\.yaml:1: no valid YAML"),
        ("\tx: 1", r"^f\.yaml:1: no valid YAML"),
        ("a: 1\n---\nb: 2", r"^f\.yaml:\d: no valid YAML"),
        ("a: \x00", r"^f\.yaml:1: no valid YAML"),
        ("[" * 60 + "]" * 60, "nested too deep"),
        ("[" * 100_000, "nested too deep"),
        ("a: &a [*a]", "nested too deep"),
    ],
)
def test_what_is_no_yaml_or_too_much_of_it_is_refused_with_its_line(text: str, complaint: str):
    """Deep nesting and aliases of aliases are how YAML files attack their reader."""
    with pytest.raises(ConfigError, match=complaint):
        parse(text, "f.yaml")


def test_a_billion_laughs_are_refused():
    """Nine lines that mean ten thousand million nodes."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]

    with pytest.raises(ConfigError, match="too large"):
        parse("\n".join(lines), "f.yaml")


def test_missing_unreadable_and_binary_files_are_said_so(tmp_path: Path):
    """One message, with the file's name."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "huge").write_bytes(b"#" * (4 * 2**20 + 1))

    for name, complaint in [
        ("missing", "cannot be read: No such file or directory"),
        (".", "cannot be read: Is a directory"),
        ("binary", "cannot be read: not UTF-8 text"),
        ("huge", "larger than 4194304 bytes"),
    ]:
        with pytest.raises(ConfigError) as caught:
            load(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name}:1: {complaint}"


def test_yaml_tags_construct_nothing():
    """A settings file must not be able to run code."""
    root = parse("free: !!python/object/apply:os.system [echo]", "f.yaml")
    assert root is not None

    assert decode(root, Tree).free == ["echo"]


def in_order(read_it: Callable[[], Tree | None], text: str) -> bool:
    """Whether *text* is read, or refused with complaints that each name the file, a line of it, and what is wrong."""
    try:
        found = read_it()
    except ConfigError as error:
        lines = len(text.splitlines()) + 1
        said = error.problems
        return bool(said) and all(p.path == "f.yaml" and 1 <= p.line <= lines and p.text for p in said)
    return found is None or isinstance(found, Tree)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_in_order(text: str):
    """Only our own error may come out, whatever stands in the file."""

    def read_it() -> Tree | None:
        root = parse(text, "f.yaml")
        return None if root is None else decode(root, Tree)

    assert in_order(read_it, text)


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(-100, 100), st.sampled_from(["a", "5m", "80%", "red", ""])),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["wait", "leaf", "leaves", "name", "count", "key", "for"]), inner, max_size=4
            )
        ),
        max_leaves=12,
    )
)
def test_any_well_formed_document_is_read_or_refused_in_order(value: Any):
    """The same for documents that look almost right."""
    import json

    text = json.dumps(value)

    assert in_order(lambda: read(text), text)
