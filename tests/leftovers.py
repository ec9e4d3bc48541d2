"""What gRPC's queue holds of event loops that are closed: nothing that a test has to answer for.

gRPC has one queue for all event loops of a process, and a channel that is closed leaves a last entry there. A service
has one event loop; here each test has its own, and the next one's reads what the one before has left.
"""

from __future__ import annotations

import logging


def left_by_a_closed_loop(told: object, exception: object) -> bool:
    """Whether this is what an event loop tells, `told` and `exception`, of such an entry."""
    return (
        isinstance(exception, RuntimeError)
        and str(exception) == "Event loop is closed"
        and "PollerCompletionQueue" in str(told)
    )


def heeded(record: logging.LogRecord) -> bool:
    """A filter of the logger `asyncio` that lets all else pass."""
    return not (record.exc_info and left_by_a_closed_loop(record.getMessage(), record.exc_info[1]))
