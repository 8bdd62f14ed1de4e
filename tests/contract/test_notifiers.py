"""What every sender promises, over a real HTTP server: each status has a meaning, and no secret leaves."""

from __future__ import annotations

import asyncio
import importlib
import logging
import threading
from collections.abc import Iterator

import httpx
import pytest
import structlog

from aiops.clock import ManualClock
from aiops.document import Secret
from aiops.errors import PermanentSendError, SendError, TransientSendError
from aiops.model import ChangeKind, Notification
from aiops.notify import NOTIFIERS, post
from aiops.notify.ways import open_client
from aiops.ports import Notifier
from tests.chat_server import Answer, ChatServer, chat_server
from tests.unit.notify.messages import PAGE, page

TOKEN = "T0KEN-of-the-bot/s3cret-part"
KEY = "sign1ng-key"
GOOD = {"feishu": b'{"code":0,"msg":"success","data":{}}', "slack": b"ok", "webhook": b""}
LATER = {408, 425, 429}


@pytest.fixture(params=sorted(NOTIFIERS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def chat() -> Iterator[ChatServer]:
    with chat_server() as server:
        yield server


@pytest.fixture(autouse=True)
def fresh(chat: ChatServer) -> None:
    chat.requests.clear()
    chat.script.clear()


def make(kind: str, url: str, client: httpx.AsyncClient) -> Notifier:
    module = importlib.import_module(NOTIFIERS[kind])
    secrets = {"secret": Secret(KEY)} if "secret" in module.Config.__dataclass_fields__ else {}
    notifier: Notifier = module.build(
        module.Config("oncall", Secret(url), **secrets), client, ManualClock(1_760_000_000.0)
    )
    return notifier


async def outcome(notifier: Notifier, notification: Notification = PAGE) -> SendError | None:
    try:
        await notifier.send(notification)
    except SendError as error:
        return error
    return None


def send(kind: str, url: str, notification: Notification = PAGE) -> SendError | None:
    async def scene() -> SendError | None:
        async with httpx.AsyncClient(trust_env=False) as client:
            return await outcome(make(kind, url, client), notification)

    return asyncio.run(scene())


def test_every_status_means_sent_later_or_never(kind: str, chat: ChatServer):
    """A status nobody thought of must not count as success, nor end as an unknown exception."""
    found: dict[int, SendError | None] = {}

    async def scene() -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            for status in range(100, 600):
                notifier = make(kind, chat.url, client)  # a new one each: a sender may keep a pace
                chat.script.append(Answer(status, GOOD[kind]))
                found[status] = await outcome(notifier)

    asyncio.run(scene())
    assert len(chat.requests) == 500, "each was asked exactly once: a sender does not retry by itself"
    # 204 has no body; who wants to read "ok" or a code cannot take it for success
    sent = {status for status, error in found.items() if error is None}
    assert sent == set(range(200, 300)) - (set() if kind == "webhook" else {204})
    for status, error in found.items():
        if status >= 500 or status in LATER or status < 101:
            assert isinstance(error, TransientSendError), status
        elif 300 <= status < 500:
            assert isinstance(error, PermanentSendError), status


def test_a_redirect_is_not_followed(kind: str, chat: ChatServer):
    """What a webhook carries is for its owner, not for wherever a hijacked name points."""
    chat.script.append(Answer(307, b"", {"Location": chat.url + "/elsewhere"}))
    assert isinstance(send(kind, chat.url), PermanentSendError)
    assert len(chat.requests) == 1


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({"Retry-After": "17"}, 17.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:30 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30.0),
        ({"Retry-After": "Thu, 09 Oct 2025 08:53:50 GMT"}, 30.0),  # against our own clock
        ({"Retry-After": "Thu, 09 Oct 2025 08:00:00 GMT"}, 0.0),
        ({"Retry-After": "9999999999999999"}, 3600.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-3"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_both_spellings(
    kind: str, chat: ChatServer, headers: dict[str, str], wanted: float | None
):
    """A receiver that says when to come back is the only one who knows."""
    chat.script.append(Answer(429, b"", headers))
    error = send(kind, chat.url)
    assert isinstance(error, TransientSendError)
    assert error.retry_after_s == wanted


def test_a_refused_connection_is_transient(kind: str):
    """The network of the node may be what is broken."""
    with chat_server() as gone:
        url = gone.url
    assert isinstance(send(kind, url), TransientSendError)


def test_a_connection_closed_without_a_word_is_transient(kind: str, chat: ChatServer):
    """A proxy that restarts does this."""
    chat.script.append(Answer(hang_up=True))
    assert isinstance(send(kind, chat.url), TransientSendError)


def test_a_silent_receiver_is_given_up(kind: str, chat: ChatServer, monkeypatch: pytest.MonkeyPatch):
    """Nothing is as common as a firewall that drops packets."""
    monkeypatch.setattr(post, "DEADLINE_S", 0.05)
    wait = threading.Event()
    chat.script.append(Answer(200, GOOD[kind], wait=wait))
    try:
        error = send(kind, chat.url)
    finally:
        wait.set()
    assert isinstance(error, TransientSendError)
    assert "no answer within" in str(error)


def test_an_answer_without_end_is_cut(kind: str, chat: ChatServer):
    """A hostile receiver must not fill our memory."""
    chat.script.append(Answer(400, b"x" * 50_000_000))
    error = send(kind, chat.url)
    assert isinstance(error, PermanentSendError)
    assert len(str(error)) < 400


@pytest.mark.parametrize("status", [0, 400, 403, 429, 500])
def test_no_secret_is_in_an_error_or_a_log(
    kind: str, chat: ChatServer, status: int, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
):
    """A webhook's URL is a password; receivers like to repeat what they were asked."""
    caplog.set_level(logging.DEBUG)
    url = f"{chat.url}/services/{TOKEN}?key=qu3ry-token"
    key = KEY if kind != "slack" else ""  # a Slack webhook has none
    echo = f"no such hook: /services/{TOKEN}?key=qu3ry-token {key} {url}".encode()
    chat.script.append(Answer(status, echo) if status else Answer(hang_up=True))
    with structlog.testing.capture_logs() as logs:
        error = send(kind, url)
    assert error is not None
    said = "\n".join((str(error), repr(error), repr(error.__cause__), caplog.text, repr(logs), *capsys.readouterr()))
    for secret in ("T0KEN-of-the-bot", "s3cret-part", "qu3ry-token", KEY):
        assert secret not in said
    assert chat.requests[-1].path.startswith("/services/T0KEN"), "the receiver itself must get the whole URL"


@pytest.mark.parametrize("change", list(ChangeKind))
def test_every_kind_of_message_arrives_as_json_with_its_words(kind: str, chat: ChatServer, change: ChangeKind):
    """Whatever the vendor's form, title, sentences, fields and links must be in it."""
    chat.script.append(Answer(200, GOOD[kind]))
    assert send(kind, chat.url, page(change=change)) is None
    body = chat.requests[-1].body.decode()
    assert isinstance(chat.requests[-1].json, dict)
    for words in (*PAGE.message.paragraphs, PAGE.message.title, "GPU 1", PAGE.message.url, PAGE.message.runbook_url):
        assert words in body
    assert chat.requests[-1].headers["content-type"].startswith("application/json")


@pytest.mark.parametrize(
    "message",
    [
        {"title": "x" * 100_000, "paragraphs": ("y" * 100_000,) * 200},
        {"title": "", "paragraphs": (), "fields": (), "url": "", "runbook_url": ""},
        {"title": "<!channel> & <http://evil|x>", "paragraphs": ("\x00\u202e",)},
        {"fields": tuple((f"name {n}", "value") for n in range(100))},
        {"url": "javascript:alert(1)", "runbook_url": "file:///etc/passwd"},
        {"language": "xx"},
    ],
)
def test_odd_messages_break_no_sender(kind: str, chat: ChatServer, message: dict[str, object]):
    """A message that cannot be sent is a page nobody got."""
    chat.script.append(Answer(200, GOOD[kind]))
    assert send(kind, chat.url, page(**message)) is None
    assert isinstance(chat.requests[-1].json, dict)


def test_a_receiver_outside_is_asked_through_the_proxy_and_one_on_loopback_is_not(kind: str, chat: ChatServer):
    """On-call chats stand behind a company's proxy; a chat on this machine does not."""
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async def scene() -> tuple[SendError | None, SendError | None]:
        async with await asyncio.start_server(proxy, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with open_client({"HTTPS_PROXY": f"127.0.0.1:{port}", "HTTP_PROXY": "127.0.0.1:1"}) as client:
                chat.script.append(Answer(200, GOOD[kind]))
                near = await outcome(make(kind, chat.url, client))
                return near, await outcome(make(kind, "https://chat.example/hook/T0KEN", client))

    near, outside = asyncio.run(scene())
    assert near is None
    assert asked == [b"CONNECT chat.example:443 HTTP/1.1\r\n"], "the token is inside the tunnel"
    assert isinstance(outside, TransientSendError)
    assert "T0KEN" not in str(outside)
