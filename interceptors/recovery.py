from __future__ import annotations

import asyncio
import logging

from chassis.call import Call, Method
from chassis.errors import ChassisError
from chassis.logging.line import fields_of_method
from interceptors.interceptor import RpcInterceptor

_log = logging.getLogger("chassis.recovery")


class RecoveryInterceptor(RpcInterceptor):
    """The last net: an exception without a meaning that came through everything else is logged, once, with its stack.

    It goes on to the edge, which answers INTERNAL with a text that tells nothing of it; the service lives.
    """

    def applies(self, method: Method) -> bool:
        return method.served

    def on_error(self, call: Call, error: BaseException) -> None:
        if isinstance(error, (ChassisError, asyncio.CancelledError)) or call.logged is error:
            return
        call.logged = error
        fields = {**fields_of_method(call.method), "request_id": call.request_id}
        _log.error("an interceptor or a handler crashed", exc_info=error, extra=fields)
