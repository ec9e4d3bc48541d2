from __future__ import annotations

import json
import traceback
import zlib
from collections.abc import Awaitable, Callable
from types import FrameType

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from chassis.call import Call
from chassis.errors import Cancelled, ChassisError, InvalidInput, NotFound, code_of_http_status, from_status
from chassis.http.answer import is_default
from chassis.http.call import HttpCall
from chassis.http.refusals import BodyTooLarge, ExpectationFailed, VerbNotAllowed

Application = Callable[[web.Request], Awaitable[web.StreamResponse]]

# What goes wrong inside of these goes wrong with the body that the caller sent.
_BODY_READERS = frozenset(
    reader.__code__
    for reader in (web.BaseRequest.text, web.BaseRequest.json, web.BaseRequest.post, web.BaseRequest.multipart)
)
# What aiohttp and the codecs say of a body that is not what it claims to be.
_FOR_THE_BODY = (HttpProcessingError, ValueError, LookupError, RuntimeError, AssertionError, zlib.error)


class HandlerEnd:
    """The innermost part of every chain: aiohttp's application, what it says told as results and errors."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, call: Call) -> web.StreamResponse:
        assert isinstance(call, HttpCall)
        request = call.transport
        try:
            response: object = await self._application(request)
        except web.HTTPException as error:
            response = error
        except web.RequestPayloadError as error:
            raise InvalidInput("the request's body is malformed", detail=str(error)) from error
        except ConnectionError as error:
            if _is_open(request):
                raise  # a connection of the handler's own, to somewhere else
            raise _gone(error) from error
        except _FOR_THE_BODY as error:
            if not _is_about_the_body(error, request):
                raise
            raise _unreadable(error) from error
        if not isinstance(response, web.StreamResponse):
            handler = f"the handler of {call.method.name} {call.method.path}"
            raise TypeError(f"{handler} returned {type(response).__name__}, not a response")
        if isinstance(response, web.HTTPException) and (refusal := _refusal(call, response)) is not None:
            raise refusal from response
        call.response = response
        if not _is_plain(response):
            # Only what is finished in here is known to the observers: a file's status, a stream's size, a failure
            # in the middle of it. A plain response waits, so that interceptors can still add headers or replace it.
            try:
                await response.prepare(request)
                await response.write_eof()
                call.sent = response
            except ConnectionError as error:
                raise _gone(error) from error
        if response.status >= 400:
            raise _as_error(response)
        return response


def _is_plain(response: web.StreamResponse) -> bool:
    if not isinstance(response, web.Response) or response.prepared or response.compression:
        return False
    return response.body is None or isinstance(response.body, bytes | bytearray)


def _as_error(response: web.StreamResponse) -> ChassisError:
    """The handler's own answer as an error: observers see what it means, the edge sends the answer itself."""
    error = from_status(code_of_http_status(response.status), f"{response.status} {response.reason}")
    error.answer = response
    return error


def _refusal(call: HttpCall, response: web.HTTPException) -> ChassisError | None:
    """What aiohttp itself answers, where nobody wrote the words of it, told as all other errors are."""
    if isinstance(response, web.HTTPRequestEntityTooLarge):
        return BodyTooLarge(f"the request's body is too large: {response.text}")
    if isinstance(response, web.HTTPExpectationFailed):
        return ExpectationFailed(response.text or "")
    if call.method.known or not is_default(response):
        return None
    if isinstance(response, web.HTTPNotFound):
        return NotFound("nothing is served at this path")
    if isinstance(response, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(response.allowed_methods))
        text = f"this path does not take {call.verb[:20]}; it takes {allowed}"
        return VerbNotAllowed(text, trailers=[("Allow", allowed)])
    return None


def _is_open(request: web.Request) -> bool:
    return request.transport is not None and not request.transport.is_closing()


def _gone(error: ConnectionError) -> ChassisError:
    return Cancelled("the client went away", detail=str(error))


def _is_about_the_body(error: Exception, request: web.Request) -> bool:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any(frame.f_code in _BODY_READERS or _reads_parts_of(request, frame) for frame in frames)


def _reads_parts_of(request: web.Request, frame: FrameType) -> bool:
    # `request.multipart()` gives readers that handlers use by themselves. What they read tells them from those for the
    # answer of another service.
    return getattr(frame.f_locals.get("self"), "_content", None) is request.content


def _unreadable(error: Exception) -> ChassisError:
    if isinstance(error, json.JSONDecodeError):
        where = f"line {error.lineno}, column {error.colno}"
        return InvalidInput(f"the request's body is not JSON: {error.msg}, {where}")
    if isinstance(error, UnicodeDecodeError):
        return InvalidInput(f"the request's body is not text in {error.encoding}")
    return InvalidInput("the request's body could not be read", detail=type(error).__name__)
