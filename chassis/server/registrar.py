from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import grpc

from chassis.auth.public import is_public
from chassis.call import Interceptor, Method
from chassis.errors import ResourceExhausted
from interceptors.edge import Serving, read_metadata, told_metadata
from interceptors.handlers import UNKNOWN, ComposedHandler, behaviour_of, unknown_handler


class Registrar:
    """What generated `add_XServicer_to_server(servicer, server)` functions get as `server`: it keeps what they add.

    grpc.aio holds one waiting task for each registered method and looks at all of them for every call; with one
    generic handler for everything the cost of a call does not grow with the number of methods.
    """

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Any]) -> None:
        """Called by generated code, with the handlers of one service."""
        for name, handler in method_handlers.items():
            path = f"/{service_name}/{name}"
            if path in self.handlers:
                raise ValueError(f"{service_name} is registered twice: one servicer answers for a service")
            self.handlers[path] = handler

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[Any]) -> None:
        """Called by generated code beside `add_registered_method_handlers`, which has said the same already."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"register() gets no grpc.aio.Server, and has no {name!r}: "
            "only pass it to generated add_…Servicer_to_server functions"
        )

    @property
    def services(self) -> tuple[str, ...]:
        """The full names of all registered services, in order."""
        return tuple(dict.fromkeys(path[1:].rpartition("/")[0] for path in self.handlers))


class Handlers(grpc.GenericRpcHandler):
    """The one generic handler: every method composed with its interceptors, found by one look-up.

    Calls with more metadata than `max_metadata_bytes` are refused before anything looks at it. grpc itself refuses them
    only once the client has acknowledged its settings, and one that means harm does not (grpcio 1.85.1: up to 16 MiB).
    """

    def __init__(
        self,
        handlers: Mapping[str, Any],
        interceptors: Sequence[Interceptor],
        *,
        serving: Serving,
        public: Iterable[str] = (),
        max_metadata_bytes: float = math.inf,
    ) -> None:
        open_to_all = frozenset(public)
        self._interceptors = tuple(interceptors)
        self._serving = serving
        serving.tells_metadata = True
        self._composed: dict[str, ComposedHandler] = {}
        for path, handler in handlers.items():
            kind, behaviour = behaviour_of(handler)
            method = Method.grpc(path, kind, "server")
            method.public = path in open_to_all or is_public(behaviour)
            self._composed[path] = ComposedHandler(handler, method, self._interceptors, serving)
        self._max_metadata_bytes = max_metadata_bytes
        self._too_much = _refusing(f"more metadata than the {max_metadata_bytes} bytes that are taken", serving)

    def service(self, handler_call_details: Any) -> ComposedHandler:
        """Find the handler for a path; there is one for every path."""
        path = handler_call_details.method
        told = read_metadata(handler_call_details.invocation_metadata)
        told_metadata.set(told)
        if len(path) + told[2] > self._max_metadata_bytes:
            return self._too_much
        return self._composed.get(path) or unknown_handler(path, self._interceptors, self._serving)


def _refusing(message: str, serving: Serving) -> ComposedHandler:
    """The handler that answers RESOURCE_EXHAUSTED to a call of any kind, with nobody to observe it, as grpc's own."""

    async def refuse(request: object, context: object) -> None:
        raise ResourceExhausted(message)

    return ComposedHandler(grpc.stream_stream_rpc_method_handler(refuse), UNKNOWN, (), serving)
