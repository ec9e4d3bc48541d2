"""A process that is given an order and then answers questions, each a line of JSON."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

PATIENCE = 30.0  # seconds that a process may take to start, to answer, and to end


class Asked:
    """A module that runs as a process of its own, with this much more in its environment.

    `name` is how errors speak of it.
    """

    def __init__(
        self, module: str, name: str, order: dict[str, Any], environment: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._name = name
        # In a session of its own: Ctrl-C is for this process, and the other ends when it can read nothing more.
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._send, self._receive = self._process.stdin, self._process.stdout
        # Where it has ended already, that is told by the answer that does not come.
        with contextlib.suppress(BrokenPipeError):
            self._write(order)

    @property
    def pid(self) -> int:
        """Its number with the operating system."""
        return self._process.pid

    def ask(self, question: dict[str, Any], patience: float = PATIENCE) -> dict[str, Any]:
        """Give its answer; raises RuntimeError where there is none within `patience` seconds."""
        try:
            self._write(question)
        except BrokenPipeError:
            raise RuntimeError(f"{self._name} has ended; see above") from None
        return self.answer(patience)

    def answer(self, patience: float = PATIENCE) -> dict[str, Any]:
        """Give its next answer, such as that to its order; raises RuntimeError as `ask` does."""
        # One answer to one question: nothing of it can be in the buffer already.
        if not select.select([self._receive], (), (), patience)[0]:
            raise RuntimeError(f"{self._name} did not answer for {patience:g} seconds")
        line = self._receive.readline()
        if not line:
            raise RuntimeError(f"{self._name} has ended; see above")
        return dict(json.loads(line))

    def close(self) -> None:
        """End it; it ends by itself when this process does."""
        with contextlib.suppress(BrokenPipeError):
            self._send.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._receive.close()

    def _write(self, message: dict[str, Any]) -> None:
        self._send.write(json.dumps(message) + "\n")
        self._send.flush()
