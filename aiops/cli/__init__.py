"""
The commands of DESIGN: one module each, a thin skin over the engines.

A command's module offers ``add_arguments(parser)`` and ``main(args) -> int`` (the exit status). Only the module of the
command that was asked for is imported: ``aiops run`` must answer within a second of its start.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from aiops import __version__
from aiops.errors import AiopsError, ConfigError

COMMANDS = {
    "run": ("aiops.cli.run", "watch this node: the daemon"),
    "demo": ("aiops.cli.demo", "a real 503 incident on this machine, from healthy to diagnosed"),
    "check": ("aiops.cli.check", "check settings, rules and causes; errors as file:line"),
    "top": ("aiops.cli.top", "what the daemon sees, live in this terminal"),
    "once": ("aiops.cli.once", "one round of collection, printed"),
    "logs": ("aiops.cli.logs", "what a log says: its templates, or the class of every line"),
    "explain": (
        "aiops.cli.explain",
        "root cause from a file of series: which service and which series left their normal",
    ),
    "record": ("aiops.cli.record", "what the daemon observes from now on, into files"),
    "replay": ("aiops.cli.replay", "a recording through today's rules: its incidents"),
    "rules": ("aiops.cli.rules", "test the alert rules; write them as Prometheus rules"),
    "incidents": ("aiops.cli.incidents", "list and show incidents, confirm or reject their cause"),
    "notify": ("aiops.cli.notify", "send a real test message to a receiver"),
    "healthcheck": ("aiops.cli.healthcheck", "exit 0 if the local daemon is healthy"),
}

EX_CONFIG = 78
"""sysexits.h: something was found in an unconfigured or misconfigured state."""


def _overview() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS)) + 2
    lines = "\n".join(f"  {name:<{width}}{text}" for name, (_, text) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="aiops",
        usage="aiops COMMAND [-h] …",
        description="Names the cause of a 503 on an LLM inference node, with the evidence.",
        epilog=f"commands:\n{lines}\n\naiops COMMAND -h tells more about one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"aiops {__version__}")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command in *argv* (without the program's name; default: the process's own).

    Returns:
        The exit status: 0 fine, 1 failed, 2 wrong usage, 78 wrong settings or rules.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] not in COMMANDS:
        parser = _overview()
        parser.parse_args(words[:1] if words and words[0].startswith("-") else [])
        if words:
            parser.error(f"no command {words[0]!r}; one of {', '.join(COMMANDS)}")
        parser.print_help()
        return 2
    module_name, text = COMMANDS[words[0]]
    module = importlib.import_module(module_name)
    parser = argparse.ArgumentParser(prog=f"aiops {words[0]}", description=text[0].upper() + text[1:] + ".")
    module.add_arguments(parser)
    try:
        status: int = module.main(parser.parse_args(words[1:]))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EX_CONFIG
    except AiopsError as error:
        print(f"aiops: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1
    return status
