"""
What a request asked for: its path as one of few routes, and the model it names in its path.

Paths of inference APIs are known and kept, under whatever prefix a gateway mounts them. Of any other path only the
first word is kept, and only if it is one: ids, names of people and what a scanner tries must not become labels. A
service has at most 32 routes; the rest is "other".
"""

from __future__ import annotations

import re
from typing import Final

OTHER: Final = "other"
"""What is beyond a bound."""
_KNOWN: Final = (
    "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/v1/embeddings", "/v1/models",
    "/v1/rerank", "/v1/score", "/v1/audio/transcriptions", "/v1/audio/translations", "/v1/audio/speech",
    "/v1/images/generations", "/v2/rerank", "/generate", "/generate_stream", "/completion", "/embed", "/rerank",
    "/score", "/classify", "/pooling", "/tokenize", "/invocations",
)  # fmt: skip
"""vLLM, SGLang, TGI, TEI, trtllm-serve and llama.cpp; each keeps its place whatever else is asked for."""
_MOST_OTHERS = 32 - len(_KNOWN) - 3
"""Routes told apart besides the known ones and the three of Triton; "other" is one of them."""
_TRITON = re.compile(r"/v2/models/([^/]{1,100})/(?:versions/[^/]{1,20}/)?(infer|generate|generate_stream)$")
_AZURE = re.compile(r"/openai/deployments/([^/]{1,100})/(.{1,40})$")
_WORD = re.compile(r"/([A-Za-z][A-Za-z_-]{0,23})(?=/|$)")
_MAX_PATH = 512
_MAX_CACHED = 1_024
_MAX_CACHED_PATH = 128
_MISSING = 404


class Routes:
    """Routes of one service."""

    def __init__(self) -> None:
        self._known = frozenset(_KNOWN)
        self._others: set[str] = set()
        self._cache: dict[str, tuple[str, str]] = {}

    def of(self, path: str, status: int) -> tuple[str, str]:
        """
        Route and model of *path*; the model is empty where the path names none.

        Args:
            path: Without query.
            status: Of the answer; what does not exist gets no route of its own.
        """
        if (found := self._cache.get(path)) is not None:
            return found
        route, model = _named(path, self._known)
        if not route and status == _MISSING:
            return OTHER, ""
        route = route or self._bounded(_folded(path))
        if len(path) <= _MAX_CACHED_PATH:
            if len(self._cache) >= _MAX_CACHED:
                self._cache.clear()
            self._cache[path] = (route, model)
        return route, model

    def _bounded(self, route: str) -> str:
        if route not in self._others:
            if len(self._others) >= _MOST_OTHERS:
                return OTHER
            self._others.add(route)
        return route


def _named(path: str, known: frozenset[str]) -> tuple[str, str]:
    """A known route, and the model it names; empty for what is not known."""
    if path in known:
        return path, ""
    if len(path) > _MAX_PATH:
        return "", ""
    if (found := _TRITON.search(path)) is not None:
        return f"/v2/models/*/{found[2]}", found[1]
    if (found := _AZURE.search(path)) is not None and f"/v1/{found[2]}" in known:
        return f"/v1/{found[2]}", found[1]
    tail = path[max(path.find("/v1/"), 0) :].rstrip("/")
    return (tail, "") if tail in known else ("", "")


def _folded(path: str) -> str:
    """The first word of *path*, and whether there was more."""
    found = _WORD.match(path)
    if found is None:
        return "/" if path == "/" else OTHER
    return f"/{found[1]}" if found.end() == len(path) else f"/{found[1]}/*"
