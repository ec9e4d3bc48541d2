from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from chassis.bus.backend import Consumer
from chassis.bus.jetstream.api import CONSUMER_NAME_IN_USE, CONSUMER_NOT_FOUND, UNAVAILABLE, Api, Refused
from chassis.bus.jetstream.notes import Notes, noted
from chassis.bus.jetstream.streams import Streams

_log = logging.getLogger("chassis.bus")

_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Bound:
    """Where a durable is pulled from, the most that it gives for a request (0 for no limit), and when it was made."""

    stream: str
    max_batch: int
    max_expires: float
    made: str = ""


class Consumers:
    """Durables: made where they are missing, with what may be changed brought up to date, and never made anew."""

    def __init__(self, api: Api, streams: Streams) -> None:
        self._api = api
        self._streams = streams
        self._notes: dict[tuple[str, str], Notes] = {}
        self._told: set[str] = set()

    async def ensure(self, consumer: Consumer, *, update: bool) -> Bound:
        """Have the durable; with `update`, as it is asked for.

        Raises ValueError for one of this name that is for something else, Temporary for what cannot be done now.
        """
        stream = await self._streams.taking(consumer.subject)
        try:
            info = await self._find(stream, consumer.durable) or await self._create(stream, consumer)
        except Refused as refusal:
            if refusal.number not in CONSUMER_NAME_IN_USE:
                raise
            info = await self._api.ask(f"CONSUMER.INFO.{stream}.{consumer.durable}")
        config: dict[str, Any] = info["config"]
        _check(consumer, config)
        if update:
            config = await self._update(stream, consumer, config)
        return Bound(stream, config.get("max_batch", 0), config.get("max_expires", 0) / _SECOND, info["created"])

    async def begun(self, consumer: Consumer, stream: str, sequence: int) -> int:
        """Note in the durable's metadata that an event's handler is about to begin; how often that was noted.

        Where the server takes no notes, this process counts for itself. What one process notes at the very moment at
        which another does can be lost if it dies before it notes something more: that event is then begun once more.
        """
        notes = self._notes.setdefault((stream, consumer.durable), Notes())
        info = await self._api.ask(f"CONSUMER.INFO.{stream}.{consumer.durable}")
        begun = notes.of(info)
        begun[sequence] = count = begun.get(sequence, 0) + 1
        try:
            await self._put(stream, consumer, noted(info["config"], begun), "update")
        except Refused as refusal:
            if refusal.status == UNAVAILABLE:
                raise
            # It will be refused the next time, too: the event would wait for ever.
            if consumer.durable not in self._told:
                self._told.add(consumer.durable)
                _log.warning(
                    "the durable %s takes no note of what is begun, so an event that ends the process has no end: %s",
                    consumer.durable,
                    refusal.detail,
                )
        notes.remember(sequence, count)
        return count

    async def _find(self, stream: str, durable: str) -> dict[str, Any] | None:
        try:
            info: dict[str, Any] = await self._api.ask(f"CONSUMER.INFO.{stream}.{durable}")
        except Refused as refusal:
            if refusal.number != CONSUMER_NOT_FOUND:
                raise
            return None
        return info

    async def _create(self, stream: str, consumer: Consumer) -> dict[str, Any]:
        config = {
            "name": consumer.durable,
            "durable_name": consumer.durable,
            "filter_subject": consumer.subject,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "replay_policy": "instant",
            **_changeable(consumer),
        }
        answer = await self._put(stream, consumer, config, "create")
        _log.info("made the durable %s for %s in the stream %s", consumer.durable, consumer.subject, stream)
        return answer

    async def _update(self, stream: str, consumer: Consumer, config: dict[str, Any]) -> dict[str, Any]:
        wanted = _changeable(consumer)
        differences = {name: value for name, value in wanted.items() if config.get(name) != value}
        if not differences:
            return config
        said = ", ".join(f"{name} {config.get(name)} becomes {value}" for name, value in differences.items())
        try:
            config = (await self._put(stream, consumer, config | differences, "update"))["config"]
        except Refused as refusal:
            _log.warning("the durable %s is used as it is, not changed (%s): %s", consumer.durable, said, refusal.said)
        else:
            _log.info("changed the durable %s: %s", consumer.durable, said)
        return config

    async def _put(self, stream: str, consumer: Consumer, config: dict[str, Any], action: str) -> dict[str, Any]:
        # The server compares it with this one of the two that a durable can have for its subjects, and with no other.
        subject = f".{config['filter_subject']}" if config.get("filter_subject") else ""
        answer: dict[str, Any] = await self._api.ask(
            f"CONSUMER.CREATE.{stream}.{consumer.durable}{subject}",
            {"stream_name": stream, "config": config, "action": action},
        )
        return answer


def _changeable(consumer: Consumer) -> dict[str, Any]:
    # The broker delivers without end, since the chassis counts and writes the dead letter.
    return {
        "ack_wait": int(consumer.ack_wait * _SECOND),
        "max_ack_pending": consumer.max_ack_pending,
        "max_deliver": -1,
    }


def _check(consumer: Consumer, config: dict[str, Any]) -> None:
    subject = config.get("filter_subject") or ", ".join(config.get("filter_subjects") or ["all subjects"])
    if subject != consumer.subject:
        raise ValueError(f"the durable {consumer.durable} takes events on {subject}, not on {consumer.subject}")
    problems = []
    if config.get("deliver_subject"):
        problems.append("it pushes its events")
    if config.get("ack_policy") != "explicit":
        problems.append(f"its ack_policy is {config.get('ack_policy')}, not explicit")
    if problems:
        raise ValueError(
            f"the durable {consumer.durable} cannot be used: {' and '.join(problems)}; "
            "delete it, or give the service another eventbus.consumer_name"
        )
    if config.get("deliver_policy", "all") != "all" or config.get("backoff"):
        _log.warning(
            "the durable %s is used as it is: deliver_policy %s, backoff %s",
            consumer.durable,
            config.get("deliver_policy"),
            config.get("backoff"),
        )
