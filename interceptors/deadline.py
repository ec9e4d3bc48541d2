from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable
from typing import Any

from chassis.call import Call, Proceed
from chassis.errors import DeadlineExceeded
from interceptors.interceptor import RpcInterceptor


class DeadlineInterceptor(RpcInterceptor):
    """Keeps the caller's deadline: late calls are not begun, work ends in time, calls going out get what is left.

    `default` is the time in seconds that a call going out gets where it says none itself, or what the call being served
    has left if that is less; None gives it no more than that. A call that wants no time of its own says
    `timeout=math.inf`: what the call being served has left still counts.
    """

    only_before = True

    def __init__(self, default: float | None = None) -> None:
        if default is not None and not default > 0:
            raise ValueError(f"the default deadline must be more than 0 seconds, not {default}")
        self.default = default

    def around(self, call: Call, proceed: Proceed) -> Awaitable[Any]:
        deadline = call.deadline
        if not call.method.served and (due := self._inherited(call, deadline)) is not deadline:
            call.deadline = deadline = due
        if deadline is None:
            return proceed(call)
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise DeadlineExceeded("the deadline had passed before the call began")
        return proceed(call) if call.ends_in_time else self._in_time(call, proceed, remaining)

    async def _in_time(self, call: Call, proceed: Proceed, remaining: float) -> Any:
        try:
            async with asyncio.timeout(None) as limit:
                timer = asyncio.get_running_loop().call_later(remaining, _expire, call, limit)
                try:
                    return await proceed(call)
                finally:
                    timer.cancel()
        except TimeoutError as error:
            if limit.expired():
                raise DeadlineExceeded("the deadline passed while the call was worked on") from error
            raise

    def _inherited(self, call: Call, deadline: float | None) -> float | None:
        if deadline is None and self.default is not None:
            deadline = time.monotonic() + self.default
        served = call.parent.deadline if call.parent is not None else None
        if served is not None and (deadline is None or served < deadline):
            deadline = served
        return None if deadline == math.inf else deadline


def _expire(call: Call, limit: asyncio.Timeout) -> None:
    # Asked now, and not when the call began: that of an HTTP request is lifted once it has become a websocket.
    if call.deadline is not None:
        limit.reschedule(asyncio.get_running_loop().time())
