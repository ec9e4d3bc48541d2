from __future__ import annotations

import enum
import json
from collections import OrderedDict, deque, namedtuple
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from cqc.events.v1.asset_events_pb2 import AssetCreated
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from chassis.config.secret import Secret
from chassis.errors import NotFound
from chassis.logging.plain import MAX_TEXT, error_text, limited, one_line, plain, put


class Side(enum.StrEnum):
    BUY = "buy"


class Colour(enum.IntEnum):
    RED = 1


Point = namedtuple("Point", "x y")


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class BrokenMapping(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("no")


class Shouting(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "***"


class ArrayInteger:
    def __index__(self) -> int:
        return 7


@dataclass
class Account:
    name: str
    token: str = field(repr=False)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (1.5, 1.5),
        ("text", "text"),
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
        (float("inf"), "Infinity"),
        (2**64, "0x10000000000000000"),
        (-(2**63), -(2**63)),
        (Decimal("1.10"), "1.10"),
        (b"a\xff", "a\\xff"),
        (bytearray(b"ab"), "ab"),
        (Side.BUY, "buy"),
        (Colour.RED, "RED"),
        (StatusCode.NOT_FOUND, "NOT_FOUND"),
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00+00:00"),
        (date(2026, 1, 1), "2026-01-01"),
        (timedelta(seconds=1.5), 1.5),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (PurePosixPath("/a/b"), "/a/b"),
        (KeyError("id"), "KeyError: 'id'"),
        (NotFound.of("asset", "a-1"), "asset not found: a-1"),
        (Account("cqmd", token="s3cret"), "Account(name='cqmd')"),
        (Secret("hunter2"), "***"),
        (Shouting("hunter2"), "***"),
        (ArrayInteger(), 7),
        (Point(1, 2), {"x": 1, "y": 2}),
        (OrderedDict(a=1), {"a": 1}),
        (MappingProxyType({1: {None: 2}}), {"1": {"None": 2}}),
        (deque([1, 2]), [1, 2]),
        (frozenset({1}), [1]),
        (range(3), [0, 1, 2]),
        (dict, "builtins.dict"),
        (AssetCreated(event_id="e-1", actor_id="system"), {"event_id": "e-1", "actor_id": "system"}),
    ],
)
def test_a_value_becomes_plain(value: object, expected: object) -> None:
    read = plain(value)
    assert read == expected
    assert type(read) is type(expected)


def test_an_object_that_cannot_be_read_costs_only_itself() -> None:
    read = plain({"good": 1, "bad": Broken(), "worse": BrokenMapping(a=1)})
    assert read == {"good": 1, "bad": "(Broken could not be read)", "worse": "(BrokenMapping could not be read)"}


def test_a_circle_is_shown_where_it_closes_and_a_thing_met_twice_is_shown_twice() -> None:
    circle: dict[str, Any] = {"name": "ring"}
    circle["again"] = [circle]
    assert plain(circle) == {"name": "ring", "again": ["(circular)"]}
    same = [1]
    assert plain([same, same]) == [[1], [1]]


def test_depth_length_and_text_have_a_limit() -> None:
    nested: list[Any] = []
    for _ in range(5_000):
        nested = [nested]
    assert "(too deep)" in json.dumps(plain(nested))
    wide = plain(range(100_000))
    assert wide[-1] == "… (more)"
    assert len(wide) < 2_000
    assert plain({n: n for n in range(100_000)})["…"] == "(more)"
    assert plain("x" * (MAX_TEXT + 5)) == "x" * MAX_TEXT + "… (5 more characters)"
    assert len(plain(10**100_000)) < MAX_TEXT + 50


def test_keys_that_become_the_same_text_are_all_kept() -> None:
    assert plain({1: "a", "1": "b"}) == {"1": "a", "1_": "b"}


def test_a_field_that_says_what_is_there_already_is_not_said_twice() -> None:
    fields = {"a": 1}
    put(fields, "a", 1)
    put(fields, "a", True)
    put(fields, "a", 2)
    assert fields == {"a": 1, "a_": True, "a__": 2}


def test_an_error_whose_text_fails_still_has_its_type() -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert error_text(Silent()) == "Silent: (its text could not be read)"
    assert error_text(ValueError()) == "ValueError"
    assert error_text(NotFound("")) == "NotFound"


def test_a_short_text_is_left_alone() -> None:
    assert limited("short") == "short"


@given(st.text())
def test_a_line_stays_one_line_and_reads_back_as_what_was_written(text: str) -> None:
    line = one_line(json.dumps(text, ensure_ascii=False))
    assert len(line.splitlines()) == 1
    assert line.encode("utf-8")
    read = json.loads(line)
    assert read == "".join(f"\\u{ord(c):04x}" if 0xD800 <= ord(c) <= 0xDFFF else c for c in text)


_WILD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.decimals()
    | st.datetimes()
    | st.builds(Broken)
    | st.complex_numbers()
    | st.functions(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.none() | st.integers() | st.text() | st.floats(), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=20,
)


@given(_WILD)
def test_whatever_it_is_strict_json_takes_it(value: object) -> None:
    json.dumps(plain(value), allow_nan=False)
