from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, ClassVar

from chassis.bus.jetstream.api import STREAM_NAME_IN_USE, STREAM_NOT_FOUND, SUBJECTS_OVERLAP, Api, Refused
from chassis.bus.streams import Stream
from chassis.errors import Temporary

_log = logging.getLogger("chassis.bus")

_SECOND = 1_000_000_000

# What holds where the broker's answer leaves a setting out.
_UNSAID: dict[str, Any] = {"no_ack": False, "sealed": False, "deny_delete": False, "discard_new_per_subject": False}


class Streams:
    """The streams that events are kept in: made where they are missing, and otherwise used as they are.

    A stream that is there with other settings is never set back; what differs is told once, as a warning. A subject
    that no stream takes is added to one, and all else of it stays as it is.
    """

    ATTEMPTS: ClassVar[int] = 3
    """Times that a change is made again after somebody else's change went over it."""

    def __init__(self, api: Api, wanted: Sequence[Stream]) -> None:
        self._api = api
        self._wanted = tuple(wanted)
        self._lock = asyncio.Lock()
        self._told: set[str] = set()

    async def ensure(self) -> None:
        """Have all of them; raises Temporary where that is not possible right now."""
        async with self._lock:
            for stream in self._wanted:
                await self._ensure(stream)

    async def check(self, timeout: float) -> None:
        """Raise if the first of them, or what takes its subjects instead, cannot be reached right now."""
        subject = self._wanted[0].subjects[0]
        answer = await self._api.ask("STREAM.NAMES", {"subject": subject}, timeout=timeout)
        names = answer.get("streams") or []
        if not names:
            await self.ensure()
            return
        info = await self._api.ask(f"STREAM.INFO.{names[0]}", timeout=timeout)
        if (info.get("cluster") or {}).get("leader") == "":
            raise Temporary(f"the stream {names[0]} of the event bus has no leader right now")

    async def taking(self, subject: str) -> str:
        """The name of the stream that takes a subject, which becomes one of the first stream's where there is none."""
        found = await self._find(subject)
        if found is not None:
            return found
        async with self._lock:
            for stream in self._wanted:
                await self._ensure(stream)
            found = await self._find(subject)
            if found is None:
                await self._add(self._wanted[0].name, (subject,))
                found = self._wanted[0].name
            return found

    async def _find(self, subject: str) -> str | None:
        names = (await self._api.ask("STREAM.NAMES", {"subject": subject})).get("streams") or []
        return None if not names else str(names[0])

    async def _ensure(self, stream: Stream) -> None:
        try:
            config = (await self._api.ask(f"STREAM.INFO.{stream.name}"))["config"]
        except Refused as refusal:
            if refusal.number != STREAM_NOT_FOUND:
                raise
            await self._create(stream)
            return
        self._compare(stream, config)
        missing = tuple(each for each in stream.subjects if each not in config.get("subjects", ()))
        if missing:
            await self._add(stream.name, missing)

    async def _create(self, stream: Stream) -> None:
        body = {"name": stream.name, "subjects": list(stream.subjects), **_settings(stream)}
        try:
            await self._api.ask(f"STREAM.CREATE.{stream.name}", body)
        except Refused as refusal:
            if refusal.number == STREAM_NAME_IN_USE:  # somebody else was faster
                return
            if refusal.number != SUBJECTS_OVERLAP:
                raise
            self._overlaps(stream.name, await self._find(stream.subjects[0]), stream.subjects)
        else:
            _log.info("made the stream %s for %s", stream.name, ", ".join(stream.subjects))

    async def _add(self, name: str, subjects: tuple[str, ...]) -> None:
        # There is no way to say "only if nobody has changed it since": two who add at the same time undo each other.
        for _ in range(self.ATTEMPTS):
            config = (await self._api.ask(f"STREAM.INFO.{name}"))["config"]
            present = config.get("subjects") or []
            missing = [each for each in subjects if each not in present]
            if not missing:
                return
            try:
                await self._api.ask(f"STREAM.UPDATE.{name}", config | {"subjects": [*present, *missing]})
            except Refused as refusal:
                if refusal.number == SUBJECTS_OVERLAP:
                    self._overlaps(name, await self._find(missing[0]), tuple(missing))
                    return
                raise
            _log.info("added %s to the stream %s", ", ".join(missing), name)

    def _overlaps(self, name: str, other: str | None, subjects: tuple[str, ...]) -> None:
        if other is None:
            raise Temporary(
                f"{', '.join(subjects)} cannot become subjects of the stream {name}: other streams take parts of them"
            )
        self._tell(
            name,
            f"the stream {other} takes {', '.join(subjects)} already, and is used instead of {name}; "
            f"say so with eventbus.stream_name",
        )

    def _compare(self, stream: Stream, config: dict[str, Any]) -> None:
        wanted = _settings(stream)
        del wanted["description"]
        del wanted["num_replicas"]  # for operators to say
        differences = [
            f"{name} is {_shown(name, present)} and not {_shown(name, value)}"
            for name, value in {**wanted, "max_msgs": -1, "max_bytes": -1, **_UNSAID}.items()
            if (present := config.get(name, value)) != value
        ]
        if differences:
            self._tell(stream.name, f"the stream {stream.name} is used as it is: {'; '.join(differences)}")

    def _tell(self, name: str, text: str) -> None:
        if name not in self._told:
            self._told.add(name)
            _log.warning(text)


def _settings(stream: Stream) -> dict[str, Any]:
    return {
        "description": "Dead letters" if stream.subjects[0].startswith("cqi.dlq.") else "Events",
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "num_replicas": 1,
        "max_age": int(stream.max_age * _SECOND),
        "duplicate_window": 120 * _SECOND,
    }


def _shown(name: str, value: Any) -> str:
    if name in ("max_age", "duplicate_window"):
        return f"{value / _SECOND:g}s" if value else "unlimited"
    return str(value)
