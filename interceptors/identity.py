from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from chassis.call import Call, Method, Proceed
from interceptors.interceptor import RpcInterceptor


class IdentityInterceptor(RpcInterceptor):
    """Says who is calling on calls going out: this service by its own token, or else the caller who is served.

    `token` is the service's own credential, or a function that returns the current one. Without it the credentials
    of the call being served are passed on, unless `forward` is False.
    """

    only_before = True

    def __init__(self, token: str | Callable[[], str] | None = None, *, forward: bool = True) -> None:
        self._token = token
        self._forward = forward

    def applies(self, method: Method) -> bool:
        return not method.served and method.system != "event" and (self._token is not None or self._forward)

    def around(self, call: Call, proceed: Proceed) -> Awaitable[Any]:
        if "authorization" not in call.metadata:
            token = self._token() if callable(self._token) else self._token
            # Only where there is none of its own to begin with: one that is missing right now is not made up for.
            if self._token is None and call.parent is not None and call.parent.principal is not None:
                token = call.parent.principal.token
            if token:
                call.metadata["authorization"] = f"Bearer {token}"
        return proceed(call)
