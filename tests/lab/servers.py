"""How a house starts its model servers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.lab.house import House, Replica


def server_command(house: House, replica: Replica) -> tuple[str, ...]:
    """The command line of *replica*'s model server: on `replica.port`, its log in `replica.log`."""
    plan = house.plan
    return (
        sys.executable, "-m", "tests.lab.model_server", "--dialect", house.dialect, "--port", str(replica.port),
        *house.cards.arguments(replica.gpu), "--dsn", house.database.dsn, "--log", str(replica.log),
        "--seed", str(plan.seed + replica.index), "--kv-blocks", str(plan.kv_blocks),
        "--max-running", str(plan.max_running), "--max-waiting", str(plan.max_waiting),
        "--pool-size", str(plan.pool_size + plan.pool_overflow), "--pool-timeout", str(plan.pool_timeout_s),
        *_books(house), *(("--kv-peer", str(house.prefill.port)) if house.prefill else ()), *plan.server_options,
        *replica.settings, _own(house, replica),
    )  # fmt: skip


def _own(house: House, replica: Replica) -> str:
    """The file of arguments of this start: how a server is to fail or be slow this time is no change of its command."""
    path = house.folder / f"{replica.name}.args"
    path.write_text("".join(f"{word}\n" for word in replica.options))
    return f"@{path}"


def _books(house: House) -> tuple[str, ...]:
    return ("--books", house.plan.books, "--books-folder", str(house.books)) if house.plan.books else ()
