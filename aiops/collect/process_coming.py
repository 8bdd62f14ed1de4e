"""
Which processes will own a port: replicas that are started beside others and do not listen before they are ready.

A replica is started as its neighbours were, with another port: the same program, the same options at the same places,
and where a neighbour's command line holds the port that it listens on, another one. Values may differ, since replicas
have a log, a card and a seed of their own. Who names that port as somebody's else's (a client, a benchmark) is another
program or has other options.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import takewhile

from aiops.collect.process_names import program
from aiops.collect.process_table import Process

_OPTION = "-"


def coming(young: Iterable[Process], known: Mapping[tuple[str, ...], int], taken: Collection[int]) -> dict[int, int]:
    """
    Process to the port that it will own; of several with one port the last started, and of a parent and a child the parent.

    Args:
        young: Processes that may be such a replica.
        known: Command lines of servers, with the ports they listen on.
        taken: Ports that somebody owns.
    """
    programs: dict[str, list[tuple[tuple[str, ...], int]]] = {}
    for command, port in known.items():
        programs.setdefault(program(command)[0], []).append((command, port))
    ports: dict[int, int] = {}
    found: list[Process] = []
    for process in young:
        alike = programs.get(process.program, ()) if process.program else ()
        named = (other_port(process.command, command, own) for command, own in alike)
        other = next(filter(None, named), None)
        if other is not None and other not in taken:
            ports[process.pid] = other
            found.append(process)
    own = [each for each in found if ports.get(each.parent) != ports[each.pid]]
    youngest = {ports[each.pid]: each.pid for each in sorted(own, key=lambda each: each.start_ticks)}
    return {pid: port for port, pid in youngest.items()}


def other_port(command: tuple[str, ...], known: tuple[str, ...], own: int) -> int | None:
    """
    The port that *command* names where *known*, a server's command line, names its own; None if it is no such server's.

    Args:
        command: The command line of who may be such a server.
        known: The command line of a server.
        own: The port on which that one listens.
    """
    if len(command) != len(known) or _subject(command) != _subject(known):
        return None
    ports: set[int] = set()
    for word, model in zip(command, known, strict=True):
        if _option(word) != _option(model):
            return None
        before, after = _split(word), _split(model)
        if after[1] == own and word != model:
            if before[0] != after[0] or before[1] is None:
                return None
            ports.add(before[1])
    return ports.pop() if len(ports) == 1 else None


def _subject(command: tuple[str, ...]) -> tuple[str, ...]:
    """The program and what is said to it before its first option: a command of it, a model."""
    name, arguments = program(command)
    return (name, *takewhile(lambda word: not word.startswith(_OPTION), arguments))


def _option(word: str) -> str:
    """An option's name; empty of a value."""
    return word.partition("=")[0] if word.startswith(_OPTION) else ""


def _split(word: str) -> tuple[str, int | None]:
    """A word that is a port, or ends with one after ``=`` or ``:``: what stands before it, and the port."""
    place = max(word.rfind("="), word.rfind(":")) + 1
    text = word[place:]
    if len(text) > 5 or not (text.isascii() and text.isdecimal()):
        return word, None
    port = int(text)
    return word[:place], port if 0 < port < 2**16 else None
