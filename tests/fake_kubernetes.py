"""
A fake of the API of Kubernetes: lists, watches and forgets like one, and says that it is none in its ``Server`` header.

It was written from the API's documentation (list, watch, bookmarks, limit and continue, 410 Gone); no cluster was asked.
"""

from __future__ import annotations

import copy
import json
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlsplit

TOKEN = "fake-token"
NAMES = {"deployments": "/apis/apps/v1", "statefulsets": "/apis/apps/v1", "events": "/api/v1"}


def workload(name: str, *images: str, replicas: int = 2, at: str = "", **template: Any) -> dict[str, Any]:
    """A Deployment as the API has it, as far as anybody reads it."""
    return {
        "metadata": {
            "name": name,
            "managedFields": [
                {"manager": "kubectl", "time": at or "2000-01-01T00:00:00Z"},
                {"manager": "controller", "subresource": "status", "time": "2027-01-15T08:00:00Z"},
            ],
        },
        "spec": {
            "replicas": replicas,
            "template": {
                "metadata": {"annotations": template.pop("annotations", {})},
                "spec": {
                    "containers": [{"name": f"c{i}", "image": image} for i, image in enumerate(images)],
                    **template,
                },
            },
        },
        "status": {"replicas": replicas, "updatedReplicas": replicas, "availableReplicas": replicas - 1},
    }


class FakeCluster:
    """What it holds, and what happened to it."""

    def __init__(self) -> None:
        self.version = 100
        self.held: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in NAMES}
        self.log: list[tuple[int, str, str, dict[str, Any]]] = []
        self.oldest = 0
        self.statuses: dict[str, int] = {}
        self.gone_in_stream = False
        self.asked: list[str] = []
        self.tokens: set[str] = set()

    def put(self, kind: str, thing: dict[str, Any]) -> None:
        self._happen("MODIFIED" if thing["metadata"]["name"] in self.held[kind] else "ADDED", kind, thing)

    def delete(self, kind: str, name: str) -> None:
        self._happen("DELETED", kind, self.held[kind][name])
        del self.held[kind][name]

    def _happen(self, what: str, kind: str, thing: dict[str, Any]) -> None:
        self.version += 1
        stored = copy.deepcopy(thing)
        stored["metadata"]["resourceVersion"] = str(self.version)
        self.held[kind][thing["metadata"]["name"]] = stored
        self.log.append((self.version, what, kind, stored))

    def answer(self, target: str, authorization: str) -> tuple[int, bytes]:
        """Status and body of a GET."""
        self.asked.append(target)
        self.tokens.add(authorization)
        parts, query = urlsplit(target), dict(parse_qsl(urlsplit(target).query))
        kind = parts.path.rpartition("/")[2]
        if authorization != f"Bearer {TOKEN}":
            return 401, b"{}"
        if status := self.statuses.get(kind):
            return status, b"{}"
        if kind not in NAMES or not parts.path.startswith(NAMES[kind] + "/namespaces/chat/"):
            return 404, b"{}"
        return self._watch(kind, int(query["resourceVersion"])) if "watch" in query else self._list(kind, query)

    def _list(self, kind: str, query: dict[str, str]) -> tuple[int, bytes]:
        first, limit = int(query.get("continue", "0")), int(query["limit"])
        items = list(self.held[kind].values())
        more = str(first + limit) if first + limit < len(items) else ""
        metadata = {"resourceVersion": str(self.version), "continue": more}
        return 200, json.dumps({"kind": "List", "metadata": metadata, "items": items[first : first + limit]}).encode()

    def _watch(self, kind: str, since: int) -> tuple[int, bytes]:
        if since < self.oldest:
            if not self.gone_in_stream:
                return 410, b"{}"
            return 200, json.dumps({"type": "ERROR", "object": {"kind": "Status", "code": 410}}).encode()
        lines = [
            {"type": what, "object": thing} for version, what, k, thing in self.log if k == kind and version > since
        ]
        lines.append({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(self.version)}}})
        return 200, "".join(json.dumps(line) + "\n" for line in lines).encode()


def handler(cluster: FakeCluster) -> type[BaseHTTPRequestHandler]:
    """The cluster over HTTP."""

    class Handler(BaseHTTPRequestHandler):
        server_version = "fake-kubernetes"
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, body = cluster.answer(self.path, self.headers.get("Authorization", ""))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    return Handler
