"""W3C Trace Context, level 1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.call import TraceContext

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"

hex_digits = st.text("0123456789abcdef", min_size=1, max_size=1)


def some_id(length: int) -> st.SearchStrategy[str]:
    return st.text("0123456789abcdef", min_size=length, max_size=length).filter(lambda text: text.strip("0") != "")


@given(some_id(32), some_id(16), st.booleans())
def test_what_is_sent_is_what_is_read(trace_id: str, span_id: str, sampled: bool) -> None:
    context = TraceContext(trace_id, span_id, sampled)

    assert TraceContext.parse(context.traceparent) == context


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)])
def test_only_the_lowest_flag_means_sampled(flags: str, sampled: bool) -> None:
    context = TraceContext.parse(f"00-{TRACE_ID}-{SPAN_ID}-{flags}")

    assert context == TraceContext(TRACE_ID, SPAN_ID, sampled)


@pytest.mark.parametrize("rest", ["", "-what-comes-later", "-"])
def test_later_versions_may_say_more(rest: str) -> None:
    assert TraceContext.parse(f"01-{TRACE_ID}-{SPAN_ID}-01{rest}") is not None


@pytest.mark.parametrize(("before", "after"), [(" ", ""), ("", " "), ("\t ", " \t")])
def test_spaces_around_a_header_are_no_part_of_it(before: str, after: str) -> None:
    header = f"00-{TRACE_ID}-{SPAN_ID}-01"

    assert TraceContext.parse(before + header + after) == TraceContext(TRACE_ID, SPAN_ID, True)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "garbage",
        f"00-{TRACE_ID}-{SPAN_ID}",
        f"00-{TRACE_ID}-{SPAN_ID}-",
        f"00-{TRACE_ID}-{SPAN_ID}-1",
        f"00-{TRACE_ID}-{SPAN_ID}-01-more",
        f"00-{TRACE_ID}-{SPAN_ID}-01x",
        f"01-{TRACE_ID}-{SPAN_ID}-01x",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"0-{TRACE_ID}-{SPAN_ID}-001",
        f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID[:-1]}g-{SPAN_ID}-01",
        f"00_{TRACE_ID}-{SPAN_ID}-01",
        f"00-{TRACE_ID}_{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}_01",
        f"00-{TRACE_ID}-{SPAN_ID}-0g",
        f"\n00-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{'٣' * 32}-{SPAN_ID}-01",
    ],
)
def test_what_is_no_traceparent_starts_a_new_trace(header: str | None) -> None:
    assert TraceContext.parse(header) is None


@given(st.text(max_size=80))
def test_whatever_comes_nothing_is_raised(header: str) -> None:
    context = TraceContext.parse(header)

    assert context is None or TraceContext.parse(context.traceparent) == context


@given(st.integers(0, 54), st.characters())
def test_one_wrong_character_never_makes_another_valid_id(position: int, character: str) -> None:
    valid = f"00-{TRACE_ID}-{SPAN_ID}-01"
    context = TraceContext.parse(valid[:position] + character + valid[position + 1 :])

    if context is not None:
        assert set(context.trace_id + context.span_id) <= set("0123456789abcdef")
        assert (len(context.trace_id), len(context.span_id)) == (32, 16)
