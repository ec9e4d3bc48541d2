"""The memory of servers that have nothing to do: bare grpc.aio, and services with less or more switched on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.bench.backing import backing
from tests.bench.child import Child, Launcher
from tests.bench.statistics import Goal, Sample
from tests.bench.suite import Column, Comparison, Measure, Session, Suite, Variant, cpu

_IDLE = 5.0  # seconds after which memory is looked at
_KIBIBYTES = 1024

_BARE = Variant("bare grpc.aio", "bare", "asyncio")
_LITTLE = Variant("chassis without auth and exporter", "chassis_service", settings={"tracing": None, "auth": False})
_MUCH = Variant("chassis with auth and exporter", "chassis_service", settings={"tracing": 0.1, "exporter": True})
_PARTS = Variant(
    "the same with database, cache and bus",
    "chassis_service",
    settings={"tracing": 0.1, "exporter": True, "uses": ["database", "cache", "bus"]},
)


def rss(sample: Sample) -> float:
    """Mebibytes that are resident."""
    assert sample.rss_mib is not None, "this suite does not measure memory"
    return sample.rss_mib


def pss(sample: Sample) -> float:
    """Mebibytes that are resident, where what is shared is divided among those who share it."""
    assert sample.pss_mib is not None, "this suite does not measure memory"
    return sample.pss_mib


def _compared(over: Variant, goal: Goal, what: str = "RSS") -> Comparison:
    figure = rss if what == "RSS" else pss
    return Comparison(f"{what}, {over.name} / {_BARE.name}", over.name, _BARE.name, figure, goal)


_REPORTED = Goal(at_most=True)
_GOALS = [
    _compared(_LITTLE, Goal(1.6, 1.5, at_most=True)),
    _compared(_MUCH, Goal(1.95, 1.8, at_most=True)),
    _compared(_PARTS, _REPORTED),
    *(_compared(variant, _REPORTED, "PSS") for variant in (_LITTLE, _MUCH, _PARTS)),
]


def _idling(seconds: float) -> Session:
    def idle(children: Mapping[str, Child]) -> dict[str, Sample]:
        before = {name: child.cpu_seconds() for name, child in children.items()}
        time.sleep(seconds)
        used = {name: child.cpu_seconds() - before[name] for name, child in children.items()}
        return {name: _sample(child, used[name] / seconds) for name, child in children.items()}

    @contextmanager
    def session(launcher: Launcher, variants: Sequence[Variant]) -> Iterator[Measure]:
        with backing(["postgres", "redis", "nats"]) as place:
            samples: dict[str, Sample] = {}

            def measure(variant: Variant) -> Sample:
                # All of a round are started anew and idle at the same time, when the first has its turn.
                if not samples:
                    with launcher.all_up(variants, place) as children:
                        samples.update(idle(children))
                return samples.pop(variant.name)

            yield measure

    return session


def _sample(child: Child, busy: float) -> Sample:
    """One second of idling is what counts as one operation."""
    rss_mib, pss_mib = memory(child)
    return Sample(rate=1.0, cpu_us=busy * 1e6, busy=busy, rss_mib=rss_mib, pss_mib=pss_mib)


def memory(child: Child) -> tuple[float, float]:
    """Mebibytes that are resident, and that are its own; raises RuntimeError where the system does not tell."""
    file = Path(f"/proc/{child.pid}/smaps_rollup")
    try:
        lines = dict(line.split(":", 1) for line in file.read_text().splitlines()[1:])
    except FileNotFoundError:
        raise RuntimeError(f"there is no {file}: memory can be read on Linux only") from None
    rss_kib, pss_kib = (int(lines[name].split()[0]) for name in ("Rss", "Pss"))
    return rss_kib / _KIBIBYTES, pss_kib / _KIBIBYTES


def memory_suite(scale: float = 1.0) -> Suite:
    """They idle for `scale` times the usual time."""
    return Suite(
        *("memory", "Memory of idle servers", "seconds idled"),
        [_BARE, _LITTLE, _MUCH, _PARTS],
        _GOALS,
        _idling(_IDLE * scale),
        columns=(
            Column("RSS MiB", rss, 1, spread=True),
            Column("PSS MiB", pss, 1, spread=True),
            Column("CPU us in a second", cpu),
        ),
        saturates=False,
    )
