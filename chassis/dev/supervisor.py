"""The process between a service and one of its servers: it starts the server, and sees to it that none outlives it.

It is told what to run by one line of JSON on its standard input, which stays open: its end is the end of the service,
whether that stopped, crashed or was killed. It answers with one line, `{"ready": …}` or `{"failed": "why"}`, and ends
when the server has ended and all that it had started is gone. Were it killed itself, the kernel tells the server.

Only the standard library, and little of it: this is part of every start with `--dev`.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypedDict

from chassis.dev.privileges import become_unprivileged
from chassis.dev.processes import descendants, may_listen

# linux/prctl.h
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36

_LOOK_AGAIN: Final = 0.25
"""Seconds after which it looks whether its parent lives, should something else hold the pipe open."""

_PROBE_EVERY: Final = 0.01
_PROBE_TIMEOUT: Final = 0.25
_LOCK_TIMEOUT: Final = 5.0
_READY_TIMEOUT: Final = 45.0
_VERSION_TIMEOUT: Final = 10.0


class Preparation(TypedDict):
    """A command that makes a folder once; it does so under another name, as a half-made one is none."""

    argv: list[str]
    makes: str
    final: str


class Probe(TypedDict):
    """What is sent to the port, and what the answer has in it when the server is ready."""

    host: str
    port: int
    send: str
    expect: str


class Order(TypedDict):
    """What a supervisor is told: paths are in `folder`, durations seconds, signals numbers."""

    folder: str
    lock: str
    log: str
    pid_file: str | None
    prepare: Preparation | None
    argv: list[str]
    version: list[str]
    environment: dict[str, str]
    probe: Probe
    stop: list[tuple[int, float]]
    orphaned: int
    unprivileged: bool
    parent: int


class _AskedToStopError(Exception):
    """The service ended, or somebody sent SIGTERM."""


class _FailedError(Exception):
    """The server can not be had; the text says why."""


class Supervisor:
    """The life of one server."""

    def __init__(self, order: Order, *, stdin: int = 0, say: Callable[[dict[str, Any]], None]) -> None:
        self._order = order
        self._folder = Path(order["folder"])
        self._stdin = stdin
        self._say = say
        self._asked = False
        self._process: subprocess.Popen[bytes] | None = None
        self._wake, self._waker = os.pipe()
        for end in (self._wake, self._waker):
            os.set_blocking(end, False)

    def run(self) -> None:
        """Have the server run until the service ends."""
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        # Handlers and not SIG_IGN, which the server would inherit.
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_term)
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        try:
            lock = self._lock()
            if self._order["unprivileged"]:
                become_unprivileged(self._folder, needs=[Path(self._order["argv"][0])])
            with (self._folder / self._order["log"]).open("wb") as log:
                self._remove_stale_pid_file()
                self._prepare(log)
                version = subprocess.Popen(  # noqa: S603  (as ordered, like all here)
                    self._order["version"], stdout=subprocess.PIPE, stderr=log, env=self._order["environment"]
                )
                self._process = self._start(self._order["argv"], log, keep=lock)
            self._await_ready()
            self._say({"ready": {"pid": self._process.pid, "version": _text_of(version)}})
            while self._process.poll() is None:
                self._pause(_LOOK_AGAIN)
        except _AskedToStopError:
            pass
        except _FailedError as failure:
            self._say({"failed": str(failure)})
        except (OSError, subprocess.SubprocessError) as error:
            self._say({"failed": str(error)})
        finally:
            self._stop()

    def _on_term(self, *_: object) -> None:
        self._asked = True

    def _pause(self, seconds: float) -> None:
        """Wait, less long if a child ends or there is any other news."""
        readable, _, _ = select.select([self._stdin, self._wake], [], [], seconds)
        if self._wake in readable:
            os.read(self._wake, 1024)
        ended = self._stdin in readable and not os.read(self._stdin, 1024)
        if ended or self._asked or os.getppid() != self._order["parent"]:
            raise _AskedToStopError

    def _lock(self) -> int:
        # The server inherits it, and so it is held as long as a process of an earlier run lives.
        lock = os.open(self._folder / self._order["lock"], os.O_RDWR | os.O_CREAT, 0o600)
        until = time.monotonic() + _LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    raise _FailedError("the server of an earlier run is still running") from None
                self._pause(_PROBE_EVERY)
            else:
                return lock

    def _remove_stale_pid_file(self) -> None:
        # No process of ours has the folder, so the number in it is nobody's, or a stranger's who has it by now.
        if self._order["pid_file"] is None:
            return
        file = self._folder / self._order["pid_file"]
        try:
            pid = file.read_text(encoding="utf-8").split()[0]
        except (FileNotFoundError, IndexError):
            return
        try:
            stranger = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
        except OSError:
            stranger = ""
        if stranger != Path(self._order["argv"][0]).name:
            file.unlink()

    def _prepare(self, log: Any) -> None:
        prepare = self._order["prepare"]
        if prepare is None or (self._folder / prepare["final"]).exists():
            return
        made = self._folder / prepare["makes"]
        shutil.rmtree(made, ignore_errors=True)
        self._process = self._start(prepare["argv"], log)
        while self._process.poll() is None:
            self._pause(_LOOK_AGAIN)
        if self._process.returncode != 0:
            raise _FailedError(f"{Path(prepare['argv'][0]).name} failed")
        made.rename(self._folder / prepare["final"])

    def _start(self, argv: list[str], log: Any, keep: int | None = None) -> subprocess.Popen[bytes]:
        supervisor, orphaned = os.getpid(), self._order["orphaned"]

        def before_exec() -> None:
            _prctl(_PR_SET_PDEATHSIG, orphaned)
            if os.getppid() != supervisor:
                os._exit(1)

        return subprocess.Popen(  # noqa: S603
            argv,
            cwd=self._folder,
            env=self._order["environment"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,
            pass_fds=() if keep is None else (keep,),
            preexec_fn=before_exec,  # noqa: PLW1509  (this process has one thread)
        )

    def _await_ready(self) -> None:
        assert self._process is not None
        until = time.monotonic() + _READY_TIMEOUT
        probe = self._order["probe"]
        # A server of the same kind may have taken the port first, and answers in the same way.
        while not (_answers(probe) and may_listen(self._process.pid, probe["port"])):
            if self._process.poll() is not None:
                raise _FailedError(f"it ended with exit code {self._process.returncode}")
            if time.monotonic() > until:
                raise _FailedError(f"it was not ready after {_READY_TIMEOUT:.0f} s")
            self._pause(_PROBE_EVERY)

    def _stop(self) -> None:
        """End the server as well as it can be done in time, and then all that is left of it."""
        if self._process is not None and self._process.poll() is None:
            for number, seconds in self._order["stop"]:
                self._process.send_signal(number)
                try:
                    self._process.wait(seconds)
                    break
                except subprocess.TimeoutExpired:
                    continue
        # Orphans came to this process (PR_SET_CHILD_SUBREAPER), so it knows them all.
        while left := descendants(os.getpid()):
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            _reap()


def _reap() -> None:
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        return


def _answers(probe: Probe) -> bool:
    try:
        with socket.create_connection((probe["host"], probe["port"]), _PROBE_TIMEOUT) as connection:
            connection.sendall(probe["send"].encode("latin-1"))
            expected, answer = probe["expect"].encode("latin-1"), b""
            while expected not in answer and (more := connection.recv(4096)):
                answer += more
            return expected in answer
    except OSError:
        return False


def _text_of(version: subprocess.Popen[bytes]) -> str:
    try:
        return version.communicate(timeout=_VERSION_TIMEOUT)[0].decode("utf-8", "replace").strip()
    except subprocess.TimeoutExpired:
        version.kill()
        return ""


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _say(answer: dict[str, Any]) -> None:
    try:
        os.write(1, json.dumps(answer).encode() + b"\n")
    except OSError:  # nobody listens any more
        return


def _read_order() -> bytes:
    # Byte by byte would do, too; what must not happen is that a buffer holds the end back from select.
    order = b""
    while not order.endswith(b"\n") and (more := os.read(0, 65536)):
        order += more
    return order


def main() -> None:
    """Do what standard input says."""
    order = _read_order()
    if order:
        Supervisor(json.loads(order), say=_say).run()
