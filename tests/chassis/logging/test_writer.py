from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from chassis.logging.call_line import CallHead, CallLine
from chassis.logging.sink import Sink, open_sink
from chassis.logging.writer import Writer

PATIENCE = 30.0


class Gate:
    """An output that takes nothing until it is told to, or that fails."""

    terminal = False

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.open = threading.Event()
        self.reached = threading.Event()
        self.failures: list[Exception] = []
        self.tries = 0

    def write(self, lines: Sequence[str]) -> None:
        self.tries += 1
        self.reached.set()
        assert self.open.wait(PATIENCE)
        if self.failures:
            raise self.failures.pop(0)
        self.lines.extend(lines)


def call_line(name: str) -> CallLine:
    return (CallHead(20, {}), 0.0, None, name, 0.0, "", None, ())


@pytest.fixture
def writing() -> Iterator[Callable[..., Writer]]:
    writers: list[tuple[Writer, Any]] = []

    def make(sink: Sink, limit: int = 100) -> Writer:
        writer = Writer(sink, limit, lambda line: f"call {line[3]}", lambda lost: f"{lost} dropped")
        writers.append((writer, sink))
        return writer

    yield make
    for writer, sink in writers:
        if isinstance(sink, Gate):
            sink.open.set()
        assert writer.close(PATIENCE)


@pytest.fixture
def gate() -> Gate:
    return Gate()


Make = Callable[..., Writer]


def test_lines_and_calls_come_out_in_the_order_in_which_they_went_in(writing: Make) -> None:
    lines: list[str] = []
    writer = writing(open_sink(lines), limit=5_000)
    for number in range(1_000):
        writer.append(f"line {number}")
        writer.append(call_line(str(number)))
    assert writer.flush(PATIENCE)
    assert lines == [text for number in range(1_000) for text in (f"line {number}", f"call {number}")]
    assert writer.dropped == 0


def test_lines_of_many_threads_are_all_written_each_threads_in_order(writing: Make) -> None:
    lines: list[str] = []
    writer = writing(open_sink(lines), limit=10_000)
    threads = [
        threading.Thread(target=lambda name=name: [writer.append(f"{name} {n:04d}") for n in range(500)])
        for name in "abcd"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.flush(PATIENCE)
    assert sorted(lines) == [f"{name} {n:04d}" for name in "abcd" for n in range(500)]
    for name in "abcd":
        assert [line for line in lines if line[0] == name] == [f"{name} {n:04d}" for n in range(500)]


def test_a_blocked_output_costs_lines_and_no_time_and_the_loss_is_told_afterwards(writing: Make, gate: Gate) -> None:
    writer = writing(gate, limit=10)
    writer.append("first")
    assert gate.reached.wait(PATIENCE)
    for number in range(25):
        writer.append(f"line {number}")
    assert writer.dropped == 15
    gate.open.set()
    assert writer.flush(PATIENCE)
    assert gate.lines == ["first", *(f"line {number}" for number in range(10)), "15 dropped"]


def test_a_loss_is_told_once(writing: Make, gate: Gate) -> None:
    writer = writing(gate, limit=1)
    writer.append("first")
    assert gate.reached.wait(PATIENCE)
    writer.append("second")
    writer.append("third")
    gate.open.set()
    assert writer.flush(PATIENCE)
    writer.append("fourth")
    assert writer.flush(PATIENCE)
    assert gate.lines == ["first", "second", "1 dropped", "fourth"]


def test_important_lines_find_room_where_others_do_not(writing: Make, gate: Gate) -> None:
    writer = writing(gate, limit=10)
    writer.append("first")
    assert gate.reached.wait(PATIENCE)
    for number in range(12):
        writer.append(f"line {number}")
    writer.append("an error", important=True)
    writer.append("one more than a tenth", important=True)
    assert writer.dropped == 3
    gate.open.set()
    assert writer.flush(PATIENCE)
    assert gate.lines[-2:] == ["an error", "3 dropped"]


def test_closing_does_not_wait_longer_for_a_dead_output_than_it_was_told_to(writing: Make, gate: Gate) -> None:
    writer = writing(gate)
    writer.append("stuck")
    assert gate.reached.wait(PATIENCE)
    assert not writer.close(0.01)
    writer.append("too late")
    assert writer.dropped == 1


def test_closing_writes_what_is_waiting_and_ends_the_thread(writing: Make) -> None:
    lines: list[str] = []
    writer = writing(open_sink(lines))
    writer.append("last words")
    assert writer.close(PATIENCE)
    assert lines == ["last words"]
    assert writer.close(PATIENCE)
    assert "chassis-log-writer" not in [thread.name for thread in threading.enumerate()]


def test_flushing_gives_up_in_time_when_the_output_hangs(writing: Make, gate: Gate) -> None:
    writer = writing(gate)
    writer.append("stuck")
    assert not writer.flush(0.01)


@pytest.mark.parametrize("gone", [BrokenPipeError(errno.EPIPE, "Broken pipe"), OSError(errno.EBADF, "Bad descriptor")])
def test_an_output_that_is_gone_is_not_tried_again(writing: Make, gate: Gate, gone: OSError) -> None:
    gate.failures.append(gone)
    gate.open.set()
    writer = writing(gate)
    writer.append("lost")
    assert writer.flush(PATIENCE)
    writer.append("lost too")
    assert writer.flush(PATIENCE)
    assert (gate.tries, gate.lines, writer.dropped) == (1, [], 2)
    assert writer.trouble(PATIENCE) == f"log lines cannot be written: {gone}"


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left"), ValueError("a codec cannot"), KeyError()])
def test_an_output_that_failed_once_is_tried_again_and_the_loss_is_told(
    writing: Make, gate: Gate, failure: Exception
) -> None:
    gate.failures.append(failure)
    gate.open.set()
    writer = writing(gate)
    writer.append("lost")
    assert writer.flush(PATIENCE)
    assert writer.trouble(PATIENCE) is not None
    writer.append("back again")
    assert writer.flush(PATIENCE)
    assert gate.lines == ["back again", "1 dropped"]
    assert writer.trouble(PATIENCE) is None
    assert writer.dropped == 1


def test_a_loss_that_could_not_be_told_is_told_later(writing: Make, gate: Gate) -> None:
    gate.failures += [OSError(errno.ENOSPC, "No space left"), OSError(errno.ENOSPC, "No space left")]
    gate.open.set()
    writer = writing(gate)
    for text in ("lost", "lost as well", "back again"):
        writer.append(text)
        assert writer.flush(PATIENCE)
    assert gate.lines == ["back again", "2 dropped"]


def test_an_output_that_takes_nothing_for_long_is_in_trouble(writing: Make, gate: Gate) -> None:
    writer = writing(gate)
    assert writer.trouble(0) is None
    writer.append("stuck")
    assert gate.reached.wait(PATIENCE)
    assert writer.trouble(PATIENCE) is None
    assert writer.trouble(-1) == "the output of log lines is blocked"


def test_a_call_whose_line_cannot_be_made_costs_that_line_alone() -> None:
    def format_call(line: CallLine) -> str:
        raise RuntimeError("no")

    lines: list[str] = []
    writer = Writer(open_sink(lines), 10, format_call, lambda lost: f"{lost} dropped")
    writer.append(call_line("r-1"))
    writer.append("next")
    assert writer.close(PATIENCE)
    assert lines == ["next", "1 dropped"]


def test_an_important_line_is_written_at_once_and_takes_those_before_it_along(
    writing: Callable[..., Writer], gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.logging.writer._GATHERING", 3600)
    gate.open.set()
    writer = writing(gate)
    writer.append("first")
    writer.append("second", important=True)
    assert gate.reached.wait(PATIENCE)
    assert writer.flush(PATIENCE)
    assert gate.lines == ["first", "second"]
