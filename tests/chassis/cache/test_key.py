from __future__ import annotations

import enum
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.cache import cache_key
from chassis.cache.key import encode_key, entity_of
from chassis.errors import InvalidInput

# Unicode's own idea of what has a place in a text.
PLAIN = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]))


class Page(enum.IntEnum):
    FIRST = 1


@pytest.mark.parametrize(
    ("parts", "key"),
    [
        (("asset", "a-1"), "asset:a-1"),
        (("venue_asset", "v", "a"), "venue_asset:v:a"),
        (("asset",), "asset"),
        (("asset", "", "a-1", ""), "asset:a-1"),
        (("", "a-1"), "a-1"),
        (("page", 7), "page:7"),
        (("page", 0), "page:0"),
        (("page", Page.FIRST), "page:1"),
        (("registry:name", "cqar"), "registry:name:cqar"),
        (("asset", "a:b", "c"), "asset:a:b:c"),
        (("asset", "Ä ö/中"), "asset:Ä ö/中"),
    ],
)
def test_keys_are_those_of_the_go_sibling(parts: tuple[Any, ...], key: str) -> None:
    assert cache_key(*parts) == key


@given(st.lists(PLAIN, min_size=1))
def test_any_texts_without_control_characters_make_a_key_if_one_is_not_empty(parts: list[str]) -> None:
    if any(parts):
        assert encode_key(cache_key(*parts)).decode() == ":".join(filter(None, parts))
    else:
        with pytest.raises(InvalidInput, match="must not be empty"):
            cache_key(*parts)


@given(PLAIN, st.sampled_from("\0\t\n\r\x1f\x7f\x80\x9f\u2028\u2029\ud800\udfff"), PLAIN)
def test_control_characters_and_halves_of_characters_are_refused(before: str, bad: str, after: str) -> None:
    with pytest.raises(InvalidInput, match="control characters") as raised:
        cache_key("asset", before + bad + after)
    assert not re.search(r"[\x00-\x1f\ud800-\udfff]", raised.value.message)


@pytest.mark.parametrize("part", [None, 1.5, b"a", True, ["a"]])
def test_what_is_neither_text_nor_whole_number_is_refused(part: Any) -> None:
    with pytest.raises(TypeError, match="texts and whole numbers"):
        cache_key("asset", part)


def test_what_is_no_text_is_no_key() -> None:
    with pytest.raises(TypeError, match="a text, not bytes"):
        encode_key(b"asset")  # type: ignore[arg-type]


@given(PLAIN.filter(bool), PLAIN)
def test_the_entity_is_the_first_part(prefix: str, rest: str) -> None:
    assert entity_of(f"{prefix}:{rest}") == prefix.partition(":")[0]
