"""The collector of Kubernetes' changes over real HTTPS, against a fake API server with an authority of its own."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from aiops.collect.kubernetes import Config, build
from aiops.document import Secret
from aiops.errors import SourceError
from aiops.model import Event, Observation
from tests.fake_kubernetes import TOKEN, FakeCluster, handler, workload
from tests.integration.conftest import require_program
from tests.worlds import make_world

pytestmark = [pytest.mark.external_service, pytest.mark.timeout(60)]
NOW_S = 1_800_000_000.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    folder = tmp_path_factory.mktemp("authority")
    command = [
        require_program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=fake",
        "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(folder / "key.pem"), "-out", str(folder / "ca.pem"),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture
def cluster(authority: Path) -> Iterator[tuple[FakeCluster, str]]:
    fake = FakeCluster()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(fake))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "ca.pem", authority / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield fake, f"https://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join(5.0)


def rounds(fake: FakeCluster, url: str, ca: Path | None) -> list[list[Observation]]:
    """One round, a deploy, another round."""

    async def scene() -> list[list[Observation]]:
        config = Config(api=url, token=Secret(TOKEN), ca=ca, namespace="chat")
        collector = build(config, make_world())
        try:
            fake.put("deployments", workload("vllm", "vllm:1"))
            first = list(await collector.gather(NOW_S))
            fake.put("deployments", workload("vllm", "vllm:2"))
            return [first, list(await collector.gather(NOW_S + 10.0))]
        finally:
            collector.close()
            await asyncio.sleep(0.05)  # the connection is closed by the loop

    return asyncio.run(scene())


def test_a_deploy_is_seen_through_tls_that_trusts_the_clusters_own_authority(cluster, authority):
    """As in a pod: token in the header, authority from a file."""
    first, second = rounds(*cluster, authority / "ca.pem")

    assert [o for o in first if isinstance(o, Event)] == []
    assert [o.action for o in second if isinstance(o, Event)] == ["deploy"]


def test_a_server_that_another_authority_vouches_for_gets_no_token(cluster):
    """Whoever answers at that address may be anybody."""
    with pytest.raises(SourceError, match="cannot be reached"):
        rounds(*cluster, None)
    assert cluster[0].tokens == set()
