"""The TCP connections of this process, as Linux sees them: also those that nobody remembers any more."""

from __future__ import annotations

from pathlib import Path

_ESTABLISHED = "01"  # Linux, include/net/tcp_states.h


def connections_to(port: int) -> int:
    """How many established connections this process has to a port of another."""
    own = {inode for inode in map(_inode, Path("/proc/self/fd").iterdir()) if inode}
    lines = [line.split() for name in ("tcp", "tcp6") for line in _lines(Path("/proc/self/net") / name)]
    # Columns: number, local address, remote address, state, …; the tenth is the inode (Linux, proc(5)).
    return sum(
        cells[9] in own and cells[3] == _ESTABLISHED and int(cells[2].rpartition(":")[2], 16) == port for cells in lines
    )


def _inode(descriptor: Path) -> str:
    """The inode of a descriptor that is a socket."""
    try:
        target = str(descriptor.readlink())
    except FileNotFoundError:  # that with which the folder was read
        return ""
    return target.removeprefix("socket:[").removesuffix("]") if target.startswith("socket:[") else ""


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines()[1:] if file.exists() else []
