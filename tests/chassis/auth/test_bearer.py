from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.auth import Unauthorized, token_from
from chassis.auth.bearer import MALFORMED_CREDENTIALS, MISSING_CREDENTIALS

CANARY = "c4n4ry-t0ken"


@pytest.mark.parametrize(
    "value",
    [f"Bearer {CANARY}", f"bearer {CANARY}", f"BEARER {CANARY}", f"bEaReR   {CANARY} ", f" Bearer {CANARY}\t"],
)
def test_the_scheme_may_have_any_case_and_spaces_around_do_not_matter(value: str) -> None:
    assert token_from([value]) == CANARY


@pytest.mark.parametrize("values", [[], [""], ["  "]])
def test_missing_credentials_are_told_what_to_send(values: list[str]) -> None:
    with pytest.raises(Unauthorized) as caught:
        token_from(values)
    assert str(caught.value) == MISSING_CREDENTIALS
    assert "authorization: Bearer <token>" in MISSING_CREDENTIALS


@pytest.mark.parametrize(
    "values",
    [
        [f"Bearer {CANARY}", f"Bearer {CANARY}"],
        [f"Bearer {CANARY}", ""],
        [f"Bearer {CANARY}, Bearer {CANARY}"],
        [f"Bearer {CANARY} {CANARY}"],
        [f"Basic {CANARY}"],
        [f"Bearer{CANARY}"],
        [f"Bearer:{CANARY}"],
        [f"Bearer\t{CANARY}"],
        [f"Bearers {CANARY}"],
        [CANARY],
        ["Bearer"],
        ["Bearer "],
        ["Bearer    "],
        [f"Bearer {CANARY}\r\nx-admin: 1"],
        [f"Bearer {CANARY}\tx"],
        [f"Bearer {CANARY}\xff"],
        [f"Bearer {CANARY}\u200b"],
        [f"Bearer {CANARY}\ud800"],
        ["x" * 1_000_000],
    ],
    ids=lambda values: ascii(values)[:40],
)
def test_a_header_of_another_form_or_given_twice_is_refused_without_quoting_it(values: list[str]) -> None:
    with pytest.raises(Unauthorized) as caught:
        token_from(values)
    assert str(caught.value) == MALFORMED_CREDENTIALS
    assert CANARY not in repr(caught.value) + repr(caught.value.detail)
    assert caught.value.__context__ is None


@given(st.lists(st.text() | st.text().map("Bearer {}".format), max_size=3))
def test_any_header_gives_a_token_without_spaces_or_unauthorized(values: list[str]) -> None:
    try:
        token = token_from(values)
    except Unauthorized:
        return
    assert token
    assert token.isascii()
    assert not set(token) & set(" \t")
    assert len(values) == 1
