"""
What the collectors of one machine tell one another about its GPUs.

NVML, a dcgm-exporter page and the kernel log speak of the same cards and see the same faults. So NVML notes which cards
it shows, a page leaves those cards to it, and the kernel log, which knows a bus address only, learns which card is
there. What happened to a card is told by whoever sees it first: the same thing from another witness within a minute, or
from the same one within ten seconds, is that event again. Whose process is on a card NVML does not know; where no port
shows it, who follows the processes of servers does.

Collectors run in several threads, so every method holds a lock; none does more than look into a dictionary.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from aiops.model import Event, EventKind, Labels, Observation, Sample

_SHOWN_S = 60.0
"""How long a card counts as shown after NVML answered: a page must not take over for one slow round."""
_SAME_S, _OTHERS_S = 10.0, 60.0
"""A failing card repeats itself; an exporter's page shows what happened half a minute late."""
_REPEAT_S = 10.0
_MAX_TOLD = 1_024
_MAX_CARDS = 256
_MAX_CODES = 16
"""Different Xids of one card; further ones are counted as "other"."""
_OTHER = "other"
_OFF_THE_BUS = "79"


@dataclass(frozen=True, slots=True)
class Spot:
    """
    Where something happened.

    Args:
        labels: ``host_name``, ``hw_id`` and ``gpu`` of the card, as far as they are known.
        address: Its PCI address; empty if unknown.
    """

    labels: Labels
    address: str

    @property
    def name(self) -> str:
        """The card in words."""
        number = self.labels.get("gpu")
        return f"GPU {number}" if number else f"the GPU at {self.address.lower()}"

    @property
    def key(self) -> str:
        """The same for every witness that knows the address."""
        host = self.labels.get("host_name")
        if self.address:
            return f"{host} {bus_address(self.address)}"
        return f"{host} {self.labels.get('hw_id')} {self.labels.get('gpu')}"


class CardBook:
    """The cards of this machine and what happened to them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shown: dict[str, float] = {}
        self._at: dict[str, Labels] = {}
        self._told: dict[tuple[str, str], tuple[float, str]] = {}
        self._totals: dict[Labels, dict[str, int]] = {}
        self._repeated_s = -math.inf
        self._portless: Mapping[int, tuple[Labels, ...]] = {}
        self._served: frozenset[int] = frozenset()

    # --- who shows which card ---------------------------------------------------------------------------------------

    def show(self, cards: Mapping[str, Labels], now_s: float) -> None:
        """
        NVML lists *cards*.

        Args:
            cards: Labels by bus address as NVML spells it.
            now_s: Wall time.
        """
        with self._lock:
            for address, labels in cards.items():
                if uuid := labels.get("hw_id"):  # a card that was lost before it told its name has none
                    self._shown[uuid] = now_s
                self._at[bus_address(address)] = labels

    def shows(self, uuid: str, now_s: float) -> bool:
        """Whether NVML shows the card with this *uuid*; then nobody else needs to."""
        with self._lock:
            shown_s = self._shown.get(uuid)
        return shown_s is not None and abs(now_s - shown_s) < _SHOWN_S

    def labels_at(self, address: str) -> Labels | None:
        """The labels of the card at a bus *address*, if NVML has ever shown it."""
        with self._lock:
            return self._at.get(bus_address(address))

    def watch(self, labels: Labels) -> None:
        """
        Somebody will tell of Xids of the card with *labels*.

        From now on none at all reads 0, for the worst of them, and is not taken for "nobody looks".
        """
        with self._lock:
            if labels in self._totals or len(self._totals) < _MAX_CARDS:
                self._totals.setdefault(labels, {}).setdefault(_OFF_THE_BUS, 0)

    # --- whose processes are on them --------------------------------------------------------------------------------

    def leave(self, portless: Mapping[int, tuple[Labels, ...]]) -> None:
        """NVML lists processes, by id with their cards, of which no port shows: another user's, a container's, a worker's."""
        with self._lock:
            self._portless = portless

    def cards_of(self, pid: int) -> tuple[Labels, ...]:
        """Cards whose memory process *pid* holds, where no port shows whose process it is."""
        with self._lock:
            return self._portless.get(pid, ())

    def serve(self, pids: Collection[int]) -> None:
        """These processes are known to be an inference server's."""
        with self._lock:
            self._served = frozenset(pids)

    def served(self) -> frozenset[int]:
        """Processes that are known to be an inference server's."""
        with self._lock:
            return self._served

    # --- what happened ----------------------------------------------------------------------------------------------

    def lost(self, witness: str, spot: Spot, at_s: float, message: str) -> list[Observation]:
        """The event that a card is gone, as collector *witness* saw it; nothing if that was told."""
        if not self._is_news(witness, spot, "lost", at_s):
            return []
        return [Event(EventKind.HARDWARE, "gpu_lost", at_s, spot.labels, message)]

    def xid(self, witness: str, spot: Spot, at_s: float, code: int) -> list[Observation]:
        """The event of Xid *code*, as collector *witness* saw it, and how often there was one; nothing if it was told."""
        if not self._is_news(witness, spot, str(code), at_s):
            return []
        labels = Labels.of(**{name: spot.labels.get(name) for name in ("host_name", "hw_id", "gpu")})
        observations: list[Observation] = [
            Event(EventKind.HARDWARE, "xid", at_s, labels.merge(xid=str(code)), f"Xid {code} on {spot.name}")
        ]
        with self._lock:
            if labels not in self._totals and len(self._totals) >= _MAX_CARDS:
                return observations
            totals = self._totals.setdefault(labels, {})
            counted = str(code) if str(code) in totals or len(totals) < _MAX_CODES else _OTHER
            before = totals.get(counted, 0)
            totals[counted] = before + 1
        if not before:  # a counter that begins above zero did not rise
            observations.append(_total(labels, counted, at_s - 1.0, 0))
        observations.append(_total(labels, counted, at_s, before + 1))
        return observations

    def totals(self, now_s: float) -> list[Sample]:
        """How many Xids there were, every ten seconds to whoever asks first: a series that is not repeated would end."""
        with self._lock:
            if not self._totals or 0.0 <= now_s - self._repeated_s < _REPEAT_S:
                return []
            self._repeated_s = now_s
            return [
                _total(labels, code, now_s, count)
                for labels, codes in self._totals.items()
                for code, count in codes.items()
            ]

    def _is_news(self, witness: str, spot: Spot, what: str, at_s: float) -> bool:
        place = spot.key
        with self._lock:
            told_s, by = self._told.get((place, what), (-math.inf, ""))
            if abs(at_s - told_s) < (_SAME_S if by == witness else _OTHERS_S):
                return False
            if len(self._told) >= _MAX_TOLD:
                self._told.clear()
            self._told[place, what] = (at_s, witness)
            return True


def bus_address(text: str) -> str:
    """
    A PCI address in one spelling: the kernel writes ``0000:65:00``, NVML ``00000000:65:00.0``.

    What is no such address stays as it is.
    """
    parts = text.strip().lower().partition(".")[0].split(":")
    try:
        return ":".join(f"{int(part, 16):x}" for part in parts)
    except ValueError:
        return text


def _total(labels: Labels, code: str, at_s: float, count: int) -> Sample:
    return Sample("hw_gpu_xid_errors_total", labels.merge(xid=code), at_s, float(count))
