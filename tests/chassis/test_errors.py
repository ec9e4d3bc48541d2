"""The table of meaning, row by row, and what is made of errors."""

from __future__ import annotations

import logging
import math

import pytest
from cqi.testing.v1.echo_pb2 import EchoReply
from google.rpc.error_details_pb2 import BadRequest
from grpc import StatusCode

from chassis import errors
from chassis.errors import (
    TABLE,
    Aborted,
    AlreadyExists,
    Cancelled,
    ChassisError,
    Crash,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    Permanent,
    PermissionDenied,
    ResourceExhausted,
    Temporary,
    Unauthorized,
    Undecodable,
    Unimplemented,
    Verdict,
    classify,
    code_of_http_status,
    from_status,
    status_code,
)

INFO, WARN, ERROR = logging.INFO, logging.WARNING, logging.ERROR
ACK, NAK, RETRY, DEAD_LETTER = Verdict.ACK, Verdict.NAK, Verdict.RETRY, Verdict.DEAD_LETTER

ROWS = [
    (NotFound, "NOT_FOUND", 404, RETRY, INFO, False),
    (InvalidInput, "INVALID_ARGUMENT", 400, DEAD_LETTER, INFO, False),
    (Unauthorized, "UNAUTHENTICATED", 401, DEAD_LETTER, INFO, False),
    (PermissionDenied, "PERMISSION_DENIED", 403, DEAD_LETTER, INFO, False),
    (AlreadyExists, "ALREADY_EXISTS", 409, ACK, INFO, False),
    (FailedPrecondition, "FAILED_PRECONDITION", 400, DEAD_LETTER, INFO, False),
    (Aborted, "ABORTED", 409, RETRY, WARN, True),
    (ResourceExhausted, "RESOURCE_EXHAUSTED", 429, RETRY, WARN, True),
    (Temporary, "UNAVAILABLE", 503, RETRY, WARN, True),
    (DeadlineExceeded, "DEADLINE_EXCEEDED", 504, RETRY, WARN, False),
    (Cancelled, "CANCELLED", 499, NAK, INFO, False),
    (Unimplemented, "UNIMPLEMENTED", 501, DEAD_LETTER, INFO, False),
    (Permanent, "INTERNAL", 500, DEAD_LETTER, ERROR, False),
    (Crash, "INTERNAL", 500, RETRY, ERROR, False),
    (Undecodable, "INVALID_ARGUMENT", 400, DEAD_LETTER, ERROR, False),
]


@pytest.mark.parametrize(
    ("cls", "code", "http_status", "verdict", "log_level", "retryable"), ROWS, ids=[row[0].__name__ for row in ROWS]
)
def test_each_class_means_what_its_row_says(
    cls: type[ChassisError], code: str, http_status: int, verdict: Verdict, log_level: int, retryable: bool
) -> None:
    meaning = cls.meaning

    assert (meaning.code.name, meaning.http_status, meaning.verdict) == (code, http_status, verdict)
    assert (meaning.log_level, meaning.retryable) == (log_level, retryable)
    assert cls("told").code.name == code


def test_the_rows_are_all_there_is() -> None:
    declared = {each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, ChassisError)} - {
        ChassisError
    }

    assert declared == {row[0] for row in ROWS}
    assert set(TABLE) == declared - {Crash, Undecodable}


def test_an_error_without_a_class_of_its_own_is_permanent_in_all_but_name() -> None:
    assert ChassisError("broken").meaning == Permanent.meaning


@pytest.mark.parametrize("code", [code for code in StatusCode if code is not StatusCode.OK], ids=lambda code: code.name)
def test_every_code_has_an_error_that_keeps_it(code: StatusCode) -> None:
    error = from_status(code, "told", details=[EchoReply()])

    assert (error.code, error.message, error.details) == (code, "told", (EchoReply(),))
    assert type(error).meaning.code is code or code in (
        StatusCode.OUT_OF_RANGE,
        StatusCode.DATA_LOSS,
        StatusCode.UNKNOWN,
    )


@pytest.mark.parametrize("cls", TABLE, ids=lambda cls: cls.__name__)
def test_a_code_leads_back_to_its_class(cls: type[ChassisError]) -> None:
    assert type(from_status(cls.meaning.code, "")) is cls


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (5, "NOT_FOUND"),
        (StatusCode.ABORTED, "ABORTED"),
        (0, "OK"),
        (99, "UNKNOWN"),
        ("5", "UNKNOWN"),
        (None, "UNKNOWN"),
    ],
)
def test_codes_are_read_from_what_libraries_give(value: object, code: str) -> None:
    assert status_code(value).name == code


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (200, "OK"),
        (304, "OK"),
        (400, "INVALID_ARGUMENT"),
        (401, "UNAUTHENTICATED"),
        (403, "PERMISSION_DENIED"),
        (404, "NOT_FOUND"),
        (405, "UNIMPLEMENTED"),
        (408, "DEADLINE_EXCEEDED"),
        (409, "ALREADY_EXISTS"),
        (412, "FAILED_PRECONDITION"),
        (413, "RESOURCE_EXHAUSTED"),
        (418, "INVALID_ARGUMENT"),
        (429, "RESOURCE_EXHAUSTED"),
        (499, "CANCELLED"),
        (500, "INTERNAL"),
        (501, "UNIMPLEMENTED"),
        (502, "INTERNAL"),
        (503, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"),
    ],
)
def test_an_http_status_has_the_code_that_says_the_same(status: int, code: str) -> None:
    assert code_of_http_status(status).name == code


def test_an_error_says_who_gets_to_see_what() -> None:
    cause = ConnectionResetError("10.0.0.7 said no")
    error = Temporary("not right now", detail="replica 2", retry_after=2.0, trailers=[("x-a", "1")])
    error.__cause__ = cause

    assert str(error) == error.message == "not right now"
    assert (error.detail, error.retry_after, error.trailers) == ("replica 2", 2.0, (("x-a", "1"),))
    assert error.remote is None
    assert error.answer is None


def test_an_error_may_have_a_code_of_its_own() -> None:
    assert InvalidInput("page 12 of 3", code=StatusCode.OUT_OF_RANGE).code is StatusCode.OUT_OF_RANGE


def test_no_error_has_the_code_that_says_there_is_none() -> None:
    assert NotFound("gone", code=StatusCode.OK).code is StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("given", "told"), [(math.inf, None), (-math.inf, None), (math.nan, None), (-2.0, 0.0), (0, 0.0), (1.5, 1.5)]
)
def test_the_time_to_try_again_can_always_be_told(given: float, told: float | None) -> None:
    assert ResourceExhausted("later", retry_after=given).retry_after == told


def test_a_message_that_is_no_text_becomes_one() -> None:
    assert str(NotFound(KeyError("id"))) == "'id'"  # type: ignore[arg-type]


def test_not_found_says_what_was_looked_for() -> None:
    assert str(NotFound.of("venue", "binance")) == "venue not found: binance"


def test_invalid_input_names_the_field_for_people_and_for_programs() -> None:
    error = InvalidInput.field("symbol", "must not be empty")

    (detail,) = error.details
    assert isinstance(detail, BadRequest)
    assert str(error) == "invalid input for symbol: must not be empty"
    assert [(each.field, each.description) for each in detail.field_violations] == [("symbol", "must not be empty")]


@pytest.mark.parametrize("cls", [*TABLE, Crash, Undecodable], ids=lambda cls: cls.__name__)
def test_what_has_a_meaning_is_classified_as_itself(cls: type[ChassisError]) -> None:
    error = cls("told")

    assert classify(error) is error


@pytest.mark.parametrize(
    "error",
    [ValueError("hunter2"), KeyboardInterrupt("hunter2"), BaseExceptionGroup("hunter2", [ValueError()])],
)
def test_whatever_else_is_raised_is_a_crash_that_tells_nothing(error: BaseException) -> None:
    crash = classify(error, "r-1")

    assert isinstance(crash, Crash)
    assert crash.message == "internal error; ask for it by request id r-1"
    assert crash.__cause__ is error
    assert "hunter2" in (crash.detail or "")
    assert classify(error).message == "internal error"


def test_an_error_whose_text_cannot_be_read_is_a_crash_all_the_same() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert classify(Broken()).detail == "Broken: (its text could not be read)"


@pytest.mark.parametrize("cls", TABLE, ids=lambda cls: cls.__name__)
def test_another_services_answer_is_passed_on_only_where_it_tells_of_time_or_capacity(
    cls: type[ChassisError],
) -> None:
    theirs = cls("their word", retry_after=3)
    theirs.remote = "/pkg.Prices/Get"

    ours = classify(theirs, "r-1")

    assert ours.__cause__ is theirs
    assert "their word" not in ours.message
    if cls in (Temporary, ResourceExhausted, DeadlineExceeded, Cancelled):
        assert type(ours) is cls
        assert (ours.retry_after, ours.remote) == (3, None)
    else:
        assert type(ours) is Crash
