"""Which processes come from which, and which of them listen."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


def descendants(pid: int) -> list[int]:
    """Give the processes that `pid` started, and those that they did, nearest first."""
    children: dict[int, list[int]] = {}
    for child, parent in _processes():
        children.setdefault(parent, []).append(child)
    found = list(children.get(pid, ()))
    for each in found:
        found += children.get(each, ())
    return found


def may_listen(pid: int, port: int) -> bool:
    """Whether it can be `pid`, or a process that it started, that listens on a port of IPv4.

    Where the system does not tell who does, that is True.
    """
    listeners = set(_listeners(port))
    return not listeners or any(listeners & set(_open_files(each)) for each in (pid, *descendants(pid)))


def _listeners(port: int) -> Iterator[str]:
    """Give the sockets that listen on a port, as links to them are called."""
    try:
        # proc(5); 0A is TCP_LISTEN of linux/tcp_states.h
        _, *rows = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return
    for row in rows:
        _, local, _, state, _, _, _, _, _, inode, *_ = row.split()
        if state == "0A" and int(local.rpartition(":")[2], 16) == port:
            yield f"socket:[{inode}]"


def _open_files(pid: int) -> Iterator[str]:
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            yield str(entry.readlink())
    except OSError:  # it ended, or closed the file, meanwhile
        return


def _processes() -> Iterator[tuple[int, int]]:
    """Give each process with its parent."""
    if sys.platform == "linux":
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
                except OSError:  # it ended meanwhile
                    continue
                # The name of the program is in parentheses, and may have anything in it.
                yield int(entry.name), int(stat.rpartition(")")[2].split()[1])
    else:
        listing = subprocess.run(
            ["/bin/ps", "-A", "-o", "pid=,ppid="], stdout=subprocess.PIPE, text=True, check=True
        ).stdout
        for line in listing.splitlines():
            child, parent = line.split()
            yield int(child), int(parent)
