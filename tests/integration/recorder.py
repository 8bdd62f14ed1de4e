"""A metrics page over real HTTP that remembers every answer it gave."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Recorder:
    """
    Serves what *make* returns, and keeps it.

    Each page also says the how manieth it is, as ``recorder_number``: a scrape that came too late is in no database.
    """

    def __init__(self, make: Callable[[int], bytes]) -> None:
        self.pages: list[bytes] = []
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                number = len(recorder.pages)
                page = make(number) + f"recorder_number {number}\n".encode()
                recorder.pages.append(page)
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5.0)
