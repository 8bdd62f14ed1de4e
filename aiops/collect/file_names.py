"""Names of files as people write them in settings, and how to be allowed to read one."""

from __future__ import annotations

import glob
import grp
import os
import pwd
from pathlib import Path


def expand(pattern: str, most: int) -> list[str]:
    """Files that *pattern* names, sorted, at most *most*; a name without wildcards stands for itself, there or not."""
    path = Path(pattern).expanduser()
    if not glob.has_magic(pattern):
        return [str(path)]
    return sorted(str(found) for found in Path(path.anchor).glob(str(path.relative_to(path.anchor))))[:most]


def reading_hint(path: str) -> str:
    """How this user could be allowed to read *path*."""
    for place in (Path(path), Path(path).parent):
        try:
            group = grp.getgrgid(place.stat().st_gid).gr_name
            user = pwd.getpwuid(os.geteuid()).pw_name
        except (OSError, KeyError):
            continue
        if group == "root":
            return f"let {user} read it: setfacl -m u:{user}:r {path}"
        return f"add {user} to the group that may read it: usermod -aG {group} {user}"
    return "let this user read it"
