"""Any value as plain JSON data, whatever it is: a log line must never fail because of what is in it."""

from __future__ import annotations

import enum
import math
import operator
import re
import sys
from collections.abc import Mapping, Sequence, Set
from datetime import date, datetime, time, timedelta
from typing import Any

from chassis.errors import ChassisError
from chassis.text import text_of

MAX_TEXT = 16_384
"""Characters of one text; what is longer is cut, and the line says so."""

MAX_STACK = 65_536
"""Characters of a stack; its beginning is cut, because its end says what happened."""

_MAX_ITEMS = 1_000  # of one value, over all its levels
_MAX_DEPTH = 8
_LARGEST_NUMBERS = range(-(2**63), 2**64)  # what readers of JSON keep as a number

# What JSON lets pass and a line, a terminal or a strict reader does not: DEL and C1 controls, Unicode's own line ends,
# marks that turn the direction of text around, and halves of surrogate pairs.
_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

# What JSON escapes by itself and plain text does not. Tabs do no harm there, and the line end has a name.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f]")


def plain(value: object) -> Any:
    """Give a value as None, bool, number, text, list or dict: bounded, never circular, never raising.

    | a | becomes |
    |---|---|
    | protobuf message | an object with the names of the `.proto` file |
    | enum member | its name, or its value where that is text |
    | date, time; timedelta | ISO 8601; seconds |
    | bytes | text, what is not UTF-8 as `\\xff` |
    | NaN, infinity; integer beyond 64 bits | text |
    | exception | its type and text |
    | anything else | what `str` gives, so that secrets stay masked |

    >>> from decimal import Decimal
    >>> plain({"price": Decimal("1.10"), "tags": {"new"}, 7: float("nan")})
    {'price': '1.10', 'tags': ['new'], '7': 'NaN'}
    """
    kind = type(value)
    if kind is str and len(value) <= MAX_TEXT:  # type: ignore[arg-type]
        return value
    if kind is bool or value is None:
        return value
    return _Reading().read(value, _MAX_DEPTH)


def error_text(error: BaseException) -> str:
    """Give an error in a few words: the message of one with a meaning, type and text of any other.

    >>> error_text(KeyError("id"))
    "KeyError: 'id'"
    """
    text = text_of(error)
    if isinstance(error, ChassisError) and text:
        return limited(text)
    return limited(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def limited(text: str) -> str:
    """Cut a text that is too long for a log line."""
    if len(text) <= MAX_TEXT:
        return text
    return f"{text[:MAX_TEXT]}… ({len(text) - MAX_TEXT} more characters)"


def one_line(line: str) -> str:
    """Escape what JSON leaves as it is and what would still break a line, a terminal or a strict reader.

    >>> one_line('{"name":"caf\\u00e9\\u2028"}')
    '{"name":"café\\\\u2028"}'
    """
    if line.isascii() and "\x7f" not in line:
        return line
    return _UNSAFE.sub(_escaped, line)


def without_controls(text: str) -> str:
    """Escape what would end a line of text, or steer the terminal that it is shown on.

    >>> without_controls("a-1\\nINFO all is well\\x1b[2J")
    'a-1\\\\nINFO all is well\\\\x1b[2J'
    """
    escaped = _CONTROLS.sub(lambda match: f"\\x{ord(match[0]):02x}", text.replace("\n", "\\n"))
    return one_line(escaped)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    # Half a surrogate pair is no character, and `\ud800` is refused by strict readers of JSON: it is shown instead.
    return f"\\\\u{code:04x}" if 0xD800 <= code <= 0xDFFF else f"\\u{code:04x}"


class _Reading:
    """One value being read: how much may still be read of it, and what it is inside of right now."""

    __slots__ = ("_left", "_open")

    def __init__(self) -> None:
        self._left = _MAX_ITEMS
        self._open: set[int] = set()

    def read(self, value: object, depth: int) -> Any:
        try:
            return self._read(value, depth)
        except Exception:
            return f"({type(value).__name__} could not be read)"

    def _read(self, value: object, depth: int) -> Any:
        kind = type(value)
        if kind is str:
            return limited(value)  # type: ignore[arg-type]
        if value is None or kind is bool:
            return value
        if isinstance(value, enum.Enum):
            return limited(value.value) if type(value.value) is str else value.name or str(value)
        if isinstance(value, float):
            return _float(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return limited(bytes(value).decode("utf-8", "backslashreplace"))
        if isinstance(value, BaseException):
            return error_text(value)
        if isinstance(value, (datetime, date, time)):
            return value.isoformat()
        if isinstance(value, timedelta):
            return value.total_seconds()
        if hasattr(kind, "__index__"):  # integers of all kinds, those of array libraries too
            return _integer(operator.index(value))  # type: ignore[arg-type]
        fields = _fields(value)
        if fields is not None:
            return self._inside(value, depth, lambda: self._object(fields, depth - 1))
        if isinstance(value, (Sequence, Set)) and not isinstance(value, str):
            return self._inside(value, depth, lambda: self._list(value, depth - 1))
        if isinstance(value, type):
            return f"{value.__module__}.{value.__qualname__}"
        # By `str`, for subclasses of str as well: a class that masks itself stays masked.
        return limited(str.__str__(str(value)))

    def _inside(self, value: object, depth: int, read: Any) -> Any:
        if id(value) in self._open:
            return "(circular)"
        if depth <= 0:
            return "(too deep)"
        self._open.add(id(value))
        try:
            return read()
        finally:
            self._open.discard(id(value))

    def _object(self, fields: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        read: dict[str, Any] = {}
        for key, value in fields.items():
            if self._left <= 0:
                read["…"] = "(more)"
                break
            self._left -= 1
            put(read, key if type(key) is str else str(self.read(key, depth)), self.read(value, depth))
        return read

    def _list(self, items: Sequence[Any] | Set[Any], depth: int) -> list[Any]:
        read: list[Any] = []
        for item in items:
            if self._left <= 0:
                read.append("… (more)")
                break
            self._left -= 1
            read.append(self.read(item, depth))
        return read


def put(fields: dict[str, Any], key: str, value: Any) -> None:
    """Add a field under its name, or with a `_` behind it where the name is taken by another value.

    >>> fields = {"level": "info"}
    >>> put(fields, "level", 3)
    >>> fields
    {'level': 'info', 'level_': 3}
    """
    key = limited(key)
    while key in fields:
        if fields[key] == value and type(fields[key]) is type(value):
            return
        key += "_"
    fields[key] = value


def _fields(value: object) -> Mapping[Any, Any] | None:
    """What has named parts: a mapping, a named tuple, a protobuf message."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        named: Mapping[Any, Any] = value._asdict()
        return named
    protobuf = sys.modules.get("google.protobuf.message")  # not imported: no message there either
    if protobuf is not None and isinstance(value, protobuf.Message):
        from google.protobuf.json_format import MessageToDict

        return MessageToDict(value, preserving_proto_field_name=True)
    return None


def _float(value: float) -> float | str:
    value = float.__pos__(value)
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _integer(value: int) -> int | str:
    value = int.__pos__(value)
    # Python refuses to write very long integers in decimal, and no reader keeps one beyond 64 bits as a number.
    return value if value in _LARGEST_NUMBERS else limited(hex(value))
