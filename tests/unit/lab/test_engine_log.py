"""Each dialect's log is in its own words, also while a server starts."""

from pathlib import Path

import pytest

from aiops.demo.card import Room
from tests.lab.engine_log import open_log


@pytest.mark.parametrize(
    ("dialect", "words", "foreign"),
    [
        ("vllm", ("Loading weights took 2.50 seconds", "GPU KV cache size: 3,200 tokens", "less than desired GPU memory utilization"),
         ("Load weight end", "mem-fraction-static")),
        ("sglang", ("Load weight end. elapsed=2.50 s", "KV Cache is allocated. #tokens: 3200", "increase --mem-fraction-static"),
         ("Loading weights took", "GPU KV cache size", "GPU memory utilization")),
    ],
)  # fmt: skip
def test_a_start_is_told_in_the_words_of_its_engine(
    tmp_path: Path, dialect: str, words: tuple[str, ...], foreign: tuple[str, ...]
):
    log = open_log(dialect, tmp_path / "log")

    log.loaded(2.5, 2**20)
    log.compiled(1.0)
    log.allocated(3200)
    log.not_started(log.no_room(1, Room(100.0, 1000.0), 0.92))
    log.close()

    text = (tmp_path / "log").read_text()
    assert all(word in text for word in words)
    assert not any(word in text for word in foreign)


@pytest.mark.parametrize(("dialect", "words"), [("vllm", "Shutting down FastAPI"), ("sglang", "SIGTERM received.")])
def test_a_server_that_is_told_to_end_says_so(tmp_path: Path, dialect: str, words: str):
    """Both engines and uvicorn log the signal; a crash logs none of it."""
    log = open_log(dialect, tmp_path / "log")
    log.told_to_end()
    log.close()

    text = (tmp_path / "log").read_text()
    assert words in text
    assert "Finished server process [" in text
