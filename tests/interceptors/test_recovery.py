from __future__ import annotations

import asyncio
import logging

import pytest

from chassis.call import Call
from chassis.errors import (
    NotFound,
)
from interceptors import RecoveryInterceptor
from tests.interceptors.around_kit import EVENT, MADE, SERVED, raising, through


async def test_a_crash_is_logged_once_with_its_stack_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    crash = ValueError("what happened")
    call = Call(SERVED)

    assert await through(RecoveryInterceptor(), raising(crash), call) is crash

    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.exc_info[1] is crash
    assert vars(record)["request_id"] == call.request_id
    assert vars(record)["method"] == SERVED.path


async def test_a_crash_that_has_its_line_already_gets_no_second_one(caplog: pytest.LogCaptureFixture) -> None:
    crash = ValueError()
    call = Call(SERVED)
    call.logged = crash

    assert await through(RecoveryInterceptor(), raising(crash), call) is crash
    assert not caplog.records


@pytest.mark.parametrize("error", [NotFound("gone"), asyncio.CancelledError()])
async def test_what_has_a_meaning_is_no_crash(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    assert await through(RecoveryInterceptor(), raising(error), Call(SERVED)) is error
    assert not caplog.records


def test_recovery_is_for_calls_that_are_served() -> None:
    assert RecoveryInterceptor().applies(SERVED)
    assert RecoveryInterceptor().applies(EVENT)
    assert not RecoveryInterceptor().applies(MADE)
