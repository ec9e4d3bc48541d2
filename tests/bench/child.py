"""The servers that are measured, each a process of its own on the first core."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.bench.credentials import Credentials
from tests.bench.statistics import Sample

if TYPE_CHECKING:
    from tests.bench.suite import Variant

_PATIENCE = 20.0  # seconds that a server may take to start, and to end


def cores() -> tuple[int | None, int | None]:
    """The core for the server and the one for the load; None for both where there are not two to choose from."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[1]) if len(usable) > 1 else (None, None)


def pin(core: int | None) -> None:
    """Have this process, and those that it starts from here on, run on one core."""
    if core is not None:
        os.sched_setaffinity(0, {core})


class Child:
    """A server's process: where it listens, and how much CPU it has used."""

    def __init__(self, variant: Variant, server_core: int | None, credentials: Credentials) -> None:
        self.variant = variant
        self.credentials = credentials
        order = {
            "kind": variant.kind,
            "loop": variant.loop,
            "core": server_core,
            "public_key": credentials.public_key,
            "settings": dict(variant.settings),
        }
        # In a session of its own: Ctrl-C is for this process, and the servers end when they can read nothing more.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._send, self._receive = self._process.stdin, self._process.stdout
        self._ask(order, answer=False)
        self.port = 0

    def wait_until_up(self) -> None:
        """Wait for its port; raises RuntimeError where it does not come up."""
        self.port = int(self._answer()["port"])

    def cpu_seconds(self) -> float:
        """What its process has used so far, user and system time of all its threads."""
        self._ask({"ask": "cpu"})
        return float(self._answer()["cpu"])

    def close(self) -> None:
        """End it; it ends by itself when this process does."""
        with contextlib.suppress(BrokenPipeError):
            self._send.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._receive.close()

    def _ask(self, question: dict[str, Any], *, answer: bool = True) -> None:
        try:
            self._send.write(json.dumps(question) + "\n")
            self._send.flush()
        except BrokenPipeError:
            if answer:
                raise RuntimeError(f"the server {self.variant.name!r} has ended; see above") from None

    def _answer(self) -> dict[str, Any]:
        # One answer to one question: nothing of it can be in the buffer already.
        if not select.select([self._receive], (), (), _PATIENCE)[0]:
            raise RuntimeError(f"the server {self.variant.name!r} did not answer for {_PATIENCE:g} seconds")
        line = self._receive.readline()
        if not line:
            raise RuntimeError(f"the server {self.variant.name!r} has ended; see above")
        return dict(json.loads(line))


@dataclass(frozen=True, slots=True)
class Launcher:
    """Starts servers, all with the same credentials."""

    server_core: int | None
    credentials: Credentials

    @contextmanager
    def all_up(self, variants: Sequence[Variant]) -> Iterator[dict[str, Child]]:
        """All these variants, up at the same time."""
        with ExitStack() as stack:
            children = {}
            for variant in variants:
                children[variant.name] = child = Child(variant, self.server_core, self.credentials)
                stack.callback(child.close)
            for child in children.values():
                child.wait_until_up()
            yield children


@contextmanager
def metered(child: Child) -> Iterator[Meter]:
    """Read the server's CPU before and after a load."""
    meter = Meter()
    before = child.cpu_seconds()
    yield meter
    meter.cpu = child.cpu_seconds() - before


@dataclass(slots=True)
class Meter:
    """What a server used during a load."""

    cpu: float = 0.0

    def sample(self, count: int, seconds: float, p50_ms: float | None = None, p99_ms: float | None = None) -> Sample:
        """The sample of a load that had `count` answers in so many seconds."""
        return Sample(count / seconds, self.cpu / count * 1e6, self.cpu / seconds, p50_ms, p99_ms)
