from __future__ import annotations

import asyncio
import contextvars
import time

import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from chassis.call import (
    Call,
    Kind,
    Method,
    Principal,
    TraceContext,
    current_call,
    current_principal,
    enter,
    headers_of,
    is_cancelled,
    leave,
)
from chassis.errors import NotFound, Temporary

SERVED = Method.grpc("/pkg.Greeter/Greet", Kind.UNARY_UNARY, "server")
MADE = Method.grpc("/pkg.Prices/Get", Kind.UNARY_UNARY, "client")
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def from_afar(**headers: str) -> Call:
    """A call whose transport knows something."""
    metadata = {name.replace("_", "-"): value for name, value in headers.items()}
    return Call(SERVED, metadata=metadata, deadline=time.monotonic() + 5)


def test_what_the_transport_knows_is_there() -> None:
    call = from_afar(x_a="1")

    assert call.metadata == {"x-a": "1"}
    remaining = call.time_remaining()
    assert remaining is not None
    assert 0 < remaining <= 5


def test_a_call_without_a_transport_knows_nothing_and_fails_at_nothing() -> None:
    call = Call(SERVED, request="request")

    assert (call.request, dict(call.metadata), call.deadline, call.time_remaining()) == ("request", {}, None, None)
    assert (call.peer, call.trace, call.principal, call.error) == ("", None, None, None)
    assert call.code is StatusCode.OK
    assert repr(call) == "<Call /pkg.Greeter/Greet OK>"


def test_a_deadline_can_be_set_and_taken_away() -> None:
    call = from_afar()
    call.deadline = None

    assert call.time_remaining() is None


def test_values_of_a_header_are_a_list() -> None:
    call = from_afar(x_a="1")

    assert (call.values("x-a"), call.values("x-b")) == (["1"], [])


@pytest.mark.parametrize("request_id", ["r-1", "a b", "x" * 128, "~!"])
def test_the_callers_request_id_is_kept(request_id: str) -> None:
    call = from_afar(x_request_id=request_id)

    assert call.request_id == request_id


@pytest.mark.parametrize("request_id", ["", " ", "x" * 129, "line\nbreak", "tab\t", "Zoë", "\x7f", "ÿ"])
def test_a_request_id_that_could_do_harm_is_replaced(request_id: str) -> None:
    call = from_afar(x_request_id=request_id)

    assert len(call.request_id) == 32
    assert call.request_id == call.request_id


@given(st.text())
def test_whatever_a_caller_sends_the_request_id_is_one_printable_line(given_id: str) -> None:
    request_id = from_afar(x_request_id=given_id).request_id

    assert request_id
    assert request_id.isprintable()
    assert request_id.isascii()
    assert len(request_id) <= Call.MAX_REQUEST_ID_LENGTH


def test_calls_going_out_have_the_request_id_of_the_call_that_makes_them() -> None:
    parent = from_afar(x_request_id="r-1")

    assert Call(MADE, parent=parent).request_id == "r-1"
    assert Call(MADE).request_id != Call(MADE).request_id


def test_the_trace_is_the_callers_for_a_served_call_and_the_parents_for_one_going_out() -> None:
    parent = from_afar(traceparent=TRACEPARENT)
    made = Call(MADE, parent=parent)

    assert parent.trace == TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", True)
    assert made.trace == parent.trace
    assert Call(MADE).trace is None


def test_a_trace_can_be_set() -> None:
    call = from_afar(traceparent=TRACEPARENT)
    call.trace = None

    assert call.trace is None


def test_all_who_record_a_call_see_the_same_duration_and_who_looks_before_changes_nothing() -> None:
    call = Call(SERVED)

    before = call.duration
    while call.duration == before:
        pass
    took = call.over()

    assert took > before >= 0
    assert call.over() == call.duration == took


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("gone"), "NOT_FOUND"),
        (asyncio.CancelledError(), "CANCELLED"),
        (ValueError(), "INTERNAL"),
        (KeyboardInterrupt(), "INTERNAL"),
    ],
)
def test_every_error_has_a_code(error: BaseException, code: str) -> None:
    assert Call(SERVED).code_of(error).name == code


def test_what_another_service_answered_is_not_the_code_of_the_call_that_is_served() -> None:
    gone, busy = NotFound("gone"), Temporary("busy")
    gone.remote = busy.remote = "/pkg.Prices/Get"

    assert [Call(SERVED).code_of(error).name for error in (gone, busy)] == ["INTERNAL", "UNAVAILABLE"]
    assert Call(MADE).code_of(gone).name == "NOT_FOUND"


def test_the_current_call_is_that_of_the_context() -> None:
    def within() -> None:
        call = Call(SERVED)
        call.principal = Principal("cqmd", "service", "api_key")
        token = enter(call)
        assert current_call() is call
        assert current_principal() is call.principal
        leave(token)
        assert current_call() is None

    contextvars.copy_context().run(within)
    assert current_call() is None
    assert current_principal() is None


async def test_who_is_cancelled_knows_whether_that_came_from_outside() -> None:
    async def stray() -> None:
        raise asyncio.CancelledError

    seen = []

    async def work(asked: asyncio.Event) -> None:
        try:
            await stray()
        except asyncio.CancelledError:
            seen.append(is_cancelled())
        try:
            asked.set()
            await asyncio.get_running_loop().create_future()
        finally:
            seen.append(is_cancelled())

    asked = asyncio.Event()
    task = asyncio.create_task(work(asked))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == [False, True]


def test_headers_are_found_by_their_lower_case_names() -> None:
    assert headers_of({"X-Request-ID": "r-1", "traceparent": "t"}) == {"x-request-id": "r-1", "traceparent": "t"}


def test_a_principal_never_shows_its_token() -> None:
    principal = Principal("7d5e", "user", "jwt", claims={"role": "trader"}, token="s3cret")

    assert "s3cret" not in repr(principal)
    assert "trader" not in repr(principal)
    assert principal.actor_id == "user:7d5e"
    assert principal.claims["role"] == "trader"
