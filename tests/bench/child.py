"""The processes that are measured, each on the first core."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bench.asked import Asked
from tests.bench.backing import Place
from tests.bench.credentials import Credentials
from tests.bench.statistics import Sample

if TYPE_CHECKING:
    from tests.bench.suite import Variant

_PATIENCE_FOR_WORK = 120.0  # seconds


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
        self._asked = Asked("tests.bench.serve", f"the process of {variant.name!r}", order)
        self.port = 0

    @property
    def pid(self) -> int:
        """Its number with the operating system."""
        return self._asked.pid

    def wait_until_up(self) -> None:
        """Wait until it is ready, and for its port where it has one; raises RuntimeError where it does not come up."""
        self.port = int(self._asked.answer()["port"])

    def cpu_seconds(self) -> float:
        """What its process has used so far, user and system time of all its threads."""
        return float(self._asked.ask({"ask": "cpu"})["cpu"])

    def work(self, count: int) -> Sample:
        """Have a client do so many operations; raises RuntimeError where they did not all happen."""
        answer = self._asked.ask({"ask": "work", "count": count}, _PATIENCE_FOR_WORK)
        if "error" in answer:
            raise RuntimeError(f"{self.variant.name!r} did not do its work: {answer['error']}")
        return Meter(answer["cpu"]).sample(count, answer["seconds"])

    def close(self) -> None:
        """End it; it ends by itself when this process does."""
        self._asked.close()


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
