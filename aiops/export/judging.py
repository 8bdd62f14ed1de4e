"""
``POST /api/v1/incidents/{id}/confirm`` and ``…/reject``, ``GET /api/v1/causes``: what people say of answers, and what follows.

A word is checked against the incident as it was last committed, waits in the `Docket` for the next evaluation, and is
answered when that is on the disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from aiops.clock import Clock
from aiops.errors import JudgementError, RequestError
from aiops.export.api import DiskReader, valid_id
from aiops.export.docket import Docket
from aiops.export.intake import MAX_BODY_BYTES, body_or_refusal, may_write, refuse, unauthorised
from aiops.model import Incident, Judgement, Spoken, Tally, to_json
from aiops.model.judging import Said, judge, with_judgement
from aiops.narrative.withheld import publishable
from aiops.ports import IncidentLog
from aiops.rulebook.causes import CauseRule
from aiops.rulebook.priors import most_shown, recounted

_DEADLINE_S = 10.0
_BUSY = "the daemon could not save it in time; `aiops incidents show` says whether it did later"


class Judging:
    """
    The endpoints.

    Args:
        incidents: As last committed.
        docket: Where words wait.
        causes: All causes, as the files have them.
        token: Who may speak.
        clock: What the time is.
        read: Runs reads of the state file.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what it touches
        self,
        incidents: IncidentLog,
        docket: Docket,
        causes: Sequence[CauseRule],
        token: str,
        clock: Clock,
        read: DiskReader,
    ) -> None:
        self._incidents, self._docket, self._causes = incidents, docket, causes
        self._token, self._clock, self._read = token.encode(), clock, read
        self._turn = asyncio.Lock()
        """One word at a time: the next one is on the incident as the last one left it, and counted in its place."""

    async def confirm(self, request: Request) -> Response:
        """``POST /api/v1/incidents/{id}/confirm``."""
        return await self._judge(request, Said.CONFIRM)

    async def reject(self, request: Request) -> Response:
        """``POST /api/v1/incidents/{id}/reject``."""
        return await self._judge(request, Said.REJECT)

    async def causes(self, _request: Request) -> Response:
        """``GET /api/v1/causes``."""
        judgements = await self._read(self._incidents.judgements)
        return Response(to_json(standing(self._causes, judgements)), media_type="application/json")

    async def _judge(self, request: Request, said: Said) -> Response:
        if not may_write(request, self._token):
            return unauthorised()
        body = await body_or_refusal(request, MAX_BODY_BYTES)
        if isinstance(body, Response):
            return body
        try:
            cause = parse_cause(body)
            async with asyncio.timeout(_DEADLINE_S), self._turn:
                return await self._answer(request.path_params["id"], said, cause)
        except RequestError as error:
            return refuse(400, str(error))
        except JudgementError as error:
            return refuse(409, str(error))
        except TimeoutError:
            return refuse(503, _BUSY, {"Retry-After": "5"})

    async def _answer(self, incident_id: str, said: Said, cause: str) -> Response:
        incident = await self._read(lambda: self._incidents.incident(incident_id)) if valid_id(incident_id) else None
        if incident is None:
            return refuse(404, "no such incident")
        known: Collection[str] = {rule.cause for rule in self._causes}
        judgement = judge(incident, said, cause, self._clock.now_s(), known)
        if with_judgement(incident, judgement) is incident:
            return _json(incident)  # said already
        judged = await self._docket.offer(Spoken(incident, judgement))
        if judged is None:
            return refuse(409, "the incident has just changed; look at it, and say it again")
        return _json(judged)


def parse_cause(body: bytes) -> str:
    """
    The cause in ``{"cause": "…"}``; empty if there is none, or no body.

    Raises:
        RequestError: it is something else.
    """
    try:
        given = msgspec.json.decode(body) if body.strip() else {}
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise RequestError(f"the body is no JSON: {error}") from error
    if not isinstance(given, dict):
        raise RequestError("the body: expected an object")
    if unknown := given.keys() - {"cause"}:
        raise RequestError(f"the body: unknown field {min(unknown)!r}; known: cause")
    cause = given.get("cause", "")
    if not isinstance(cause, str):
        raise RequestError("cause: expected the id of a cause")
    return cause


def standing(causes: Sequence[CauseRule], judgements: Mapping[str, Judgement]) -> dict[str, object]:
    """How often each cause was at work here, and what that makes of its prior."""
    tally = Tally.of(judgements.values())
    rows = [
        {
            "cause": rule.cause,
            "title": rule.title,
            "level": rule.level.value,
            "prior": rule.prior,
            "was": was,
            "of": of,
            "prior_here": recounted(rule.prior, was, of),
        }
        for rule in causes
        for was, of in [tally.counted(rule.cause)]
    ]
    return {
        "confirmed": tally.confirmed,
        "rejected": tally.rejected,
        "known": tally.known,
        "most_shown": most_shown(tally),
        "causes": rows,
    }


def _json(incident: Incident) -> Response:
    return Response(to_json(publishable(incident)), media_type="application/json")
