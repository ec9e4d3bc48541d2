from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.config.quantities import format_duration, format_size, parse_duration, parse_size

TEN_YEARS_NS = 10 * 366 * 24 * 3600 * 10**9


@given(st.integers(0, TEN_YEARS_NS))
def test_every_duration_of_whole_nanoseconds_is_read_back_as_it_was_written(nanoseconds):
    seconds = nanoseconds / 1_000_000_000
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.integers(0, 2**62))
def test_every_size_is_read_back_as_it_was_written(size):
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("5m", 300),
        ("1h30m", 5400),
        ("100ms", 0.1),
        ("1.5h", 5400),
        ("1h0m0s", 3600),
        (".5s", 0.5),
        ("1.s", 1),
        ("250us", 0.00025),
        ("250µs", 0.00025),
        ("1ns", 1e-9),
        ("0", 0),
        ("0s", 0),
        (" 2s ", 2),
    ],
)
def test_durations_are_read_as_go_writes_them(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["30", "1.5", "-3", "+7"])
def test_a_duration_without_a_unit_is_refused_and_the_message_says_why(text):
    with pytest.raises(ValueError, match="a number needs its unit"):
        parse_duration(text)


@pytest.mark.parametrize(
    "text", ["", " ", "s", "1x", "1s2", "1 s", "s1", "-5s", "1d", "٣s", "9" * 40 + "h", "9999999h", "1e3s"]
)
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="a duration such as 30s"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("65536", 65536),
        ("4MiB", 4194304),
        ("64 KiB", 65536),
        ("1kB", 1000),
        ("1KB", 1000),
        ("1.5KiB", 1536),
        ("2GB", 2 * 10**9),
        ("7B", 7),
        ("0", 0),
    ],
)
def test_sizes_are_read_with_and_without_units(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "4Mi", "MiB", "1.5", "0.3KiB", "4mib", "1_000", "1e3", "9" * 40])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="a number of bytes"):
        parse_size(text)


@given(st.text())
def test_no_text_makes_the_parsers_fail_in_another_way(text):
    for parse in (parse_duration, parse_size):
        with contextlib.suppress(ValueError):
            assert parse(text) >= 0
