"""
A backup: a sender that copies as fast as the link lets it, and the receiver on the other machine.

With several streams, as tools for object stores copy; or in datagrams at a fixed rate, which give way to nobody.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import time

_CHUNK = bytes(256 * 1024)
_DATAGRAM = bytes(1400)


async def receive(host: str, port: int) -> None:
    """Take what comes, for ever."""

    async def drain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(2**20):
            pass
        writer.close()

    sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink.bind((host, port))
    server = await asyncio.start_server(drain, host, port)
    print("{}", flush=True)
    async with server:
        await server.serve_forever()


async def stream(host: str, port: int) -> None:
    """One stream of a copy, for ever."""
    _, writer = await asyncio.open_connection(host, port)
    while True:
        writer.write(_CHUNK)
        await writer.drain()


def datagrams(host: str, port: int, bytes_per_second: float) -> None:
    """Datagrams at a rate, for ever."""
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.connect((host, port))
    due_s = time.monotonic()
    while True:
        try:
            out.send(_DATAGRAM)
        except OSError:
            time.sleep(0.001)
        due_s += len(_DATAGRAM) / bytes_per_second
        if (early_s := due_s - time.monotonic()) > 0.002:
            time.sleep(early_s)


async def streams(host: str, port: int, number: int) -> None:
    """Several streams side by side."""
    await asyncio.gather(*(stream(host, port) for _ in range(number)))


def main() -> None:
    """Receive, or send."""
    parser = argparse.ArgumentParser(prog="tests.lab.copier", description="A backup copy.")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--receive", action="store_true")
    parser.add_argument("--streams", type=int, default=0)
    parser.add_argument("--mbit", type=float, default=0.0, help="of datagrams")
    args = parser.parse_args()
    if args.receive:
        asyncio.run(receive(args.host, args.port))
    elif args.streams:
        asyncio.run(streams(args.host, args.port, args.streams))
    else:
        datagrams(args.host, args.port, args.mbit * 1e6 / 8)


if __name__ == "__main__":
    main()
