from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from typing import Any

import httpx
import pytest

from aiops.clock import ManualClock
from aiops.document import Secret
from aiops.errors import PermanentSendError, SendError, TransientSendError
from aiops.model import ChangeKind, Notification
from aiops.notify import feishu, slack, webhook
from aiops.notify.pace import Pace
from tests.unit.notify.messages import PAGE, page

NOW_S = 1_760_000_000.0
URL = Secret("https://chat.example.org/hook/abcdef123456")
FEISHU_OK = {"code": 0, "msg": "success", "data": {}}


class Wire:
    """An HTTP transport that answers with one JSON or text body, and keeps the requests."""

    def __init__(self, answer: Any, status: int = 200) -> None:
        self.content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.status = status
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        # as a stream: the sender reads raw bytes
        return httpx.Response(self.status, stream=httpx.ByteStream(self.content))


def send(
    module: Any, wire: Wire, notification: Notification = PAGE, *, times: int = 1, **config: Any
) -> SendError | None:
    async def scene() -> SendError | None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(wire)) as client:
            sender = module.build(module.Config("oncall", URL, **config), client, ManualClock(NOW_S))
            try:
                for _ in range(times):
                    await sender.send(notification)
            except SendError as error:
                return error
        return None

    return asyncio.run(scene())


# --- webhook --------------------------------------------------------------------------------------------------------


def test_the_generic_body_keeps_its_published_fields():
    """People parse it: a renamed field breaks their night."""
    wire = Wire(b"")
    assert send(webhook, wire) is None
    body = json.loads(wire.requests[0].content)
    assert set(body) == {
        "version", "key", "change", "severity", "receiver", "created_at", "title", "text", "paragraphs", "fields", "url",
        "runbook_url", "incident",
    }  # fmt: skip
    assert body["version"] == "1"
    assert body["incident"] == {"incident": "i1", "cause": "vram_exhaustion", "probability": "0.8700"}
    assert body["fields"][0] == {"name": "Service", "value": "chat"}
    assert body["text"].startswith(body["title"])
    assert wire.requests[0].headers["idempotency-key"] == PAGE.key
    assert "x-aiops-signature" not in wire.requests[0].headers


def test_a_signed_body_can_be_checked_by_its_receiver():
    """The receiver must be able to tell our pages from anybody's."""
    wire = Wire(b"")
    send(webhook, wire, secret=Secret("key"), token=Secret("tok"))
    request = wire.requests[0]
    stamp, _, signed = request.headers["x-aiops-signature"].partition(",v1=")
    expected = hmac.new(b"key", f"{int(NOW_S)}.".encode() + request.content, hashlib.sha256).hexdigest()
    assert (stamp, signed) == (f"t={int(NOW_S)}", expected)
    assert request.headers["authorization"] == "Bearer tok"


# --- Slack ----------------------------------------------------------------------------------------------------------


def test_slack_text_is_escaped_and_calls_nobody():
    """A label from a log must not wake the whole channel."""
    wire = Wire(b"ok")
    hostile = page(title="<!channel> & co", paragraphs=("<@U1> a<b",), fields=(("<x>", "&"),))
    assert send(slack, wire, hostile) is None
    body = json.loads(wire.requests[0].content)
    blocks = body["attachments"][0]["blocks"]
    assert body["text"] == "&lt;!channel&gt; &amp; co"
    assert blocks[1]["text"]["text"] == "&lt;@U1&gt; a&lt;b"
    assert blocks[2]["fields"][0]["text"] == "*&lt;x&gt;*\n&amp;"


def test_slack_shows_the_state_as_a_colour():
    """Green must mean over, from across the room."""
    colours = {}
    for change in ChangeKind:
        wire = Wire(b"ok")
        send(slack, wire, page(change=change))
        colours[change] = json.loads(wire.requests[0].content)["attachments"][0]["color"]
    assert colours[ChangeKind.OPENED] == colours[ChangeKind.UPDATED]
    assert len({colours[ChangeKind.OPENED], colours[ChangeKind.RESOLVED], colours[ChangeKind.TICKET]}) == 3


def test_slack_limits_are_kept():
    """Slack refuses a message with one block or character too many, and the page is lost."""
    wire = Wire(b"ok")
    long = page(title="t" * 500, paragraphs=("&" * 5_000,) * 80, fields=(("n" * 50, "v" * 5_000),) * 30)
    assert send(slack, wire, long) is None
    blocks = json.loads(wire.requests[0].content)["attachments"][0]["blocks"]
    assert len(blocks) <= 50
    assert len(blocks[0]["text"]["text"]) <= 150
    assert all(len(block["text"]["text"]) <= 3000 for block in blocks if "text" in block)
    assert blocks[1]["text"]["text"].endswith("&amp;…"), "an escaped character is never cut in two"
    fields = next(block["fields"] for block in blocks if "fields" in block)
    assert len(fields) <= 10
    assert all(len(pair["text"]) <= 2000 for pair in fields)
    assert "/incidents/i1|" in blocks[-1]["text"]["text"], "the link to the page is kept"


def test_slack_links_cannot_be_broken_out_of():
    """A runbook address is somebody's text too."""
    wire = Wire(b"ok")
    send(slack, wire, page(url="https://x.example/a|b>c", runbook_url="javascript:alert(1)"))
    links = json.loads(wire.requests[0].content)["attachments"][0]["blocks"][-1]["text"]["text"]
    assert links == "<https://x.example/a%7Cb%3Ec|Open the page>"


@pytest.mark.parametrize("body", [b"<html>Please log in</html>", b"", b"no_service"])
def test_slack_without_ok_is_not_taken_for_sent(body: bytes):
    """A captive portal answers 200 to everything."""
    assert isinstance(send(slack, Wire(body)), TransientSendError)


# --- Feishu ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (FEISHU_OK, None),
        ({"StatusCode": 0, "StatusMessage": "success"}, None),
        ({"code": 11232, "msg": "frequency limited"}, TransientSendError),
        ({"code": 19021, "msg": "sign match fail or timestamp is not within one hour"}, PermanentSendError),
        ({"code": 19022, "msg": "Ip Not Allowed"}, PermanentSendError),
        ({"code": 19024, "msg": "Key Words Not Found"}, PermanentSendError),
        ({"code": 9499, "msg": "Bad Request"}, PermanentSendError),
        ({"code": 99_999, "msg": "never heard of"}, TransientSendError),
        ({"code": "0"}, TransientSendError),
        ({"code": True}, TransientSendError),
        ({}, TransientSendError),
        ([], TransientSendError),
        (b"<html>Please log in</html>", TransientSendError),
        (b"[" * 10_000, TransientSendError),
        (b"", TransientSendError),
    ],
)
def test_feishu_errors_inside_status_200_are_errors(body: Any, wanted: type[SendError] | None):
    """Libraries in the field count these as delivered: the page is silently lost."""
    error = send(feishu, Wire(body))
    assert (error is None) if wanted is None else isinstance(error, wanted)


def test_feishu_limited_with_an_error_status_is_still_only_limited():
    """The code says more than the status."""
    error = send(feishu, Wire({"code": 11232, "msg": "frequency limited"}, status=400))
    assert isinstance(error, TransientSendError)
    assert error.retry_after_s == 5.0


def test_feishu_signature_is_the_documented_one():
    """HMAC-SHA256 with time and secret as the key, over nothing."""
    wire = Wire(FEISHU_OK)
    assert send(feishu, wire, secret=Secret("s3cret")) is None
    body = json.loads(wire.requests[0].content)
    digest = hmac.new(b"1760000000\ns3cret", b"", hashlib.sha256).digest()
    assert (body["timestamp"], body["sign"]) == ("1760000000", base64.b64encode(digest).decode())


def test_feishu_without_secret_sends_no_signature():
    """A bot without one refuses what it did not ask for."""
    wire = Wire(FEISHU_OK)
    send(feishu, wire)
    assert set(json.loads(wire.requests[0].content)) == {"msg_type", "card"}


def test_feishu_card_shows_state_words_and_buttons_in_the_language_of_the_message():
    """Half a card in English is a card nobody translated."""
    wire = Wire(FEISHU_OK)
    send(feishu, wire, page(change=ChangeKind.RESOLVED, language="zh"))
    card = json.loads(wire.requests[0].content)["card"]
    assert card["header"]["template"] == "green"
    buttons = card["elements"][-1]["actions"]
    assert [button["text"]["content"] for button in buttons] == ["打开页面", "处置手册"]
    assert buttons[0]["url"] == PAGE.message.url
    assert all(element["text"]["tag"] == "plain_text" for element in card["elements"] if "text" in element)


def test_feishu_card_is_cut_to_what_a_bot_takes():
    """Above 20 KB the whole message is refused."""
    wire = Wire(FEISHU_OK)
    assert send(feishu, wire, page(paragraphs=("显存" * 300,) * 12)) is None
    content = wire.requests[0].content
    assert len(content) <= 20_000
    elements = json.loads(content)["card"]["elements"]
    assert elements[0]["text"]["content"].startswith("显存")
    assert elements[-1]["tag"] == "action", "the link to the page is kept"


def test_feishu_keeps_the_pace_of_a_bot(monkeypatch: pytest.MonkeyPatch):
    """More than 100 a minute, and the bot drops what comes next."""
    wire = Wire(FEISHU_OK)
    monkeypatch.setattr(feishu, "_LONGEST_WAIT_S", 0.0)
    error = send(feishu, wire, times=6)
    assert isinstance(error, TransientSendError)
    assert 0.0 < (error.retry_after_s or 0.0) <= 1.0
    assert len(wire.requests) == 5


def test_pace_holds_for_every_window():
    """Five a second and a hundred a minute are two limits."""
    pace = Pace((2, 1.0), (4, 60.0))
    waits = []
    for at_s in (0.0, 0.1, 0.2, 1.0, 1.1, 1.2, 60.0):
        wait_s = pace.wait_s(at_s)
        waits.append(wait_s)
        if wait_s <= 0:
            pace.took(at_s)
    assert waits == pytest.approx([0.0, 0.0, 0.8, 0.0, 0.0, 58.8, 0.0])
