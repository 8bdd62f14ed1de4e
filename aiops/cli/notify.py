"""``aiops notify test RECEIVER``: sends a real message, so that the first page is not the first try."""

from __future__ import annotations

import argparse
import asyncio
import os

from aiops import settings
from aiops.cli import run
from aiops.clock import SystemClock
from aiops.errors import AiopsError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    run.add_arguments(parser)
    parser.add_argument("action", choices=["test"])
    parser.add_argument("receiver", help="name of a receiver in the settings")


def main(args: argparse.Namespace) -> int:
    """Exit status 0 when the receiver took the message."""
    from aiops.notify.receivers import build_receivers, decode_receivers, test_message  # noqa: PLC0415
    from aiops.notify.ways import check_environment, open_client  # noqa: PLC0415

    config = settings.load(run.settings_file(args.config))
    receivers = {receiver.name: receiver for receiver in decode_receivers(config.notify.receivers)}
    if args.receiver not in receivers:
        known = ", ".join(sorted(receivers)) or "none is configured"
        raise AiopsError(f"no receiver {args.receiver!r}; known: {known}")

    check_environment(os.environ)

    async def send() -> None:
        async with open_client(os.environ) as client:
            (notifier,) = build_receivers([receivers[args.receiver]], client).values()
            await notifier.send(
                test_message(args.receiver, SystemClock().now_s(), language=config.notify.language.value)
            )

    asyncio.run(send())
    print(f"{args.receiver} took the message.")
    return 0
