from __future__ import annotations

from typing import Protocol, runtime_checkable

from chassis.call import Principal
from chassis.errors import Unauthorized

INVALID_CREDENTIALS = "invalid or expired credentials"
"""All that a caller learns about credentials that are not accepted: which check failed would help to forge some."""


@runtime_checkable
class Authenticator(Protocol):
    """Tells who is calling from the credentials of a call; write your own for schemes that are not here.

    >>> class Fixed:
    ...     def authenticate(self, token: str) -> Principal:
    ...         if token != "let-me-in":
    ...             raise refused("not the fixed token")
    ...         return Principal("tester", "service", "fixed", token=token)
    >>> isinstance(Fixed(), Authenticator)
    True
    """

    def authenticate(self, token: str) -> Principal:
        """Give the principal that `token` (what stands behind `Bearer`) belongs to.

        It runs on the event loop for every call, so it computes and does not wait.

        Raises `chassis.errors.Unauthorized` for every token that is not accepted, made by `refused`.
        """
        ...


def refused(detail: str) -> Unauthorized:
    """Make the one error for credentials that are not accepted; `detail` is for the log and holds nothing of them.

    >>> error = refused("it has expired")
    >>> str(error), error.detail
    ('invalid or expired credentials', 'it has expired')
    """
    return Unauthorized(INVALID_CREDENTIALS, detail=detail)
