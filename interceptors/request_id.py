from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from chassis.call import Call, Method, Proceed
from interceptors.interceptor import RpcInterceptor


class RequestIdInterceptor(RpcInterceptor):
    """Sends the request id along, so that log lines of all services that one request touched can be found by it.

    On RPCs; what is published has it with and without concerns, from the bus itself.
    """

    only_before = True

    def applies(self, method: Method) -> bool:
        return not method.served and method.system != "event"

    def around(self, call: Call, proceed: Proceed) -> Awaitable[Any]:
        call.metadata.setdefault("x-request-id", call.request_id)
        return proceed(call)
