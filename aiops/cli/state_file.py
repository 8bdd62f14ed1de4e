"""The state file of a daemon that does not run, for the commands that then read or change it themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from aiops.errors import AiopsError, StateError
from aiops.settings import Settings

if TYPE_CHECKING:
    from aiops.store.state_sqlite import StateSqlite


@contextlib.contextmanager
def state_file(config: Settings, *, changes: bool = False) -> Iterator[StateSqlite]:
    """
    The state file, opened as the daemon would; what is shown of it must go through `publishable`, as its answers do.

    Args:
        config: Says where it is.
        changes: Whether it will be written: then no daemon may work with it, also none that is starting or hangs.

    Raises:
        AiopsError: there is none, or a daemon works with it.
    """
    from aiops.clock import SystemClock  # noqa: PLC0415
    from aiops.store.lock import held  # noqa: PLC0415
    from aiops.store.state_sqlite import StateSqlite  # noqa: PLC0415

    path = config.state.dir / "state.db"
    if not path.exists():
        raise AiopsError(f"no daemon answers on {config.web.listen}, and there is no state in {config.state.dir}")
    with contextlib.ExitStack() as stack:
        if changes:
            try:
                stack.enter_context(held(config.state.dir))
            except StateError as problem:
                text = f"no daemon answers on {config.web.listen}, but {problem}: say it again when it answers"
                raise AiopsError(text) from problem
        state = StateSqlite(path, SystemClock().now_s())
        stack.callback(state.close)
        yield state
