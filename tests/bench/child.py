"""The processes that are measured, each on the first core."""

from __future__ import annotations

import time
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
_CPUCLOCK_SCHED = 2  # user and system time, of all threads (Linux, include/linux/posix-timers.h)


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
        self._asked = Asked("tests.bench.serve", f"the process of {variant.name!r}", order, variant.environment)
        self.port = 0

    @property
    def pid(self) -> int:
        """Its number with the operating system."""
        return self._asked.pid

    def wait_until_up(self) -> None:
        """Wait until it is ready, and for its port where it has one; raises RuntimeError where it does not come up."""
        self.port = int(self._asked.answer()["port"])

    def cpu_seconds(self) -> float:
        """What its process has used so far, user and system time of all its threads, to the nanosecond."""
        try:
            return cpu_seconds_of(self.pid)
        except OSError as error:
            raise RuntimeError(f"the process of {self.variant.name!r} has no clock: {error}") from None

    def settle(self) -> None:
        """Have it do what it has put off."""
        self._asked.ask({"ask": "settle"})

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


def cpu_seconds_of(pid: int) -> float:
    """What a process has used so far, by the clock that Linux has for each (clock_getcpuclockid): nobody is asked."""
    return time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)


@contextmanager
def metered(child: Child) -> Iterator[Meter]:
    """Read the CPU of a process before and after a load, with what the load left to be done later."""
    meter = Meter()
    before = child.cpu_seconds()
    yield meter
    ended = child.cpu_seconds()
    child.settle()
    settled = child.cpu_seconds()
    meter.cpu, meter.put_off = settled - before, settled - ended


@dataclass(slots=True)
class Meter:
    """What a process used for a load: all of it, and how much of that it had put off until the load was over."""

    cpu: float = 0.0
    put_off: float = 0.0

    def sample(self, count: int, seconds: float, times_ms: Sequence[float] = ()) -> Sample:
        """The sample of a load that had `count` answers in so many seconds."""
        return Sample(count / seconds, self.cpu / count * 1e6, self.cpu / seconds, tuple(times_ms))

    def saturated(self, count: int, seconds: float) -> Sample:
        """The sample of a load that left the process no time: what it put off would have taken some of it."""
        return self.sample(count, seconds + self.put_off)
