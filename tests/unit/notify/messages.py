"""Notifications for the tests of the senders."""

from __future__ import annotations

from dataclasses import replace

from aiops.model import ChangeKind, Message, Notification, Severity

PAGE = Notification(
    key="i1:opened:1:oncall",
    subject="i1",
    receiver="oncall",
    created_at_s=0.0,
    message=Message(
        change=ChangeKind.OPENED,
        severity=Severity.PAGE,
        title="503 on chat: GPU memory exhausted on GPU 1",
        paragraphs=("14 % of requests fail.", "Cause (87 %): GPU memory exhausted on GPU 1."),
        fields=(("Service", "chat"), ("Where", "GPU 1")),
        url="http://127.0.0.1:9477/incidents/i1",
        runbook_url="https://runbooks.example.org/vram",
        facts=(("incident", "i1"), ("cause", "vram_exhaustion"), ("probability", "0.8700")),
    ),
)


def page(key: str = PAGE.key, subject: str = "i1", receiver: str = "oncall", **message: object) -> Notification:
    """`PAGE` with something else in it."""
    return replace(PAGE, key=key, subject=subject, receiver=receiver, message=replace(PAGE.message, **message))
