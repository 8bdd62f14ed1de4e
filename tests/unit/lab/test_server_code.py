import asyncio
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.engine_log import open_log
from tests.lab.server_code import Books, RequestFailed, ServerCode


class FullDisk(Books):
    async def write(self, request_id: str, prompt: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerCode]:
    journal = open_log("vllm", tmp_path / "server.log")
    code = ServerCode(journal, 1)
    yield code
    code.close()
    journal.close()


@pytest.mark.parametrize("how", ["file", "synced"])
def test_every_request_stands_in_the_books(tmp_path: Path, how: str) -> None:
    books = Books(tmp_path, "8001", how)
    for number in range(3):
        asyncio.run(books.write(f"r{number}", "w1 w2"))
    books.close()
    lines = (tmp_path / "usage-8001.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["r0", "r1", "r2"]


def test_a_spool_keeps_the_last_files_only(tmp_path: Path) -> None:
    async def write_many(books: Books) -> None:
        for number in range(230):
            await books.write(f"r{number}", "w1")

    asyncio.run(write_many(Books(tmp_path, "8001", "spool")))
    names = {path.name for path in tmp_path.iterdir()}
    assert len(names) == 200
    assert "8001-r229.json" in names
    assert "8001-r0.json" not in names


def test_a_request_that_cannot_be_written_down_fails_and_the_log_tells_the_error(
    tmp_path: Path, server: ServerCode
) -> None:
    server.books = FullDisk(tmp_path, "8001", "file")
    with pytest.raises(RequestFailed):
        asyncio.run(server.before_queue("r1", ["w1"]))
    assert "[Errno 28] No space left on device" in (tmp_path / "server.log").read_text()


@pytest.mark.parametrize(
    ("what", "value", "taken"),
    [
        ("fatal", {"how": "exit", "share": 0.0}, True),
        ("tokenizer_process", {"seconds": 1.0}, False),  # it has none
        ("anything", {}, False),
    ],
)
def test_only_its_own_switches_are_taken(server: ServerCode, what: str, value: dict[str, Any], *, taken: bool) -> None:
    assert server.switch(what, value) is taken
