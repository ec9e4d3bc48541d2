"""A service as an operator meets it: `chassis` as a process, with its lines, signals and exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

PATIENCE = 30.0

ECHO = """
from chassis import ServiceChassis
from chassis.testing.echo import EchoServicer
from cqi.testing.v1 import echo_pb2_grpc as rpc

class Echo(ServiceChassis):
    name = "echo"
    def register(self, server):
        rpc.add_EchoServiceServicer_to_server(EchoServicer(), server)
"""
"""The source of a service that answers with what it was sent."""

_DEFAULTS = {"server_grpc_port": "0", "server_http_port": "0", "server_drain_delay": "0s"}


class Process:
    """`chassis ARGUMENTS` in a folder of its own; what it writes is read all the time, so that it never waits for us.

    A setting in lower case is a knob (`server_drain_delay="1s"`), one in capitals an environment variable; None takes
    out what would be set for all. `stdout` and `stderr` are files for what is not to be read here.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        stdout: int | None = None,
        stderr: int | None = None,
        **settings: str | None,
    ) -> None:
        environment = {
            name if name.isupper() else f"CQI_{name.upper()}": value
            for name, value in {**_DEFAULTS, **settings}.items()
            if value is not None
        }
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "chassis.cli", *arguments],
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if stdout is None else stdout,
            stderr=subprocess.PIPE if stderr is None else stderr,
            text=True,
        )
        self._read_on = threading.Condition()
        self._out: list[str] = []
        self._err: list[str] = []
        self._parsed: list[dict[str, Any]] = []
        self._found = 0
        pipes = ((self.popen.stdout, self._out), (self.popen.stderr, self._err))
        self._readers = [
            threading.Thread(target=self._read, args=(pipe, texts), daemon=True) for pipe, texts in pipes if pipe
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self.popen.pid

    @property
    def out(self) -> str:
        """What it has written to stdout."""
        return "".join(self._out)

    @property
    def err(self) -> str:
        """What it has written to stderr."""
        return "".join(self._err)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What it has logged to stdout; raises AssertionError for what is no line of a log."""
        with self._read_on:
            for text in self._out[len(self._parsed) :]:
                try:
                    self._parsed.append(dict(json.loads(text)))
                except ValueError:
                    raise AssertionError(f"no line of a log: {text!r}") from None
            return list(self._parsed)

    def until(self, message: str | re.Pattern[str]) -> dict[str, Any]:
        """Wait for the next line with this message; next to the one that was waited for before."""
        fits = message.fullmatch if isinstance(message, re.Pattern) else message.__eq__
        deadline = time.monotonic() + PATIENCE
        with self._read_on:
            while True:
                # Asked before the lines are: what it wrote before its end is among them.
                reading = self._readers[0].is_alive()
                for number, line in enumerate(self.lines[self._found :], self._found):
                    if fits(line["message"]):
                        self._found = number + 1
                        return line
                if not reading or time.monotonic() > deadline:
                    how = "was silent" if reading else "ended"
                    raise AssertionError(f"it {how} without {message!r}: {self.out[-5000:]} {self.err[-5000:]}")
                self._read_on.wait(0.1)  # nobody tells of the reader's end

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.popen.send_signal(number)

    def end(self, *, by: signal.Signals | None = None) -> tuple[int, list[dict[str, Any]], str]:
        """Wait for its end, by a signal or by itself; returns exit code, all log lines, and what went to stderr."""
        code = self.ended(by=by)
        return code, self.lines, self.err

    def ended(self, *, by: signal.Signals | None = None) -> int:
        """Wait for its end, by a signal or by itself; returns the exit code."""
        if by is not None:
            self.send(by)
        try:
            self.popen.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end: {self.out[-5000:]} {self.err[-5000:]}") from None
        self._finish()
        return self.popen.returncode

    def kill(self) -> None:
        """End it in any case."""
        self.popen.kill()
        self.popen.wait(PATIENCE)
        self._finish()
        for pipe in (self.popen.stdout, self.popen.stderr):
            if pipe is not None:
                pipe.close()

    def _finish(self) -> None:
        for reader in self._readers:
            reader.join(PATIENCE)
            # Whoever holds the other end has outlived the process.
            assert not reader.is_alive(), f"something that it started still writes: {self.out[-5000:]}"

    def _read(self, pipe: IO[str], texts: list[str]) -> None:
        for text in pipe:
            with self._read_on:
                texts.append(text)
                self._read_on.notify_all()


def stopped(process: Process, unhindered: Callable[[], Process], *, within: float) -> int:
    """Have it stop, by SIGTERM, in less than so many seconds; returns the exit code.

    Where it was late, the time of a stop that nothing holds up, of what `unhindered` starts, is not counted: this is
    what the machine takes for it just now.
    """
    took, code = _stop(process)
    if took >= within:
        other = unhindered()
        other.until("service started")
        took -= _stop(other)[0]
    assert took < within, f"it took {took:.1f} s to stop"
    return code


def _stop(process: Process) -> tuple[float, int]:
    began = time.monotonic()
    code = process.ended(by=signal.SIGTERM)
    return time.monotonic() - began, code


def is_alive(pid: int) -> bool:
    """Whether there is this process, and it has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # gone, and not yet noticed by whoever adopted it


@contextmanager
def processes(folder: Path) -> Iterator[Callable[..., Process]]:
    """Give what starts processes in a folder, as `Process` does; none of them outlives the block."""
    with ExitStack() as stack:

        def start(*arguments: str, **settings: Any) -> Process:
            process = Process(folder, *arguments, **settings)
            stack.callback(process.kill)
            return process

        yield start
