from __future__ import annotations

import asyncio
from collections.abc import Awaitable
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


class Letting(Interceptor):
    """Says no, or lets a call pass and has nothing more to do with it."""

    only_before = True

    def __init__(self, error: BaseException | None = None) -> None:
        self._error = error

    def around(self, call: Call, proceed: Proceed) -> Awaitable[Any]:
        if self._error is not None:
            raise self._error
        return proceed(call)


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


@given(
    st.lists(st.sampled_from([None, *TABLE, ValueError, asyncio.CancelledError]), min_size=1, max_size=6),
    st.lists(st.booleans(), min_size=12, max_size=12),
)
def test_whoever_stands_outside_sees_the_end_that_the_nearest_one_made(endings: list[Any], letting: list[bool]) -> None:
    seen: list[tuple[str, str]] = []
    interceptors: list[Interceptor] = []
    for number, ending in enumerate(endings):
        interceptors += [Letting()] * letting[2 * number]
        interceptors += [Noting(str(number), seen), Ending(None if ending is None else ending())]
        interceptors += [Letting()] * letting[2 * number + 1]

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


class Watching(Noting):
    """Says that it only watches, and does."""

    transparent = True

    async def around(self, call: Call, proceed: Proceed) -> Any:
        return await super().around(call, proceed)


class Answering(Watching):
    """A subclass that answers for others' errors, and has said nothing of itself."""

    async def around(self, call: Call, proceed: Proceed) -> Any:
        with suppress(NotFound):
            return await super().around(call, proceed)
        return "answered"


async def test_those_that_only_watch_see_what_those_do_that_are_stamped_for() -> None:
    seen: list[tuple[str, str]] = []
    watching = [Watching("outer", seen), Watching("middle", seen), Watching("inner", seen)]

    error, call = await end_of([Noting("outside", seen), *watching, Ending(NotFound("gone"))], well)

    assert isinstance(error, NotFound)
    assert call.code is StatusCode.NOT_FOUND
    assert seen == [(name, "NOT_FOUND") for name in ("inner", "middle", "outer", "outside")]


async def test_what_an_observer_that_breaks_makes_of_a_call_is_known_outside_of_all_that_watch() -> None:
    class Broken(Watching):
        transparent = True

        async def around(self, call: Call, proceed: Proceed) -> Any:
            await super().around(call, proceed)
            raise KeyError("a mistake in it")

    seen: list[tuple[str, str]] = []
    error, call = await end_of([Noting("outside", seen), Watching("outer", seen), Broken("inner", seen)], well)

    assert isinstance(error, KeyError)
    assert (call.code, seen[-1]) == (StatusCode.INTERNAL, ("outside", "INTERNAL"))


async def test_a_subclass_with_an_around_of_its_own_does_not_only_watch_because_its_class_does() -> None:
    seen: list[tuple[str, str]] = []

    result, call = await end_of([Watching("outer", seen), Answering("inner", seen)], failing(NotFound("gone")))

    assert (result, call.code) == ("answered", StatusCode.OK)
    assert seen == [("inner", "NOT_FOUND"), ("outer", "OK")]


async def test_what_is_refused_and_what_fails_behind_those_that_let_it_pass_is_known_outside_of_them() -> None:
    for refusal in (None, Permanent("refused")):
        seen: list[tuple[str, str]] = []
        letting = [Letting(), Letting(refusal), Letting()]

        error, call = await end_of([Watching("outside", seen), *letting], failing(NotFound("gone")))

        expected = StatusCode.NOT_FOUND if refusal is None else call.code_of(refusal)
        assert (call.code, seen) == (expected, [("outside", expected.name)])
        assert call.error is error


async def test_errors_are_not_looked_at_inside_of_who_raised_them() -> None:
    seen: list[str] = []
    refusal = Permanent("refused")

    error, call = await end_of([Turning("outer", seen), Letting(refusal), Turning("inner", seen)], well)

    assert (error, call.error, seen) == (refusal, refusal, ["outer: refused"])

    seen.clear()
    await end_of([Turning("outer", seen), Letting(), Turning("inner", seen)], failing(NotFound("gone")))

    assert seen == ["inner: gone", "outer: gone"]


async def test_a_subclass_with_an_around_of_its_own_may_look_at_the_end_though_its_class_does_not() -> None:
    seen: list[tuple[str, str]] = []

    class Looking(Letting):
        async def around(self, call: Call, proceed: Proceed) -> Any:
            try:
                return await super().around(call, proceed)
            finally:
                seen.append(("looking", call.code.name))

    await end_of([Looking()], failing(NotFound("gone")))

    assert seen == [("looking", "NOT_FOUND")]


class Turning(Interceptor):
    """Notes the errors that come by, and has another one take their place."""

    def __init__(self, name: str, seen: list[str], instead: BaseException | None = None) -> None:
        self._name = name
        self._seen = seen
        self._instead = instead

    def on_error(self, call: Call, error: BaseException) -> None:
        assert (call.error, call.code) == (error, call.code_of(error))
        self._seen.append(f"{self._name}: {error}")
        if self._instead is not None:
            raise self._instead


async def test_a_concern_that_looks_at_errors_sees_each_of_them_and_no_success() -> None:
    seen: list[str] = []
    error = NotFound("gone")

    assert (await end_of([Turning("a", seen)], well))[0] == "well"
    assert (await end_of([Turning("a", seen)], failing(error)))[0] is error
    assert seen == ["a: gone"]


async def test_what_looking_at_an_error_raises_takes_its_place_for_all_outside() -> None:
    seen: list[str] = []
    codes: list[tuple[str, str]] = []
    gone, turned, last = NotFound("gone"), Permanent("turned"), NotFound("last")
    outer, inner = Turning("outer", seen, last), Turning("inner", seen, turned)

    result, call = await end_of([Noting("all", codes), outer, inner, Noting("none", codes)], failing(gone))

    assert (result, call.error, call.code) == (last, last, StatusCode.NOT_FOUND)
    assert (last.__context__, turned.__context__) == (turned, gone)
    assert seen == ["inner: gone", "outer: turned"]
    assert codes == [("none", "NOT_FOUND"), ("all", "NOT_FOUND")]


@pytest.mark.parametrize("places", [[0, 1], [0, 2], [1, 2]])
async def test_those_that_look_at_errors_see_only_what_came_from_the_inside(places: list[int]) -> None:
    seen: list[str] = []
    ending = Ending(Permanent("turned"))
    looking = [Turning("a", seen), Turning("b", seen)]
    interceptors: list[Interceptor] = [ending]
    for place, each in zip(places, looking, strict=True):
        interceptors.insert(place, each)

    await end_of(interceptors, failing(NotFound("gone")))

    inside = interceptors[interceptors.index(ending) + 1 :]
    told = {each: "gone" if each in inside else "turned" for each in looking}
    assert sorted(seen) == sorted(f"{name}: {told[each]}" for name, each in zip("ab", looking, strict=True))


async def test_a_concern_may_look_at_errors_before_it_acts_on_them_itself() -> None:
    class Both(Turning):
        async def around(self, call: Call, proceed: Proceed) -> Any:
            try:
                return await proceed(call)
            except Permanent as error:
                return f"answered {error}"

    seen: list[str] = []

    result, call = await end_of([Both("both", seen, Permanent("turned"))], failing(NotFound("gone")))

    assert (result, call.code, seen) == ("answered turned", StatusCode.OK, ["both: gone"])


async def test_of_a_success_that_was_turned_into_an_error_nobody_inside_hears() -> None:
    seen: list[str] = []

    await end_of([Ending(Permanent("turned")), Turning("inside", seen)], well)

    assert seen == []
