from __future__ import annotations

import pytest

from chassis.cache import MemoryBackend


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def made(clock: Clock, **options: int) -> MemoryBackend:
    backend = MemoryBackend(clock=clock, **options)
    await backend.start()
    return backend


async def test_a_value_lives_exactly_as_long_as_was_said() -> None:
    clock = Clock()
    backend = await made(clock)
    await backend.set(b"a", b"1", 10, None)
    await backend.set(b"b", b"2", 0, None)
    clock.now = 9.999
    assert await backend.get(b"a", None) == b"1"
    clock.now = 10
    assert await backend.get(b"a", None) is None
    assert await backend.exists(b"a", None) is False
    clock.now = 1e9
    assert await backend.get(b"b", None) == b"2"


async def test_what_is_over_does_not_count_as_deleted() -> None:
    clock = Clock()
    backend = await made(clock)
    await backend.set(b"a", b"1", 10, None)
    await backend.set(b"b", b"2", 20, None)
    clock.now = 15
    assert await backend.delete([b"a", b"b", b"c"], None) == 1


async def test_the_one_that_was_not_asked_for_the_longest_makes_room() -> None:
    backend = await made(Clock(), max_entries=2)
    await backend.set(b"a", b"1", 0, None)
    await backend.set(b"b", b"2", 0, None)
    await backend.get(b"a", None)
    await backend.set(b"c", b"3", 0, None)
    assert [await backend.get(key, None) for key in (b"a", b"b", b"c")] == [b"1", None, b"3"]
    assert len(backend) == 2


async def test_those_that_are_over_make_room_first() -> None:
    clock = Clock()
    backend = await made(clock, max_entries=2)
    await backend.set(b"a", b"1", 0, None)
    await backend.set(b"b", b"2", 10, None)
    clock.now = 11
    await backend.set(b"c", b"3", 0, None)
    assert await backend.get(b"a", None) == b"1"


async def test_a_value_that_replaces_another_takes_no_more_room() -> None:
    backend = await made(Clock(), max_entries=2)
    for value in (b"1", b"2", b"3"):
        await backend.set(b"a", value, 0, None)
    await backend.set(b"b", b"4", 0, None)
    assert await backend.get(b"a", None) == b"3"


def test_room_for_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="max_entries must be at least 1"):
        MemoryBackend(max_entries=0)
