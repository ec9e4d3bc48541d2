"""What is wrong with a configuration, told so that an operator can put it right without opening the source."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_SHOWN_CHARACTERS = 60
_CREDENTIALS = re.compile(r"//\S*@")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: which key, where its value came from, and what is expected instead.

    >>> print(Problem("server.grpc_port", "config.yaml:3", "a port is expected, got 'x'"))
    server.grpc_port (config.yaml:3): a port is expected, got 'x'
    """

    key: str
    origin: str
    message: str

    def __str__(self) -> str:
        return f"{self.key} ({self.origin}): {self.message}"


class ConfigurationError(Exception):
    """The configuration cannot be used; `problems` has all that is wrong, and `str()` one line for each.

    `warnings` are the lines that loading would have returned: a misspelt variable is often why a value is missing.
    """

    def __init__(self, problems: Iterable[Problem], warnings: Iterable[str] = ()) -> None:
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)
        super().__init__("\n".join(map(str, self.problems)))


def shown(value: object) -> str:
    """Write a value so that it fits on a line of a terminal: escaped, shortened, without the credentials of a URL.

    Never call it with what may be a secret.

    >>> shown("postgres://cqar:hunter2@db/cqar")
    "'postgres://***@db/cqar'"
    """
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    text = _CREDENTIALS.sub("//***@", str(value)) if isinstance(value, str) else str(value)
    rest = "..." if len(text) > _SHOWN_CHARACTERS else ""
    text = text[:_SHOWN_CHARACTERS]
    return f"{ascii(text) if isinstance(value, str) else text}{rest}"


def plain_key(key: str) -> str:
    """Write a key as it is if it is an ordinary one, escaped and shortened if it is not.

    >>> plain_key("database.host")
    'database.host'
    """
    if key.isprintable() and len(key) <= 2 * _SHOWN_CHARACTERS:
        return key
    return ascii(key[: 2 * _SHOWN_CHARACTERS])


def one_line(text: str) -> str:
    """Write what someone else's code says so that it is one line of text, and not a long one."""
    return "".join(character if character.isprintable() else " " for character in text[:300])


def nearest(key: str, known: Iterable[str]) -> str | None:
    """Give the known key that `key` was most likely meant to be, or None if none is near.

    The same last word in another section is near, too.

    >>> nearest("database.hots", ["database.host", "cache.host"])
    'database.host'
    >>> nearest("server.level", ["server.host", "log.level"])
    'log.level'
    """
    from difflib import get_close_matches  # most configurations have nothing unknown in them

    known = list(known)
    key = key[:200]
    lowered = {candidate.lower(): candidate for candidate in known}
    close = get_close_matches(key.lower(), lowered, n=1, cutoff=0.8)
    if close:
        return lowered[close[0]]
    word = key.rpartition(".")[2].lower()
    elsewhere = [candidate for candidate in known if candidate.rpartition(".")[2].lower() == word]
    if len(elsewhere) == 1:
        return elsewhere[0]
    section = key.rpartition(".")[0].lower()
    beside = {low: candidate for low, candidate in lowered.items() if low.rpartition(".")[0] == section}
    close = get_close_matches(key.lower(), beside or lowered, n=1, cutoff=0.6)
    return lowered[close[0]] if close else None
