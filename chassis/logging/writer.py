"""A bounded queue of lines and the one thread that writes them: a slow output never holds up those who log."""

from __future__ import annotations

import errno
import threading
import time
from collections import deque
from collections.abc import Callable

from chassis.logging.call_line import CallLine
from chassis.logging.sink import Sink

_BATCH = 512  # lines for one write
# Seconds that lines are gathered for, so that not each of them wakes the thread. Important ones are written at once.
_GATHERING = 0.1
_PAUSE = 1.0  # seconds before an output that failed is tried again
_GONE = frozenset({errno.EPIPE, errno.EBADF})  # an output that will never take anything again


class Writer:
    """Takes finished lines and lines of calls, and has them written in order by a daemon thread.

    `limit` is how many may wait. Beyond it lines are dropped and counted; important ones find a tenth more room.
    `format_call` makes the text of a call's line, `format_loss` that of the line which tells how many were dropped.
    """

    def __init__(
        self, sink: Sink, limit: int, format_call: Callable[[CallLine], str], format_loss: Callable[[int], str]
    ) -> None:
        self._sink = sink
        self._limit = limit
        self._limit_of_important = limit + max(limit // 10, 1)
        self._format_call = format_call
        self._format_loss = format_loss
        self._queue: deque[str | CallLine | threading.Event] = deque()
        self._wake = threading.Event()  # there is something to do
        self._hurry = threading.Event()  # do not wait for more
        self._idle = False
        self._gone = False
        self._closed = False
        self._counting = threading.Lock()
        self._dropped = 0
        self._told = 0
        self._writing_since: float | None = None
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._run, name="chassis-log-writer", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """How many lines were lost: there was no room for them, or they could not be written."""
        return self._dropped

    def trouble(self, patience: float) -> str | None:
        """What is wrong with the output: it failed, or has not taken what was written for `patience` seconds."""
        since = self._writing_since
        if since is not None and time.monotonic() - since > patience:
            return "the output of log lines is blocked"
        return self._failure

    def append(self, item: str | CallLine, *, important: bool = False) -> None:
        """Have a line written; never waits."""
        queue = self._queue
        if self._gone or self._closed or len(queue) >= (self._limit_of_important if important else self._limit):
            self._drop(1)
            return
        queue.append(item)
        if important:
            self._hurry.set()
        # Set only for a thread that sleeps: setting it for each line would cost more than all the rest here.
        if self._idle:
            self._wake.set()

    def flush(self, timeout: float) -> bool:
        """Wait until all lines so far are written or lost, `timeout` seconds at most; says whether they are."""
        if not self._thread.is_alive():
            return True
        settled = threading.Event()
        self._queue.append(settled)
        self._hurry.set()
        self._wake.set()
        return settled.wait(timeout)

    def close(self, timeout: float) -> bool:
        """Write what is there and end, `timeout` seconds at most; says whether it came to that."""
        settled = self.flush(timeout)
        self._closed = True
        self._hurry.set()
        self._wake.set()
        if settled:
            self._thread.join(timeout)
        return settled

    def _drop(self, count: int) -> None:
        with self._counting:
            self._dropped += count

    def _run(self) -> None:
        while self._queue or not self._closed:
            if not self._queue:
                self._sleep()
            # Hurrying lasts until there is nothing left, so that a flush does not wait for each batch.
            if len(self._queue) < _BATCH and not self._closed:
                self._hurry.wait(_GATHERING)
            self._write_batch()

    def _sleep(self) -> None:
        self._hurry.clear()
        # In this order: whoever appends looks at `_idle` only behind that, so that one of the two sees the other.
        self._idle = True
        if not self._queue and not self._closed:
            self._wake.wait()
        self._idle = False
        self._wake.clear()

    def _write_batch(self) -> None:
        lines: list[str] = []
        waiting: list[threading.Event] = []
        next_item, format_call = self._queue.popleft, self._format_call
        for _ in range(min(len(self._queue), _BATCH)):
            item = next_item()
            if isinstance(item, tuple):
                try:
                    lines.append(format_call(item))
                except Exception:  # one line less; without this thread there would be none at all
                    self._drop(1)
            elif isinstance(item, str):
                lines.append(item)
            else:
                waiting.append(item)
        records = len(lines)
        lost = self._dropped - self._told
        if lost and not self._queue:
            lines.append(self._format_loss(lost))
            self._told += lost
        written = not lines or self._write(lines)
        if not written:
            self._drop(records)
            self._told -= lost if len(lines) > records else 0
        pausing = not written and not self._gone and not self._closed
        if pausing:
            self._hurry.clear()
        for settled in waiting:
            settled.set()
        if pausing:
            self._hurry.wait(_PAUSE)

    def _write(self, lines: list[str]) -> bool:
        if self._gone:
            return False
        self._writing_since = time.monotonic()
        try:
            self._sink.write(lines)
        except Exception as error:  # whatever an output does, this thread lives: it may take lines again later
            self._failure = f"log lines cannot be written: {error}"
            self._gone = isinstance(error, OSError) and error.errno in _GONE
            return False
        finally:
            self._writing_since = None
        self._failure = None
        return True
