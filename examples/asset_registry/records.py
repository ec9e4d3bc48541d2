"""What every new record begins with: an id and a time."""

from __future__ import annotations

import time
import uuid

from google.protobuf.timestamp_pb2 import Timestamp


def new_id() -> str:
    """A UUID of version 4.

    >>> len(new_id())
    36
    """
    return str(uuid.uuid4())


def now() -> Timestamp:
    """The time in whole microseconds: databases keep no more, and what was answered must be what is read later.

    >>> now().nanos % 1000
    0
    """
    timestamp = Timestamp()
    timestamp.FromMicroseconds(time.time_ns() // 1000)
    return timestamp
