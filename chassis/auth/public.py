from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

_Handler = TypeVar("_Handler", bound=Callable[..., Any])


def public(handler: _Handler) -> _Handler:
    """Let everybody call this servicer method or HTTP handler: no credentials are asked for.

    >>> class Greeter:
    ...     @public
    ...     async def Greet(self, request, context): ...
    >>> is_public(Greeter().Greet)
    True
    """
    handler.__chassis_public__ = True  # type: ignore[attr-defined]
    return handler


def is_public(handler: object) -> bool:
    """Whether `public` marks this handler."""
    return getattr(handler, "__chassis_public__", False) is True
