from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Benches silence the log of their process; here it is everybody's."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)
