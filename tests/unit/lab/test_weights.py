"""Weights on disk: read whole, and failing as safetensors fails."""

import asyncio

import pytest

from tests.lab.weights import NAME, WeightsError, load_weights, write_weights


def spoilt(path, how: str) -> None:
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes({"short": content[:-100], "tiny": b"abc", "wrong": b"\xff" * len(content)}[how])


def test_whole_weights_are_read_to_their_end(tmp_path):
    path = write_weights(tmp_path / "model", 2.0)

    assert asyncio.run(load_weights(tmp_path / "model", cold=True)) == path.stat().st_size > 2 * 2**20


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("gone", "Cannot find any model weights"),
        ("short", "MetadataIncompleteBuffer"),
        ("tiny", "HeaderTooSmall"),
        ("wrong", "HeaderTooLarge"),
    ],
)
def test_spoilt_weights_fail_as_safetensors_does(tmp_path, how, words):
    spoilt(write_weights(tmp_path, 1.0), how)
    assert (tmp_path / NAME).exists() == (how != "gone")

    with pytest.raises(WeightsError, match=words):
        asyncio.run(load_weights(tmp_path, cold=False))
