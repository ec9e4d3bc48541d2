from __future__ import annotations

import asyncio
import time
from typing import Any

from aiohttp import web
from grpc import StatusCode

from chassis.address import host_port
from chassis.call import Call, Method
from chassis.errors import Cancelled, ChassisError, Temporary, code_of_http_status
from chassis.http.answer import answer_to


class HttpCall(Call):
    """A request that came in over HTTP; `transport` and `request` are aiohttp's Request.

    `response` is what the handler answered, once it did; an interceptor that answers by itself sets it, so that those
    outside of it see the status.
    """

    __slots__ = ("_failure", "cut", "refusal", "response", "sent", "task")

    transport: web.Request

    def __init__(self, method: Method, request: web.Request, timeout: float | None = None) -> None:
        metadata: dict[str, str] = {}
        for name, value in request.headers.items():
            metadata.setdefault(name.lower(), value if value.isascii() else _text(value))
        deadline = None if timeout is None else time.monotonic() + timeout
        super().__init__(method, request, request, metadata=metadata, deadline=deadline)
        self.response: web.StreamResponse | None = None
        self.sent: web.StreamResponse | None = None  # to its end, or as far as it will be
        self.task: asyncio.Task[Any] | None = None
        self.refusal: ChassisError | None = None  # why it is not even tried
        self.cut = False  # by the stop of the server
        self._failure: tuple[BaseException, web.StreamResponse] | None = None

    def values(self, name: str) -> list[str]:
        headers = self.transport.headers
        return [_text(value) for value in headers.getall(name, ())] if name in headers else []

    @property
    def peer(self) -> str:
        """The address of the other end of the connection, which may be a proxy: `host:port`."""
        address = self.transport.get_extra_info("peername")
        if not isinstance(address, tuple):  # the connection is closed
            return self.transport.remote or ""
        host, port = address[:2]
        return host_port(host, port)

    @property
    def path(self) -> str:
        """The path that was asked for; `method.path` is the template of its route."""
        return self.transport.rel_url.raw_path

    @property
    def verb(self) -> str:
        """The verb that was used; `method.name` is the same wherever there is such a route."""
        return self.transport.method

    def code_of(self, error: BaseException) -> StatusCode:
        if isinstance(error, asyncio.CancelledError) and self.cut:
            return StatusCode.UNAVAILABLE
        if isinstance(error, web.HTTPException):
            return code_of_http_status(error.status)
        return super().code_of(error)

    @property
    def http_status(self) -> int:
        """The status that the caller sees; 499 where nobody is there to see it."""
        if self.response is not None and (self.error is None or self.response.prepared):
            return self.response.status
        return 200 if self.error is None else self.answer(self.error).status

    @property
    def request_size(self) -> int:
        """Bytes of the request's body that arrived, without its compression; not those that it claims to have."""
        return self.transport.content.total_bytes

    @property
    def response_size(self) -> int:
        """Bytes of the response's body; for a stream those sent so far, the frames of its pieces included."""
        response = self.response
        if response is None or (self.error is not None and not response.prepared):
            if self.error is None:
                return 0
            response = self.answer(self.error)
        if self.transport.method == "HEAD" or response.status == 304:
            return 0
        # The size of files is known by their length alone: the system sends them past aiohttp's counter.
        if response.prepared and (self.sent is not response or response.content_length is None):
            return max(0, self.transport.writer.output_size - _head_size(response))
        return response.content_length or 0

    def answer(self, error: BaseException) -> web.StreamResponse:
        """What the caller is told if the call ends with this error."""
        if self._failure is None or self._failure[0] is not error:
            self._failure = (error, answer_to(self._told(error), self.request_id))
        return self._failure[1]

    def _told(self, error: BaseException) -> BaseException:
        # Whatever an interceptor did with it, a cancellation has the code that was recorded for it.
        if not isinstance(error, asyncio.CancelledError):
            return error
        if self.cut:
            return Temporary("the server is stopping; try again", retry_after=1)
        return Cancelled("the request was cancelled")


def _text(value: str) -> str:
    # aiohttp reads headers as UTF-8 and smuggles other bytes through as surrogates, which no log or JSON can take.
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode(errors="surrogateescape").decode("latin-1")
    return value


def _head_size(response: web.StreamResponse) -> int:
    head = len(f"HTTP/1.1 {response.status} {response.reason}\r\n\r\n")
    return head + sum(len(name.encode()) + len(value.encode()) + 4 for name, value in response.headers.items())
