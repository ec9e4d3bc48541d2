"""Which processes come from which."""

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
