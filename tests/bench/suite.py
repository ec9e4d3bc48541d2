"""What is measured: variants of one thing, run in turn, and the ratios between them that matter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tests.bench.backing import backing
from tests.bench.child import Child, Launcher
from tests.bench.statistics import Figure, Goal, Sample, Spread, Summarised, differences, ratios

if TYPE_CHECKING:
    from chassis.dev.servers import ServerName


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to do it: what `tests.bench.serve` builds in a process of its own, on which event loop.

    `kind` is the module of `tests.bench` whose `build` makes it; `environment` is what its process finds there.
    """

    name: str
    kind: str
    loop: Literal["asyncio", "uvloop"] = "uvloop"
    settings: Mapping[str, object] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


Measure = Callable[[Variant], Sample]
MeasureChild = Callable[[Child], Sample]
Session = Callable[[Launcher, Sequence[Variant]], AbstractContextManager[Measure]]
"""Has there what all rounds need, for their time, and gives what measures one variant."""


def kept_up(method: Callable[[Mapping[str, Child]], MeasureChild], servers: Sequence[ServerName] = ()) -> Session:
    """All variants up at the same time, and for all rounds, with real servers of these names behind them.

    `method` gets all of them once, before the first round, and returns what measures one.
    """

    @contextmanager
    def session(launcher: Launcher, variants: Sequence[Variant]) -> Iterator[Measure]:
        with backing(servers) as place, launcher.all_up(variants, place) as children:
            measure = method(children)
            yield lambda variant: measure(children[variant.name])

    return session


def working(servers: Sequence[ServerName], scale: float) -> Session:
    """Clients of these servers, each of which does `scale` times the `count` of its settings in a turn."""

    def measure(child: Child) -> Sample:
        count = child.variant.settings["count"]
        assert isinstance(count, int)
        return child.work(max(int(count * scale), 1))

    return kept_up(lambda children: measure, servers)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A figure of one variant against that of another, as a ratio or as a difference, or by itself; with its goal."""

    title: str
    over: str
    under: str
    figure: Figure
    goal: Goal = field(default_factory=Goal)
    how: Literal["ratio", "difference", "alone"] = "ratio"
    unit: str = ""

    def of(self, samples: Mapping[str, Sequence[Sample]], summarised: Summarised = Spread.of) -> Spread:
        """The figure, from the samples of all variants."""
        if self.how == "alone":
            return summarised([self.figure(sample) for sample in samples[self.over]])
        compare = ratios if self.how == "ratio" else differences
        return compare(samples[self.over], samples[self.under], self.figure, summarised)

    def by_cpu(self, samples: Mapping[str, Sequence[Sample]]) -> Spread | None:
        """The same ratio of rates or times as the CPU time of the two would have it; None for other figures.

        It is the steadier one where the machine has other work to do.
        """
        if self.how != "ratio" or self.figure not in (rate, wall_ms):
            return None
        over, under = samples[self.over], samples[self.under]
        return ratios(under, over, cpu) if self.figure is rate else ratios(over, under, cpu)


@dataclass(frozen=True, slots=True)
class Column:
    """A figure of the table of variants; `spread` shows its least and greatest value beside the median."""

    title: str
    figure: Figure
    digits: int = 0
    spread: bool = False


@dataclass(frozen=True, slots=True)
class Suite:
    """Variants, how one of them is measured, and what is compared."""

    name: str
    title: str
    what: str  # that is counted: calls, messages
    variants: Sequence[Variant]
    comparisons: Sequence[Comparison]
    session: Session
    turns: int = 1  # of each variant in a round, which then has the medians of them, and the times of all
    short_rounds: int = 1  # that stand for one that is asked for, where a difference is small and needs many
    subject: str = "server"  # what a variant is
    columns: Sequence[Column] = ()  # of the table of variants; RATES unless said
    saturates: bool = True  # whether a variant has its core to itself all the time, if nothing else is running

    @property
    def summarised(self) -> Summarised:
        """What becomes of the figures of all rounds: of many short ones, how well their median is known."""
        return Spread.of if self.short_rounds == 1 else Spread.of_median

    def run(self, launcher: Launcher, rounds: int, tell: Callable[[str], None]) -> dict[str, list[Sample]]:
        """Measure all variants in turn, `rounds` times after one round that does not count."""
        rounds *= self.short_rounds
        samples: dict[str, list[Sample]] = {variant.name: [] for variant in self.variants}
        with self.session(launcher, self.variants) as measure:
            for number in range(rounds + 1):
                tell(f"{self.title}: {'warming up' if number == 0 else f'round {number} of {rounds}'}")
                turns: dict[str, list[Sample]] = {variant.name: [] for variant in self.variants}
                # Short turns: what disturbs the machine for a moment hits one of several, and not all of one variant.
                for _ in range(self.turns):
                    for variant in self.variants:
                        turns[variant.name].append(measure(variant))
                for name, taken in turns.items():
                    if number > 0:
                        samples[name].append(Sample.of_turns(taken))
        return samples


def rate(sample: Sample) -> float:
    """Answers a second."""
    return sample.rate


def wall_ms(sample: Sample) -> float:
    """Milliseconds for one, where they are done one after the other."""
    return 1000 / sample.rate


def cpu(sample: Sample) -> float:
    """Microseconds of CPU for one answer."""
    return sample.cpu_us


def cpu_ms(sample: Sample) -> float:
    """Milliseconds of CPU for one."""
    return sample.cpu_us / 1000


def busy(sample: Sample) -> float:
    """The share of the time in which it had its core."""
    return sample.busy


def p50(sample: Sample) -> float:
    """Milliseconds within which half of the calls were answered."""
    return _within(sample, 0.5)


def p99(sample: Sample) -> float:
    """Milliseconds within which 99 of 100 calls were answered."""
    return _within(sample, 0.99)


def _within(sample: Sample, share: float) -> float:
    milliseconds = sample.within_ms(share)
    assert milliseconds is not None, "this suite does not measure latencies"
    return milliseconds


RATES = (Column("{what}/s", rate, spread=True), Column("CPU us", cpu), Column("busy", busy, 2))
LATENCIES = (Column("p50 ms", p50, 2, spread=True), Column("p99 ms", p99, 2, spread=True))


def faster(over: Variant, under: Variant, goal: Goal | None = None, title: str = "") -> Comparison:
    """How many times the rate of one variant is that of another."""
    return Comparison(title or f"{over.name} / {under.name}", over.name, under.name, rate, goal or Goal())
