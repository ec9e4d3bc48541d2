"""The echo service as a process of its own, whose memory, port and end are watched from outside."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.process import ECHO, PATIENCE, Process, processes

__all__ = ["PATIENCE", "EchoProcess", "echo_process"]


class EchoProcess:
    """A running echo service."""

    def __init__(self, process: Process) -> None:
        self._process = process
        started = process.until("service started")
        self.address = str(started["grpc_address"])
        self.port = int(self.address.rpartition(":")[2])
        self.http = f"http://{started['http_address']}"

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What it has logged."""
        return self._process.lines

    @property
    def resident(self) -> int:
        """The bytes of memory that it has."""
        return self._status("VmRSS")

    @property
    def peak(self) -> int:
        """The most bytes of memory that it has had since `forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        """Begin anew with `peak`."""
        (self._proc / "clear_refs").write_text("5")

    def end(self) -> int:
        """Have it stop; returns the exit code."""
        return self._process.ended(by=signal.SIGTERM)

    def ended(self) -> int:
        """Wait until it has ended by itself; returns the exit code."""
        return self._process.ended()

    @property
    def _proc(self) -> Path:
        return Path(f"/proc/{self._process.pid}")

    def _status(self, name: str) -> int:
        for line in (self._proc / "status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return 1024 * int(line.split()[1])
        raise LookupError(name)


@contextmanager
def echo_process(folder: Path, **settings: str) -> Iterator[EchoProcess]:
    """Run it for the time of a block, with these settings as environment variables."""
    (folder / "svc.py").write_text(ECHO)
    with processes(folder) as start:
        yield EchoProcess(start("run", "svc:Echo", **settings))
