"""Rounds are interleaved, and the first does not count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from tests.bench.statistics import Sample
from tests.bench.suite import Suite, Variant, kept_up
from tests.bench.summary import rounds_of


class Launching:
    """Starts nothing."""

    @contextmanager
    def all_up(self, variants: Sequence[Variant], place: object) -> Iterator[dict[str, Any]]:
        yield {variant.name: variant for variant in variants}


def made(measured: list[str], turns: int = 1) -> Suite:
    def measure(child: Any) -> Sample:
        measured.append(child.name)
        return Sample(len(measured), 1)

    variants = [Variant("a", "bare"), Variant("b", "bare")]
    return Suite("s", "Suite", "calls", variants, [], kept_up(lambda children: measure), turns)


def test_variants_are_measured_in_turn_and_the_first_round_does_not_count() -> None:
    measured: list[str] = []
    samples = made(measured).run(Launching(), 2, lambda text: None)  # type: ignore[arg-type]
    assert measured == ["a", "b"] * 3
    assert [sample.rate for sample in samples["a"]] == [3, 5]


def test_a_round_has_the_medians_of_its_turns() -> None:
    measured: list[str] = []
    samples = made(measured, turns=3).run(Launching(), 1, lambda text: None)  # type: ignore[arg-type]
    assert measured == ["a", "b"] * 6
    assert [sample.rate for sample in samples["a"]] == [9]


def test_times_of_all_turns_of_a_round_are_kept_together() -> None:
    suite = made([], turns=2)
    measured = iter([Sample(1, 1, times_ms=(time, 9.0)) for time in range(8)])
    session = kept_up(lambda children: lambda child: next(measured))
    samples = replace(suite, session=session).run(Launching(), 1, lambda text: None)  # type: ignore[arg-type]
    assert [sample.times_ms for sample in samples["a"]] == [(4, 6, 9.0, 9.0)]


def test_many_short_rounds_can_stand_for_one() -> None:
    suite = replace(made([]), short_rounds=4)
    samples = suite.run(Launching(), 3, lambda text: None)  # type: ignore[arg-type]
    assert rounds_of(samples) == 12
