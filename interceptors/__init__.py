"""The concerns around a call, one class and one file each; each works alone on a plain grpc.aio server or channel, too.

>>> import grpc
>>> from interceptors import ErrorsInterceptor, RecoveryInterceptor
>>> interceptors = [RecoveryInterceptor(), ErrorsInterceptor()]

On a server they are `grpc.aio.server(interceptors=interceptors)`, on a channel
`grpc.aio.insecure_channel(target, interceptors=client_interceptors(interceptors))`. A concern of your own is a subclass
of `RpcInterceptor` with one method, `around`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interceptors.auth import AuthInterceptor
    from interceptors.client import client_interceptors
    from interceptors.deadline import DeadlineInterceptor
    from interceptors.errors import ErrorsInterceptor
    from interceptors.identity import IdentityInterceptor
    from interceptors.interceptor import RpcInterceptor
    from interceptors.logging import LoggingInterceptor
    from interceptors.metrics import MetricsInterceptor
    from interceptors.rate_limit import RateLimitInterceptor, Rule
    from interceptors.recovery import RecoveryInterceptor
    from interceptors.request_id import RequestIdInterceptor
    from interceptors.stack import behind_auth, default_stack
    from interceptors.tracing import TracingInterceptor
    from interceptors.validation import ValidationInterceptor

# Looked up when first used (PEP 562): an import of one concern does not load the libraries of all.
_HOME = {
    "AuthInterceptor": "auth",
    "DeadlineInterceptor": "deadline",
    "ErrorsInterceptor": "errors",
    "IdentityInterceptor": "identity",
    "LoggingInterceptor": "logging",
    "MetricsInterceptor": "metrics",
    "RateLimitInterceptor": "rate_limit",
    "RecoveryInterceptor": "recovery",
    "RequestIdInterceptor": "request_id",
    "RpcInterceptor": "interceptor",
    "Rule": "rate_limit",
    "TracingInterceptor": "tracing",
    "ValidationInterceptor": "validation",
    "behind_auth": "stack",
    "client_interceptors": "client",
    "default_stack": "stack",
}

__all__ = [
    "AuthInterceptor",
    "DeadlineInterceptor",
    "ErrorsInterceptor",
    "IdentityInterceptor",
    "LoggingInterceptor",
    "MetricsInterceptor",
    "RateLimitInterceptor",
    "RecoveryInterceptor",
    "RequestIdInterceptor",
    "RpcInterceptor",
    "Rule",
    "TracingInterceptor",
    "ValidationInterceptor",
    "behind_auth",
    "client_interceptors",
    "default_stack",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'interceptors' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"interceptors.{_HOME[name]}"), name)
