from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.process import is_alive

ROOT = Path(__file__).parents[3]
PROMISED = 3.0
ORDINARY_USER = next(user.pw_uid for user in pwd.getpwall() if 0 < user.pw_uid < 65534)


@dataclass
class Parent:
    """A process that has servers, in another process."""

    process: subprocess.Popen[str]
    told: dict[str, Any]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def until_gone(self) -> None:
        """Wait until no process and no port of it is left, for as long as is promised."""
        until = time.monotonic() + PROMISED
        while left := self.left():
            assert time.monotonic() < until, f"still there after {PROMISED} s: {left}"
            time.sleep(0.02)

    def left(self) -> list[str]:
        pids = [f"process {pid}" for pid in self.told["pids"] if is_alive(pid)]
        return pids + [f"port {port}" for port in self.told["ports"] if listens(port)]


def listens(port: int, host: str = "127.0.0.1") -> bool:
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True


StartParent = Callable[..., Parent]


@pytest.fixture
def start_parent() -> Iterator[StartParent]:
    started: list[Parent] = []

    def start(folder: Path, *arguments: str) -> Parent:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.chassis.dev.parent", str(folder), *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        parent = Parent(process, {"pids": [], "ports": [], "holder": 0})
        started.append(parent)
        line = process.stdout.readline()
        assert line, "it ended before it had its servers"
        parent.told.update(json.loads(line))
        return parent

    yield start
    for parent in started:
        parent.kill()
        if parent.told["holder"] and is_alive(parent.told["holder"]):
            os.kill(parent.told["holder"], signal.SIGKILL)
        for stream in (parent.process.stdin, parent.process.stdout):
            assert stream is not None
            stream.close()


@contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    """See to it that nothing outside of `folder` changes: neither what is beside it, nor who owns what is above."""
    before = _around(folder)
    yield
    # Another run's initdb, beside this one, tries shared memory for a moment.
    until = time.monotonic() + PROMISED
    while _around(folder) != before and time.monotonic() < until:
        time.sleep(0.02)
    assert _around(folder) == before


def _around(folder: Path) -> dict[str, object]:
    above = {str(path): (path.stat().st_mode, path.stat().st_uid, path.stat().st_gid) for path in folder.parents}
    beside = sorted(path.name for path in folder.parent.iterdir() if path != folder)
    shared = sorted(path.name for path in Path("/dev/shm").iterdir() if path.name.startswith("PostgreSQL"))
    users = Path("/etc/passwd").read_bytes()
    return {"above": above, "beside": beside, "shared memory": shared, "users": users}
