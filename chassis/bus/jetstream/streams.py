from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from chassis.bus.jetstream.api import (
    INVALID_STREAM,
    STREAM_NAME_IN_USE,
    STREAM_NOT_FOUND,
    SUBJECTS_OVERLAP,
    Api,
    Refused,
)
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
        """Have all of them; raises Temporary, or an OSError, where that is not possible right now for one of them."""
        failures: list[Exception] = []
        async with self._lock:
            for stream in self._wanted:
                try:
                    await self._ensure(stream)
                except (Temporary, OSError) as error:  # which is no reason to go without the others
                    failures.append(error)
        for failure in failures[1:]:
            _log.warning("one more of the streams of the event bus could not be looked after: %s", failure)
        if failures:
            raise failures[0]

    async def check(self, timeout: float) -> None:
        """Raise if one of them, or what takes its subjects instead, cannot be reached right now."""
        for stream in self._wanted:
            answer = await self._api.ask("STREAM.NAMES", {"subject": stream.subjects[0]}, timeout=timeout)
            names = answer.get("streams") or []
            if not names:
                await self._have(stream)
                continue
            info = await self._api.ask(f"STREAM.INFO.{names[0]}", timeout=timeout)
            if (info.get("cluster") or {}).get("leader") == "":
                raise Temporary(f"the stream {names[0]} of the event bus has no leader right now")

    async def _have(self, stream: Stream) -> None:
        try:
            async with self._lock:
                await self._ensure(stream)
        except Refused as refusal:
            said = f"the event bus cannot have its stream {stream.name}: {refusal.said}"
            raise Temporary(said, detail=refusal.detail) from refusal

    async def taking(self, subject: str) -> str:
        """The name of the stream that takes a subject, which becomes one of the first stream's where there is none."""
        found = await self._find(subject)
        if found is not None:
            return found
        stream = next((each for each in self._wanted if each.takes(subject)), self._wanted[0])
        async with self._lock:
            await self._ensure(stream)
            found = await self._find(subject)
            if found is None:
                await self._add(stream, (subject,))
                found = stream.name
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
            await self._add(stream, missing)

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

    async def _add(self, stream: Stream, subjects: tuple[str, ...]) -> None:
        name = stream.name
        # There is no way to say "only if nobody has changed it since": two who add at the same time undo each other.
        for _ in range(self.ATTEMPTS):
            try:
                config = (await self._api.ask(f"STREAM.INFO.{name}"))["config"]
            except Refused as refusal:
                if refusal.number != STREAM_NOT_FOUND:
                    raise
                # Others take parts of its subjects, so that it could not be made with all of them.
                await self._create(replace(stream, subjects=subjects))
                return
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
                if refusal.number == INVALID_STREAM and await self._find(missing[0]) == name:
                    taken, wanted = ", ".join(present), ", ".join(missing)
                    self._tell(
                        f"{name}: {wanted}", f"the stream {name} is used as it is: it takes {taken}, not {wanted}"
                    )
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

    def _tell(self, what: str, text: str) -> None:
        if what not in self._told:
            self._told.add(what)
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
