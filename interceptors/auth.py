from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from chassis.call import Call, Method, Principal, Proceed
from chassis.errors import ChassisError, Temporary
from interceptors.interceptor import RpcInterceptor

if TYPE_CHECKING:
    from chassis.auth import Authenticator

HEALTH_AND_REFLECTION = frozenset(
    {
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/List",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    }
)
"""What may be called without credentials everywhere: probes and tools have none. Exact names, nothing like them."""


class AuthInterceptor(RpcInterceptor):
    """Nobody is served who did not say who they are, but for methods that are public by exact name.

    `authenticator` turns the bearer token into a Principal or raises Unauthorized. When it fails in any other way the
    call is refused as well (UNAVAILABLE), and nothing is let through.
    """

    def __init__(self, authenticator: Authenticator, *, public: Iterable[str] = HEALTH_AND_REFLECTION) -> None:
        from chassis.auth.bearer import token_from

        self._authenticate = authenticator.authenticate
        self._token_from = token_from
        self._public = frozenset(public)

    def applies(self, method: Method) -> bool:
        return method.served and method.system != "event" and not (method.public or method.path in self._public)

    async def around(self, call: Call, proceed: Proceed) -> Any:
        token = self._token_from(call.values("authorization"))
        try:
            principal: Any = self._authenticate(token)
            # The type first: it is known for nearly all, and asking whether something can be awaited takes its time.
            if not isinstance(principal, Principal):
                principal = await principal if inspect.isawaitable(principal) else principal
                if not isinstance(principal, Principal):
                    raise TypeError(f"an authenticator gives a Principal, not {type(principal).__name__}")
        except ChassisError:
            raise
        except Exception as error:
            # Without the cause: its text may quote the token.
            raise Temporary("credentials can not be checked right now", detail=type(error).__name__) from None
        call.principal = principal
        return await proceed(call)


class IdentityInterceptor(RpcInterceptor):
    """Says who is calling on calls going out: this service by its own token, or else the caller who is served.

    `token` is the service's own credential, or a function that returns the current one. Without it the credentials
    of the call being served are passed on, unless `forward` is False.
    """

    def __init__(self, token: str | Callable[[], str] | None = None, *, forward: bool = True) -> None:
        self._token = token
        self._forward = forward

    def applies(self, method: Method) -> bool:
        return not method.served and method.system != "event" and (self._token is not None or self._forward)

    async def around(self, call: Call, proceed: Proceed) -> Any:
        if "authorization" not in call.metadata:
            token = self._token() if callable(self._token) else self._token
            # Only where there is none of its own to begin with: one that is missing right now is not made up for.
            if self._token is None and call.parent is not None and call.parent.principal is not None:
                token = call.parent.principal.token
            if token:
                call.metadata["authorization"] = f"Bearer {token}"
        return await proceed(call)
