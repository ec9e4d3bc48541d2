from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import pytest

from chassis.component import Component, Components, StartError, StopFailure


class Part(Component):
    """Notes what happens to it."""

    def __init__(
        self, name: str, seen: list[str], *, starting: BaseException | None = None, stopping: Any = None
    ) -> None:
        self.name = name
        self._seen = seen
        self._starting = starting
        self._stopping = stopping

    async def start(self) -> None:
        self._seen.append(f"start {self.name}")
        if self._starting is not None:
            raise self._starting

    async def stop(self) -> None:
        self._seen.append(f"stop {self.name}")
        if isinstance(self._stopping, BaseException):
            raise self._stopping
        if self._stopping is not None:
            await self._stopping()


@pytest.fixture
def seen() -> list[str]:
    return []


async def test_parts_start_in_order_and_stop_in_reverse(seen: list[str]) -> None:
    components = Components()
    await components.start(Part("a", seen), Part("b", seen))
    await components.start(Part("c", seen))

    assert [each.name for each in components] == ["a", "b", "c"]
    assert components.starting is None
    assert await components.stop() == []
    assert seen == ["start a", "start b", "start c", "stop c", "stop b", "stop a"]
    assert list(components) == []


async def test_when_one_cannot_start_it_is_named_and_those_that_run_are_there_to_be_stopped(seen: list[str]) -> None:
    components = Components()
    error = StartError("port 9000 is in use")

    with pytest.raises(StartError) as caught:
        await components.start(Part("a", seen), Part("b", seen), Part("c", seen, starting=error), Part("d", seen))

    assert caught.value is error
    assert components.starting == "c"
    assert await components.stop() == []
    assert seen == ["start a", "start b", "start c", "stop b", "stop a"]


async def test_one_whose_start_is_cancelled_is_not_among_those_to_be_stopped(seen: list[str]) -> None:
    begun = asyncio.Event()

    class Slow(Part):
        async def start(self) -> None:
            await super().start()
            begun.set()
            await asyncio.Event().wait()

    components = Components()
    starting = asyncio.ensure_future(components.start(Part("a", seen), Slow("slow", seen)))
    await begun.wait()
    assert components.starting == "slow"
    starting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await starting
    assert await components.stop() == []
    assert seen == ["start a", "start slow", "stop a"]


async def test_one_that_fails_to_stop_does_not_keep_the_others(
    seen: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    components = Components()
    await components.start(Part("a", seen), Part("b", seen, stopping=RuntimeError("half closed")), Part("c", seen))

    failures = await components.stop()

    assert failures == [StopFailure("b", "RuntimeError: half closed")]
    assert seen[-3:] == ["stop c", "stop b", "stop a"]
    assert "stopping b failed" in caplog.text


async def test_one_that_does_not_end_is_named_and_left_behind(seen: list[str]) -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    components = Components()
    await components.start(Part("a", seen), Part("b", seen, stopping=never), Part("c", seen))

    failures = await components.stop(deadline=asyncio.get_running_loop().time() - 1)

    assert failures == [StopFailure("b", "did not stop in time")]
    assert seen[-3:] == ["stop c", "stop b", "stop a"]


async def test_one_that_swallows_its_cancellation_holds_nobody_up(seen: list[str]) -> None:
    finish = asyncio.Event()

    async def stubborn() -> None:
        while not finish.is_set():
            try:
                await finish.wait()
            except asyncio.CancelledError:
                continue

    components = Components()
    await components.start(Part("a", seen), Part("b", seen, stopping=stubborn))

    failures = await components.stop(deadline=asyncio.get_running_loop().time())
    finish.set()
    await asyncio.sleep(0)

    assert failures == [StopFailure("b", "did not stop in time")]
    assert seen[-1] == "stop a"


async def test_one_that_is_cancelled_from_within_is_named(seen: list[str]) -> None:
    components = Components()
    await components.start(Part("a", seen, stopping=asyncio.CancelledError()))

    assert await components.stop() == [StopFailure("a", "was cancelled while it stopped")]


async def test_a_component_is_healthy_unless_it_says_otherwise() -> None:
    component = Component()

    await component.start()
    await component.check()
    await component.stop()
    assert component.required


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.EADDRINUSE, "in use"), "http port 80 is in use on 127.0.0.1: set server.http_port"),
        (PermissionError(errno.EACCES, "denied"), "is not ours to take: set server.http_port to one above 1023"),
        (socket.gaierror(socket.EAI_NONAME, "unknown"), "cannot listen on 127.0.0.1, which is no address"),
        (OSError(errno.EADDRNOTAVAIL, "not here"), "which is no address of this machine: set server.host"),
        (OSError(errno.EMFILE, "too many open files"), "too many open files"),
    ],
)
def test_why_a_port_cannot_be_used_is_said_with_what_to_do(error: OSError, text: str) -> None:
    assert text in str(StartError.cannot_listen("http", "127.0.0.1", 80, error))
