from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Literal, TypeVar

_Made = TypeVar("_Made")

PROBES = frozenset(
    {
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/List",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    }
)
"""What balancers and tools ask for over gRPC, without credentials and all the time. Exact names, nothing like them."""

HTTP_VERBS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
"""The verbs that are somebody's standard; callers make up others as freely as paths."""


class Kind(enum.Enum):
    """How messages flow in a call."""

    UNARY_UNARY = "unary_unary"
    UNARY_STREAM = "unary_stream"
    STREAM_UNARY = "stream_unary"
    STREAM_STREAM = "stream_stream"
    EVENT = "event"

    @property
    def request_streaming(self) -> bool:
        """Whether the caller sends any number of messages."""
        return self in (Kind.STREAM_UNARY, Kind.STREAM_STREAM)

    @property
    def response_streaming(self) -> bool:
        """Whether any number of messages comes back."""
        return self in (Kind.UNARY_STREAM, Kind.STREAM_STREAM)


class Method:
    """What is fixed for all calls of one method; one shared object, compared by identity.

    It is the key for label children, span names and log heads: look things up by it once and keep them.

    | system | path | service | name |
    |---|---|---|---|
    | grpc | `/pkg.Service/Method` | `pkg.Service` | `Method` |
    | http | the route's template, `/assets/{id}` | empty | the verb, `GET` |
    | event | the topic | the messaging system, `nats` or `memory` | `publish` or `process` |

    >>> method = Method.grpc("/cqc.services.v1.AssetRegistry/GetAsset", Kind.UNARY_UNARY, "server")
    >>> method.service, method.name
    ('cqc.services.v1.AssetRegistry', 'GetAsset')
    """

    __slots__ = ("kind", "known", "name", "path", "probe", "public", "served", "service", "side", "system", "target")

    def __init__(
        self,
        system: Literal["grpc", "http", "event"],
        side: Literal["server", "client"],
        path: str,
        service: str,
        name: str,
        kind: Kind,
        *,
        known: bool = True,
        public: bool = False,
        probe: bool = False,
        target: str = "",
    ) -> None:
        self.system = system
        self.side = side
        self.path = path
        self.service = service
        self.name = name
        self.kind = kind
        # False for the one method that stands for all that do not exist: callers choose such names freely,
        # so they may be neither labels nor span names.
        self.known = known
        # Whether it may be called without credentials; said where the method is registered.
        self.public = public
        # Whether it is what balancers, scrapers and tools ask for all the time: told at debug, and never limited.
        self.probe = probe
        # Where calls going out over gRPC go to, as the channel was told; empty for all others.
        self.target = target
        # Whether this process answers the call, rather than making it.
        self.served = side == "server"

    @classmethod
    def grpc(cls, path: str, kind: Kind, side: Literal["server", "client"], target: str = "") -> Method:
        """The method behind a gRPC path `/pkg.Service/Method`; health and reflection are probes."""
        service, _, name = path.strip("/").rpartition("/")
        return cls("grpc", side, path, service, name, kind, probe=path in PROBES, target=target)

    def __repr__(self) -> str:
        return f"<Method {self.system} {self.side} {self.name} {self.path}>"


class PerMethod(dict[Method, _Made]):
    """What is made once for each method, when its first call comes, and kept.

    >>> names = PerMethod(lambda method: method.name.upper())
    >>> names[Method.grpc("/pkg.Greeter/Greet", Kind.UNARY_UNARY, "server")]
    'GREET'
    """

    # Bounds what methods made anew for every call could pile up.
    MAX = 4096

    def __init__(self, make: Callable[[Method], _Made]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, method: Method) -> _Made:
        if len(self) >= self.MAX:
            self.clear()
        made = self[method] = self._make(method)
        return made
