"""The event bus over a file that only ever grows: the least that a backend can be."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from chassis.bus import Backend, Consumer, Delivery, Durable, Intake, Stored


class AppendOnlyFile(Backend):
    """One line of JSON for each event, and for each that a durable is done with; read again when it is opened.

    Events are in the file alone; in memory is where they begin. What it cannot do: be opened twice at a time, bear a
    crash in the middle of a line, forget (so that an id is known for ever), limit the size of an event, and count
    deliveries over a reopening.
    """

    system = "file"

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+b")
        self._places: list[int] = []  # of event number n at n - 1
        self._ids: set[str] = set()
        self._done: dict[str, set[int]] = {}
        self._durables: dict[str, Durable] = {}
        self._file.seek(0)
        place = 0
        for line in self._file:
            self._take_in(place, json.loads(line))
            place += len(line)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    async def publish(
        self, subject: str, payload: bytes, headers: Mapping[str, str], *, msg_id: str, timeout: float
    ) -> None:
        if not msg_id or msg_id not in self._ids:
            text = base64.b64encode(payload).decode()
            self._append({"subject": subject, "payload": text, "headers": dict(headers), "id": msg_id})
            for durable in self._durables.values():
                durable.add(len(self._places))

    async def subscribe(self, consumer: Consumer, deliver: Callable[[Delivery], None]) -> Intake:
        name = consumer.durable
        if name not in self._durables:
            done = self._done.setdefault(name, set())
            self._durables[name] = durable = Durable(
                name, consumer.subject, read=self._read, done=lambda number: self._append({"by": name, "done": number})
            )
            for number in range(1, len(self._places) + 1):
                if number not in done:
                    durable.add(number)
        return self._durables[name].subscribe(consumer, deliver)

    def _append(self, record: dict[str, Any]) -> None:
        place = self._file.seek(0, os.SEEK_END)
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()
        self._take_in(place, record)

    def _take_in(self, place: int, record: dict[str, Any]) -> None:
        if "by" in record:
            self._done.setdefault(record["by"], set()).add(record["done"])
            return
        self._places.append(place)
        self._ids.add(record["id"])

    def _read(self, number: int) -> Stored:
        self._file.seek(self._places[number - 1])
        event = json.loads(self._file.readline())
        payload = base64.b64decode(event["payload"])
        return Stored(self._file.name.rpartition("/")[2], number, event["subject"], payload, event["headers"])
