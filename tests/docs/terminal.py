"""A terminal: one shell for all commands of a document, and the services that were left running in it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

PATIENCE = 30.0

_END = "-- end of output --"


class Service:
    """A service that runs in the background, and the lines that it wrote."""

    def __init__(self, pid: int, output: Path) -> None:
        self.pid = pid
        self.lines: list[str] = []
        self.ended = False
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, args=(output,), daemon=True)
        self._reader.start()

    def _read(self, output: Path) -> None:
        with output.open(encoding="utf-8") as lines:
            for line in lines:
                with self._news:
                    self.lines.append(line.rstrip("\n"))
                    self._news.notify_all()
        with self._news:
            self.ended = True
            self._news.notify_all()

    def wait(self, wanted: Callable[[str], bool], start: int = 0, patience: float = PATIENCE) -> int | None:
        """The number of the first line from `start` on that is wanted, waited for; None if none came."""
        seen = start
        with self._news:
            while True:
                for number in range(seen, len(self.lines)):
                    if wanted(self.lines[number]):
                        return number
                seen = max(start, len(self.lines))
                if self.ended or not self._news.wait(patience):
                    return None

    def wait_for_end(self) -> None:
        """Wait until it wrote its last line."""
        self._reader.join(PATIENCE)
        assert self.ended, f"process {self.pid} did not end"


class Terminal:
    """A shell in a folder. Commands share it as they do for a person: `cd`, `export` and `$?` mean what they mean."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._count = 0
        self.running: list[Service] = []
        self._shell = subprocess.Popen(
            ["sh"],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )

    def run(self, command: str) -> tuple[int, str]:
        """Run a command; returns its exit status and what it wrote."""
        # The status is put back, for a reader who asks for it by `echo $?`.
        self._type(f"{{ {command}\n}} </dev/null\n_s=$?; printf '\\n%s %d\\n' '{_END}' $_s; (exit $_s)\n")
        written = []
        assert self._shell.stdout is not None
        for line in self._shell.stdout:
            if line.startswith(_END):
                return int(line.removeprefix(_END)), "".join(written).removesuffix("\n")
            written.append(line)
        raise AssertionError(f"the shell ended: {''.join(written)}")

    def start(self, command: str) -> Service:
        """Run a command in the background; returns when it said `service started`, or ended."""
        self._count += 1
        output = self._folder / f".output-{self._count}"
        os.mkfifo(output)
        # The shell starts it with the pipe's other end still closed, and goes on when the reader has opened it.
        self._type(f"{command} >{output} 2>&1 </dev/null &\n")
        _, pid = self.run("echo $!")
        service = Service(int(pid), output)
        self.running.append(service)
        if service.wait(lambda line: "service started" in line) is None:
            assert service.ended, f"{command!r} neither started nor ended: {service.lines}"
        return service

    def end(self, service: Service, number: signal.Signals = signal.SIGTERM) -> int:
        """Send it a signal if it still runs; returns its exit status."""
        self.running.remove(service)
        if not service.ended:
            os.kill(service.pid, number)
        service.wait_for_end()
        # `wait` by itself could be the reader's last command, whose status nobody would look at.
        return int(re.sub(r"\D", "", self.run(f"wait {service.pid}; echo $?")[1]))

    def close(self) -> None:
        """Leave nothing running."""
        for service in self.running:
            if not service.ended:
                os.kill(service.pid, signal.SIGKILL)
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.close()
        self._shell.stdout.close()
        self._shell.wait(PATIENCE)

    @property
    def folder(self) -> Path:
        """Where the shell is right now."""
        return Path(self.run("pwd")[1].strip())

    def _type(self, text: str) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.write(text)
        self._shell.stdin.flush()
