"""From samples of interleaved rounds to figures: medians, ranges, and ratios of the same round."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Sample:
    """What one variant did in one round: answers a second, its CPU for one of them, its memory.

    `busy` is the share of the time in which it had its core: far below 1, something else was the limit. `times_ms` is
    how long each answer took, where that is measured. Of memory there is what is resident, and what of it is the
    process's own where what it shares is divided among those who do (PSS).
    """

    rate: float
    cpu_us: float
    busy: float = 1.0
    times_ms: tuple[float, ...] = ()
    rss_mib: float | None = None
    pss_mib: float | None = None

    @classmethod
    def of_turns(cls, turns: Sequence[Sample]) -> Sample:
        """What a round of several turns counts as: the median of each figure, and the times of all of them together.

        >>> Sample.of_turns([Sample(100, 10), Sample(110, 9), Sample(20, 50)]).rate
        100
        """

        def median(name: str) -> Any:
            values = [getattr(turn, name) for turn in turns]
            return None if None in values else statistics.median(values)

        figures = {name: median(name) for name in ("rate", "cpu_us", "busy", "rss_mib", "pss_mib")}
        return cls(**figures, times_ms=tuple(sorted(time for turn in turns for time in turn.times_ms)))

    def within_ms(self, share: float) -> float | None:
        """In how many milliseconds this share of the answers came; None where that was not measured."""
        return percentile(sorted(self.times_ms), share) if self.times_ms else None


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with a value below and one above it.

    >>> Spread.of([3.0, 1.0, 2.0])
    Spread(median=2.0, least=1.0, greatest=3.0)
    """

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The least and the greatest of the values around their median. Raises ValueError where there are no values."""
        if not values:
            raise ValueError("there is no median of nothing")
        return cls(statistics.median(values), min(values), max(values))

    @classmethod
    def of_median(cls, values: Sequence[float]) -> Spread:
        """Around the median the two values between which that of ever more rounds would lie, with 95 %.

        They are found by their ranks: each round is as likely to be above as below it, like tossing a coin (the
        interval of the sign test). Fewer than six rounds do not say so much; of those it is the whole range.

        >>> Spread.of_median(range(1, 41))
        Spread(median=20.5, least=14, greatest=27)
        """
        ordered, outside = sorted(values), 0
        below = 0.0  # how likely it is that the true one lies below one more of the values
        while (below := below + math.comb(len(ordered), outside) / 2 ** len(ordered)) <= 0.025:
            outside += 1
        inside = ordered[max(outside - 1, 0) : len(ordered) - max(outside - 1, 0)]
        return cls.of(inside)


Figure = Callable[[Sample], float]
Summarised = Callable[[Sequence[float]], Spread]


def ratios(
    over: Sequence[Sample], under: Sequence[Sample], figure: Figure, summarised: Summarised = Spread.of
) -> Spread:
    """The ratio of two variants, taken round by round: what slowed a round down slowed both.

    Raises ValueError where the two did not take part in the same rounds.

    >>> quick, slow = Sample(rate=200, cpu_us=5), Sample(rate=100, cpu_us=10)
    >>> ratios([quick, slow], [slow, slow], lambda sample: sample.rate).median
    1.5
    """
    if len(over) != len(under):
        raise ValueError(f"{len(over)} rounds cannot be compared with {len(under)}")
    return summarised([figure(a) / figure(b) for a, b in zip(over, under, strict=True)])


def differences(
    over: Sequence[Sample], under: Sequence[Sample], figure: Figure, summarised: Summarised = Spread.of
) -> Spread:
    """How much more the first takes than the second, round by round; raises ValueError as `ratios` does."""
    if len(over) != len(under):
        raise ValueError(f"{len(over)} rounds cannot be compared with {len(under)}")
    return summarised([figure(a) - figure(b) for a, b in zip(over, under, strict=True)])


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which this share of the values lies, by the nearest rank.

    >>> percentile([1, 2, 3, 4], 0.5), percentile([1, 2, 3, 4], 0.99)
    (2, 4)
    """
    if not ordered:
        raise ValueError("there is no percentile of nothing")
    rank = -(-len(ordered) * share // 1)  # rounded up
    return ordered[max(int(rank), 1) - 1]


Verdict = Literal["reached", "short", "reported"]


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure is to be: the floor that it must not fall below, and what would be good.

    `at_most` turns it around, for figures that are better the smaller they are.

    >>> Goal(floor=0.85, ambition=0.92).verdict(0.85), Goal(floor=1.3, ambition=1.1, at_most=True).verdict(1.31)
    ('reached', 'short')
    """

    floor: float | None = None
    ambition: float | None = None
    at_most: bool = False

    def verdict(self, value: float) -> Verdict:
        """Whether the floor is reached; a figure without one is only reported."""
        if self.floor is None:
            return "reported"
        return "reached" if (value <= self.floor if self.at_most else value >= self.floor) else "short"
