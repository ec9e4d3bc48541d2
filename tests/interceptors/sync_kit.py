"""Calls by grpc's synchronous client.

The aio client reports a stream of requests that was refused while it was still sending as INTERNAL now and then.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from chassis.call import Kind
from interceptors.status import error_of


async def call(
    address: str, path: str, kind: Kind, requests: list[Any], reply: Any, *, received: list[Any] | None = None
) -> list[Any]:
    """Send these; gives the replies, or raises the error that the service answered with.

    `received` is where replies are put that came before the error.
    """
    replies = [] if received is None else received

    def made() -> list[Any]:
        with grpc.insecure_channel(address) as channel:
            method = getattr(channel, kind.value)(path, type(requests[0]).SerializeToString, reply.FromString)
            try:
                answer = method(iter(requests) if kind.request_streaming else requests[0], timeout=20)
                replies.extend(answer if kind.response_streaming else [answer])
            except grpc.RpcError as error:
                told: Any = error
                raise error_of(told.code(), told.details(), tuple(told.trailing_metadata() or ())) from None
        return replies

    return await asyncio.to_thread(made)
