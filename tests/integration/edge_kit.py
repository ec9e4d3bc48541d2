"""The echo service as a process of its own, whose memory, port and end are watched from outside."""

from __future__ import annotations

import json
import signal
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.process import Process

PATIENCE = 20.0

_SERVICE = """
from chassis import ServiceChassis
from chassis.testing.echo import EchoServicer
from cqi.testing.v1 import echo_pb2_grpc as rpc

class Echo(ServiceChassis):
    name = "echo"
    def register(self, server):
        rpc.add_EchoServiceServicer_to_server(EchoServicer(), server)
"""


class EchoProcess:
    """A running echo service; what it logs is read all the time, so that it never waits for its reader."""

    def __init__(self, process: Process) -> None:
        self._process = process
        started = process.until("service started")
        self.address = str(started["grpc_address"])
        self.port = int(self.address.rpartition(":")[2])
        self.http = f"http://{started['http_address']}"
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What it has logged."""
        return list(self._process.lines)

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
        self._process.send(signal.SIGTERM)
        return self.ended()

    def ended(self) -> int:
        """Wait until it has ended by itself; returns the exit code."""
        code = self._process.popen.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def kill(self) -> None:
        """End it in any case."""
        if self._process.popen.poll() is None:
            self._process.popen.kill()
        self._process.popen.wait(PATIENCE)
        self._reader.join(PATIENCE)
        for pipe in (self._process.popen.stdout, self._process.popen.stderr):
            if pipe is not None:
                pipe.close()

    @property
    def _proc(self) -> Path:
        return Path(f"/proc/{self._process.popen.pid}")

    def _status(self, name: str) -> int:
        for line in (self._proc / "status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return 1024 * int(line.split()[1])
        raise LookupError(name)

    def _read(self) -> None:
        assert self._process.popen.stdout is not None
        for text in self._process.popen.stdout:
            self._process.lines.append(json.loads(text))


@contextmanager
def echo_process(folder: Path, **settings: str) -> Iterator[EchoProcess]:
    """Run it for the time of a block, with these settings as environment variables."""
    (folder / "svc.py").write_text(textwrap.dedent(_SERVICE))
    process = EchoProcess(Process(folder, "svc:Echo", **settings))
    try:
        yield process
    finally:
        process.kill()
