from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from chassis.call import Call, Interceptor, Kind, Method, Proceed, compose
from chassis.errors import TABLE, ChassisError, NotFound, Permanent

METHOD = Method.grpc("/pkg.Greeter/Greet", Kind.UNARY_UNARY, "server")
OTHER = Method.grpc("/pkg.Greeter/Other", Kind.UNARY_UNARY, "server")


class Noting(Interceptor):
    """Notes how the call ended, as seen from where it stands."""

    def __init__(self, name: str, seen: list[tuple[str, str]]) -> None:
        self.name = name
        self._seen = seen

    async def around(self, call: Call, proceed: Proceed) -> Any:
        try:
            return await proceed(call)
        finally:
            self._seen.append((self.name, call.code.name))


class Ending(Interceptor):
    """Ends all calls in its own way, whatever is inside of it."""

    def __init__(self, error: BaseException | None) -> None:
        self._error = error

    async def around(self, call: Call, proceed: Proceed) -> Any:
        with suppress(BaseException):
            await proceed(call)
        if self._error is not None:
            raise self._error
        return "answered"


async def well(call: Call) -> str:
    return "well"


def failing(error: BaseException) -> Proceed:
    async def fail(call: Call) -> None:
        raise error

    return fail


async def end_of(interceptors: list[Interceptor], innermost: Proceed) -> tuple[Any, Call]:
    call = Call(METHOD)
    try:
        return await compose(interceptors, METHOD, innermost)(call), call
    except BaseException as error:
        return error, call


async def test_the_first_is_outermost() -> None:
    order: list[str] = []

    class Ordered(Interceptor):
        def __init__(self, name: str) -> None:
            self._name = name

        async def around(self, call: Call, proceed: Proceed) -> Any:
            order.append(self._name)
            return await proceed(call)

    result, _ = await end_of([Ordered("a"), Ordered("b"), Ordered("c")], well)

    assert (result, order) == ("well", ["a", "b", "c"])


async def test_without_any_interceptor_the_code_is_stamped_all_the_same() -> None:
    error = NotFound("gone")

    assert (await end_of([], failing(error)))[1].code is StatusCode.NOT_FOUND
    assert (await end_of([], failing(error)))[1].error is error


async def test_those_that_do_not_apply_are_left_out_when_composing() -> None:
    asked: list[str] = []

    class Choosy(Interceptor):
        def applies(self, method: Method) -> bool:
            asked.append(method.name)
            return method.name == "Greet"

        async def around(self, call: Call, proceed: Proceed) -> Any:
            return "chosen"

    greet, other = compose([Choosy()], METHOD, well), compose([Choosy()], OTHER, well)

    assert [await greet(Call(METHOD)), await greet(Call(METHOD)), await other(Call(OTHER))] == ["chosen"] * 2 + ["well"]
    assert asked == ["Greet", "Other"]


async def test_an_interceptor_that_does_nothing_changes_nothing() -> None:
    assert (await end_of([Interceptor()], well))[0] == "well"
    assert Interceptor().applies(METHOD)


async def test_each_sees_what_came_through_to_it() -> None:
    seen: list[tuple[str, str]] = []
    outer, inner = Noting("outer", seen), Noting("inner", seen)

    await end_of([outer, Ending(None), inner], failing(NotFound("gone")))
    await end_of([outer, Ending(Permanent("turned")), inner], well)

    assert seen == [("inner", "NOT_FOUND"), ("outer", "OK"), ("inner", "OK"), ("outer", "INTERNAL")]


async def test_a_second_try_that_goes_well_leaves_nothing_of_the_first() -> None:
    tries: list[int] = []

    async def second_time(call: Call) -> str:
        tries.append(1)
        if len(tries) == 1:
            raise NotFound("not yet")
        return "now"

    class Again(Interceptor):
        async def around(self, call: Call, proceed: Proceed) -> Any:
            try:
                return await proceed(call)
            except NotFound:
                return await proceed(call)

    result, call = await end_of([Again()], second_time)

    assert (result, call.code, call.error) == ("now", StatusCode.OK, None)


@given(st.lists(st.sampled_from([None, *TABLE, ValueError, asyncio.CancelledError]), min_size=1, max_size=6))
def test_whoever_stands_outside_sees_the_end_that_the_nearest_one_made(endings: list[Any]) -> None:
    seen: list[tuple[str, str]] = []
    interceptors: list[Interceptor] = []
    for number, ending in enumerate(endings):
        interceptors += [Noting(str(number), seen), Ending(None if ending is None else ending())]

    asyncio.run(end_of(interceptors, well))

    expected = [
        "OK"
        if ending is None
        else ending.meaning.code.name
        if issubclass(ending, ChassisError)
        else "CANCELLED"
        if ending is asyncio.CancelledError
        else "INTERNAL"
        for ending in endings
    ]
    assert [code for _, code in reversed(seen)] == expected


@pytest.mark.parametrize("error", [GeneratorExit(), KeyboardInterrupt(), SystemExit(1)])
async def test_what_ends_programs_is_stamped_too(error: BaseException) -> None:
    seen: list[tuple[str, str]] = []

    result, call = await end_of([Noting("outer", seen)], failing(error))

    assert result is error
    assert call.code is StatusCode.INTERNAL
