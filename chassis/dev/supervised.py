from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from chassis.dev.supervisor import Order

_SOURCES: Final = Path(__file__).parent.parent.parent
_SUPERVISE: Final = "import sys; sys.path.insert(0, sys.argv[1]); from chassis.dev.supervisor import main; main()"

# More than a supervisor takes with all that it waits for; it always answers, and always ends.
_ANSWER_TIMEOUT: Final = 150.0
_END_TIMEOUT: Final = 10.0


class Supervised:
    """One start of a server by a supervisor, seen from the process that wanted it (see `chassis.dev.supervisor`)."""

    def __init__(self, order: Order) -> None:
        """Have it begin, without waiting."""
        self._supervisor = subprocess.Popen(  # noqa: S603  (this Python, and a program of ours)
            [sys.executable, "-I", "-c", _SUPERVISE, str(_SOURCES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Out of reach of the terminal's Ctrl-C: the service stops first, and has its servers until then.
            start_new_session=True,
        )
        assert self._supervisor.stdin is not None
        try:
            self._supervisor.stdin.write(json.dumps(order).encode() + b"\n")
            self._supervisor.stdin.flush()
        except BrokenPipeError:  # it ended already, and its answer tells
            pass

    @property
    def is_running(self) -> bool:
        """Whether it has not ended since."""
        return self._supervisor.poll() is None

    def answer(self) -> dict[str, Any]:
        """Wait until the server can be used, or can not be had; gives nothing where it was stopped meanwhile."""
        assert self._supervisor.stdout is not None
        stream, line = self._supervisor.stdout.fileno(), b""
        until = time.monotonic() + _ANSWER_TIMEOUT
        while not line.endswith(b"\n"):
            readable, _, _ = select.select([stream], [], [], max(until - time.monotonic(), 0))
            if not readable:
                return {"failed": "its supervisor said nothing"}
            more = os.read(stream, 4096)
            if not more:
                return {}
            line += more
        answer: dict[str, Any] = json.loads(line)
        return answer

    def begin_stop(self) -> None:
        """Have it stop, without waiting."""
        assert self._supervisor.stdin is not None
        self._supervisor.stdin.close()

    def wait(self) -> None:
        """Wait until all of it is gone; raises subprocess.TimeoutExpired where that takes too long."""
        self._supervisor.wait(_END_TIMEOUT)

    def finish_stop(self) -> None:
        """Wait until all of it is gone, in any case."""
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            self._supervisor.kill()  # the kernel tells the server
            self._supervisor.wait()
        assert self._supervisor.stdout is not None
        self._supervisor.stdout.close()
