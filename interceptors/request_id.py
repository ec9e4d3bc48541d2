from __future__ import annotations

from typing import Any

from chassis.call import Call, Method, Proceed
from interceptors.interceptor import RpcInterceptor


class RequestIdInterceptor(RpcInterceptor):
    """Sends the request id along, so that log lines of all services that one request touched can be found by it.

    On RPCs; what is published has it with and without concerns, from the bus itself.
    """

    def applies(self, method: Method) -> bool:
        return not method.served and method.system != "event"

    async def around(self, call: Call, proceed: Proceed) -> Any:
        call.metadata.setdefault("x-request-id", call.request_id)
        return await proceed(call)
