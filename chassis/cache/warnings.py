from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import ClassVar

from google.protobuf.message import Message

from chassis.cache.backend import BackendFailure

_log = logging.getLogger("chassis.cache")


class Warnings:
    """What people are told of a cache, seldom enough that it does not drown the rest of the log.

    `clock` is in seconds.
    """

    SECONDS: ClassVar[float] = 30.0
    """What goes on is told once in so many seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._quiet_until: dict[str, float] = {}

    def failing(self, failure: BackendFailure) -> None:
        """The backend did not do what it was asked for."""
        reason = str(failure)
        if self._may_say(reason):
            _log.warning("the cache is of no use right now: %s; values come from their sources", reason)

    def foreign(self, entity: str, message_type: type[Message]) -> None:
        """A value was found that is none of this type."""
        wanted = message_type.DESCRIPTOR.full_name  # and not the key, which may be made of what nobody should see
        if self._may_say(f"{entity} {wanted}"):
            _log.warning("a value of the entity %s is no %s of this schema and is taken for a miss", entity, wanted)

    def _may_say(self, what: str) -> bool:
        now = self._clock()
        if now < self._quiet_until.get(what, -math.inf):
            return False
        self._quiet_until[what] = now + self.SECONDS
        return True
