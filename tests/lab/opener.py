"""An agent that opens a connection to a port every so often, says hello, and never closes one."""

from __future__ import annotations

import argparse
import random
import resource
import socket
import time

from aiops.demo.wire import HOST

_REQUEST = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"


def main() -> None:
    """Open until told to stop."""
    parser = argparse.ArgumentParser(prog="tests.lab.opener", description="Opens connections and leaves them open.")
    parser.add_argument("port", type=int)
    parser.add_argument("per_second", type=float)
    args = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    kept: list[socket.socket] = []
    while True:
        try:
            opened = socket.create_connection((HOST, args.port), timeout=2.0)
            opened.sendall(_REQUEST)
            kept.append(opened)
        except OSError:
            pass
        time.sleep(random.expovariate(args.per_second))


if __name__ == "__main__":
    main()
