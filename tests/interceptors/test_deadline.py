from __future__ import annotations

import asyncio
import math
import time

import pytest
from grpc import StatusCode

from chassis.call import Call, Method, compose
from chassis.errors import (
    DeadlineExceeded,
)
from interceptors import DeadlineInterceptor
from tests.interceptors.around_kit import EVENT, MADE, SERVED, raising, through


async def test_a_call_that_comes_too_late_is_not_begun() -> None:
    call = Call(SERVED)
    call.deadline = time.monotonic() - 1

    error = await through(DeadlineInterceptor(), raising(AssertionError("it was begun")), call)

    assert isinstance(error, DeadlineExceeded)
    assert call.code is StatusCode.DEADLINE_EXCEEDED


async def test_work_on_an_event_ends_with_its_deadline() -> None:
    cleaned_up = []
    call = Call(EVENT)
    call.deadline = time.monotonic() + 0.2

    async def handle(call: Call) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned_up.append(True)

    assert isinstance(await through(DeadlineInterceptor(), handle, call), DeadlineExceeded)
    assert cleaned_up == [True]


async def test_a_timeout_of_the_handlers_own_is_not_the_deadline() -> None:
    own = TimeoutError("of its own")
    call = Call(EVENT)
    call.deadline = time.monotonic() + 60

    assert await through(DeadlineInterceptor(), raising(own), call) is own


@pytest.mark.parametrize("method", [SERVED, EVENT], ids=["rpc", "event"])
async def test_what_is_done_in_time_is_done(method: Method) -> None:
    async def handle(call: Call) -> str:
        return "done"

    late, never = Call(method), Call(method)
    late.deadline = time.monotonic() + 60
    never.deadline = None

    for call in (late, never):
        assert await compose([DeadlineInterceptor()], method, handle)(call) == "done"


async def deadline_of(call: Call, default: float | None = None) -> float | None:
    """The seconds that a call going out is given."""

    async def handle(call: Call) -> float | None:
        return call.time_remaining()

    remaining: float | None = await compose([DeadlineInterceptor(default)], call.method, handle)(call)
    return remaining


def made(own: float | None = None, served: float | None = None) -> Call:
    """A call going out, with seconds of its own and of the call that it is made in."""
    parent = Call(SERVED)
    parent.deadline = None if served is None else time.monotonic() + served
    call = Call(MADE, parent=parent)
    call.deadline = own if own in (None, math.inf) else time.monotonic() + own
    return call


@pytest.mark.parametrize(
    ("own", "served", "default", "expected"),
    [
        (None, None, None, None),
        (None, None, 30, 30),
        (5, None, 30, 5),
        (None, 10, 30, 10),
        (5, 10, 30, 5),
        (20, 10, 30, 10),
        (math.inf, None, 30, None),
        (math.inf, 10, 30, 10),
        (None, 50, 30, 30),
    ],
)
async def test_a_call_going_out_gets_what_is_left(
    own: float | None, served: float | None, default: float | None, expected: float | None
) -> None:
    remaining = await deadline_of(made(own, served), default)

    assert remaining == (None if expected is None else pytest.approx(expected, abs=1))


@pytest.mark.parametrize("default", [0, -1, math.nan])
def test_a_default_deadline_that_is_none_is_refused(default: float) -> None:
    with pytest.raises(ValueError, match="more than 0 seconds"):
        DeadlineInterceptor(default)
