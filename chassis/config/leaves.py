"""Values without parts (text, numbers, durations, secrets, choices), read from text or from what JSON gives."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from chassis.config.quantities import DURATION_EXPECTED, SIZE_EXPECTED, ByteSize, Duration, parse_duration, parse_size
from chassis.config.secret import Secret, SecretUrl
from chassis.config.sections import ApiKeys, Pem

_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})
_WHOLE = re.compile(r"[+-]?[0-9](_?[0-9]){0,29}")
_NUMBER = re.compile(r"[+-]?([0-9]{1,30}\.?[0-9]{0,30}|\.[0-9]{1,30})([eE][+-]?[0-9]{1,3})?")


class Mismatch(ValueError):
    """A value that cannot be what its knob is; `expected` says what would be, without showing the value."""

    def __init__(self, expected: str) -> None:
        super().__init__(expected)
        self.expected = expected


def leaf(annotation: Any) -> Callable[[object], object] | None:
    """Give what reads a type that has no parts, so that most services start without the machinery for parts."""
    try:
        if annotation in _LEAVES:
            return _LEAVES[annotation]
    except TypeError:  # not hashable, so none of them
        return None
    if get_origin(annotation) is Literal:
        return lambda value: _choice(value, {str(choice): choice for choice in get_args(annotation)})
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        members = {member.name.lower(): member for member in annotation}
        return lambda value: _choice(value, members)
    if get_origin(annotation) is Annotated:
        return leaf(get_args(annotation)[0])
    return None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Mismatch("a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Mismatch("a text in UTF-8") from None
    return value


def _whole(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        return int(value.strip())
    raise Mismatch("a whole number")


def _number(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            raise Mismatch("a finite number") from None
    elif isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        number = float(value.strip())
    else:
        raise Mismatch("a number")
    if not math.isfinite(number):
        raise Mismatch("a finite number")
    return number


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise Mismatch("true or false (or yes, no, on, off, 1, 0)")


def _duration(value: object) -> float:
    if not isinstance(value, bool) and value == 0:
        return 0.0
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise Mismatch(f"{DURATION_EXPECTED} is expected: a number needs its unit")
    if not isinstance(value, str):
        raise Mismatch(DURATION_EXPECTED)
    try:
        return parse_duration(value)
    except ValueError as error:
        raise Mismatch(str(error)) from None


def _size(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if not isinstance(value, str):
        raise Mismatch(SIZE_EXPECTED)
    try:
        return parse_size(value)
    except ValueError as error:
        raise Mismatch(str(error)) from None


def _path(value: object) -> Path:
    if isinstance(value, Path):
        return value
    text = _text(value)
    if not text.strip() or "\0" in text:
        raise Mismatch("a path")
    return Path(text)


def _secret(value: object) -> Secret:
    return Secret(value.reveal() if isinstance(value, Secret) else _text(value))


def _secret_url(value: object) -> SecretUrl:
    return SecretUrl(_secret(value).reveal().strip())


def _pem(value: object) -> Secret:
    text = _secret(value).reveal().replace("\\n", "\n")
    if not text.strip():
        raise Mismatch("PEM text is expected: leave it out for none")
    return Secret(text)


def _api_keys(value: object) -> tuple[Secret, ...]:
    if not isinstance(value, list | tuple | dict):
        raise Mismatch("a list of keys, or a mapping of names to keys,")
    return tuple(_each_key([value] if isinstance(value, dict) else value))


def _each_key(entries: list[object] | tuple[object, ...]) -> Iterator[Secret]:
    for entry in entries:
        if not isinstance(entry, dict):
            key = _secret(entry)
            if not key.reveal().strip():
                raise Mismatch("keys that are not empty")
            yield key
            continue
        for name, keys in entry.items():
            if not _text(name).strip() or ":" in name:
                raise Mismatch("names of keys without a colon in them")
            several = _each_key(keys if isinstance(keys, list | tuple) else [keys])
            yield from (Secret(f"{name}:{key.reveal()}") for key in several)


_LEAVES: Final[dict[Any, Callable[[object], object]]] = {
    str: _text,
    int: _whole,
    float: _number,
    bool: _boolean,
    Path: _path,
    Secret: _secret,
    SecretUrl: _secret_url,
    Duration: _duration,
    ByteSize: _size,
    Pem: _pem,
    ApiKeys: _api_keys,
}


def _choice(value: object, choices: dict[str, Any]) -> object:
    if isinstance(value, Enum) and value in choices.values():
        return value
    word = str(value).strip() if isinstance(value, str | int) else None
    for name, choice in choices.items():
        if word is not None and word.lower() == name.lower():
            return choice
    raise Mismatch(f"one of {', '.join(choices)}")
