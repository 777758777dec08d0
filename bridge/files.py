"""Files that only their owner may read, whatever the umask: they hold people's hashes."""

from __future__ import annotations

import os

OWNER_ONLY = 0o600


def open_private(path: str | os.PathLike[str], flags: int) -> int:
    """Open ``path``, as an ``opener`` of ``open``; a file that exists keeps its rights."""
    if not flags & os.O_CREAT:
        return os.open(path, flags)
    try:
        descriptor = os.open(path, flags | os.O_EXCL, OWNER_ONLY)
    except FileExistsError:
        if flags & os.O_EXCL:
            raise
        return os.open(path, flags, OWNER_ONLY)
    os.fchmod(descriptor, OWNER_ONLY)  # a umask may have taken the owner's own rights
    return descriptor
