"""
Answers that broke off after their header was sent: nginx tells of them in its error log, and in its access log only that
all went well.

Once a header was sent nginx ends such a request in good order: status 200, and `$request_completion` is OK. The error
log's line comes first; here it waits for the access log's line of the same upstream, which then counts as cut off. Where
none comes, because that log leaves it out, the line counts by itself; the line of a log written through a buffer may come
after that, and is then known by its time. So each answer counts once, and where several of
one upstream end together it does not matter which line meets which. What broke before its header is a 502 or a 504 in
the access log and needs no second witness, nor do subrequests (mirrors), whose answers go to no user. A line that nginx
cut short before it named the upstream (at 2 KiB; its client chose the address) is not counted.

Source: nginx, src/http/ngx_http_upstream.c, ngx_http_upstream_process_non_buffered_request,
ngx_http_upstream_process_request and ngx_http_upstream_finalize_request (flushes, and ends the request without an error);
src/http/ngx_http_request.c, ngx_http_log_error_handler (the order of what a line names).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from aiops.collect.access_entry import Entry
from aiops.collect.access_refusal import Refusal
from aiops.model import NOBODY

_LINE = re.compile(
    rb"\d{4}/\d\d/\d\d \d\d:\d\d:(\d\d) \[[a-z]{4,6}\] \d+#\d+: \*\d+ "
    rb"(?:(upstream timed out)|upstream prematurely closed connection|(?:recv|readv|SSL_read)\(\) failed"
    rb"|upstream sent invalid chunked response)(?: \([^)]{0,256}\))? while (reading upstream|sending to client), "
    # a client chooses what stands between quotes, and can have no blank in its address
    rb'client: [^,]*, server: [^,]*, request: "[A-Z-]{1,32} (\S+) HTTP/[\d.]{1,3}", '
    rb'upstream: "[a-z]{1,16}://(unix:[^:"\s]{1,251}(?=[:"])|[^/"\s\x00-\x1f\x7f-\xff]{1,256}(?=[/"]))'
)
_MARK = b" while reading upstream, "
_MARK_SENDING = b"upstream prematurely closed connection while sending to client, "
"""The same, noticed while an earlier piece was passed on; other failures with these words are the client's."""
_MAX_BYTES = 2_048
"""nginx writes no longer lines."""
_WAIT_S = 5.0
"""How long the access log may take until the answer counts: `access_log` with a buffer is mostly flushed by then."""
_AT_MOST_S = 2.0
"""Between the access log's own time of an answer and ours of the error log's line."""
_MAX_COUNTED = 256
"""Of one upstream or path, and of these: answers that counted without the access log."""
_BEFORE_S = 30
"""So many seconds after is half a minute before: minutes are not compared."""
_MAX_WAITING = 4_096
_GOOD = range(200, 400)


@dataclass(frozen=True, slots=True)
class Broken:
    """One answer that broke off."""

    upstream: str
    """As the access log spells it."""
    path: str
    refusal: Refusal
    second: int
    """Of the minute: the line's hours are of a zone that it does not name."""


def broken_of(line: bytes) -> Broken | None:
    """The broken answer that *line* of nginx's error log tells of; None if it tells of none."""
    if _MARK not in line and _MARK_SENDING not in line:
        return None
    found = _LINE.match(line, 0, _MAX_BYTES)
    if found is None or (found[3] != b"reading upstream" and _MARK_SENDING not in line[: found.start(4)]):
        return None
    return Broken(
        upstream=found[5].decode("utf-8", "replace"),
        path=found[4].partition(b"?")[0].decode("utf-8", "replace"),
        refusal=Refusal.TIMEOUT if found[2] else Refusal.RESET,
        second=int(found[1]),
    )


@dataclass(slots=True, eq=False)
class _Waiting:
    broken: Broken
    service: str
    since_s: float
    is_dated: bool
    is_met: bool = False


class BrokenAnswers:
    """Broken answers on their way to the access log's lines of the same requests."""

    def __init__(self) -> None:
        self._waiting: deque[_Waiting] = deque()
        self._by_key: dict[str, deque[_Waiting]] = {}
        """Those not met yet, by upstream and by path."""
        self._counted: dict[str, deque[float]] = {}
        """When those broke that counted by themselves, by upstream and by path."""

    def add(self, broken: Broken, service: str, now_s: float, *, is_dated: bool = True) -> None:
        """
        Expect the access log's line of *broken*.

        Args:
            broken: What the error log told.
            service: Of the access log beside it.
            now_s: Wall time.
            is_dated: It was written just now, and not while nobody looked.
        """
        waiting = _Waiting(broken, service, now_s, is_dated)
        self._waiting.append(waiting)
        for key in (broken.upstream, broken.path):
            self._by_key.setdefault(key, deque()).append(waiting)

    def met(self, entry: Entry) -> Entry:
        """
        *entry*, as a broken answer where one of its upstream waits that is not later than it.

        In a log that names no upstreams, one of its path.
        """
        if not self._waiting or entry.status not in _GOOD:
            return entry
        queue = self._by_key.get(_key(entry))
        while queue:
            waiting = queue[0]
            broken = waiting.broken
            if not waiting.is_met and entry.at_s is not None and (int(entry.at_s) - broken.second) % 60 >= _BEFORE_S:
                break
            queue.popleft()
            if not waiting.is_met:
                waiting.is_met = True
                return msgspec.structs.replace(
                    entry, upstream=broken.upstream, by_upstream=True, completed=False, refusal=broken.refusal
                )
        return entry

    def was_counted(self, entry: Entry, now_s: float) -> bool:
        """Whether *entry*, which comes late, is of an answer that counted already."""
        at_s = entry.at_s
        if at_s is None or now_s - at_s < _WAIT_S - _AT_MOST_S or not self._counted or entry.status not in _GOOD:
            return False
        broke_s = self._counted.get(_key(entry), ())
        found = next((broken_s for broken_s in broke_s if abs(broken_s - at_s) <= _AT_MOST_S), None)
        if found is None:
            return False
        self._counted[_key(entry)].remove(found)
        return True

    def overdue(self, now_s: float) -> Iterator[tuple[str, Broken, float]]:
        """Service, answer and time of those that no access log tells of."""
        while self._waiting:
            waiting = self._waiting[0]
            if 0.0 <= now_s - waiting.since_s < _WAIT_S and len(self._waiting) <= _MAX_WAITING:
                return
            self._waiting.popleft()
            self._forget(waiting)
            if not waiting.is_met and waiting.is_dated:
                for key in (waiting.broken.upstream, waiting.broken.path):
                    self._count(key, waiting.since_s)
                yield waiting.service, waiting.broken, waiting.since_s

    def _count(self, key: str, at_s: float) -> None:
        if key not in self._counted and len(self._counted) >= _MAX_COUNTED:
            del self._counted[next(iter(self._counted))]
        self._counted.setdefault(key, deque(maxlen=_MAX_COUNTED)).append(at_s)

    def _forget(self, waiting: _Waiting) -> None:
        for key in (waiting.broken.upstream, waiting.broken.path):
            queue = self._by_key.get(key)
            if queue and queue[0] is waiting:
                queue.popleft()
            if not queue:
                self._by_key.pop(key, None)


def _key(entry: Entry) -> str:
    """What it shares with a line of the error log."""
    names_none = entry.upstream == NOBODY and entry.by_upstream is None
    return entry.path if names_none else entry.upstream
