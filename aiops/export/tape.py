"""
The tape: everything an evaluation's answer depends on, in the order in which it came, to whoever records it.

The pipeline tells the tape what goes into memory (`ports.Tape`); while nobody records, that is one comparison. A
recording begins just before an evaluation that asks every detector, with what memory held at that moment, so that
whoever plays it begins where this process stood. It leaves as lines of JSON over HTTP: the command that asked for them
writes the files, as its own user and on its own disk, and a disk that is full or slow is no matter of the daemon's.

A line is a list: its kind, then

    begin    what the recording is of (`Beginning`)
    series   number, metric, labels: of all samples that follow under that number
    held     number, times, values: what memory held of one series
    samples  part (`ports.Part`), time of the run, numbers of series, values, and their times or the one they share
    event    an event; those held at the beginning come first
    judged   what somebody said of an answer: the incident's id, what was said of it before, and the word
    notes    templates of the log that had lines (`model.TemplateNote`)
    tick     evaluate or expire, and its time
    end      why

Texts of people are in none of them: of an event's message there is a fingerprint.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from aiops.errors import AiopsError
from aiops.model import Event, HeldAlert, Incident, Judgement, Labels, Sample, Spoken, Tally, to_json
from aiops.ports import Part, TemplateNotes, Window

log = structlog.get_logger(__name__)

FORMAT = 3
"""Of recordings; one more whenever an older reader would misread it. 1 had no word of people, 2 no remarks among the samples."""
READABLE = (1, 2, 3)
MAX_S = 86_400.0
_MAX_WAITING_BYTES = 32 * 2**20
"""Some minutes of a large node, for a reader whose disk is slow."""
_HELD_AT_ONCE = 20
"""Series unpacked and written before others get their turn: two milliseconds."""


class TapeBusy(AiopsError):
    """Somebody records already, or there is nothing to record yet."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where the daemon stands when a recording begins, and what its messages depend on beside its observations."""

    version: str
    host: str
    rules: str
    """Fingerprint of the rules that were in use."""
    url: str
    """Where messages say the page is."""
    language: str
    receivers: tuple[tuple[str, tuple[str, ...]], ...]
    """Names, and the severities each wants."""
    has_change_feed: bool
    alerts: tuple[HeldAlert, ...]
    """Pending and firing."""
    incidents: tuple[Incident, ...]
    """Open, without what may not leave the host."""
    tally: Tally = field(default_factory=Tally)
    """What people had said of answers: priors hang on it."""
    format: int = FORMAT
    at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Ruling:
    """What somebody said of an incident's answer, as it is recorded."""

    incident: str
    before: Judgement | None
    """What was said of it until then."""
    now: Judgement


@dataclass(frozen=True, slots=True)
class Sources:
    """What a recording is made from."""

    beginning: Callable[[], Beginning]
    held: Callable[[], Iterator[tuple[str, Window]]]
    """Every series of memory, whole, as it was when asked."""
    events: Callable[[float], Sequence[Event]]
    """Those held at a time."""
    notes: TemplateNotes


class Tape:
    """
    Tells one recorder at a time what the pipeline takes in; implements `ports.Tape`. Lives on the loop.

    Args:
        max_waiting_bytes: A reader further behind than this is given up.
    """

    def __init__(self, max_waiting_bytes: int = _MAX_WAITING_BYTES) -> None:
        self._max_waiting_bytes = max_waiting_bytes
        self._sources: Sources | None = None
        self._wanted = False
        self._recording: _Recording | None = None
        self._wake = asyncio.Event()

    def load(self, sources: Sources) -> None:
        """From now on there is something to record."""
        self._sources = sources

    def stop(self, why: str) -> None:
        """End the recording, if one is made, and let nobody begin another."""
        self._sources = None
        if self._recording is not None:
            self._recording.end(why)
        self._wake.set()

    def take(self) -> AsyncIterator[bytes]:
        """
        The lines of a recording that begins with the next evaluation; whoever took them calls `release` in the end.

        Raises:
            TapeBusy: not now.
        """
        if self._wanted:
            raise TapeBusy("a recording is being made already; one at a time")
        if self._sources is None:
            raise TapeBusy("the daemon is only just starting; try again in a few seconds")
        self._wanted = True
        return self._lines()

    def release(self) -> None:
        """The reader of what `take` gave has gone, or never came."""
        if self._recording is not None:
            log.info("recording ended", why=self._recording.ended or "its reader has gone")
            self._recording.forget()
        self._wanted, self._recording = False, None

    async def _lines(self) -> AsyncIterator[bytes]:
        while self._recording is None and self._sources is not None:
            await self._wait()
        recording = self._recording
        if recording is None:
            yield _line("end", "the daemon stopped")
            return
        log.info("recording")
        for number, line in enumerate(recording.beginning):
            yield line
            if number % _HELD_AT_ONCE == 0:
                await asyncio.sleep(0)
        while recording.waiting or not recording.ended:
            if recording.waiting:
                yield recording.taken()
            else:
                await self._wait()

    async def _wait(self) -> None:
        self._wake.clear()
        await self._wake.wait()

    # --- ports.Tape -------------------------------------------------------------------------------------------------

    def evaluating(self, now_s: float, *, steady: bool) -> None:
        if steady and self._wanted and self._recording is None and self._sources is not None:
            self._recording = _Recording(self._sources, now_s, self._max_waiting_bytes)

    def took(self, part: Part, samples: Sequence[Sample], now_s: float) -> None:
        if self._recording is not None:
            self._recording.took(part, samples, now_s)

    def heard(self, event: Event) -> None:
        if self._recording is not None:
            self._recording.heard(event)

    def judged(self, spoken: Spoken) -> None:
        if self._recording is not None:
            self._recording.judged(spoken)

    def ticked(self, tick: str, now_s: float) -> None:
        if self._recording is not None:
            self._recording.ticked(tick, now_s)
            self._wake.set()


class _Recording:
    """One recording under way: what waits to be read of it."""

    def __init__(self, sources: Sources, now_s: float, max_waiting_bytes: int) -> None:
        self._notes = sources.notes
        self._notes.begin_notes()
        self._max_waiting_bytes = max_waiting_bytes
        self._until_s = now_s + MAX_S
        self._numbers: dict[tuple[str, Labels], int] = {}
        self._lines: deque[bytes] = deque()
        self._waiting_bytes = 0
        self.ended = ""
        """Why nothing comes any more."""
        held = sources.held()
        begin, events = replace(sources.beginning(), at_s=now_s), sources.events(now_s)
        self.beginning = self._begin(begin, events, held)
        """What comes before everything that waits; read while that grows."""

    def _begin(self, begin: Beginning, events: Sequence[Event], held: Iterator[tuple[str, Window]]) -> Iterator[bytes]:
        yield _line("begin", begin)
        for event in events:
            yield _line("event", _spoken(event))
        for number, (metric, window) in enumerate(held):
            # numbers from below: those from above are given out meanwhile
            yield _line("series", -1 - number, metric, _clean(window.labels))
            yield _line("held", -1 - number, window.at_s.tolist(), window.values.tolist())

    @property
    def waiting(self) -> bool:
        """Whether there is something to read."""
        return bool(self._lines)

    def taken(self) -> bytes:
        """Everything that waits."""
        lines, self._waiting_bytes = b"".join(self._lines), 0
        self._lines.clear()
        return lines

    def end(self, why: str) -> None:
        """Nothing comes any more."""
        self._put("end", why)
        self.ended = self.ended or why

    def forget(self) -> None:
        """Nobody reads any more."""
        self._notes.end_notes()
        self._lines.clear()

    def took(self, part: Part, samples: Sequence[Sample], now_s: float) -> None:
        """As `ports.Tape.took`; what is no number is not held in memory either."""
        sound = [sample for sample in samples if math.isfinite(sample.value) and math.isfinite(sample.at_s)]
        if sound:
            numbers = [self._number(sample) for sample in sound]
            times = [sample.at_s for sample in sound]
            shared = times[0] if times.count(times[0]) == len(times) else times
            self._put("samples", part, now_s, numbers, [sample.value for sample in sound], shared)
        if part is Part.LOGS and (notes := self._notes.notes()):
            self._put("notes", notes)

    def heard(self, event: Event) -> None:
        """As `ports.Tape.heard`."""
        if math.isfinite(event.at_s):
            self._put("event", _spoken(event))

    def judged(self, spoken: Spoken) -> None:
        """As `ports.Tape.judged`."""
        self._put("judged", Ruling(spoken.incident.id, spoken.incident.judgement, spoken.judgement))

    def ticked(self, tick: str, now_s: float) -> None:
        """As `ports.Tape.ticked`; here a recording is given up that has become too much."""
        self._put("tick", tick, now_s)
        if self.ended:
            return
        if self._waiting_bytes > self._max_waiting_bytes:
            self._lines.clear()
            self.end("it was read more slowly than the daemon observes")
        elif now_s > self._until_s:
            self.end("a day is the longest recording")

    def _number(self, sample: Sample) -> int:
        key = (sample.metric, sample.labels)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._numbers)
            self._put("series", number, sample.metric, _clean(sample.labels))
        return number

    def _put(self, *parts: Any) -> None:
        if not self.ended:
            line = _line(*parts)
            self._lines.append(line)
            self._waiting_bytes += len(line)


def _line(*parts: Any) -> bytes:
    return to_json(parts) + b"\n"


def _spoken(event: Event) -> Event:
    """*event* with a fingerprint of what somebody wrote about it: enough to tell two events apart."""
    text = event.message.encode("utf-8", "surrogatepass")
    message = hashlib.blake2b(text, digest_size=8).hexdigest() if text else ""
    return replace(event, labels=_clean(event.labels), message=message)


def _clean(labels: Labels) -> Labels:
    """*labels* as they can be written; nearly always the same ones."""
    try:
        str(labels).encode()
    except UnicodeEncodeError:
        return Labels.from_mapping({name: value.encode("utf-8", "replace").decode() for name, value in labels.pairs})
    return labels
