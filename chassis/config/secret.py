"""Values that must not be seen: passwords, keys, and addresses with credentials in them."""

from __future__ import annotations

import re
from typing import NoReturn, Self

_MASK = "***"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_QUERY = re.compile(r"[?#].*", re.DOTALL)


class Secret:
    """A text that shows itself to no one who does not ask for it with `reveal()`.

    It is `***` in every repr, str and format; it cannot be pickled or written as JSON, so that no dump has it by
    accident; two are compared in constant time; an empty one is false.

    >>> password = Secret("hunter2")
    >>> password, f"{password}", password.reveal()
    (Secret('***'), '***', 'hunter2')
    >>> password == Secret("hunter2"), bool(Secret(""))
    (True, False)
    """

    __slots__ = ("_text",)
    _text: str

    def __init__(self, text: str) -> None:
        object.__setattr__(self, "_text", text)

    def reveal(self) -> str:
        """Give the text itself, to the one place that needs it."""
        return self._text

    def masked(self) -> str:
        """Give what may be shown of it."""
        return _MASK

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.masked()!r})"

    def __str__(self) -> str:
        return self.masked()

    def __format__(self, spec: str) -> str:
        return format(self.masked(), spec)

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        import hmac

        mine, theirs = (secret._text.encode("utf-8", "surrogatepass") for secret in (self, other))
        return hmac.compare_digest(mine, theirs)

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a secret cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a secret cannot be changed")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret cannot be pickled; reveal() gives its text to the one place that needs it")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a secret has no state to give; reveal() gives its text to the one place that needs it")


class SecretUrl(Secret):
    """An address that may have credentials in it: shown without them, and without its query.

    >>> SecretUrl("nats://cqar:hunter2@nats-1:4222")
    SecretUrl('nats://***@nats-1:4222')
    """

    __slots__ = ()

    def masked(self) -> str:
        """Give the address with `***` for its credentials and its query."""
        match = _SCHEME.match(self._text)
        scheme = match[0] if match else ""
        # A password may have any character in it, so all up to the last @ belongs to the credentials.
        credentials, _, place = self._text.removeprefix(scheme).rpartition("@")
        return f"{scheme}{_MASK + '@' if credentials else ''}{_QUERY.sub('?' + _MASK, place)}"
