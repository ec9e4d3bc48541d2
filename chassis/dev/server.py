from __future__ import annotations

import os
import secrets
import signal
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from chassis.dev.binaries import Wheel, find_binary
from chassis.dev.error import DevError
from chassis.dev.ports import HOST, Reservation
from chassis.dev.supervised import Supervised
from chassis.dev.supervisor import Order, Preparation, Probe

# Somebody else can be quicker again, but not for ever.
_MOST_PORTS: Final = 5

_LAST_LINES: Final = 5


class Server(ABC):
    """One server with its data, password and port in a folder of its own; started, stopped and started again.

    The port stays the same from start to start, unless somebody else has it by then. `durable=False` is for data that
    nobody needs after a power failure, as in tests; a killed server keeps it all the same.
    """

    name: ClassVar[str]
    wheels: ClassVar[tuple[Wheel, ...]]
    host: Final = HOST
    user: ClassVar[str] = "dev"

    # Signals that end it, each with the seconds that it gets: the sum stays well below the 3 s promised.
    _stop_signals: ClassVar[tuple[tuple[signal.Signals, float], ...]] = ((signal.SIGTERM, 1.5),)
    _orphaned_signal: ClassVar[signal.Signals] = signal.SIGKILL
    _unprivileged: ClassVar[bool] = False
    _pid_file: ClassVar[str | None] = None

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        """Take `folder/{name}`, which need not exist; nothing is started."""
        self.folder = folder.absolute() / self.name
        self._durable = durable
        self._supervised: Supervised | None = None
        self._reservation: Reservation | None = None
        self._pid = 0
        self._version = ""

    @property
    def port(self) -> int:
        """Its port; before the start the one that it gets unless somebody else takes it first."""
        remembered = self._remembered_port()
        if remembered is None:
            reservation = Reservation()
            reservation.close()
            remembered = self._remember(reservation.port)
        return remembered

    @property
    def password(self) -> str:
        """The password of `user`, made up once and kept in the folder."""
        file = self.folder / "password"
        try:
            return file.read_text(encoding="ascii")
        except FileNotFoundError:
            self._make_folder()
            password = secrets.token_hex(24)
            self._write_private(file.name, password)
            return password

    @property
    def log_file(self) -> Path:
        """What the server had to say since it was last started."""
        return self.folder / f"{self.name}.log"

    @property
    def version(self) -> str:
        """What runs, such as `PostgreSQL 18.6`; empty before the start."""
        return self._version

    @property
    def pid(self) -> int:
        """The process of the server; raises DevError where none runs."""
        if not self.is_running:
            raise DevError(f"{self.name} is not running")
        return self._pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended since."""
        return self._supervised is not None and self._supervised.is_running

    def start(self) -> None:
        """Start it and wait until it can be used; raises DevError where that can not be."""
        self.begin_start()
        self.finish_start()

    def begin_start(self) -> None:
        """Start it without waiting; raises DevError where its binary is missing."""
        self._begin_start(self._remembered_port())

    def _begin_start(self, preferred: int | None) -> None:
        assert not self.is_running, f"{self.name} is running"
        self._make_folder()
        binary = find_binary(self.name, self.wheels)
        try:
            # Reserved until the server listens: a connection of somebody else's must not get the port meanwhile.
            self._reservation = Reservation(preferred)
            self._remember(self._reservation.port)
            order = self._order(binary)
        except PermissionError as error:
            self._end_reservation()
            raise self._not_ours(error) from error
        self._supervised = Supervised(order)

    def finish_start(self) -> None:
        """Wait for what `begin_start` began; raises DevError with the end of the server's log where it failed.

        Where somebody else was quicker and listens on its port, it gets another one.
        """
        ports = 1
        while "ready" not in (answer := self._outcome()):
            self.stop()
            if ports == _MOST_PORTS or "failed" not in answer or not self._port_was_taken():
                raise DevError(
                    f"{self.name} did not start: {answer.get('failed', 'it was stopped')}{self._end_of_log()}"
                )
            ports += 1
            self._begin_start(None)
        self._pid = answer["ready"]["pid"]
        self._version = self._version_in(answer["ready"]["version"])

    def begin_stop(self) -> None:
        """Have it stop, without waiting."""
        if self._supervised is not None:
            self._supervised.begin_stop()

    def finish_stop(self) -> None:
        """Wait until it and all its processes are gone."""
        self._end_reservation()
        supervised, self._supervised = self._supervised, None
        if supervised is not None:
            supervised.finish_stop()

    def stop(self) -> None:
        """Stop it, and wait until all of it is gone; does nothing where it is not running."""
        self.begin_stop()
        self.finish_stop()

    def kill(self) -> None:
        """Kill it as a crash would (SIGKILL), and wait until all of it is gone; for tests of what its users do then."""
        os.kill(self.pid, signal.SIGKILL)
        assert self._supervised is not None
        self._supervised.wait()
        self.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # What differs from server to server.

    @abstractmethod
    def _command(self, binary: Path) -> list[str]:
        """Write configuration files, and give the command."""

    @abstractmethod
    def _probe(self) -> tuple[str, str]:
        """Give what to send, and what a server that is ready answers."""

    def _preparation(self, binary: Path) -> Preparation | None:
        """Give the command that makes its data folder, if there is one."""
        return None

    def _version_in(self, text: str) -> str:
        """Give the version out of what the binary says with `--version`."""
        return text

    def _order(self, binary: Path) -> Order:
        send, expect = self._probe()
        return Order(
            folder=str(self.folder),
            lock="lock",
            log=self.log_file.name,
            pid_file=self._pid_file,
            prepare=self._preparation(binary),
            argv=self._command(binary),
            version=[str(binary), "--version"],
            environment=_environment(),
            probe=Probe(host=self.host, port=self.port, send=send, expect=expect),
            stop=[(int(number), seconds) for number, seconds in self._stop_signals],
            orphaned=int(self._orphaned_signal),
            unprivileged=self._unprivileged,
            parent=os.getpid(),
        )

    # The rest.

    def _outcome(self) -> dict[str, Any]:
        assert self._supervised is not None, f"{self.name} was not started"
        try:
            return self._supervised.answer()
        except BaseException:
            self.stop()
            raise
        finally:
            self._end_reservation()

    def _make_folder(self) -> None:
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            ignore = self.folder.parent / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n", encoding="ascii")
            self.folder.mkdir(mode=0o700, exist_ok=True)
        except PermissionError as error:
            raise self._not_ours(error) from error

    def _not_ours(self, error: OSError) -> DevError:
        return DevError(
            f"{self.name} can not use {error.filename or self.folder}: it belongs to another user, such as root, "
            f"who ran it before. Delete {self.folder}, or give it back with chown -R"
        )

    def _remembered_port(self) -> int | None:
        try:
            return int((self.folder / "port").read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return None

    def _remember(self, port: int) -> int:
        self._make_folder()
        (self.folder / "port").write_text(f"{port}\n", encoding="ascii")
        return port

    def _write_private(self, name: str, text: str) -> None:
        """Write a file that only its owner can read, as a whole or not at all."""
        draft = self.folder / f"{name}.new"
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
            out.write(text)
        draft.replace(self.folder / name)

    def _end_reservation(self) -> None:
        if self._reservation is not None:
            self._reservation.close()
            self._reservation = None

    def _port_was_taken(self) -> bool:
        # All servers have strerror's words for EADDRINUSE in their logs, which begin anew with each start.
        return "address already in use" in self._log().lower()

    def _end_of_log(self) -> str:
        told = "".join(f"\n  {line}" for line in self._log().splitlines()[-_LAST_LINES:])
        return f"; the end of {self.log_file}:{told}" if told else ""

    def _log(self) -> str:
        try:
            return self.log_file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""


def _environment() -> dict[str, str]:
    """What servers know of ours: no PGPORT that changes their configuration, and none of the service's secrets."""
    kept = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")
    return {"LC_ALL": "C", "TZ": "UTC", **{name: os.environ[name] for name in kept if name in os.environ}}
