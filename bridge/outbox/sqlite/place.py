"""The place of the outbox's file: who may read it, whether it lasts, how much room is left.

Source: SQLite, "Write-Ahead Logging" ("does not work over a network filesystem") and "How To
Corrupt An SQLite Database File", 2.1; proc(5) for ``mountinfo``.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from bridge.outbox.base import Weakness

MOUNTS = Path("/proc/self/mountinfo")  # of Linux; elsewhere nothing is said of file systems
TIGHT_BYTES = 1024 * 1024 * 1024  # free, below which a day's outage may fill the disk
_OTHERS_MAY = 0o077  # bits of a file's mode

_NETWORK = frozenset(
    """
    9p afs beegfs ceph cifs fuse.ceph fuse.gcsfuse fuse.glusterfs fuse.s3fs fuse.sshfs gpfs lustre
    nfs nfs4 smb3 smbfs
    """.split()
)
_ESCAPED = re.compile(r"\\([0-7]{3})")


def inspect_file(path: str) -> list[Weakness]:
    """Return what is weak about the place of the file at ``path``, which exists; blocks."""
    path, found = os.path.abspath(path), []
    if names := [name for name in _list_files(path) if os.stat(name).st_mode & _OTHERS_MAY]:
        mode = os.stat(names[0]).st_mode & 0o777
        text = f"{names[0]} has mode {mode:04o}: others on this machine may read people's hashes"
        found.append(Weakness(text, f"chmod 600 {' '.join(names)}", True))
    kind = _find_kind(path)
    if kind in _NETWORK:
        text = f"{path} is on {kind}, a network's: locks fail there, and the file can break"
        found.append(Weakness(text, "keep it on a local disk, or use PostgreSQL or Redis", True))
    elif kind in ("tmpfs", "ramfs"):
        text = f"{path} is in memory ({kind}): a restart of the machine loses what waits"
        found.append(Weakness(text, "set BRIDGE_OUTBOX_URL to a place on a disk", False))
    elif kind in ("overlay", "overlayfs", "aufs"):
        text = f"{path} is in a container's own layer: it is gone with the container"
        found.append(Weakness(text, "mount a volume, and set BRIDGE_OUTBOX_URL to it", False))
    free = shutil.disk_usage(path).free
    if free < TIGHT_BYTES:
        text = f"{free // 1_048_576:,} MiB are free on the disk of {path}"
        found.append(Weakness(text, "make room: a million waiting events take about 2 GB", False))
    return found


def _list_files(path: str) -> list[str]:
    """Return the files that exist: SQLite keeps two more beside one that is open."""
    return [name for name in (path, f"{path}-wal", f"{path}-shm") if os.path.exists(name)]


def _find_kind(path: str) -> str:
    try:
        text = MOUNTS.read_text()
    except OSError:
        return ""
    return find_file_system(os.path.realpath(path), text)


def find_file_system(path: str, mounts: str) -> str:
    """Return the kind of file system that the absolute ``path`` is on; empty if it is unknown.

    Args:
        path: Without symbolic links.
        mounts: The content of ``mountinfo``.
    """
    longest, kind = -1, ""
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        parts = fields.split()
        if len(parts) < 5 or not rest:
            continue
        point = _ESCAPED.sub(lambda found: chr(int(found[1], 8)), parts[4]).rstrip("/")
        # Of two mounts at one point the later one hides the other.
        if f"{path}/".startswith(f"{point}/") and len(point) >= longest:
            longest, kind = len(point), rest.split()[0]
    return kind
