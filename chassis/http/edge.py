from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, cast

from aiohttp import WSCloseCode, hdrs, web

from chassis.auth.public import is_public
from chassis.call import Call, Interceptor, Kind, Method, Proceed, compose, current_call, enter, is_cancelled, leave
from chassis.errors import ChassisError, InvalidInput, PermissionDenied, Unauthorized
from chassis.http.call import HttpCall
from chassis.http.handler import Application, HandlerEnd
from chassis.http.refusals import HeaderTooLarge

_log = logging.getLogger("chassis.http")

UNKNOWN = Method("http", "server", "unknown", "", "unknown", Kind.UNARY_UNARY, known=False)
"""The one method that stands for all paths, and verbs on paths, that nothing is registered for."""

MALFORMED = Method("http", "server", "unknown", "", "unknown", Kind.UNARY_UNARY, known=False, public=True)
"""The one method of requests that are no HTTP; public, because credentials would not mend them."""

_REQUEST_ID = "X-Request-ID"
# Seconds that a handler which was cut gets for its `finally` blocks.
_CUT_TIMEOUT = 2.0
# Seconds for an answer that there is no time left for: it says so, or was made in the last moment.
_LAST_WORDS = 1.0
# RFC 9112, section 3.2: host and port, as a name or an address in brackets.
_HOST = re.compile(r"(?:[A-Za-z0-9\-._~%!$&'()*+,;=]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")

_Chain = tuple[Method, Proceed]


class Edge:
    """Where requests come in and answers go out: the only place that turns an error into a response.

    What the requests of a route go through is composed once, by `compose`, when all routes are known. `timeout` is the
    time in seconds that a request may take, its answer included; from then on that it has become a websocket it has any
    time. `max_header_bytes` is the limit for all names and values of headers together. `probes` are the paths that are
    asked for all the time.
    """

    def __init__(
        self,
        interceptors: Sequence[Interceptor],
        *,
        timeout: float | None = None,
        max_header_bytes: int = 16 * 1024,
        probes: Collection[str] = (),
    ) -> None:
        self._interceptors = tuple(interceptors)
        self._timeout = timeout
        self._max_header_bytes = max_header_bytes
        self._probes = probes
        self._router: web.UrlDispatcher | None = None
        self._chains: dict[tuple[web.AbstractRoute, str], _Chain] = {}
        self._unknown: _Chain = (UNKNOWN, _refuse)
        self._malformed: _Chain = (MALFORMED, compose(self._interceptors, MALFORMED, _refuse))
        self._running: dict[object, HttpCall] = {}

    @property
    def running(self) -> int:
        """How many requests are being worked on right now."""
        return len(self._running)

    def compose(self, router: web.UrlDispatcher, application: Application) -> None:
        """Put together what the requests of each route go through, and of those that have none."""
        end = HandlerEnd(application)
        self._router = router
        self._unknown = (UNKNOWN, compose(self._interceptors, UNKNOWN, end))
        for route in router.routes():
            resource = route.resource
            path = resource.canonical if resource is not None else "unknown"
            # A route for all verbs counts and names those of the standard; callers can make up others.
            verbs = sorted(hdrs.METH_ALL) if route.method == hdrs.METH_ANY else [route.method]
            for verb in verbs:
                self._chains[route, verb] = self._compose(path, verb, _is_open(route.handler, verb), end)
            if route.method == hdrs.METH_ANY:
                self._chains[route, hdrs.METH_ANY] = self._compose(path, "other", is_public(route.handler), end)

    def _compose(self, path: str, verb: str, public: bool, end: Proceed) -> _Chain:
        method = Method("http", "server", path, "", verb, Kind.UNARY_UNARY, public=public, probe=path in self._probes)
        return method, compose(self._interceptors, method, end)

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Serve a request; aiohttp calls this for each."""
        if not _has_valid_host(request):
            return await self.refuse(request, InvalidInput("the request has no valid Host header"))
        if sum(map(len, chain.from_iterable(request.raw_headers))) > self._max_header_bytes:
            error = HeaderTooLarge(f"the headers are longer than {self._max_header_bytes} bytes together")
            return await self.refuse(request, error)
        assert self._router is not None
        route = (await self._router.resolve(request)).route
        composed = self._chains.get((route, request.method)) or self._chains.get((route, hdrs.METH_ANY), self._unknown)
        return await self._serve(request, composed)

    async def refuse(self, request: web.Request, error: ChassisError) -> web.StreamResponse:
        """Answer what is no valid request, seen by the interceptors like any other."""
        return await self._serve(request, self._malformed, error)

    async def _serve(
        self, request: web.Request, composed: _Chain, refusal: ChassisError | None = None
    ) -> web.StreamResponse:
        method, proceed = composed
        call = HttpCall(method, request, self._timeout)
        call.task = asyncio.current_task()
        call.refusal = refusal
        protocol = request.protocol
        self._running[protocol] = call
        token = enter(call)
        try:
            try:
                response = _final(call, await proceed(call))
            except BaseException as error:
                response = await self._answer(call, error)
            if refusal is not None:
                response.force_close()
            await _send(call, response)
            return cast(web.StreamResponse, _SENT if response.keep_alive else _SENT_THE_LAST)
        finally:
            leave(token)
            del self._running[protocol]

    async def _answer(self, call: HttpCall, error: BaseException) -> web.StreamResponse:
        if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
            raise error
        if isinstance(error, asyncio.CancelledError) and call.task is not None and is_cancelled():
            if not call.cut:
                raise error  # the client is gone
            call.task.uncancel()  # by the stop of the server: there still is somebody to tell
        begun = call.response
        if begun is None or not begun.prepared:
            return call.answer(error)
        answered = isinstance(error, ChassisError) and error.answer is begun
        if answered:
            return begun
        # Its head is out and says that all is well: only a broken connection can still tell that it is not.
        if isinstance(begun, web.WebSocketResponse):
            # RFC 6455, section 7.4.1: that a token is not valid any more is no fault of the server's.
            refused = isinstance(error, Unauthorized | PermissionDenied)
            await _close(begun, WSCloseCode.POLICY_VIOLATION if refused else WSCloseCode.INTERNAL_ERROR)
        _break(call, begun)
        return begun

    async def on_prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """Put the request id on responses that handlers begin by themselves; a signal of the application."""
        call = current_call()
        if isinstance(call, HttpCall) and call.transport.protocol is request.protocol:
            call.response = response
            response.headers.setdefault(_REQUEST_ID, call.request_id)
            if isinstance(response, web.WebSocketResponse):
                call.deadline = None  # not before: anybody can ask for one, and only a handler can make it one

    def disconnected(self, protocol: object) -> None:
        """The client of this connection is gone: what it asked for is not wanted any more."""
        call = self._running.get(protocol)
        # A websocket's handler learns of it by the end of its messages, and ends by itself.
        if call is not None and call.task is not None and not isinstance(call.response, web.WebSocketResponse):
            call.task.cancel()

    async def drain(self, grace: float) -> int:
        """Wait until no request is worked on; what still is after `grace` seconds is cut. Returns how many were."""
        loop = asyncio.get_running_loop()
        until = loop.time() + grace
        responses = [call.response for call in self._running.values()]
        closing = [
            loop.create_task(_close(each, WSCloseCode.GOING_AWAY))
            for each in responses
            if isinstance(each, web.WebSocketResponse)
        ]
        while (tasks := self._tasks()) and (remaining := until - loop.time()) > 0:
            await asyncio.wait(tasks, timeout=remaining)
        cut = list(self._running.values())
        for call in cut:
            call.cut = True
            _log.warning(
                "request cut off by the stop of the server",
                extra={"method": call.verb, "path": call.path, "request_id": call.request_id},
            )
            if call.task is not None:
                call.task.cancel()
        if tasks := self._tasks() + closing:
            await asyncio.wait(tasks, timeout=_CUT_TIMEOUT)
        return len(cut)

    def _tasks(self) -> list[asyncio.Task[Any]]:
        return [call.task for call in self._running.values() if call.task is not None]


async def _refuse(call: Call) -> None:
    assert isinstance(call, HttpCall)
    assert call.refusal is not None
    raise call.refusal


class _Sent:
    """What aiohttp is given of a response that is sent already: it would send files a second time, and has views on
    exceptions that are returned."""

    def __init__(self, keep_alive: bool) -> None:
        self.keep_alive = keep_alive

    async def prepare(self, request: web.Request) -> None: ...

    async def write_eof(self) -> None: ...


_SENT = _Sent(True)
_SENT_THE_LAST = _Sent(False)


def _final(call: HttpCall, response: web.StreamResponse) -> web.StreamResponse:
    begun = call.response
    if begun is not None and begun is not response and begun.prepared:
        return begun  # an interceptor has other ideas, but what the caller has seen cannot be taken back
    call.response = response
    return response


async def _send(call: HttpCall, response: web.StreamResponse) -> None:
    if call.sent is response:
        return
    if not response.prepared:
        response.headers.setdefault(_REQUEST_ID, call.request_id)
    remaining = call.time_remaining()
    try:
        # Out here, where no concern sees it: a client that does not read must not hold on to its answer for ever.
        async with asyncio.timeout(None if remaining is None else max(remaining, _LAST_WORDS)) as limit:
            await response.prepare(call.transport)
            await response.write_eof()
    except ConnectionError:
        response.force_close()  # nobody is left to tell
    except Exception:
        if limit.expired():
            _log.info("a response was not read in time", extra={"request_id": call.request_id})
            _break(call, response)
            return
        # In `on_response_prepare` of the service: the caller sees a broken connection.
        _log.exception("a response could not be sent", extra={"request_id": call.request_id})
        _break(call, response)


def _break(call: HttpCall, response: web.StreamResponse) -> None:
    call.sent = response
    response.force_close()
    transport = call.transport.transport
    if transport is None:
        return
    if transport.get_write_buffer_size():
        transport.abort()  # to close it would be to wait, for as long as the client likes, until it has read all that
    else:
        transport.close()


async def _close(socket: web.WebSocketResponse, code: WSCloseCode) -> None:
    try:
        async with asyncio.timeout(_CUT_TIMEOUT):
            await socket.close(code=code)
    except (TimeoutError, ConnectionError, RuntimeError):
        return  # the other end does not play along; the connection is closed anyway


def _is_open(handler: Any, verb: str) -> bool:
    if is_public(handler):
        return True
    return isinstance(handler, type) and is_public(getattr(handler, verb.lower(), None))


def _has_valid_host(request: web.Request) -> bool:
    host = request.headers.get(hdrs.HOST)
    # HTTP/1.0 has no such header, and RFC 9112 demands it from all others.
    return _is_valid_host(host) if host is not None else request.version < (1, 1)


@lru_cache(maxsize=256)
def _is_valid_host(host: str) -> bool:
    return _HOST.fullmatch(host) is not None
