from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.call import Call, Kind, Method, enter
from chassis.errors import Aborted, ChassisError, NotFound, ResourceExhausted, Temporary
from chassis.retry import Policy


class Time:
    """A clock that stands still but for what is slept."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def policy(self, **options: Any) -> Policy:
        return Policy(**{"jitter": 0.0, "clock": lambda: self.now, "sleep": self.sleep} | options)


class Work:
    """Ends as it is told to, one ending after the other."""

    def __init__(self, *endings: BaseException | str, before: Callable[[], None] = lambda: None) -> None:
        self._endings = list(endings)
        self._before = before
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        self._before()
        ending = self._endings.pop(0)
        if isinstance(ending, BaseException):
            raise ending
        return ending


async def test_what_succeeds_at_once_is_done_once() -> None:
    time_, work = Time(), Work("done")
    assert await time_.policy().call(work) == "done"
    assert (work.calls, time_.slept) == (1, [])


async def test_the_waits_grow_exponentially_up_to_the_longest() -> None:
    time_, work = Time(), Work(*[Temporary("no")] * 5, "done")
    policy = time_.policy(attempts=6, initial=0.5, multiplier=3.0, maximum=10.0)
    assert await policy.call(work) == "done"
    assert time_.slept == [0.5, 1.5, 4.5, 10.0, 10.0]


async def test_waits_can_be_given_one_by_one() -> None:
    time_, work = Time(), Work(*[Temporary("no")] * 4, "done")
    assert await time_.policy(attempts=5, waits=(3.0, 1.0)).call(work) == "done"
    assert time_.slept == [3.0, 1.0, 1.0, 1.0]


async def test_after_the_last_attempt_the_last_error_is_raised_as_it_is() -> None:
    time_, last = Time(), Temporary("third")
    work = Work(Temporary("first"), Temporary("second"), last)
    with pytest.raises(Temporary) as raised:
        await time_.policy(attempts=3).call(work)
    assert raised.value is last
    assert work.calls == 3


async def test_a_first_attempt_that_was_made_elsewhere_counts_as_one() -> None:
    time_, first, last = Time(), Temporary("first"), Temporary("third")
    work = Work(Temporary("second"), last, "not any more")
    with pytest.raises(Temporary) as raised:
        await time_.policy(attempts=3).go_on(first, work)
    assert raised.value is last
    assert (work.calls, len(time_.slept)) == (2, 2)


async def test_a_first_attempt_that_was_made_elsewhere_may_have_been_the_last() -> None:
    time_, work = Time(), Work("done")
    for failed in (NotFound("no"), ValueError("no")):
        with pytest.raises(type(failed)) as raised:
            await time_.policy().go_on(failed, work)
        assert raised.value is failed
    assert work.calls == 0


async def test_one_attempt_means_none_more() -> None:
    time_, work = Time(), Work(Temporary("no"))
    with pytest.raises(Temporary):
        await time_.policy(attempts=1).call(work)
    assert (work.calls, time_.slept) == (1, [])


@pytest.mark.parametrize("error", [NotFound("no"), ValueError("no"), asyncio.CancelledError()], ids=repr)
async def test_what_trying_again_will_not_mend_is_raised_at_once(error: BaseException) -> None:
    time_, work = Time(), Work(error, "done")
    with pytest.raises(type(error)):
        await time_.policy().call(work)
    assert work.calls == 1


async def test_an_error_that_is_not_retryable_ends_the_attempts() -> None:
    time_, work = Time(), Work(Temporary("no"), NotFound("gone"), "done")
    with pytest.raises(NotFound):
        await time_.policy().call(work)
    assert work.calls == 2


async def test_cancelling_ends_the_attempts() -> None:
    waiting = asyncio.Event()

    async def sleep(seconds: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    work = Work(Temporary("no"), "done")
    task = asyncio.create_task(Policy(sleep=sleep).call(work))
    await asyncio.wait_for(waiting.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.calls == 1


async def test_an_error_that_says_when_to_try_again_is_waited_for_at_least() -> None:
    time_ = Time()
    work = Work(ResourceExhausted("full", retry_after=7.0), ResourceExhausted("full", retry_after=0.01), "done")
    assert await time_.policy(initial=0.5).call(work) == "done"
    assert time_.slept == [7.0, 1.0]


async def test_no_attempt_begins_after_the_total_time() -> None:
    time_, work = Time(), Work(*[Temporary("no")] * 9)
    with pytest.raises(Temporary):
        await time_.policy(attempts=None, initial=1.0, multiplier=2.0, total=6.9).call(work)
    assert time_.slept == [1.0, 2.0]


async def test_time_that_the_work_itself_took_counts_too() -> None:
    time_ = Time()

    def slowly() -> None:
        time_.now += 5

    work = Work(*[Temporary("no")] * 9, before=slowly)
    with pytest.raises(Temporary):
        await time_.policy(attempts=None, initial=0.0, total=12.0).call(work)
    assert work.calls == 3


async def test_no_wait_goes_beyond_the_deadline_of_the_call_being_served() -> None:
    time_, work = Time(), Work(Temporary("no"), "done")
    call = Call(Method.grpc("/pkg.Echo/Echo", Kind.UNARY_UNARY, "server"))
    call.deadline = time.monotonic() + 30

    async def serve() -> None:
        enter(call)
        await time_.policy(initial=60.0, maximum=60.0).call(work)

    with pytest.raises(Temporary):
        await asyncio.create_task(serve())
    assert (work.calls, time_.slept) == (1, [])


async def test_errors_of_other_libraries_are_tried_again_where_that_is_said() -> None:
    time_, work = Time(), Work(ConnectionResetError(), "done")
    assert await time_.policy(per_error={OSError: True}).call(work) == "done"


async def test_an_error_can_be_excluded_and_the_nearest_class_decides() -> None:
    time_ = Time()
    policy = time_.policy(per_error={ChassisError: True, Temporary: False})
    with pytest.raises(Temporary):
        await policy.call(Work(Temporary("no"), "done"))
    assert await policy.call(Work(NotFound("no"), "done")) == "done"


async def test_an_error_can_have_waits_and_attempts_of_its_own() -> None:
    time_ = Time()
    policy = time_.policy(attempts=9, initial=1.0, per_error={Aborted: Policy(attempts=3, initial=0.01, jitter=0)})
    work = Work(Aborted("lost"), Aborted("lost"), Aborted("lost"), "done")
    with pytest.raises(Aborted):
        await policy.call(work)
    assert (work.calls, time_.slept) == (3, [0.01, 0.02])


async def test_arguments_are_passed_on() -> None:
    async def add(one: int, *, other: int) -> int:
        return one + other

    assert await Policy().call(add, 1, other=2) == 3


@given(
    attempt=st.integers(1, 10_000),
    initial=st.floats(0, 100),
    more=st.floats(0, 1000),
    multiplier=st.floats(1, 1000),
    jitter=st.floats(0, 1),
    chance=st.floats(0, 1),
)
def test_a_wait_lies_between_its_share_without_chance_and_the_whole(
    attempt: int, initial: float, more: float, multiplier: float, jitter: float, chance: float
) -> None:
    options: dict[str, Any] = {"initial": initial, "maximum": initial + more, "multiplier": multiplier}
    whole = Policy(**options, jitter=0).delay(attempt)
    wait = Policy(**options, jitter=jitter, random=lambda: chance).delay(attempt)
    assert 0 <= whole <= initial + more
    assert whole * (1 - jitter) * 0.999 - 1e-9 <= wait <= whole * 1.001


def test_full_jitter_is_anywhere_between_nothing_and_the_whole() -> None:
    waits = [Policy(initial=1.0, random=lambda chance=chance: chance).delay(1) for chance in (0.0, 0.5, 1.0)]
    assert waits == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"attempts": 0}, "attempts"),
        ({"initial": -1.0}, "initial"),
        ({"initial": float("nan")}, "initial"),
        ({"initial": 2.0, "maximum": 1.0}, "maximum"),
        ({"multiplier": 0.5}, "multiplier"),
        ({"jitter": 1.5}, "jitter"),
        ({"total": -1.0}, "total"),
        ({"waits": (1.0, -1.0)}, "waits"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused_by_name(options: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Policy(**options)


def test_policies_can_be_compared_and_kept_in_sets() -> None:
    assert Policy() == Policy()
    assert len({Policy(), Policy(), Policy(attempts=2)}) == 2
