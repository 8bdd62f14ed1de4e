"""
One SQL query through SQLAlchemy, as a program of its own: ``python -m aiops.collect.business_sql``.

SQLAlchemy and a driver take tens of megabytes and a quarter of a second, and a driver may hang where Python cannot
interrupt it; so a process is started for each question, with a deadline, and ends with its answer. The transaction is
read-only where the database knows such a thing and is always rolled back. One JSON line in, one out.
"""

from __future__ import annotations

import ctypes
import json
import signal
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

_PR_SET_PDEATHSIG = 1
_MAX_WORDS = 200
_FIRST = {
    "postgresql": ("SET TRANSACTION READ ONLY", "SET LOCAL statement_timeout = {timeout_ms}"),
    "sqlite": ("PRAGMA query_only = ON",),
}
"""Said at the start of the transaction. MySQL must be told before it starts: there, and elsewhere, the user's rights count."""


def rows(url: str, query: str, limit: int, timeout_s: float) -> list[list[Any]]:
    """
    The first *limit* rows of *query* at *url*: value, time, service.

    A column called ``time`` or ``service`` is that; ``value``, or the first that is neither, is the value.
    """
    import sqlalchemy  # noqa: PLC0415 (this program exists so that nobody else imports it; its absence is an answer)

    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool)
    with engine.connect() as connection, connection.begin() as transaction:
        for statement in _FIRST.get(engine.dialect.name, ()):
            connection.execute(sqlalchemy.text(statement.format(timeout_ms=round(timeout_s * 1e3))))
        result = connection.execute(sqlalchemy.text(query))
        names = [str(name).lower() for name in result.keys()]  # noqa: SIM118 (a result is not its keys)
        found = [shaped(names, row) for row in result.fetchmany(limit)]
        transaction.rollback()
    return found


def shaped(names: list[str], row: Any) -> list[Any]:
    """Value, time and service of one row as plain data."""
    cells = dict(zip(names, map(plain, row), strict=False))
    value = cells.get("value", next((cell for name, cell in cells.items() if name not in {"time", "service"}), None))
    return [value, cells.get("time"), cells.get("service")]


def plain(cell: Any) -> Any:
    """A cell as JSON has it; a time without a zone is taken for UTC."""
    if isinstance(cell, datetime):
        return (cell if cell.tzinfo is not None else cell.replace(tzinfo=UTC)).timestamp()
    if isinstance(cell, Decimal):
        return float(cell)
    return cell if isinstance(cell, str | int | float | None) else str(cell)


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Rows, or why there are none, in words without the address."""
    try:
        return {"rows": rows(question["url"], question["query"], question["limit"], question["timeout_s"])}
    except ImportError as error:
        missing = error.name or "a module"
        hint = "; install aiops with its extra sql" if missing == "sqlalchemy" else "; install that driver"
        return {"error": f"{missing} is not installed{hint}"}
    except Exception as error:  # noqa: BLE001 (drivers raise what they like; whatever it is, it is the answer)
        cause = getattr(error, "orig", None) or error
        words = f"{type(cause).__name__}: {cause}".partition("\n")[0]
        for secret in _secrets(question["url"]):
            words = words.replace(secret, "***")
        return {"error": words[:_MAX_WORDS]}


def _secrets(url: str) -> list[str]:
    """The address, and the password in it."""
    password = url.partition("://")[2].rpartition("@")[0].partition(":")[2]
    return [text for text in (url, password, unquote(password)) if text]


def main() -> None:
    """Answer one question."""
    # a driver that hangs cannot see that its asker is gone: go when the daemon goes
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    sys.stdout.write(json.dumps(answer(json.loads(sys.stdin.readline()))) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
