from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import grpc

from chassis.call import Interceptor
from interceptors.client import client_interceptors
from interceptors.identity import IdentityInterceptor
from interceptors.stack import default_stack

if TYPE_CHECKING:
    from chassis.logging import Logs
    from chassis.metrics import Metrics
    from chassis.tracing import Tracing

DEFAULT_DEADLINE = 30.0

KEEPALIVE_TIME = 60.0
"""Seconds without an answer after which the other side is asked for a sign of life, while a call is under way.

Less often than a chassis server allows (`server.keepalive_min_time`, 10 s), so that no shipped client is disconnected
by a shipped server. gRPC asks twice at most where the client itself has sent nothing since.
"""

KEEPALIVE_TIMEOUT = 20.0
"""Seconds until a connection that gives no sign of life is closed."""

_SERVICE_CONFIG = json.dumps(
    {
        # With several addresses, calls go to all that say they are serving: none is lost when one of them restarts.
        "loadBalancingConfig": [{"round_robin": {}}],
        "healthCheckConfig": {"serviceName": ""},
    }
)

_OPTIONS = (
    ("grpc.service_config", _SERVICE_CONFIG),
    ("grpc.keepalive_time_ms", int(KEEPALIVE_TIME * 1000)),
    ("grpc.keepalive_timeout_ms", int(KEEPALIVE_TIMEOUT * 1000)),
)


def channel(
    target: str,
    *,
    token: str | Callable[[], str] | None = None,
    forward_identity: bool = True,
    timeout: float | None = DEFAULT_DEADLINE,
    metrics: Metrics | None = None,
    logs: Logs | None = None,
    tracing: Tracing | None = None,
    interceptors: Callable[[list[Interceptor]], Sequence[Interceptor]] = list,
    credentials: grpc.ChannelCredentials | None = None,
    options: Sequence[tuple[str, Any]] = (),
) -> grpc.aio.Channel:
    """Open a channel to another service; use it with generated stubs, and close it (`async with`) when done.

    `token` is this service's own bearer token, or a function that returns the current one. Without it, a call made
    while another is served carries that caller's credentials, unless `forward_identity` is False: use it for targets
    that are not to see them. `timeout` (seconds) is for calls that give none; a call that shall have none says
    `timeout=math.inf`. None gets more than the call being served has left. In a service use `self.channel(target)`: it
    adds its observers.
    `interceptors` gets the list of concerns that all this makes, and gives the one that counts: with some of your own,
    such as `lambda default: behind_auth(default, limits)`. `options` are gRPC's own and take the place of those that
    are set here, such as `grpc.keepalive_time_ms`.

    Calls raise the errors of `chassis.errors` that the other side raised.
    """
    default = default_stack(
        tracing=tracing,
        metrics=metrics,
        logs=logs,
        identity=IdentityInterceptor(token, forward=forward_identity),
        default_deadline=timeout,
    )
    # Of an option that is there twice, gRPC takes the first.
    given = {name for name, _ in options}
    arguments = [*options, *(option for option in _OPTIONS if option[0] not in given)]
    parts = client_interceptors(interceptors(default), target)
    if credentials is not None:
        return grpc.aio.secure_channel(target, credentials, options=arguments, interceptors=parts)
    return grpc.aio.insecure_channel(target, options=arguments, interceptors=parts)
