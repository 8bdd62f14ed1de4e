"""Where rule files stand: the shipped ones, and a folder of the user's own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from aiops.errors import ConfigError, Problem

_PACKAGE = Path(__file__).resolve().parent.parent


def shipped_rules(package: Path = _PACKAGE) -> Path:
    """
    The folder of shipped rules: inside the package in an installed wheel, beside it in a checkout.

    Raises:
        ConfigError: there is neither.
    """
    for folder in (package / "rules", package.parent / "rules"):
        if (folder / "alerts").is_dir():
            return folder
    raise ConfigError(Problem(str(package / "rules"), 1, "the shipped rules are missing; install aiops again"))


def rules_dirs(extra: Path | None) -> list[Path]:
    """
    Folders with ``alerts/``, ``causes/`` and ``logs/``, shipped ones first.

    Args:
        extra: A folder of the user's own; None when there is none.

    Raises:
        ConfigError: *extra* is no folder.
    """
    folders = [shipped_rules()]
    if extra is not None:
        if not extra.is_dir():
            raise ConfigError(Problem(str(extra), 1, "rules.dir: expected a folder"))
        folders.append(extra)
    return folders


def fingerprint(folders: Iterable[Path]) -> str:
    """Sixteen hex digits that stand for everything the rules in *folders* say."""
    digest = hashlib.blake2b(digest_size=8)
    for folder in folders:
        for path in sorted(folder.glob("*/*.yaml")):
            digest.update(path.relative_to(folder).as_posix().encode("utf-8", "surrogateescape"))
            digest.update(path.read_bytes())
    return digest.hexdigest()
