"""How often events were tried, which is not how often they were delivered."""

from __future__ import annotations

from typing import ClassVar

from chassis.bus.backend import Delivery

_Identity = tuple[str, int, bytes]


class Tries:
    """How often the handlers of events were begun and came to no good end, as far as is known here.

    A broker counts deliveries, and knows nothing of those that waited behind another event when the process was killed,
    or were given back when it stopped. What failed in this process is counted by it; what no process can have seen to
    its end, the broker is asked to note, once an event is in doubt (`Delivery.begun`).
    """

    MAX: ClassVar[int] = 10_000
    """Events that are remembered; of those beyond, the ones that failed longest ago are counted anew."""

    def __init__(self) -> None:
        self._tries: dict[_Identity, int] = {}

    def of(self, delivery: Delivery) -> int:
        """How often it was tried."""
        return self._tries.get(_identity(delivery), 0)

    def one_more(self, delivery: Delivery) -> int:
        """It failed; returns how often it was tried."""
        return self._set(delivery, self.of(delivery) + 1)

    def at_least(self, delivery: Delivery, tries: int) -> int:
        """It was tried so often, as others say; returns how often it was tried."""
        return self._set(delivery, max(self.of(delivery), tries))

    def _set(self, delivery: Delivery, tries: int) -> int:
        identity = _identity(delivery)
        self._tries.pop(identity, None)
        self._tries[identity] = tries
        if len(self._tries) > self.MAX:
            del self._tries[next(iter(self._tries))]
        return tries


def _identity(delivery: Delivery) -> _Identity:
    return delivery.stream, delivery.sequence, delivery.stored
