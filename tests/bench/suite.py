"""What is measured: variants of one server, run in turn, and the ratios between them that matter."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tests.bench.child import Child, Launcher
from tests.bench.statistics import Figure, Goal, Sample, Spread, differences, ratios

_LEAST_ROUNDS = 3

Measure = Callable[[Child], Sample]


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run the server: what `tests.bench.serve` builds in a process of its own, on which event loop."""

    name: str
    kind: str
    loop: Literal["asyncio", "uvloop"] = "uvloop"
    settings: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A figure of one variant against that of another, as a ratio or as a difference, with its goal."""

    title: str
    over: str
    under: str
    figure: Figure
    goal: Goal = field(default_factory=Goal)
    how: Literal["ratio", "difference"] = "ratio"
    unit: str = ""

    def of(self, samples: Mapping[str, Sequence[Sample]]) -> Spread:
        """The figure, from the samples of all variants."""
        compare = ratios if self.how == "ratio" else differences
        return compare(samples[self.over], samples[self.under], self.figure)

    def by_cpu(self, samples: Mapping[str, Sequence[Sample]]) -> Spread | None:
        """The same ratio of rates as the CPU time of the two would have it; None for other figures.

        It is the steadier one where the machine has other work to do.
        """
        if self.figure is not rate:
            return None
        return ratios(samples[self.under], samples[self.over], cpu)


@dataclass(frozen=True, slots=True)
class Suite:
    """Variants that are up at the same time, how one of them is measured, and what is compared.

    `method` gets all of them once, before the first round, and returns what measures one.
    """

    name: str
    title: str
    what: str  # that is counted: calls, messages
    variants: Sequence[Variant]
    comparisons: Sequence[Comparison]
    method: Callable[[Mapping[str, Child]], Measure]
    turns: int = 1  # of each variant in a round, which then has the medians of them
    seconds: float = 60.0  # that all rounds may take on a machine that has nothing else to do

    def run(
        self, launcher: Launcher, rounds: int, tell: Callable[[str], None], *, bounded: bool = False
    ) -> dict[str, list[Sample]]:
        """Measure all variants in turn, `rounds` times after one round that does not count.

        `bounded` gives up rounds beyond the third where the machine is too busy for all of them.
        """
        samples: dict[str, list[Sample]] = {variant.name: [] for variant in self.variants}
        started = time.monotonic()
        with launcher.all_up(self.variants) as children:
            measure = self.method(children)
            for number in range(rounds + 1):
                spent = time.monotonic() - started
                if bounded and number > _LEAST_ROUNDS and spent * (number + 1) / number > self.seconds:
                    tell(f"{self.title}: {number - 1} rounds of {rounds}, because the machine is too busy for more")
                    break
                tell(f"{self.title}: {'warming up' if number == 0 else f'round {number} of {rounds}'}")
                turns: dict[str, list[Sample]] = {variant.name: [] for variant in self.variants}
                # Short turns: what disturbs the machine for a moment hits one of several, and not all of one variant.
                for _ in range(self.turns):
                    for variant in self.variants:
                        turns[variant.name].append(measure(children[variant.name]))
                for name, taken in turns.items():
                    if number > 0:
                        samples[name].append(Sample.of_turns(taken))
        return samples


def rate(sample: Sample) -> float:
    """Answers a second."""
    return sample.rate


def cpu(sample: Sample) -> float:
    """Microseconds of the server's CPU for one answer."""
    return sample.cpu_us


def p99(sample: Sample) -> float:
    """Milliseconds within which 99 of 100 calls were answered."""
    assert sample.p99_ms is not None, "this suite does not measure latencies"
    return sample.p99_ms
