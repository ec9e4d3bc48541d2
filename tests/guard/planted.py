"""Concerns that cost too much, to see that the guard says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chassis.call import Call, Interceptor, Method, Proceed
from interceptors import RecoveryInterceptor


class _Same(RecoveryInterceptor):
    """Does nothing of its own, for whatever there is; what the others are compared with."""

    def applies(self, method: Method) -> bool:
        return True

    async def around(self, call: Call, proceed: Proceed) -> Any:
        return await proceed(call)


class _OneDict(_Same):
    async def around(self, call: Call, proceed: Proceed) -> Any:
        {}  # noqa: B018
        return await proceed(call)


class _OneFunction(_Same):
    async def around(self, call: Call, proceed: Proceed) -> Any:
        _nothing()
        return await proceed(call)


def _nothing() -> None:
    pass


class _Idle(Interceptor):
    async def around(self, call: Call, proceed: Proceed) -> Any:
        return await proceed(call)


_INSTEAD = {"same": _Same, "one dict": _OneDict, "one function": _OneFunction}
NAMES = ("", "same", "one dict", "one function", "one concern")


def planted(name: str, stack: list[Interceptor]) -> Sequence[Interceptor]:
    """The stack with something in it; empty for none."""
    if not name:
        return stack
    if name == "one concern":
        return [*planted("same", stack), _Idle()]
    return [_INSTEAD[name]() if type(each) is RecoveryInterceptor else each for each in stack]
