from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from grpc.aio import AioRpcError

from chassis.call import Call
from chassis.errors import ChassisError, classify
from interceptors.interceptor import RpcInterceptor
from interceptors.status import error_of

Translation = Callable[[Any], ChassisError]


class ErrorsInterceptor(RpcInterceptor):
    """Whatever was raised leaves it as a ChassisError: a crash as INTERNAL, another service's answer as what it raised.

    `translate` gives exceptions of libraries a meaning: classes of exceptions to functions (or ChassisError classes)
    that make the error from the exception, subclasses included.
    """

    def __init__(self, translate: Mapping[type[BaseException], Translation] | None = None) -> None:
        self._translate = dict(translate or {})

    def on_error(self, call: Call, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            return
        told = self._of_own(call, error) if call.method.served else self._of_remote(call, error)
        if told is not error:
            raise told from told.__cause__ or error

    def _of_own(self, call: Call, error: BaseException) -> ChassisError:
        if not isinstance(error, ChassisError):
            for cls in type(error).__mro__:
                if cls in self._translate:
                    return self._translate[cls](error)
        return classify(error, call.request_id)

    def _of_remote(self, call: Call, error: BaseException) -> BaseException:
        if not isinstance(error, AioRpcError):
            return error  # our own mistake, such as a request of the wrong type
        told = error_of(error.code(), error.details() or "", tuple(error.trailing_metadata() or ()))
        told.remote = call.method.path
        return told
