from __future__ import annotations

import asyncio
import contextvars
import gc
from typing import Any

from chassis.background import Background, end, forget

PATIENCE = 5.0
AT_ONCE = 0.001


async def begun(work: Any) -> asyncio.Task[Any]:
    task = asyncio.ensure_future(work)
    await asyncio.sleep(0)
    return task


async def test_tasks_have_ended_when_it_returns() -> None:
    tasks = [await begun(asyncio.Event().wait()), await begun(asyncio.sleep(0))]
    await tasks[1]
    await end(*tasks, None)
    assert tasks[0].cancelled()
    assert not tasks[1].cancelled()


async def test_a_cancellation_that_was_lost_is_repeated() -> None:
    async def lose_it() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    task = await begun(lose_it())
    async with asyncio.timeout(PATIENCE):
        await end(task, patience=AT_ONCE)
    assert task.cancelled()


async def test_what_is_spawned_while_the_others_end_is_ended_too() -> None:
    background = Background()
    late: list[asyncio.Task[None]] = []

    async def last_words() -> None:
        await asyncio.Event().wait()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            late.append(background.spawn(last_words()))

    background.spawn(work())
    await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE):
        await background.end()
    assert [task.cancelled() for task in late] == [True]
    assert len(background) == 0


async def test_a_task_that_has_just_ended_is_not_waited_for() -> None:
    async def nothing() -> None: ...

    background = Background()
    task = background.spawn(nothing())
    await asyncio.sleep(0)
    assert (task.done(), len(background)) == (True, 1)
    await background.end()


async def test_what_is_spawned_is_part_of_nothing_unless_that_is_said() -> None:
    place = contextvars.ContextVar("place", default="nowhere")
    place.set("here")

    async def look() -> str:
        return place.get()

    background = Background()
    assert await background.spawn(look()) == "nowhere"
    assert await background.spawn(look(), context=contextvars.copy_context()) == "here"
    empty = contextvars.Context()

    async def change() -> None:
        place.set("elsewhere")

    await background.spawn(change(), context=empty)
    assert empty[place] == "elsewhere"


async def test_an_error_that_is_forgotten_is_not_complained_of() -> None:
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))

    async def fail() -> None:
        raise ValueError

    for callbacks in ([forget], []):
        task = await begun(fail())
        for callback in callbacks:
            task.add_done_callback(callback)
        await asyncio.wait({task})
        del task
        gc.collect()
    assert len(complaints) == 1, "that of the second one, which nobody has forgotten"
