from __future__ import annotations

import asyncio

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata

from chassis.call import Call
from chassis.errors import (
    AlreadyExists,
    Cancelled,
    ChassisError,
    Crash,
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    Permanent,
    ResourceExhausted,
    Temporary,
)
from interceptors import ErrorsInterceptor
from tests.interceptors.around_kit import MADE, SERVED, raising, through


async def test_a_crash_leaves_as_internal_and_tells_nothing_of_itself() -> None:
    crash = ValueError("password=hunter2")
    call = Call(SERVED)

    error = await through(ErrorsInterceptor(), raising(crash), call)

    assert isinstance(error, Crash)
    assert error.__cause__ is crash
    assert call.code is StatusCode.INTERNAL
    assert call.request_id in error.message
    assert "hunter2" not in error.message


@pytest.mark.parametrize("error", [NotFound("gone"), Permanent("broken"), asyncio.CancelledError()])
async def test_what_has_a_meaning_leaves_as_it_is(error: BaseException) -> None:
    assert await through(ErrorsInterceptor(), raising(error), Call(SERVED)) is error


class DuplicateKey(Exception):
    """An exception of a library."""


class DuplicateName(DuplicateKey): ...


async def test_exceptions_of_libraries_are_given_a_meaning_with_their_subclasses() -> None:
    errors = ErrorsInterceptor({DuplicateKey: lambda error: AlreadyExists(f"taken: {error}"), OSError: Temporary})

    duplicate = await through(errors, raising(DuplicateName("binance")), Call(SERVED))
    refused = await through(errors, raising(ConnectionRefusedError("refused")), Call(SERVED))
    other = await through(errors, raising(KeyError("id")), Call(SERVED))

    assert isinstance(duplicate, AlreadyExists)
    assert str(duplicate) == "taken: binance"
    assert isinstance(duplicate.__cause__, DuplicateName)
    assert isinstance(refused, Temporary)
    assert isinstance(other, Crash)


async def test_the_nearest_class_wins() -> None:
    errors = ErrorsInterceptor({DuplicateKey: AlreadyExists, DuplicateName: InvalidInput})

    assert isinstance(await through(errors, raising(DuplicateName()), Call(SERVED)), InvalidInput)


async def test_a_translation_keeps_the_cause_that_it_chose() -> None:
    cause = KeyError("the real one")

    def translate(error: BaseException) -> ChassisError:
        told = NotFound("gone")
        told.__cause__ = cause
        return told

    error = await through(ErrorsInterceptor({DuplicateKey: translate}), raising(DuplicateKey()), Call(SERVED))

    assert error.__cause__ is cause


def remote(cls: type[ChassisError]) -> ChassisError:
    error = cls("their word", retry_after=3)
    error.remote = MADE.path
    return error


@pytest.mark.parametrize("cls", [NotFound, InvalidInput, Permanent, AlreadyExists])
async def test_what_another_service_says_of_itself_is_a_crash_of_ours(cls: type[ChassisError]) -> None:
    theirs = remote(cls)

    error = await through(ErrorsInterceptor(), raising(theirs), Call(SERVED))

    assert isinstance(error, Crash)
    assert error.__cause__ is theirs
    assert "their word" not in error.message


@pytest.mark.parametrize("cls", [Temporary, ResourceExhausted, DeadlineExceeded, Cancelled])
async def test_that_there_is_no_time_or_capacity_is_passed_on(cls: type[ChassisError]) -> None:
    theirs = remote(cls)

    error = await through(ErrorsInterceptor(), raising(theirs), Call(SERVED))

    assert type(error) is cls
    assert isinstance(error, ChassisError)
    assert error.remote is None
    assert error.retry_after == 3
    assert "their word" not in error.message
    assert error.detail == "/pkg.Prices/Get: their word"


async def test_a_handler_that_says_the_same_on_purpose_says_it() -> None:
    async def handle(call: Call) -> None:
        try:
            raise remote(NotFound)
        except NotFound as error:
            raise NotFound("no such price") from error

    error = await through(ErrorsInterceptor(), handle, Call(SERVED))

    assert isinstance(error, NotFound)
    assert str(error) == "no such price"


async def test_the_answer_to_a_call_going_out_becomes_the_error_that_was_raised() -> None:
    status = AioRpcError(StatusCode.NOT_FOUND, Metadata(), Metadata(("x-a", "1")), "gone", "debug")

    error = await through(ErrorsInterceptor(), raising(status), Call(MADE))

    assert isinstance(error, NotFound)
    assert (error.message, error.remote, error.trailers) == ("gone", MADE.path, (("x-a", "1"),))
    assert error.__cause__ is status


async def test_an_answer_without_a_text_or_trailers_has_none() -> None:
    error = await through(ErrorsInterceptor(), raising(AioRpcError(StatusCode.NOT_FOUND)), Call(MADE))

    assert isinstance(error, NotFound)
    assert (error.message, error.trailers) == ("", ())


async def test_a_mistake_of_our_own_in_a_call_going_out_stays_what_it_is() -> None:
    mistake = TypeError("the request is no message")

    assert await through(ErrorsInterceptor(), raising(mistake), Call(MADE)) is mistake
