"""
Firing alerts into incidents with causes: evidence tested clause by clause, weighed, root told from consequence.

`build` makes the correlator of a daemon; `diagnose` answers one question without any memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aiops.correlate.beliefs import Beliefs
from aiops.correlate.diagnose import diagnose
from aiops.correlate.incidents import Compose, ComposeTickets, IncidentDesk, Receivers
from aiops.correlate.scene import IncidentContext
from aiops.correlate.tempo import Tempo
from aiops.model import Diagnosis, Incident, Mover, Tally
from aiops.ports import EventReader, SeriesReader, TemplateReader
from aiops.rulebook.causes import CauseRule
from aiops.selfstat import SelfStat

__all__ = ["IncidentContext", "IncidentDesk", "Tempo", "build", "diagnose"]

DEFAULT_TEMPO = Tempo()
NOTHING_SAID = Tally()


def build(  # noqa: PLR0913 - wiring: everything the correlator touches
    *,
    causes: Sequence[CauseRule],
    series: SeriesReader,
    events: EventReader,
    templates: TemplateReader,
    compose: Compose,
    compose_tickets: ComposeTickets,
    receivers: Receivers,
    stat: SelfStat,
    restored: Iterable[Incident] = (),
    tally: Tally = NOTHING_SAID,
    tempo: Tempo = DEFAULT_TEMPO,
) -> IncidentDesk:
    """The correlator; see `IncidentDesk` for its arguments. *tally*: what people have said of answers so far."""
    beliefs = Beliefs(causes, tally)

    def ask(context: IncidentContext, now_s: float, thorough: bool, movers: tuple[Mover, ...]) -> Diagnosis:  # noqa: FBT001
        return diagnose(
            context, beliefs.causes, series, events, templates, now_s,
            thorough=thorough, movers=movers, most_shown=beliefs.most_shown,
        )  # fmt: skip

    return IncidentDesk(
        ask=ask,
        beliefs=beliefs,
        series=series,
        events=events,
        compose=compose,
        compose_tickets=compose_tickets,
        receivers=receivers,
        restored=restored,
        stat=stat,
        tempo=tempo,
    )
