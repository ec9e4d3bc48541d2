"""The one list that says which concerns a call goes through, and in which order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from chassis.call import Interceptor

if TYPE_CHECKING:
    from chassis.auth import Authenticator
    from chassis.logging import Logs
    from chassis.metrics import Metrics
    from chassis.tracing import Tracing
    from interceptors.errors import Translation
    from interceptors.identity import IdentityInterceptor

# What a service may add behind authentication, in the order in which calls go through it.
_ADDED = (
    "RateLimitInterceptor",  # where it is known who is calling, and before the request costs anything
    "ValidationInterceptor",  # it reads the request: behind all that can refuse without
)
# What stands in front of the place for these.
_IN_FRONT = {
    "RecoveryInterceptor",
    "TracingInterceptor",
    "MetricsInterceptor",
    "LoggingInterceptor",
    "DeadlineInterceptor",
    "AuthInterceptor",
    "IdentityInterceptor",
}


def default_stack(
    *,
    tracing: Tracing | None = None,
    metrics: Metrics | None = None,
    logs: Logs | None = None,
    authenticator: Authenticator | None = None,
    identity: IdentityInterceptor | None = None,
    translate: Mapping[type[BaseException], Translation] | None = None,
    default_deadline: float | None = None,
) -> list[Interceptor]:
    """The concerns around every call, outermost first: served and going out, gRPC, HTTP and events alike.

    Each says itself (`applies`) which methods it has something to do for. Those that need something to work with are
    there only where it is given.

    >>> [type(each).__name__ for each in default_stack()]
    ['RecoveryInterceptor', 'DeadlineInterceptor', 'RequestIdInterceptor', 'ErrorsInterceptor']
    """
    # Imported here: only what is used is paid for at start.
    from interceptors.deadline import DeadlineInterceptor
    from interceptors.errors import ErrorsInterceptor
    from interceptors.recovery import RecoveryInterceptor
    from interceptors.request_id import RequestIdInterceptor

    stack: list[Interceptor] = [
        # Outermost: it catches what crashes in any other concern.
        RecoveryInterceptor(),
    ]
    if tracing is not None:
        from interceptors.tracing import TracingInterceptor

        # Before whatever records: log lines and exemplars of the call belong to its span.
        stack.append(TracingInterceptor(tracing))
    if metrics is not None:
        from interceptors.metrics import MetricsInterceptor

        # Outside of all that can reject, so that rejected calls count too.
        stack.append(MetricsInterceptor(metrics))
    if logs is not None:
        from interceptors.logging import LoggingInterceptor

        # Likewise, and inside of the span, whose id its lines have.
        stack.append(LoggingInterceptor(logs))
    # Before anything that could wait: what comes too late is not begun.
    stack.append(DeadlineInterceptor(default_deadline))
    if authenticator is not None:
        from interceptors.auth import AuthInterceptor

        # Before anything reads the request: strangers cost as little as possible.
        stack.append(AuthInterceptor(authenticator, metrics=metrics))
    if identity is not None:
        stack.append(identity)
    return [
        *stack,
        RequestIdInterceptor(),
        # Innermost: everything outside of it sees only errors that have a meaning.
        ErrorsInterceptor(translate),
    ]


def behind_auth(stack: Iterable[Interceptor], *concerns: Interceptor) -> list[Interceptor]:
    """A list of concerns with these added where it is known who is calling and nothing was read yet.

    That is their place whether or not there is authentication; for a service's `interceptors`. Those of the chassis
    come in their own order, however they are given, and yours behind them. What is in the list stays where it is, also
    a limit that you put in front of authentication.

    >>> from chassis.limits import TokenBucket
    >>> from interceptors import RateLimitInterceptor, Rule
    >>> limits = RateLimitInterceptor(Rule(TokenBucket(rate=100)))
    >>> [type(each).__name__ for each in behind_auth(default_stack(), limits)]
    ['RecoveryInterceptor', 'DeadlineInterceptor', 'RateLimitInterceptor', 'RequestIdInterceptor', 'ErrorsInterceptor']
    """
    from interceptors.request_id import RequestIdInterceptor

    given = list(stack)
    end = next((n for n, each in enumerate(given) if isinstance(each, RequestIdInterceptor)), len(given))
    begin = max((n + 1 for n, each in enumerate(given[:end]) if not _IN_FRONT.isdisjoint(_names(each))), default=0)
    for concern in concerns:
        place = _place(concern)
        given.insert(next((n for n in range(begin, end) if _place(given[n]) > place), end), concern)
        end += 1
    return given


def _place(concern: Interceptor) -> int:
    names = _names(concern)
    return next((place for place, name in enumerate(_ADDED) if name in names), len(_ADDED))


def _names(concern: Interceptor) -> list[str]:
    return [cls.__name__ for cls in type(concern).__mro__]  # by name: nobody pays for what is not used
