"""The one complaint of an event loop that is not heeded, as asyncio tells it, and that all others are."""

from __future__ import annotations

import asyncio
import logging

import pytest

CLOSED = RuntimeError("Event loop is closed")


class PollerCompletionQueue:
    """Named as gRPC's."""

    def handle_events(self, exception: Exception) -> None:
        raise exception


def handle_events(exception: Exception) -> None:
    raise exception


async def test_what_another_loop_left_in_the_queue_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        asyncio.get_running_loop().call_soon(PollerCompletionQueue().handle_events, CLOSED)
        await asyncio.sleep(0)
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("callback", "exception"),
    [(PollerCompletionQueue().handle_events, RuntimeError("another")), (handle_events, CLOSED)],
    ids=["another exception", "another callback"],
)
async def test_all_else_is(callback: object, exception: Exception, caplog: pytest.LogCaptureFixture) -> None:
    asyncio.get_running_loop().call_soon(callback, exception)  # type: ignore[arg-type]
    await asyncio.sleep(0)
    (message,) = caplog.messages
    assert message.startswith("Exception in callback ")
