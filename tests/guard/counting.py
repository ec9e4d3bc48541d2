"""Counts what a call costs in functions entered, bytecodes executed and blocks of memory allocated: no clock."""

from __future__ import annotations

import contextvars
import gc
import sys
import sysconfig
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from tests.guard.figures import Counts, least

_ROOT = Path(__file__).parents[2]
_OUTSIDE = (Path(sysconfig.get_path("purelib")), Path(sysconfig.get_path("stdlib")))
# Neither what stands for gRPC and for NATS nor the measurement itself.
_NOT_COUNTED = frozenset(str(Path(__file__).with_name(name)) for name in ("subject.py", "events.py", "counting.py"))

Entered = Callable[[CodeType], None]
Executed = Callable[[CodeType], None]


_LOOKS = 2


def count(call: Callable[[], None]) -> Counts:
    """What one call costs, once all that is done only once has been done.

    Of several calls each function's least figure: a queue that grows by blocks of 64 costs one of so many calls more.
    """
    return least([_count_once(call) for _ in range(_LOOKS)])


def _count_once(call: Callable[[], None]) -> Counts:
    functions = _Functions()
    stop = _listen(functions.enter, functions.execute)
    _in_a_context_of_its_own(call)
    stop()
    blocks = _Blocks()
    gc.collect()
    gc.freeze()  # so that a collection looks at what this call has made, and at nothing else
    gc.disable()
    try:
        stop = _listen(_nothing, blocks.execute)
        _in_a_context_of_its_own(call)
        stop()
    finally:
        gc.enable()
        gc.unfreeze()
    by_function: dict[str, tuple[int, int, int]] = {}
    for code in functions.entered.keys() | functions.executed.keys() | blocks.allocated.keys():
        if code.co_filename in _NOT_COUNTED:
            continue
        name = f"{_short(code.co_filename)} {code.co_qualname}"
        new = functions.entered.get(code, 0), functions.executed.get(code, 0), blocks.allocated.get(code, 0)
        old = by_function.get(name, (0, 0, 0))
        by_function[name] = (old[0] + new[0], old[1] + new[1], old[2] + new[2])
    return Counts(by_function)


def _in_a_context_of_its_own(call: Callable[[], None]) -> None:
    # As grpc.aio does: each call is a task, and each task has a context.
    contextvars.copy_context().run(call)


class _Functions:
    """How often each function was entered, and how many bytecodes it has executed."""

    def __init__(self) -> None:
        self.entered: dict[CodeType, int] = {}
        self.executed: dict[CodeType, int] = {}

    def enter(self, code: CodeType) -> None:
        self.entered[code] = self.entered.get(code, 0) + 1

    def execute(self, code: CodeType) -> None:
        self.executed[code] = self.executed.get(code, 0) + 1


class _Blocks:
    """How many blocks of memory each function's bytecodes have allocated, those that were given back soon included.

    Python keeps some objects that it has freed for the next of their kind, so that a dict made anew is no new block.
    A collection empties these stores; done behind each bytecode, every object is a block once more.
    """

    def __init__(self) -> None:
        self.allocated: dict[CodeType, int] = {}
        self._before = 0
        self._of: CodeType | None = None

    def execute(self, code: CodeType) -> None:
        gc.collect()
        grown = sys.getallocatedblocks() - self._before
        if grown > 0 and self._of is not None:
            self.allocated[self._of] = self.allocated.get(self._of, 0) + grown
        self._of = code
        gc.collect()
        self._before = sys.getallocatedblocks()


def _nothing(code: CodeType) -> None:
    pass


if sys.version_info >= (3, 12):

    def _listen(entered: Entered, executed: Executed) -> Callable[[], None]:
        """Have functions called for each function that is entered, and each bytecode; returns what ends that."""
        events = sys.monitoring.events
        tool = sys.monitoring.PROFILER_ID
        thread = threading.get_ident()

        def enter(code: CodeType, offset: int) -> None:
            if threading.get_ident() == thread:
                entered(code)

        def execute(code: CodeType, offset: int) -> None:
            if threading.get_ident() == thread:
                executed(code)

        def stop() -> None:
            sys.monitoring.set_events(tool, 0)
            sys.monitoring.free_tool_id(tool)

        sys.monitoring.use_tool_id(tool, "tests.guard")
        for event in (events.PY_START, events.PY_RESUME):
            sys.monitoring.register_callback(tool, event, enter)
        sys.monitoring.register_callback(tool, events.INSTRUCTION, execute)
        sys.monitoring.set_events(tool, events.PY_START | events.PY_RESUME | events.INSTRUCTION)
        return stop

else:

    def _listen(entered: Entered, executed: Executed) -> Callable[[], None]:
        """Have functions called for each function that is entered, and each bytecode; returns what ends that."""

        def trace(frame: FrameType, event: str, argument: Any) -> Any:
            if event == "call":
                frame.f_trace_opcodes = True
                frame.f_trace_lines = False
                entered(frame.f_code)
            elif event == "opcode":
                executed(frame.f_code)
            return trace

        # The frame that is here already, and those above it, have no trace function of their own: they are not counted.
        sys.settrace(trace)
        return lambda: sys.settrace(None)


def _short(filename: str) -> str:
    path = Path(filename)
    for folder in (_ROOT / "proto", *_OUTSIDE, _ROOT):
        if path.is_relative_to(folder):
            return path.relative_to(folder).as_posix()
    return path.name
