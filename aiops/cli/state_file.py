"""The state file of a daemon that does not run, for the commands that then read or change it themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from aiops.errors import AiopsError
from aiops.settings import Settings

if TYPE_CHECKING:
    from aiops.store.state_sqlite import StateSqlite


@contextlib.contextmanager
def state_file(config: Settings) -> Iterator[StateSqlite]:
    """The state file, opened as the daemon would; what is shown of it must go through `publishable`, as its answers do."""
    from aiops.clock import SystemClock  # noqa: PLC0415
    from aiops.store.state_sqlite import StateSqlite  # noqa: PLC0415

    path = config.state.dir / "state.db"
    if not path.exists():
        raise AiopsError(f"no daemon answers on {config.web.listen}, and there is no state in {config.state.dir}")
    state = StateSqlite(path, SystemClock().now_s())
    try:
        yield state
    finally:
        state.close()
