"""One interceptor around a handler that the test makes up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from chassis.call import Call, Interceptor, Kind, Method, compose

SERVED = Method.grpc("/pkg.Greeter/Greet", Kind.UNARY_UNARY, "server")
MADE = Method.grpc("/pkg.Prices/Get", Kind.UNARY_UNARY, "client")
EVENT = Method("event", "server", "cqc.events.v1.asset_created", "memory", "process", Kind.EVENT)


def raising(error: BaseException) -> Callable[[Call], Awaitable[Any]]:
    async def handle(call: Call) -> Any:
        raise error

    return handle


async def through(interceptor: Interceptor, handle: Callable[[Call], Awaitable[Any]], call: Call) -> BaseException:
    """What comes out of an interceptor around a handler that raises."""
    try:
        await compose([interceptor], call.method, handle)(call)
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")
