"""Names and attributes of spans, by OpenTelemetry's semantic conventions 1.44 (RPC, HTTP, messaging).

The RPC conventions are those of 2026: `rpc.system.name`, `rpc.method` with the full name, and
`rpc.response.status_code` as text, in place of `rpc.system`, `rpc.service` and `rpc.grpc.status_code`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from grpc import StatusCode
from opentelemetry.trace import SpanKind

from chassis.call import HTTP_VERBS, Method
from chassis.text import clean

Attributes = dict[str, str | int]

Notes = Attributes | tuple[str, str | None]
"""What was noted of a call: its attributes, or the peer and the user agent that they are made of."""

_NOTHING: Notes = ("", None)

# The others are the caller's doing, and no fault of the server (semantic conventions for gRPC).
_SERVER_FAULTS = frozenset(
    {
        StatusCode.UNKNOWN,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.UNIMPLEMENTED,
        StatusCode.INTERNAL,
        StatusCode.UNAVAILABLE,
        StatusCode.DATA_LOSS,
    }
)
# What leaves an event handled: done before, or given back because the service stops.
_EVENT_NO_FAULTS = frozenset({StatusCode.OK, StatusCode.ALREADY_EXISTS, StatusCode.CANCELLED})


class SpanShape:
    """What the spans of all calls of one method have in common; made once."""

    __slots__ = ("attributes", "ended_well", "event", "http", "kind", "method", "name", "process", "served")

    def __init__(self, method: Method) -> None:
        self.method = method
        self.served = method.served
        self.http = method.system == "http"
        self.event = method.system == "event"
        self.process = self.event and self.served
        self.name, self.attributes = _fixed(method)
        self.kind = {
            (False, True): SpanKind.SERVER,
            (False, False): SpanKind.CLIENT,
            (True, True): SpanKind.CONSUMER,
            (True, False): SpanKind.PRODUCER,
        }[self.event, self.served]
        if method.target:
            self.attributes |= _address("server", method.target.rpartition("/")[2])
        # How a call of its ended that went well, where that is the same for all of them.
        self.ended_well: Attributes | None = None
        if not self.http:
            self.ended_well = {} if self.event else {"rpc.response.status_code": StatusCode.OK.name}

    def note(self, call: Any) -> Notes:
        """What has to be known of a call that begins, to tell of it later; of RPCs no more than has to be asked now."""
        if self.event:
            return _event(self.method, call)
        if self.http:
            return _http_request(call)
        return (call.peer, call.metadata.get("user-agent")) if self.served else _NOTHING

    def beginning(self, notes: Notes) -> Attributes:
        """The attributes that a span begins with."""
        attributes = self.attributes.copy()
        if isinstance(notes, dict):
            return attributes | notes
        peer, user_agent = notes
        return attributes | _peer(peer) | _user_agent(user_agent)

    def ending(self, call: Any) -> tuple[Attributes, bool]:
        """The attributes that tell how it ended, and whether that is a failure of whom the span belongs to."""
        code = call.code
        told = code.name
        attributes: Attributes = {}
        if self.http:
            status = call.http_status
            attributes["http.response.status_code"] = status
            told = str(status)
            failed = status >= 500
        elif self.event:
            failed = code not in _EVENT_NO_FAULTS if self.served else code is not StatusCode.OK
            if code is not StatusCode.OK:
                attributes["error.type"] = told
        else:
            attributes["rpc.response.status_code"] = told
            failed = code in _SERVER_FAULTS if self.served else code is not StatusCode.OK
        if failed:
            attributes["error.type"] = told
        return attributes, failed


def _fixed(method: Method) -> tuple[str, Attributes]:
    # Callers choose the names of methods, paths and topics that do not exist, so they are no span names.
    if method.system == "grpc":
        path = method.path.lstrip("/") if method.known else "_OTHER"
        return path if method.known else "grpc", {"rpc.system.name": "grpc", "rpc.method": path}
    if method.system == "event":
        return f"{method.name} {method.path}" if method.known else method.name, {
            "messaging.system": method.service,
            "messaging.operation.name": method.name,
            "messaging.operation.type": "process" if method.served else "send",
        }
    if not method.known:
        return "HTTP", {}
    verb = method.name if method.name in HTTP_VERBS else "HTTP"
    return f"{verb} {method.path}", {"http.route": method.path}


def _event(method: Method, call: Any) -> Attributes:
    topic = call.topic
    attributes: Attributes = {"messaging.destination.name": clean(topic)}
    if method.known and topic != method.path:
        attributes["messaging.destination.template"] = method.path
    if event_id := call.event_id:
        attributes["messaging.message.id"] = clean(event_id)
    return attributes


def _http_request(call: Any) -> Attributes:
    verb = call.verb
    attributes: Attributes = {"http.request.method": verb if verb in HTTP_VERBS else "_OTHER"}
    if verb not in HTTP_VERBS:
        attributes["http.request.method_original"] = clean(verb)
    request = call.transport
    attributes["url.path"] = clean(call.path)  # and not the query, which often holds what is secret
    attributes["url.scheme"] = request.scheme
    attributes["network.protocol.version"] = f"{request.version.major}.{request.version.minor}"
    if host := call.metadata.get("host"):
        attributes |= _address("server", clean(host))
    if peer := call.peer:
        attributes |= _address("client", peer) | _address("network.peer", peer)
    return attributes | _user_agent(call.metadata.get("user-agent"))


def _user_agent(user_agent: str | None) -> Attributes:
    return {"user_agent.original": clean(user_agent)} if user_agent else {}


@lru_cache(1024)
def _peer(peer: str) -> Attributes:
    """A peer as gRPC writes it; the same for all calls of a connection.

    >>> _peer("ipv6:%5B::1%5D:57284")["network.peer.address"], _peer("unix:/run/cqar.sock")["network.transport"]
    ('::1', 'unix')
    """
    family, _, rest = peer.partition(":")
    if family == "unix":
        return {"network.transport": "unix", "network.peer.address": rest} if rest else {"network.transport": "unix"}
    address, _, port = unquote(rest.partition(",")[0]).rpartition(":")
    if family not in ("ipv4", "ipv6") or not port.isdecimal():
        return {}
    address = address.strip("[]")
    return {
        "client.address": address,
        "client.port": int(port),
        "network.peer.address": address,
        "network.peer.port": int(port),
    }


def _address(side: str, text: str) -> Attributes:
    host, _, port = text.rpartition(":")
    if host and port.isdecimal() and (":" not in host or host.startswith("[")):
        return {f"{side}.address": host.strip("[]"), f"{side}.port": int(port)}
    return {f"{side}.address": text.strip("[]")} if text else {}
