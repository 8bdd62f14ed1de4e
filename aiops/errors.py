"""
Every exception of aiops, in one place.

    AiopsError
    ├── ConfigError           settings, rules or causes are wrong; carries file:line; exit 78
    ├── SourceError           a collector could not read its source this time
    │   ├── SourceUnavailable   it is not there (refused, no such file, no driver); expected, backs off
    │   └── SourceMalformed     it answered with something that is not what it should be
    ├── ChildError            a child process died, hung or spoke nonsense
    │   ├── ChildTimeout        it did not answer before its deadline
    │   └── ChildResting        it failed a moment ago and is not started again yet
    ├── StateError            the state file cannot be read or written
    ├── DataError             a file of data given to a command cannot be used; carries file:line
    ├── RequestError          a pushed body is not what the API takes; answered with 400
    ├── JudgementError        what a person says of an answer does not fit it; answered with 409
    ├── RecordingError        a recording cannot be begun, or is damaged; carries file:line
    ├── ListenError           the web port cannot be opened
    │   └── PortTaken           another program has it
    └── SendError             a notification was not accepted
        ├── TransientSendError  try again, not before ``retry_after_s``
        └── PermanentSendError  trying again cannot help; becomes a dead letter
"""

from __future__ import annotations

from dataclasses import dataclass


class AiopsError(Exception):
    """Root of all errors this package raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a file a person wrote: where it is, what was found, what was expected."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


class ConfigError(AiopsError):
    """
    A settings, rule or cause file is wrong; nothing may start from it.

    Args:
        problems: Everything found wrong, in file order; at least one.
    """

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class SourceError(AiopsError):
    """A collector could not read its source this time; the runner counts it and backs off."""


class SourceUnavailable(SourceError):
    """The source is not there: connection refused, no such file, no driver, no permission."""


class SourceMalformed(SourceError):
    """The source answered, but not in the form it should: HTML for metrics, a page over the size limit."""


class ChildError(AiopsError):
    """A child process died, or answered with something that is not a message."""


class ChildTimeout(ChildError):
    """A child process did not answer before its deadline."""


class ChildResting(ChildError):
    """A child process failed a moment ago and is not started again yet."""


class StateError(AiopsError):
    """The state file cannot be opened, read or written."""


class DataError(AiopsError):
    """
    A file of data given to a command cannot be used.

    Args:
        problem: Where, what was found, and what was expected.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class RequestError(AiopsError):
    """A body pushed to the API is not what it takes; the text names the field and what was expected."""


class JudgementError(AiopsError):
    """What a person says of an incident's answer does not fit the answer: there is none, or it was something else."""


class RecordingError(AiopsError):
    """A recording cannot be begun, or what is read is none, or a damaged one."""


class ListenError(AiopsError):
    """The address the web server should listen on cannot be opened."""


class PortTaken(ListenError):
    """Another program listens on that port."""


class SendError(AiopsError):
    """A receiver did not accept a notification."""


class TransientSendError(SendError):
    """
    The receiver may accept it later: 429, 5xx, time-out, refused connection.

    Args:
        text: What was tried and what came back, secrets redacted.
        retry_after_s: Seconds the receiver asked us to wait; None if it did not say.
    """

    def __init__(self, text: str, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class PermanentSendError(SendError):
    """The receiver will never accept it: bad URL, revoked token, payload refused."""
