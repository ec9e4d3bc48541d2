"""The figures of `make bench` come out right; nothing here measures time."""

from __future__ import annotations

import pytest

from tests.bench.statistics import Goal, Sample, Spread, differences, percentile, ratios


def rates(*values: float) -> list[Sample]:
    return [Sample(rate=value, cpu_us=1e6 / value) for value in values]


def rate(sample: Sample) -> float:
    return sample.rate


def test_a_ratio_is_that_of_the_same_round() -> None:
    # The machine was half as fast in the second round: the ratio of the medians would be 100 / 200 or worse.
    quick, slow = rates(200, 100, 210), rates(100, 50, 105)
    assert ratios(quick, slow, rate) == Spread(2.0, 2.0, 2.0)


def test_one_disturbed_round_does_not_move_the_median() -> None:
    assert ratios(rates(90, 10, 91, 89, 90), rates(100, 100, 100, 100, 100), rate).median == 0.9


def test_the_spread_shows_the_worst_and_the_best_round() -> None:
    spread = ratios(rates(90, 10, 95), rates(100, 100, 100), rate)
    assert (spread.least, spread.greatest) == (0.1, 0.95)


def test_a_difference_is_that_of_the_same_round() -> None:
    more, less = [Sample(1, 30), Sample(1, 70)], [Sample(1, 20), Sample(1, 60)]
    assert differences(more, less, lambda sample: sample.cpu_us) == Spread(10, 10, 10)


@pytest.mark.parametrize("compare", [ratios, differences])
def test_variants_that_did_not_take_part_in_the_same_rounds_are_not_compared(compare: object) -> None:
    with pytest.raises(ValueError, match="2 rounds cannot be compared with 1"):
        compare(rates(1, 2), rates(1), rate)  # type: ignore[operator]


def test_nothing_has_no_median() -> None:
    with pytest.raises(ValueError, match="no median"):
        Spread.of([])


def test_a_round_of_several_turns_counts_as_the_median_of_each_figure() -> None:
    turns = [Sample(100, 10, 0.9), Sample(20, 50, 0.2), Sample(110, 9, 1.0)]
    assert Sample.of_turns(turns) == Sample(100, 10, 0.9)


def test_a_percentile_of_several_turns_is_that_of_all_their_times() -> None:
    # One turn had all the slow ones: the median of two percentiles would know nothing of how many there were.
    slow = Sample.of_turns([Sample(1, 1, times_ms=(1.0,) * 98 + (9.0,) * 2), Sample(1, 1, times_ms=(1.0,) * 100)])
    assert (slow.within_ms(0.5), slow.within_ms(0.99), slow.within_ms(0.995)) == (1.0, 1.0, 9.0)
    assert Sample.of_turns([Sample(1, 1)]).within_ms(0.5) is None


# Ranks that leave out no more than one in forty on each side, as tables of the sign test have them.
@pytest.mark.parametrize(("rounds", "least", "greatest"), [(5, 1, 5), (6, 1, 6), (9, 2, 8), (20, 6, 15), (40, 14, 27)])
def test_the_median_of_many_rounds_lies_between_those_that_chance_would_hardly_pass(
    rounds: int, least: int, greatest: int
) -> None:
    spread = Spread.of_median(range(rounds, 0, -1))
    assert (spread.least, spread.median, spread.greatest) == (least, (1 + rounds) / 2, greatest)


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (0.991, 100), (1, 100), (0, 1)])
def test_a_percentile_is_a_value_that_was_measured(share: float, value: int) -> None:
    assert percentile(range(1, 101), share) == value


@pytest.mark.parametrize(
    ("goal", "value", "verdict"),
    [
        (Goal(0.85, 0.92), 0.85, "reached"),
        (Goal(0.85, 0.92), 0.849, "short"),
        (Goal(1.3, 1.1, at_most=True), 1.3, "reached"),
        (Goal(1.3, 1.1, at_most=True), 1.31, "short"),
        (Goal(), 0.1, "reported"),
    ],
)
def test_a_goal_is_reached_at_its_floor(goal: Goal, value: float, verdict: str) -> None:
    assert goal.verdict(value) == verdict
