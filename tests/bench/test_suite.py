"""Rounds are interleaved, the first does not count, and a busy machine gets fewer of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from tests.bench import suite as module
from tests.bench.statistics import Sample
from tests.bench.suite import Suite, Variant, kept_up


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
    return Suite("s", "Suite", "calls", variants, [], kept_up(lambda children: measure), turns, seconds=60)


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


@pytest.mark.parametrize(("bounded", "rounds"), [(True, 3), (False, 5)])
def test_a_busy_machine_gets_no_more_rounds_than_three_unless_they_were_asked_for(
    monkeypatch: pytest.MonkeyPatch, bounded: bool, rounds: int
) -> None:
    clock = iter(range(0, 10_000, 100))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    told: list[str] = []
    samples = made([]).run(Launching(), 5, told.append, bounded=bounded)  # type: ignore[arg-type]
    assert len(samples["a"]) == rounds
    assert any("too busy" in text for text in told) == bounded
