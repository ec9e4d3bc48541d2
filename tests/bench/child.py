"""The processes that are measured, each on the first core."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.bench.backing import Place
from tests.bench.credentials import Credentials
from tests.bench.statistics import Sample

if TYPE_CHECKING:
    from tests.bench.suite import Variant

_PATIENCE = 20.0  # seconds that a process may take to start, to say what it has used, and to end
_PATIENCE_FOR_WORK = 120.0


class Child:
    """The process of one variant: where it listens, how much CPU it has used, or how long its work takes."""

    def __init__(self, variant: Variant, core: int | None, credentials: Credentials, place: Place) -> None:
        self.variant = variant
        self.credentials = credentials
        order = {
            "kind": variant.kind,
            "loop": variant.loop,
            "core": core,
            "public_key": credentials.public_key,
            "settings": {**variant.settings, "place": dict(place)},
        }
        # In a session of its own: Ctrl-C is for this process, and the children end when they can read nothing more.
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

    @property
    def pid(self) -> int:
        """Its number with the operating system."""
        return self._process.pid

    def wait_until_up(self) -> None:
        """Wait until it is ready, and for its port where it has one; raises RuntimeError where it does not come up."""
        self.port = int(self._answer()["port"])

    def cpu_seconds(self) -> float:
        """What its process has used so far, user and system time of all its threads."""
        self._ask({"ask": "cpu"})
        return float(self._answer()["cpu"])

    def work(self, count: int) -> Sample:
        """Have a client do so many operations; raises RuntimeError where they did not all happen."""
        self._ask({"ask": "work", "count": count})
        answer = self._answer(_PATIENCE_FOR_WORK)
        if "error" in answer:
            raise RuntimeError(f"{self.variant.name!r} did not do its work: {answer['error']}")
        return Meter(answer["cpu"]).sample(count, answer["seconds"])

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
                raise RuntimeError(f"the process of {self.variant.name!r} has ended; see above") from None

    def _answer(self, patience: float = _PATIENCE) -> dict[str, Any]:
        # One answer to one question: nothing of it can be in the buffer already.
        if not select.select([self._receive], (), (), patience)[0]:
            raise RuntimeError(f"the process of {self.variant.name!r} did not answer for {patience:g} seconds")
        line = self._receive.readline()
        if not line:
            raise RuntimeError(f"the process of {self.variant.name!r} has ended; see above")
        return dict(json.loads(line))


@dataclass(frozen=True, slots=True)
class Launcher:
    """Starts the processes of variants on their core, all with the same credentials."""

    core: int | None
    credentials: Credentials

    @contextmanager
    def all_up(self, variants: Sequence[Variant], place: Callable[[], Place] = dict) -> Iterator[dict[str, Child]]:
        """All these variants, up at the same time, each at a place of its own in the servers behind them."""
        with ExitStack() as stack:
            children = {}
            for variant in variants:
                children[variant.name] = child = Child(variant, self.core, self.credentials, place())
                stack.callback(child.close)
            for child in children.values():
                child.wait_until_up()
            yield children


@contextmanager
def metered(child: Child) -> Iterator[Meter]:
    """Read the CPU of a process before and after a load."""
    meter = Meter()
    before = child.cpu_seconds()
    yield meter
    meter.cpu = child.cpu_seconds() - before


@dataclass(slots=True)
class Meter:
    """What a process used during a load."""

    cpu: float = 0.0

    def sample(self, count: int, seconds: float, p50_ms: float | None = None, p99_ms: float | None = None) -> Sample:
        """The sample of a load that had `count` answers in so many seconds."""
        return Sample(count / seconds, self.cpu / count * 1e6, self.cpu / seconds, p50_ms, p99_ms)
