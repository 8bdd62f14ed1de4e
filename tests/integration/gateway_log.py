"""An access log that grows, as a gateway writes it, without the gateway."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path


def line(status: int, *, upstream: str = "127.0.0.1:8001", path: str = "/v1/completions") -> str:
    """One request that ends now, in the format the daemon suggests."""
    entry = {
        "t": f"{time.time():.3f}", "st": status, "rt": 0.05, "uht": "0.040", "urt": "0.050", "ust": str(status),
        "ua": upstream, "uri": path, "rc": "OK", "retry": "",
    }  # fmt: skip
    return json.dumps(entry, separators=(",", ":")) + "\n"


class GatewayLog(threading.Thread):
    """
    Writes `rate` lines a second to *path*; while `bad`, four of five are 503.

    It goes on whether or not anybody reads it.
    """

    def __init__(self, path: Path, rate: float = 20.0) -> None:
        super().__init__(daemon=True)
        self.path = path
        self.bad = False
        self.first_bad_s: float | None = None
        self._pause_s = 1.0 / rate
        self._ended = threading.Event()
        self._file = path.open("a", buffering=1)
        self.start()

    def write(self, status: int) -> None:
        """One line, besides those of the rate."""
        if status == 503 and self.first_bad_s is None:
            self.first_bad_s = time.time()
        self._file.write(line(status))

    def run(self) -> None:
        count = 0
        while not self._ended.wait(self._pause_s):
            count += 1
            self.write(503 if self.bad and count % 5 else 200)

    def stop(self) -> None:
        self._ended.set()
        self.join(5.0)
        self._file.close()
