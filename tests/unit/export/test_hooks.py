"""Deployment webhooks of GitHub and GitLab; bodies cut down from those in their documentation."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest

from aiops.errors import RequestError
from aiops.export.hooks import parse_hook
from aiops.model import Event, EventKind, Labels
from tests.unit.export.conftest import NOW_S, TOKEN, Site

PATH = "/api/v1/hooks/git"
GITHUB: dict[str, Any] = {
    "action": "created",
    "deployment_status": {"state": "success", "created_at": "2025-10-09T08:53:00Z", "updated_at": "2025-10-09T08:53:10Z"},
    "deployment": {"ref": "refs/tags/v2.0.1", "sha": "f95f852bd8fca8fcc58a9a2d6c842781e32a215e", "task": "deploy", "environment": "prod"},
    "repository": {"full_name": "shop/chat"},
}  # fmt: skip
GITLAB: dict[str, Any] = {
    "object_kind": "deployment", "status": "running", "status_changed_at": "2025-10-09 10:53:10 +0200",
    "environment": "prod", "short_sha": "279484c0", "ref": "main", "project": {"path_with_namespace": "shop/chat"},
}  # fmt: skip


def post(site: Site, body: bytes, headers: dict[str, str], query: str = "") -> tuple[int, Any]:
    answer = site.ask("POST", PATH + query, content=body, headers=headers)
    return answer.status_code, answer.json()


def signed(body: bytes, token: str = TOKEN) -> dict[str, str]:
    return {"X-Hub-Signature-256": "sha256=" + hmac.new(token.encode(), body, hashlib.sha256).hexdigest()}


def test_githubs_deployment_is_an_event_at_its_own_time(site):
    """The webhook may be delivered minutes late."""
    body = json.dumps(GITHUB).encode()

    assert post(site, body, signed(body), "?service=chat") == (202, {"accepted": 1})
    labels = Labels.of(environment="prod", repository="shop/chat", service="chat", version="v2.0.1")
    assert site.inbox.drain() == [Event(EventKind.CHANGE, "deploy", NOW_S - 10.0, labels, "shop/chat v2.0.1: success")]


def test_gitlabs_deployment_is_one_too_under_its_commit(site):
    """A branch is called the same before and after."""
    assert post(site, json.dumps(GITLAB).encode(), {"X-Gitlab-Token": TOKEN}) == (202, {"accepted": 1})
    (event,) = site.inbox.drain()
    assert (event.at_s, event.labels.get("version")) == (NOW_S - 10.0, "279484c0")


@pytest.mark.parametrize(
    "headers", [{}, {"X-Gitlab-Token": "wrong"}, signed(b"other"), {"X-Hub-Signature-256": "sha256="}]
)
def test_whoever_does_not_know_the_token_is_refused(site, headers):
    """The address is public where webhooks arrive."""
    assert post(site, json.dumps(GITHUB).encode(), headers)[0] == 401
    assert site.inbox.drain() == []


def test_without_a_token_nobody_may(make_site):
    """An empty secret would sign anything."""
    site, body = make_site(token=""), b"{}"
    assert post(site, body, signed(body, ""))[0] == 401
    assert post(site, body, {"X-Gitlab-Token": ""})[0] == 401


@pytest.mark.parametrize(
    ("body", "query"),
    [
        ({"zen": "Keep it logically awesome.", "hook_id": 1}, {}),
        ({"ref": "refs/heads/main", "commits": []}, {}),
        ({**GITHUB, "deployment_status": {"state": "failure"}}, {}),
        ({**GITHUB, "deployment_status": 3}, {}),
        (GITHUB, {"environment": "staging"}),
        ({**GITHUB, "deployment_status": {"state": "success", "updated_at": "2020-01-01T00:00:00Z"}}, {}),
    ],
)
def test_what_is_no_deployment_here_means_nothing(body, query):
    """A webhook is often set to send everything."""
    assert parse_hook(json.dumps(body).encode(), query, NOW_S) == []


@pytest.mark.parametrize("body", [b"", b"[]", b"3", b"\xff", b"[" * 50_000, b"payload=%7B%7D"])
def test_what_is_no_webhook_is_refused(body):
    """GitHub can send forms, too; they are not read."""
    with pytest.raises(RequestError):
        parse_hook(body, {}, NOW_S)


def test_a_hostile_name_stays_one_short_line_and_an_odd_time_means_now():
    """Whoever may name a branch may write here."""
    hook = {**GITLAB, "environment": "a\nb" + "x" * 999, "status_changed_at": "soon"}
    (event,) = parse_hook(json.dumps(hook).encode(), {}, NOW_S)

    assert isinstance(event, Event)
    assert event.at_s == NOW_S
    assert event.labels.get("environment").startswith("a bx")
    assert len(event.labels.get("environment")) == 256
