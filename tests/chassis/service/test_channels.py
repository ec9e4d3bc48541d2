"""The channels of a service to others, and when there are too many."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from chassis.call import Interceptor
from chassis.client import channel
from chassis.service.channels import Channels


@pytest.fixture
async def channels() -> AsyncIterator[Channels]:
    channels = Channels(channel)
    yield channels
    await channels.stop()


def named(default: list[Interceptor]) -> Sequence[Interceptor]:
    return default


class Tokens:
    def current(self) -> str:
        return "a-token"


async def test_functions_that_have_a_name_are_the_same_each_time(channels: Channels) -> None:
    tokens = Tokens()
    given = [channels.open("127.0.0.1:9", {"interceptors": named, "token": tokens.current}) for _ in range(3)]
    assert given == [given[0]] * 3


async def test_many_channels_to_one_target_are_told_once(channels: Channels, caplog: pytest.LogCaptureFixture) -> None:
    def ask(target: str, times: int) -> None:
        for _ in range(times):
            channels.open(target, {"interceptors": lambda default: default})

    ask("127.0.0.1:9", 20)
    ask("127.0.0.1:10", 20)
    assert caplog.messages == []
    ask("127.0.0.1:9", 20)
    (message,) = caplog.messages
    assert message.startswith("more than 20 channels to 127.0.0.1:9 are open: keep the channel")


async def test_one_channel_that_is_asked_for_again_and_again_is_no_reason_to_warn(
    channels: Channels, caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, Any] = {"timeout": 1.0}
    assert len({channels.open("127.0.0.1:9", options) for _ in range(100)}) == 1
    assert caplog.messages == []
