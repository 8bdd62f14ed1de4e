from __future__ import annotations

import subprocess
import sys

import pytest

from aiops.document import Node, parse
from aiops.errors import ConfigError
from aiops.model import ChangeKind, Severity
from aiops.notify import NOTIFIERS, receivers
from aiops.notify.receivers import build_receivers, decode_receivers


def nodes(text: str) -> list[Node]:
    root = parse(text, "aiops.yaml")
    assert root is not None
    return root.elements()


def complaints(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        decode_receivers(nodes(text))
    return [str(problem) for problem in caught.value.problems]


def test_receivers_are_read_with_their_defaults():
    """Pages and tickets go everywhere unless somebody says otherwise."""
    text = (
        "- {name: a, kind: slack, url: 'https://x.example/1'}\n"
        "- {name: b, kind: webhook, url: 'http://127.0.0.1:1', severities: [page]}\n"
    )
    first, second = decode_receivers(nodes(text))
    assert (first.name, first.kind, first.severities) == ("a", "slack", (Severity.PAGE, Severity.TICKET))
    assert second.severities == (Severity.PAGE,)
    assert list(build_receivers([first, second], None)) == ["a", "b"]


def test_the_url_may_come_from_a_file_or_the_environment(tmp_path, monkeypatch):
    """Settings files are reviewed and shared; passwords are not."""
    (tmp_path / "url").write_text("https://x.example/from-file\n")
    monkeypatch.setenv("HOOK", "https://x.example/from-env")
    text = (
        f"- {{name: a, kind: slack, url: {{file: {tmp_path}/url}}}}\n- {{name: b, kind: feishu, url: {{env: HOOK}}}}\n"
    )
    first, second = decode_receivers(nodes(text))
    assert first.config.url.reveal() == "https://x.example/from-file"
    assert second.config.url.reveal() == "https://x.example/from-env"
    assert "from-" not in repr((first, second))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("- {name: a, kind: slak, url: 'https://x/1'}", "aiops.yaml:1: notify.receivers[0].kind: expected one of feishu, slack, webhook, found 'slak'"),
        ("- {name: a, url: 'https://x/1'}", "aiops.yaml:1: notify.receivers[0].kind: missing; expected one of feishu, slack, webhook"),
        ("- {name: a, kind: slack}", "aiops.yaml:1: notify.receivers[0].url: missing"),
        ("-\n  name: a\n  kind: slack\n  url: ftp://x/s3cret", "aiops.yaml:4: notify.receivers[0].url: expected a URL that begins with https:// or http://"),
        ("-\n  name: a\n  kind: slack\n  url: 'https://[::1'", "aiops.yaml:4: notify.receivers[0].url: expected a URL that begins with https:// or http://"),
        ("- name: a b\n  kind: slack\n  url: https://x/1", "aiops.yaml:1: notify.receivers[0].name: expected up to 64 letters, digits, dots or dashes, found 'a b'"),
        ("- name: a\n  kind: slack\n  url: https://x/1\n  severities: [info]", "aiops.yaml:4: notify.receivers[0].severities: expected page, ticket or both; info is never sent"),
        ("- name: a\n  kind: slack\n  url: https://x/1\n  severities: []", "aiops.yaml:4: notify.receivers[0].severities: expected page, ticket or both; info is never sent"),
        ("- name: a\n  kind: slack\n  url: https://x/1\n  chanel: x", "aiops.yaml:4: notify.receivers[0].chanel: unknown key; expected one of name, severities, url"),
        ("- 7", "aiops.yaml:1: expected a mapping, found 7"),
        ("- {name: a, kind: slack, url: {env: NO_SUCH_NAME}}", "aiops.yaml:1: notify.receivers[0].url: the environment has no NO_SUCH_NAME"),
        ("- {name: a, kind: webhook, url: 'https://x/1', token: 'tök'}", "aiops.yaml:1: notify.receivers[0]: token: expected printable ASCII text"),
    ],
)  # fmt: skip
def test_a_wrong_receiver_is_complained_of_with_file_and_line(text: str, wanted: str):
    """A typo must be found before the night it matters; the URL itself is never repeated."""
    assert complaints(text) == [wanted]


def test_all_problems_are_said_at_once_and_names_are_unique():
    """Fixing one complaint at a time costs a restart each."""
    text = (
        "- {name: a, kind: slack, url: 'https://x/1'}\n"
        "- {name: a, kind: slack, url: 'https://x/2'}\n"
        "- {name: c, kind: pager, url: 'https://x/3'}\n"
    )
    assert [complaint.split(": ", 1)[0] for complaint in complaints(text)] == ["aiops.yaml:2", "aiops.yaml:3"]
    assert "a is given twice" in complaints(text)[0]


def test_unused_senders_are_not_imported():
    """A node that speaks to Slack need not hold the other vendors."""
    code = (
        "import sys\n"
        "from aiops.document import parse\n"
        "from aiops.notify.receivers import decode_receivers\n"
        "decode_receivers(parse('[{name: a, kind: slack, url: https://x/1}]', 'f').elements())\n"
        "print([m for m in sys.modules if m.startswith('aiops.notify.')])\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "aiops.notify.slack" in said
    assert "feishu" not in said
    assert "webhook" not in said


def test_the_test_message_says_that_nothing_is_wrong():
    """Somebody will read it without knowing who pressed the button."""
    notification = receivers.test_message("oncall", 1_760_000_000.0)
    assert notification.key == "test:test:1760000000:oncall"
    assert notification.message.change is ChangeKind.TEST
    assert "Nothing is wrong" in notification.message.paragraphs[0]
    assert "测试" in receivers.test_message("oncall", 0.0, language="zh").message.paragraphs[0]


def test_every_kind_has_a_module_with_config_and_build():
    """The table is text: a wrong entry shows only when somebody uses it."""
    import importlib

    for name in NOTIFIERS.values():
        module = importlib.import_module(name)
        assert {"name", "url", "severities"} <= set(module.Config.__dataclass_fields__)
        assert callable(module.build)
