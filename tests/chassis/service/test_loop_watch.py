"""A loop that is blocked is told of while it is blocked, with the line that does it, and by nobody else's mistake."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import queue
import re
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from chassis.logging import Logs
from chassis.metrics import Metrics
from chassis.service import loop_watch
from chassis.service.loop_watch import LoopWatch, code_of

PATIENCE = 20.0
NEVER = 3600.0


class Told(logging.Handler):
    """What was told of the loop; can be waited for in a blocked loop, too."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Any] = []
        self.first = threading.Event()
        self._news = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._news:
            self.records.append(record)
            self.first.set()
            self._news.notify_all()

    def block(self, count: int) -> bool:
        """Stand still until so many lines were told; whether that came to be."""
        with self._news:
            return self._news.wait_for(lambda: len(self.records) >= count, PATIENCE)

    @property
    def levels(self) -> list[str]:
        return [record.levelname for record in self.records]


@pytest.fixture
def told() -> Iterator[Told]:
    handler = Told()
    logger = logging.getLogger("chassis.loop")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@asynccontextmanager
async def watching(
    warning: float = 0.05, limit: float = NEVER, metrics: Metrics | None = None, own: str = ""
) -> AsyncIterator[LoopWatch]:
    watch = LoopWatch(metrics or Metrics("watched"), warning=warning, limit=limit, own=own)
    await watch.start()
    try:
        yield watch
    finally:
        await watch.stop()


def line_of(function: Callable[..., Any], text: str) -> int:
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    first = function.__code__.co_firstlineno
    return first + next(number for number, line in enumerate(lines[first - 1 :]) if text in line)


async def test_the_line_that_blocks_is_named_while_it_blocks(told: Told) -> None:
    async def handler() -> None:
        assert told.first.wait(PATIENCE)  # this line

    async with watching():
        await handler()
    (record,) = told.records
    assert record.levelname == "WARNING"
    assert (record.file, record.line) == (__file__, line_of(handler, "# this line"))
    assert record.function.endswith("handler")
    place = f"{record.function} ({__file__}:{record.line})"
    assert re.fullmatch(
        rf"the event loop has been blocked for \d+\.\d s by {re.escape(place)}, and nothing else is served",
        record.getMessage(),
    )


async def test_the_stack_leads_from_whoever_called_to_where_it_stands(told: Told) -> None:
    def inner() -> None:
        told.block(1)

    async def outer() -> None:
        inner()

    async with watching():
        await outer()
    steps = told.records[0].stack.splitlines()
    named = [step.rpartition(".")[2] for step in steps if __file__ in step]
    assert named[-3:] == ["outer", "inner", "block"]
    assert "threading.py" in steps[-1]
    assert len(steps) <= 16


async def test_of_a_library_that_blocks_the_line_that_called_it_is_named(told: Told) -> None:
    answers: queue.Queue[None] = queue.Queue()
    told.emit = lambda record: (told.records.append(record), answers.put(None))  # type: ignore[method-assign]
    async with watching():
        answers.get(timeout=PATIENCE)
    function = test_of_a_library_that_blocks_the_line_that_called_it_is_named
    assert told.records[0].line == line_of(function, "answers.get(")
    assert told.records[0].function == function.__name__


def load(file: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("is_own", [False, True])
async def test_a_service_that_is_installed_among_libraries_is_no_library(
    told: Told, tmp_path: Path, is_own: bool
) -> None:
    file = tmp_path / "site-packages" / "pricing.py"
    file.parent.mkdir()
    file.write_text("def call(function, *arguments):\n    return function(*arguments)\n")
    module = load(file, "pricing")
    async with watching(own=str(file.parent) if is_own else ""):
        assert module.call(told.first.wait, PATIENCE)
    assert told.records[0].file == (str(file) if is_own else __file__)


async def test_a_blockage_is_one_warning_and_beyond_the_limit_one_error(told: Told) -> None:
    async with watching(0.05, 0.3) as watch:
        assert watch.stuck is None
        assert told.block(2)
        assert watch.stuck == "the event loop was blocked for longer than 0.3 s"
    assert told.levels == ["WARNING", "ERROR"]
    assert told.records[1].getMessage().endswith("nothing else is served: the process counts as stuck")


async def test_whose_code_blocks_it_can_be_asked_from_another_thread(told: Told) -> None:
    asked: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    metrics = Metrics("watched")
    async with watching(metrics=metrics) as watch:
        await next_heartbeat(metrics)
        assert watch.blocked_by is None

        def ask() -> None:
            while (place := watch.blocked_by) is None:
                told.first.wait(0.01)
            asked.put(place)

        threading.Thread(target=ask, daemon=True).start()
        place = asked.get(timeout=PATIENCE)
    function = test_whose_code_blocks_it_can_be_asked_from_another_thread
    assert place == f"{function.__name__} ({__file__}:{line_of(function, 'asked.get(')})"


async def test_it_counts_as_stuck_for_a_while_after_it_went_on_so_that_probes_see_it(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = Metrics("watched")
    async with watching(0, 0.05, metrics) as watch:
        told.block(1)
        await next_heartbeat(metrics)
        assert watch.stuck is not None
        monkeypatch.setattr(loop_watch, "_HOLD", 0)
        assert watch.stuck is None


async def next_heartbeat(metrics: Metrics) -> None:
    before = metrics.value("watched_event_loop_lag_seconds_count")
    async with asyncio.timeout(PATIENCE):
        while metrics.value("watched_event_loop_lag_seconds_count") == before:  # noqa: ASYNC110  it is a metric
            await asyncio.sleep(0.005)


async def test_how_late_the_loop_was_is_measured(told: Told) -> None:
    metrics = Metrics("watched")
    async with watching(0.2, metrics=metrics):
        await next_heartbeat(metrics)
        before = metrics.value("watched_event_loop_lag_seconds_sum") or 0.0
        told.block(1)
        await next_heartbeat(metrics)
        after = metrics.value("watched_event_loop_lag_seconds_sum") or 0.0
    assert after - before > 0.2


async def test_code_that_keeps_all_threads_from_running_is_named_too(told: Told) -> None:
    metrics = Metrics("watched")
    took, length = 0.0, 16
    async with watching(metrics=metrics):
        while took < 0.5:
            await next_heartbeat(metrics)
            begun = time.monotonic()
            # The engine holds the interpreter's lock while it goes back and forth, once for all that time.
            assert re.match(r"(a+)+$", "a" * length + "b") is None
            took, length = time.monotonic() - begun, length + 1
        await next_heartbeat(metrics)
    assert told.records[0].function == test_code_that_keeps_all_threads_from_running_is_named_too.__name__


async def test_a_place_that_blocks_again_is_counted_and_not_told_again(told: Told) -> None:
    metrics = Metrics("watched")
    async with watching(metrics=metrics) as watch:

        def again(until: Callable[[], bool]) -> None:
            waiting = threading.Event()
            while not until():
                waiting.wait(0.01)

        again(lambda: bool(told.records))
        await next_heartbeat(metrics)
        again(lambda: watch._untold == 1)
        await next_heartbeat(metrics)
        told.block(2)
    first, second = told.records
    assert first.function.endswith("again")
    assert not hasattr(first, "untold")
    assert (second.function.rpartition(".")[2], second.untold) == ("block", 1)


async def test_many_places_do_not_fill_the_log(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_watch, "_PLACES", 1)
    metrics = Metrics("watched")
    async with watching(metrics=metrics) as watch:
        told.block(1)
        await next_heartbeat(metrics)
        while watch._untold == 0:
            threading.Event().wait(0.01)
    assert len(told.records) == 1


async def test_two_services_in_one_process_tell_each_in_its_own_log_once() -> None:
    outputs: list[list[str]] = [[], []]
    services = []
    for number, lines in enumerate(outputs):
        logs = Logs(f"service-{number}", output=lines)
        watch = LoopWatch(Metrics(f"service-{number}"), warning=0.05, limit=0)
        services.append((logs, watch))

        async def begin(logs: Logs = logs, watch: LoopWatch = watch) -> None:
            await logs.start()
            await watch.start()

        await asyncio.create_task(begin())
    waiting = threading.Event()
    while not all(outputs):
        waiting.wait(0.01)
    for logs, watch in reversed(services):
        await watch.stop()
        await logs.stop()
    assert [len(lines) for lines in outputs] == [1, 1]
    for number, (line,) in enumerate(outputs):
        assert f'"service_name":"service-{number}"' in line


async def test_nothing_is_left_behind_when_it_has_stopped(told: Told) -> None:
    metrics = Metrics("watched")
    async with watching(metrics=metrics) as watch:
        await next_heartbeat(metrics)
        assert "chassis-loop-watch" in {thread.name for thread in threading.enumerate()}
    assert "chassis-loop-watch" not in {thread.name for thread in threading.enumerate()}
    heartbeats = metrics.value("watched_event_loop_lag_seconds_count")
    await asyncio.sleep(0.1)  # several heartbeats, if there were any
    assert metrics.value("watched_event_loop_lag_seconds_count") == heartbeats
    await watch.stop()


async def test_turned_off_it_measures_and_does_nothing_else() -> None:
    metrics = Metrics("watched")
    before = set(threading.enumerate())
    async with watching(0, 0, metrics) as watch:
        assert set(threading.enumerate()) <= before
        await next_heartbeat(metrics)
        assert watch.stuck is None


def test_the_code_of_a_service_is_its_package_or_its_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "a_package_of_services" / "inner").mkdir(parents=True)
    (tmp_path / "a_package_of_services" / "inner" / "service.py").write_text("class Service: ...\n")
    (tmp_path / "a_module_of_services.py").write_text("class Service: ...\n")
    in_package = importlib.import_module("a_package_of_services.inner.service").Service
    in_module = importlib.import_module("a_module_of_services").Service
    assert code_of(in_package) == str(tmp_path / "a_package_of_services")
    assert code_of(in_module) == str(tmp_path / "a_module_of_services.py")
    monkeypatch.delitem(sys.modules, "a_module_of_services")
    assert code_of(in_module) == ""
