"""Paths become few routes, and nobody's words become labels."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.collect.access_route import Routes


@pytest.mark.parametrize(
    ("path", "route", "model"),
    [
        ("/v1/chat/completions", "/v1/chat/completions", ""),
        ("/v1/chat/completions/", "/v1/chat/completions", ""),
        ("/tenant/42/v1/chat/completions", "/v1/chat/completions", ""),
        ("/v2/models/llama/infer", "/v2/models/*/infer", "llama"),
        ("/v2/models/llama/versions/1/generate_stream", "/v2/models/*/generate_stream", "llama"),
        ("/openai/deployments/gpt/embeddings", "/v1/embeddings", "gpt"),
        ("/users/alice", "/users/*", ""),
        ("/status", "/status", ""),
        ("/", "/", ""),
        ("", "other", ""),
        ("/sk-1234567890abcdef1234567890", "other", ""),
        ("/3f2c/x", "other", ""),
    ],
)
def test_a_path_is_kept_as_far_as_it_is_known(path: str, route: str, model: str) -> None:
    """Ids, names of people and keys stand in paths; none may get into a label."""
    assert Routes().of(path, 200) == (route, model)


def test_known_routes_keep_their_place_in_a_flood() -> None:
    """A scanner must not hide the API."""
    routes = Routes()
    words = ["".join(chr(97 + n // 26**k % 26) for k in range(4)) for n in range(2_000)]

    seen = {routes.of(f"/{word}", 200)[0] for word in words} | {routes.of("/v1/completions", 200)[0]}

    assert "/v1/completions" in seen
    assert len(seen) <= 32
    assert len(routes._cache) <= 1_024


def test_what_does_not_exist_gets_no_route() -> None:
    """A hundred guesses of a scanner would take every place first."""
    routes = Routes()

    assert routes.of("/admin", 404) == ("other", "")
    assert routes.of("/admin", 200) == ("/admin", "")


@given(st.text(max_size=600), st.integers(100, 599))
def test_any_path_has_a_short_route(path: str, status: int) -> None:
    """Clients write paths."""
    route, model = Routes().of(path, status)

    assert len(route) <= 40
    assert len(model) <= 100
