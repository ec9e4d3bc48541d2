from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import grpc

from chassis.component import Component


class Channels(Component):
    """The channels that a service opened to others: one for each target and set of options, closed with it."""

    name = "channels"

    def __init__(self, open_channel: Callable[..., grpc.aio.Channel]) -> None:
        self._open = open_channel
        self._channels: dict[Any, grpc.aio.Channel] = {}

    def open(self, target: str, options: Mapping[str, Any]) -> grpc.aio.Channel:
        """Give the channel to this target, opened when it is first asked for."""
        key = (target, frozenset((name, _hashable(value)) for name, value in options.items()))
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = self._open(target, **options)
        return channel

    async def stop(self) -> None:
        while self._channels:
            _, channel = self._channels.popitem()
            await channel.close()


def _hashable(value: Any) -> Any:
    """An option to look a channel up by: gRPC's own come as a list of pairs."""
    return tuple(map(_hashable, value)) if isinstance(value, list) else value
