from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import grpc

from chassis.component import Component

_log = logging.getLogger("chassis.service")

# Channels to one target beyond which it is taken for a mistake: nobody has so many sets of options.
_MANY = 20


class Channels(Component):
    """The channels that a service opened to others: one for each target and set of options, closed with it."""

    name = "channels"

    def __init__(self, open_channel: Callable[..., grpc.aio.Channel]) -> None:
        self._open = open_channel
        self._channels: dict[Any, grpc.aio.Channel] = {}
        self._opened: Counter[str] = Counter()

    def open(self, target: str, options: Mapping[str, Any]) -> grpc.aio.Channel:
        """Give the channel to this target, opened when it is first asked for."""
        key = (target, frozenset((name, _hashable(value)) for name, value in options.items()))
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = self._open(target, **options)
            self._count(target)
        return channel

    def _count(self, target: str) -> None:
        self._opened[target] += 1
        if self._opened[target] == _MANY + 1:
            # Two lambdas are two sets of options, however alike they look, and what was opened may still be in use.
            _log.warning(
                "more than %d channels to %s are open: keep the channel instead of asking for it for each call, "
                "or give it functions that have a name, which are the same each time",
                _MANY,
                target,
            )

    async def stop(self) -> None:
        self._opened.clear()
        while self._channels:
            _, channel = self._channels.popitem()
            await channel.close()


def _hashable(value: Any) -> Any:
    """An option to look a channel up by: gRPC's own come as a list of pairs."""
    return tuple(map(_hashable, value)) if isinstance(value, list) else value
