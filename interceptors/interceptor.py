from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from chassis.call import Interceptor, Method, PerMethod
from interceptors.handlers import ComposedHandler, behaviour_of, unknown_handler


class RpcInterceptor(Interceptor, grpc.aio.ServerInterceptor):
    """A concern that also works alone, on any `grpc.aio.server(interceptors=[…])`.

    Several of them given to one server become one chain with one edge. In a chassis they are composed when a
    method is registered, and gRPC's own interceptor machinery, which works for each call, is not used.
    """

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """gRPC's way in; use `around` for your own concern."""
        handler = await continuation(details)
        if handler is None:
            return unknown_handler(details.method, [self])
        # Where subclasses do not call __init__, there is still a dict of their own.
        remembered: dict[str, tuple[Any, ComposedHandler]] = self.__dict__.setdefault("_composed", {})
        known = remembered.get(details.method)
        if known is not None and known[0] is handler:
            return known[1]
        if isinstance(handler, ComposedHandler):
            composed = ComposedHandler(handler.bare, handler.method, [self, *handler.interceptors])
            if not handler.method.known:
                return composed  # callers choose the names of methods that do not exist: nothing is kept for them
        else:
            kind, _ = behaviour_of(handler)
            composed = ComposedHandler(handler, Method.grpc(details.method, kind, "server"), [self])
        if len(remembered) >= PerMethod.MAX:  # handlers made anew for every call would pile up
            remembered.clear()
        remembered[details.method] = (handler, composed)
        return composed
