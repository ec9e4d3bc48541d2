"""What stands with a durable about events that are begun alone: it outlives the process that noted it."""

from __future__ import annotations

import json
from typing import Any, ClassVar

_BEGUN = "cqi-begun"
"""Of the metadata of a durable: how often the handlers of events in doubt were begun, by their number."""


class Notes:
    """How often handlers were begun alone, as a durable has it and as this process has noted it there.

    A durable is written as a whole, and who read it before another wrote it takes that one's notes away. So what was
    noted here stands in all that is written from here, until the event is done with or the durable is another.
    """

    MAX: ClassVar[int] = 1000
    """Events whose notes are remembered here; of those beyond, the ones noted longest ago are left to the durable."""

    def __init__(self) -> None:
        self._own: dict[int, int] = {}
        self._made = ""

    def of(self, info: dict[str, Any]) -> dict[int, int]:
        """How often each event's handler was begun, by the durable that is described, and by what is known here."""
        floor = info["ack_floor"]["stream_seq"]
        if info["created"] != self._made:  # its numbers may be those of other events
            self._made = info["created"]
            self._own.clear()
        self._own = {number: count for number, count in self._own.items() if number > floor}
        try:
            noted = json.loads((info["config"].get("metadata") or {}).get(_BEGUN, "{}"))
            notes = {int(number): int(count) for number, count in noted.items() if int(number) > floor}
        except (ValueError, TypeError, AttributeError):  # somebody else wrote it
            notes = {}
        for number, count in self._own.items():
            notes[number] = max(count, notes.get(number, 0))
        return notes

    def remember(self, sequence: int, count: int) -> None:
        """This was noted here."""
        self._own.pop(sequence, None)
        self._own[sequence] = count
        if len(self._own) > self.MAX:
            del self._own[next(iter(self._own))]


def noted(config: dict[str, Any], notes: dict[int, int]) -> dict[str, Any]:
    """The configuration of a durable, with these notes in it."""
    metadata = config.get("metadata") or {}
    return config | {"metadata": metadata | {_BEGUN: json.dumps(notes)}}
