from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chassis.auth import (
    INVALID_CREDENTIALS,
    ApiKeyAuthenticator,
    Authenticator,
    CombinedAuthenticator,
    JwtAuthenticator,
    Principal,
    Unauthorized,
)

NOW = 1_800_000_000.0


class Recording:
    """Remembers what it was asked and accepts it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def authenticate(self, token: str) -> Principal:
        self.asked.append(token)
        return Principal("anyone", "service", "recording")


@pytest.mark.parametrize(
    ("token", "scheme"),
    [
        ("eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln", "jwt"),
        ("eyJ..", "jwt"),
        ("dev_key_cqmd_12345", "api_key"),
        ("a.dotted.key-of-somebody", "api_key"),
        ("eyJ-a-key-that-begins-so", "api_key"),
        ("", "api_key"),
    ],
)
def test_the_form_of_a_token_decides_and_only_one_scheme_is_asked(token: str, scheme: str) -> None:
    asked = {"api_key": Recording(), "jwt": Recording()}
    CombinedAuthenticator(asked["api_key"], asked["jwt"]).authenticate(token)
    assert {name: one.asked for name, one in asked.items()} == {"api_key": [], "jwt": []} | {scheme: [token]}


def test_both_schemes_are_accepted_and_refuse_with_the_same_words(pair: Callable[[str], Any], clock: Any) -> None:
    keys = pair("p256")
    both = CombinedAuthenticator(
        ApiKeyAuthenticator(["cqmd:dev_key_cqmd_12345"]), JwtAuthenticator(keys.pem, clock=clock)
    )
    token = keys.token({"sub": "user:7", "exp": NOW + 1})
    assert isinstance(both, Authenticator)
    assert both.authenticate("dev_key_cqmd_12345").scheme == "api_key"
    assert both.authenticate(token).scheme == "jwt"
    for bad in ("dev_key_cqmd_12346", token[:-8] + "AAAAAAAA"):
        with pytest.raises(Unauthorized) as caught:
            both.authenticate(bad)
        assert str(caught.value) == INVALID_CREDENTIALS
