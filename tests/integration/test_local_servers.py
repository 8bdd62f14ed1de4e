"""With no settings at all, a server that runs on this machine is found and read."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from aiops.collect import inference
from aiops.model import Sample, Sight
from tests.worlds import make_world

SERVER = """
import http.server, sys
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'# TYPE vllm:num_requests_running gauge\\nvllm:num_requests_running{model_name="tiny"} 5\\n'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture
def port() -> Iterator[int]:
    """Port of a process that speaks like vLLM."""
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def test_a_server_on_any_local_port_is_found_in_the_first_round(port: int):
    """`aiops run` and `aiops once` on a stranger's node: nothing to configure."""

    async def scene() -> list[object]:
        async with httpx.AsyncClient(trust_env=False) as http:
            collector = inference.build(inference.Config(), make_world(root=Path("/"), http=http))
            return list(await collector.gather(1_000.0))

    seen = asyncio.run(scene())
    running = {
        o.labels.get("instance"): (o.labels.get("model"), o.value)
        for o in seen
        if isinstance(o, Sample) and o.metric == "gen_ai_server_requests_running"
    }
    assert running[f"127.0.0.1:{port}"] == ("tiny", 5.0)
    assert any(isinstance(o, Sight) and o.seen and o.detail == "vLLM, model tiny" for o in seen)
