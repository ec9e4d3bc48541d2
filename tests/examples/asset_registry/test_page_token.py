from __future__ import annotations

import base64
import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import InvalidInput
from examples.asset_registry.page_token import decode, encode
from examples.asset_registry.store import Position

HERE = Position(1_700_000_000_123_456, "7a0c3b52-8a4f-4b1e-9d63-0d5e7f2f9a11")

positions = st.builds(Position, st.integers(-(2**63), 2**63 - 1), st.uuids(version=4).map(str))
filters = st.lists(st.none() | st.integers() | st.text(), max_size=3)


@given(positions, filters)
def test_a_token_brings_back_its_position(position: Position, given_filters: list[object]) -> None:
    token = encode(position, *given_filters)
    assert decode(token, *given_filters) == position
    assert re.fullmatch(r"[A-Za-z0-9_-]{48}", token)


@given(filters, filters)
def test_a_token_holds_for_the_filters_it_was_made_with(ours: list[object], theirs: list[object]) -> None:
    token = encode(HERE, *ours)
    if ours == theirs:
        assert decode(token, *theirs) == HERE
    else:
        with pytest.raises(InvalidInput):
            decode(token, *theirs)


@pytest.mark.parametrize("theirs", [("1", None), (None, None), (1, ""), (1,), ()])
def test_filters_that_only_look_alike_are_others(theirs: tuple[object, ...]) -> None:
    with pytest.raises(InvalidInput):
        decode(encode(HERE, 1, None), *theirs)


@given(st.integers(0, 47), st.sampled_from("ABCDXYZabcxyz0189-_"))
def test_a_token_with_one_changed_character_is_refused(index: int, character: str) -> None:
    token = encode(HERE, "defi")
    changed = token[:index] + character + token[index + 1 :]
    if changed == token:
        assert decode(changed, "defi") == HERE
    else:
        with pytest.raises(InvalidInput):
            decode(changed, "defi")


@given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        decode(text)


@pytest.mark.parametrize("edit", ["{}=", "{}====", " {}", "{}\n", "{}.", "{:.47}", "{:.44}"])
def test_a_token_that_was_cut_or_padded_is_refused(edit: str) -> None:
    with pytest.raises(InvalidInput):
        decode(edit.format(encode(HERE)))


def test_the_refusal_names_the_field_and_says_what_to_do() -> None:
    with pytest.raises(InvalidInput) as caught:
        decode("page-2")
    assert str(caught.value).startswith("invalid input for page_token: is no token of this list")
    assert "leave it out to begin with the first page" in str(caught.value)
    assert "page-2" not in str(caught.value)


def test_tokens_do_not_show_the_id_in_clear() -> None:
    assert HERE.asset_id not in encode(HERE)
    assert uuid.UUID(HERE.asset_id).hex not in encode(HERE)
