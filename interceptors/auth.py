from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from chassis.call import PROBES, Call, Kind, Method, Principal, Proceed, is_cancelled
from chassis.errors import Cancelled, ChassisError, DeadlineExceeded, PermissionDenied, Temporary, Unauthorized
from interceptors.interceptor import RpcInterceptor

if TYPE_CHECKING:
    from chassis.auth import Authenticator
    from chassis.metrics import Metrics

EXPIRED_CREDENTIALS = "the token expired during the call; call again with a new one"
"""What the caller of a stream learns when it is ended; that the token was good is known to them."""

# Seconds between looks at the clock. Timers run on a clock that is never set, and stands still while a machine sleeps;
# the time in a token is that of the calendar.
_LOOK_AT_LEAST_EVERY = 60.0
_LOOK_FOR_A_RESPONSE_EVERY = 1.0
# So close to its deadline (seconds) a call has none left: timers go off a little early.
_JUST_NOW = 0.05


class AuthInterceptor(RpcInterceptor):
    """Nobody is served who did not say who they are, but for methods that are public by exact name.

    `authenticator` turns the bearer token into a Principal or raises Unauthorized or PermissionDenied. When it fails in
    any other way the call is refused as well (UNAVAILABLE), counted in `metrics` (`auth_failures_total`), and nothing
    is let through; callers see the text of a Temporary and of nothing else. Of one that is awaited the same is true
    after `timeout` seconds. Where it asks another service, that service's UNAUTHENTICATED is a refusal, and whatever
    else went wrong on the way a failure.

    A stream ends UNAUTHENTICATED when its principal's `expires_at` is reached, and its handler is cancelled. An RPC
    with one request and one reply does not: it was allowed when it began, and what it did would be done without an
    answer. Over HTTP a response that has begun, of a stream, a file or a websocket, breaks off. `clock` gives the
    current unix second.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        *,
        public: Iterable[str] = PROBES,
        timeout: float = 10.0,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        from chassis.auth.bearer import token_from

        if not timeout > 0:
            raise ValueError(f"the time for checking credentials must be more than 0 seconds, not {timeout}")
        self._authenticate = authenticator.authenticate
        self._token_from = token_from
        self._public = frozenset(public)
        self._timeout = timeout
        self._metrics = metrics
        self._clock = clock

    def applies(self, method: Method) -> bool:
        return method.served and method.system != "event" and not (method.public or method.path in self._public)

    async def around(self, call: Call, proceed: Proceed) -> Any:
        token = self._token_from(call.values("authorization"))
        try:
            principal: Any = self._authenticate(token)
            # The type first: it is known for nearly all, and asking whether something can be awaited takes its time.
            if not isinstance(principal, Principal):
                principal = await self._awaited(principal)
        except ChassisError as error:
            told = self._told(call, error)
            if told is error:
                raise
            raise told from None
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and is_cancelled():
                raise
            # Without the cause: its text may quote the token.
            raise self._unchecked(call, _whereabouts(error)) from None
        call.principal = principal
        if principal.expires_at is None or (call.method.kind is Kind.UNARY_UNARY and call.method.system == "grpc"):
            return await proceed(call)
        return await self._until(principal.expires_at, call, proceed)

    async def _awaited(self, answer: object) -> Principal:
        if inspect.isawaitable(answer):
            async with asyncio.timeout(self._timeout):
                answer = await answer
        if not isinstance(answer, Principal):
            raise TypeError(f"an authenticator gives a Principal, not {type(answer).__name__}")
        return answer

    def _told(self, call: Call, error: ChassisError) -> ChassisError:
        if error.remote is not None:
            return self._answered(call, error)
        if isinstance(error, Temporary):  # of its database, say
            self._count(call, error)
        elif not isinstance(error, Unauthorized | PermissionDenied) and not _is_over(call, error):
            # What it did not find is no answer to who calls, and its text may quote the token.
            return self._unchecked(call, _whereabouts(error))
        return error

    def _answered(self, call: Call, error: ChassisError) -> ChassisError:
        from chassis.auth.authenticator import refused

        # Words of another service are for who asked it. Its NOT_FOUND would be one of ours, and its text may quote the
        # token.
        detail = f"{error.remote} answered {error.code.name}"
        return refused(detail) if isinstance(error, Unauthorized) else self._unchecked(call, detail)

    def _unchecked(self, call: Call, detail: str) -> ChassisError:
        error = Temporary("credentials can not be checked right now", detail=detail)
        self._count(call, error)
        return error

    def _count(self, call: Call, error: ChassisError) -> None:
        # What is refused for good is counted where all calls are.
        if self._metrics is not None:
            from chassis.metrics.catalogue import AUTH_FAILURES

            self._metrics.get(AUTH_FAILURES).labels(call.method.system, error.code.name).inc()

    async def _until(self, expires_at: float, call: Call, proceed: Proceed) -> Any:
        expired = "its 'exp', and the leeway, is over"
        if not expires_at > self._clock():
            raise Unauthorized(EXPIRED_CREDENTIALS, detail=expired)
        # What gRPC, the caller or another timer cancels at the same time is counted apart (Task.cancelling), and stays
        # theirs: then this raises nothing.
        try:
            async with asyncio.timeout(None) as limit:
                with _Alarm(expires_at, self._clock, limit, call):
                    result = await proceed(call)
        except BaseException as error:
            if not limit.expired() or is_cancelled() or _is_answered(call):
                raise
            # What the handler said on being cancelled is told as the cause, which a detail would take the place of.
            detail = expired if isinstance(error, TimeoutError) else None
            raise Unauthorized(EXPIRED_CREDENTIALS, detail=detail) from error
        if limit.expired() and not is_cancelled():  # the handler made a good end of it, but not in time
            raise Unauthorized(EXPIRED_CREDENTIALS, detail=expired)
        return result


class _Alarm:
    """Lets a limit run out when a time of the calendar has come, for as long as the block lasts."""

    __slots__ = ("_call", "_clock", "_expires_at", "_limit", "_loop", "_timer")

    def __init__(self, expires_at: float, clock: Callable[[], float], limit: asyncio.Timeout, call: Call) -> None:
        self._expires_at = expires_at
        self._clock = clock
        self._limit = limit
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        self._look()

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        left = self._expires_at - self._clock()
        if left > 0:
            self._timer = self._loop.call_later(min(left, _LOOK_AT_LEAST_EVERY), self._look)
        elif _has_begun(self._call):
            self._timer = None
            self._limit.reschedule(self._loop.time())
        else:
            self._timer = self._loop.call_later(_LOOK_FOR_A_RESPONSE_EVERY, self._look)


def _is_over(call: Call, error: ChassisError) -> bool:
    """Whether an error only says that the call itself has ended meanwhile: nobody waits for it any more."""
    if isinstance(error, Cancelled):
        return is_cancelled()
    left = call.time_remaining()
    return isinstance(error, DeadlineExceeded) and left is not None and left <= _JUST_NOW


def _has_begun(call: Call) -> bool:
    """Whether a stream is under way. What an HTTP request is answered with nobody knows until it begins."""
    if call.method.system != "http":
        return True
    response = getattr(call, "response", None)
    return response is not None and bool(response.prepared)


def _is_answered(call: Call) -> bool:
    """Whether a servicer, when it was cancelled, aborted in words of its own: they are on the wire already."""
    done = getattr(call.transport, "done", None)
    return callable(done) and bool(done())


def _whereabouts(error: BaseException) -> str:
    """What an authenticator failed with and where, for the log: no text of the exception, which may quote the token."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return type(error).__name__
    code = trace.tb_frame.f_code
    return f"{type(error).__name__} in {code.co_qualname} ({PurePath(code.co_filename).name}:{trace.tb_lineno})"
