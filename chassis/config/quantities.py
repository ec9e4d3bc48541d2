"""Durations and sizes as people write them: `30s`, `1h30m`, `4MiB`."""

from __future__ import annotations

import re
from typing import Annotated, Final

Duration = Annotated[float, "duration"]
"""A length of time in seconds, written with its unit: `30s`, `5m`, `1h30m`, `100ms`; `0` needs none."""

ByteSize = Annotated[int, "byte size"]
"""A number of bytes, written as a number or with a unit: `65536`, `64KiB`, `4MiB`, `1GB`."""

DURATION_EXPECTED: Final = "a duration such as 30s, 5m, 1h30m or 100ms"
SIZE_EXPECTED: Final = "a number of bytes such as 65536, 64KiB or 4MiB"

_NANOSECONDS: Final = {
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "µs": 1_000,  # the micro sign
    "μs": 1_000,  # the Greek letter
    "ns": 1,
}
_LONGEST: Final = 2**63 - 1
_PART = re.compile(r"([0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(h|ms|us|µs|μs|ns|m|s)")
_NUMBER = re.compile(r"[+-]?[0-9]*\.?[0-9]+")

_BYTES: Final = {
    "": 1,
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
_SIZE = re.compile(r"([0-9]{1,30}(?:\.[0-9]{1,30})?) ?(B|kB|KB|MB|GB|KiB|MiB|GiB)?")


def parse_duration(text: str) -> float:
    """Read a duration as Go writes it, in seconds.

    Raises ValueError for anything else. A number without a unit is refused, as no one can say what it counts; 0 is 0.
    Digits below a nanosecond are dropped.

    >>> parse_duration("1h30m"), parse_duration("100ms"), parse_duration("0")
    (5400.0, 0.1, 0.0)
    """
    stripped = text.strip()
    if stripped in ("0", "+0"):
        return 0.0
    if _NUMBER.fullmatch(stripped):
        raise ValueError(f"{DURATION_EXPECTED} is expected: a number needs its unit")
    if stripped.startswith("-"):
        raise ValueError(f"{DURATION_EXPECTED} is expected, not a negative one")
    nanoseconds, at = 0, 0
    while at < len(stripped):
        part = _PART.match(stripped, at)
        if part is None:
            break
        nanoseconds += _times(part[1], _NANOSECONDS[part[2]])[0]
        at = part.end()
    if at == 0 or at < len(stripped):
        raise ValueError(f"{DURATION_EXPECTED} is expected")
    if nanoseconds > _LONGEST:
        raise ValueError(f"{DURATION_EXPECTED} is expected, not one of centuries")
    return nanoseconds / 1_000_000_000


def format_duration(seconds: float) -> str:
    """Write seconds as the shortest text that `parse_duration` reads back.

    >>> format_duration(5400), format_duration(0.1), format_duration(90.5), format_duration(0)
    ('1h30m', '100ms', '1m30.5s', '0s')
    """
    numerator, denominator = seconds.as_integer_ratio()
    # Rounded half up, in whole numbers: a float times 1e9 would be off by a nanosecond for long durations.
    nanoseconds = (2 * numerator * _NANOSECONDS["s"] + denominator) // (2 * denominator)
    if nanoseconds == 0:
        return "0s"
    if nanoseconds < _NANOSECONDS["s"]:
        unit = "ms" if nanoseconds >= _NANOSECONDS["ms"] else "us" if nanoseconds >= _NANOSECONDS["us"] else "ns"
        return f"{_quotient(nanoseconds, _NANOSECONDS[unit])}{unit}"
    hours, rest = divmod(nanoseconds, _NANOSECONDS["h"])
    minutes, rest = divmod(rest, _NANOSECONDS["m"])
    written = (f"{hours}h" if hours else "") + (f"{minutes}m" if minutes else "")
    return written + (f"{_quotient(rest, _NANOSECONDS['s'])}s" if rest else "")


def parse_size(text: str) -> int:
    """Read a number of bytes, plain or with a unit (kB, MB, GB of 1000; KiB, MiB, GiB of 1024).

    Raises ValueError for anything else, and for what is no whole number of bytes.

    >>> parse_size("4MiB"), parse_size("65536")
    (4194304, 65536)
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{SIZE_EXPECTED} is expected")
    unit = "kB" if match[2] == "KB" else match[2] or ""
    size, rest = _times(match[1], _BYTES[unit])
    if rest:
        raise ValueError(f"{SIZE_EXPECTED} is expected: that is no whole number of bytes")
    return size


def format_size(size: int) -> str:
    """Write a number of bytes with the largest unit that divides it.

    >>> format_size(4194304), format_size(1000), format_size(0)
    ('4MiB', '1000', '0')
    """
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return str(size)


def _times(number: str, unit: int) -> tuple[int, int]:
    """Multiply a decimal number exactly; give the whole part, and what is left of it (not 0 if there is a rest)."""
    whole, _, fraction = number.partition(".")
    return divmod(int((whole + fraction) or "0") * unit, int(10 ** len(fraction)))


def _quotient(dividend: int, unit: int) -> str:
    """Divide by a power of ten, exactly."""
    whole, rest = divmod(dividend, unit)
    digits = str(unit + rest)[1:].rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)
