"""
What the deployment webhooks of GitHub and GitLab say, as change events.

Both can be pointed at ``POST /api/v1/hooks/git`` as they are. GitHub (Gitea and Forgejo too) signs the body with the
webhook's secret, GitLab sends the secret in a header; the secret is this daemon's token. Only deployments that have
begun or succeeded are events; everything else such a webhook may send is accepted and means nothing here.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from aiops.errors import RequestError
from aiops.model import Event, EventKind, Labels, Observation
from aiops.model.pushed import MAX_AGE_S, MAX_LABEL_CHARS, cleaned

_BEGUN = frozenset({"in_progress", "running", "success"})
_VERSION = re.compile(r"v?\d+(\.\d+)+[\w.+-]{0,60}")
_SHORT_SHA = 12


def is_signed(headers: Mapping[str, str], body: bytes, token: bytes) -> bool:
    """Whether *body* comes from somebody who knows *token*; an empty one is known to nobody."""
    if not token:
        return False
    if given := headers.get("x-hub-signature-256"):
        wanted = "sha256=" + hmac.new(token, body, hashlib.sha256).hexdigest()
        return hmac.compare_digest(given.encode("latin-1", "replace"), wanted.encode())
    return hmac.compare_digest(headers.get("x-gitlab-token", "").encode("latin-1", "replace"), token)


def parse_hook(body: bytes, query: Mapping[str, str], now_s: float) -> list[Observation]:
    """
    The event in a webhook's body, as a list of one; of none where it says nothing about a deployment.

    Args:
        body: JSON.
        query: Of the request: ``service`` is set as a label; with ``environment``, others are left out.
        now_s: Wall time.

    Raises:
        RequestError: it is no JSON object.
    """
    try:
        hook = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise RequestError(f"the body is no JSON: {error}") from error
    if not isinstance(hook, dict):
        raise RequestError("the body: expected an object")
    if hook.get("object_kind") == "deployment":
        labels, status, time = _gitlab(hook), _text(hook, "status"), _text(hook, "status_changed_at")
        task = ""
    else:
        labels, status = _github(hook), _text(hook, "deployment_status", "state")
        time = _text(hook, "deployment_status", "updated_at") or _text(hook, "deployment_status", "created_at")
        task = _text(hook, "deployment", "task")
    wanted = query.get("environment", "")
    if status not in _BEGUN or (wanted and labels.get("environment") != wanted):
        return []
    at_s = _seconds(time)
    if at_s < now_s - MAX_AGE_S:  # delivered again by hand
        return []
    if service := cleaned(query.get("service", ""))[:MAX_LABEL_CHARS]:
        labels["service"] = service
    action = "rollback" if "rollback" in task else "deploy"
    message = f"{labels.get('repository', '')} {labels.get('version', '')}: {status}".strip()
    named = Labels.from_mapping({name: value for name, value in labels.items() if value})
    return [Event(EventKind.CHANGE, action, min(at_s, now_s), named, message)]


def _github(hook: dict[str, Any]) -> dict[str, str]:
    return {
        "version": _version(_text(hook, "deployment", "ref"), _text(hook, "deployment", "sha")),
        "environment": _text(hook, "deployment", "environment"),
        "repository": _text(hook, "repository", "full_name"),
    }


def _gitlab(hook: dict[str, Any]) -> dict[str, str]:
    return {
        "version": _version(_text(hook, "ref"), _text(hook, "short_sha")),
        "environment": _text(hook, "environment"),
        "repository": _text(hook, "project", "path_with_namespace"),
    }


def _version(ref: str, sha: str) -> str:
    """A tag that is one, else the commit: a branch is called the same before and after."""
    name = ref.rpartition("/")[2]
    return name if _VERSION.fullmatch(name) else sha[:_SHORT_SHA]


def _text(hook: dict[str, Any], *path: str) -> str:
    """The text under *path*, as one short line; empty if there is none."""
    found: Any = hook
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return cleaned(found)[:MAX_LABEL_CHARS] if isinstance(found, str) else ""


def _seconds(text: str) -> float:
    """An ISO time, or GitLab's with a blank before its zone; what is none is now."""
    try:
        parsed = datetime.fromisoformat(re.sub(r" ([+-]\d{4}|UTC)$", r"\1", text).replace("UTC", "+00:00"))
        return (parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return math.inf
