from __future__ import annotations

import gc
import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.auth import INVALID_CREDENTIALS, ApiKeyAuthenticator, Unauthorized

KEY = "dev_key_cqmd_12345"
OTHER = "dev_key_cqmd_67890"
HASHED = "sha256:" + hashlib.sha256(KEY.encode()).hexdigest()

ANY_SHAPE = ApiKeyAuthenticator({"cqmd": [KEY, OTHER], "cqar": "a-key:with-a-colon"})


def refusal(authenticator: ApiKeyAuthenticator, token: str) -> Unauthorized:
    with pytest.raises(Unauthorized) as caught:
        authenticator.authenticate(token)
    return caught.value


@pytest.mark.parametrize(
    "keys",
    [
        [f"cqmd:{KEY}"],
        [f"cqmd:{HASHED}"],
        ["cqmd:sha256:" + HASHED.removeprefix("sha256:").upper()],
        {"cqmd": KEY},
        {"cqmd": [OTHER, KEY]},
        {"cqmd": HASHED},
        (f"cqmd:{OTHER}", f"cqmd:{KEY}", "another-key-without-name"),
    ],
)
def test_every_way_to_write_a_key_down_names_the_service(keys: Any) -> None:
    principal = ApiKeyAuthenticator(keys).authenticate(KEY)
    assert (principal.id, principal.kind, principal.scheme) == ("cqmd", "service", "api_key")
    assert principal.token == KEY
    assert principal.expires_at is None
    assert dict(principal.claims) == {}
    assert KEY not in repr(principal)


def test_all_keys_of_a_name_are_good_at_the_same_time() -> None:
    authenticator = ApiKeyAuthenticator([f"cqmd:{KEY}", f"cqmd:{OTHER}"])
    assert authenticator.authenticate(KEY).id == authenticator.authenticate(OTHER).id == "cqmd"


def test_a_key_without_a_name_gets_an_id_that_stays_and_does_not_show_it() -> None:
    first = ApiKeyAuthenticator([KEY]).authenticate(KEY).id
    assert first == ApiKeyAuthenticator([OTHER, HASHED]).authenticate(KEY).id
    assert first != ApiKeyAuthenticator([OTHER]).authenticate(OTHER).id
    assert first.startswith("key-")
    assert len(first) == 12
    assert first.removeprefix("key-") not in hashlib.sha256(KEY.encode()).hexdigest()


def test_the_first_colon_divides_name_and_key() -> None:
    authenticator = ApiKeyAuthenticator(["cqmd:part-one:part-two-of-the-key"])
    assert authenticator.authenticate("part-one:part-two-of-the-key").id == "cqmd"
    refusal(authenticator, "part-two-of-the-key")
    refusal(authenticator, "cqmd:part-one:part-two-of-the-key")


@pytest.mark.parametrize(
    "token",
    [
        "",
        KEY[:-1],
        KEY + "x",
        KEY + " ",
        KEY + "\n",
        KEY + "\x00",
        KEY.upper(),
        f"cqmd:{KEY}",
        HASHED,
        HASHED.removeprefix("sha256:"),
        hashlib.sha256(KEY.encode()).digest().decode("latin-1"),
        "schlüssel_cqmd_12345",
        "\ud800" * 20,
        KEY * 60_000,
        "dev_key_cqmd_" + "1" * 1_000_000,
    ],
    ids=lambda token: ascii(token[:24]),
)
def test_every_other_text_is_refused_with_the_one_message(token: str) -> None:
    error = refusal(ApiKeyAuthenticator([f"cqmd:{KEY}"]), token)
    assert str(error) == INVALID_CREDENTIALS
    assert error.args == (INVALID_CREDENTIALS,)
    assert error.__context__ is None
    assert "dev_key" not in f"{error!r} {error.detail}"


@given(st.text(max_size=600))
def test_no_random_text_is_a_key_or_anything_but_unauthorized(token: str) -> None:
    assert str(refusal(ANY_SHAPE, token)) == INVALID_CREDENTIALS


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([], "there are none"),
        ({}, "there are none"),
        (KEY, "must be a list"),
        (KEY.encode(), "must be a list"),
        (7, "must be a list"),
        (["good-key-of-16-characters", ""], "entry 2 is empty"),
        (["   "], "entry 1 is empty"),
        (["cqmd:"], "entry 1 is empty"),
        ({"cqmd": []}, "entry 1 is empty"),
        ({"cqmd": ["good-key-of-16-characters", " "]}, "entry 1, key 2, is empty"),
        ([KEY.encode()], "must be text"),
        ({"cqmd": None}, "must be text"),
        (["cqmd:tooshort"], "has 8 characters; a key has 16 to 512"),
        ([KEY * 30], "has 540 characters"),
        ([f"{KEY}\n"], "printable ASCII"),
        ([f"{KEY} {KEY}"], "printable ASCII"),
        ([f"{KEY}\x7f"], "printable ASCII"),
        (["schlüssel-aus-köln-123"], "printable ASCII"),
        ([f":{KEY}"], "has a name that is none"),
        ([f"two words:{KEY}"], "has a name that is none"),
        ({"": KEY}, "has a name that is none"),
        ({3: KEY}, "has a name that is none"),
        ([f"{'n' * 65}:{KEY}"], "has a name that is none"),
        ([f"{KEY}:{KEY}"], "has its key as its name"),
        ([f"cqmd:sha256:{KEY}"], "64 hex digits"),
        ([f"sha256:{KEY}"], "64 hex digits"),
        ([f"cqmd:{KEY}", f"cqar:{KEY}"], "entry 2 is the same key as entry 1"),
        ([KEY, f"cqmd:{HASHED}"], "entry 2 is the same key as entry 1"),
        ({"cqmd": KEY, "cqar": ["good-key-of-16-characters", KEY]}, "entry 2, key 2, is the same key as entry 1"),
        (["cqmd:eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln"], "is a JSON Web Token"),
    ],
)
def test_a_weak_or_malformed_key_is_refused_without_showing_it(keys: Any, expected: str) -> None:
    with pytest.raises(ValueError, match="API keys: ") as caught:
        ApiKeyAuthenticator(keys)
    assert expected in str(caught.value)
    assert KEY not in str(caught.value)
    assert "tooshort" not in str(caught.value)
    assert "schl" not in str(caught.value)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"entry 1 .*; entry 3 ") as caught:
        ApiKeyAuthenticator(["short", KEY, ""])
    assert "entry 2" not in str(caught.value)


def test_the_same_key_twice_under_one_name_is_one_key() -> None:
    assert ApiKeyAuthenticator([f"cqmd:{KEY}", f"cqmd:{HASHED}"]).authenticate(KEY).id == "cqmd"


def test_no_key_is_kept_in_the_clear() -> None:
    def reachable(root: object) -> list[object]:
        found, queue = [], [root]
        while queue:
            one = queue.pop()
            found.append(one)
            if isinstance(one, (ApiKeyAuthenticator, dict, list, tuple)):
                queue += [each for each in gc.get_referents(one) if not isinstance(each, type)]
        return found

    key = "".join(["kept-", "in-the-", "clear-", "0123456789"])
    authenticator = ApiKeyAuthenticator({"cqmd": key})
    held = repr(reachable(authenticator))
    assert "cqmd" in held
    assert key not in held + repr(authenticator)
    assert hashlib.sha256(key.encode()).digest() not in reachable(authenticator)


def test_where_a_key_is_looked_up_cannot_be_computed_by_a_caller() -> None:
    # By the bare digest, the time of a look-up could tell how near a guess was.
    one, other = (ApiKeyAuthenticator(["cqmd:dev_key_cqmd_12345"]) for _ in range(2))

    assert not one._names.keys() & other._names.keys()
