from __future__ import annotations

import copy
import dataclasses
import json
import pickle

import pytest

from chassis.config import Secret, SecretUrl


def test_a_secret_is_masked_wherever_it_could_be_shown():
    secret = Secret("hunter2")
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret:>20}",
        f"{secret!r}",
        "%s" % secret,  # noqa: UP031
        repr([secret]),
        ascii(secret),
    ]
    assert not any("hunter2" in text for text in shown)
    assert str(secret) == "***"
    assert f"{secret:>5}" == "  ***"


def test_a_secret_gives_its_text_to_who_asks():
    assert Secret("hunter2").reveal() == "hunter2"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_secret_cannot_be_pickled(protocol):
    with pytest.raises(TypeError, match="cannot be pickled") as caught:
        pickle.dumps(Secret("hunter2"), protocol)
    assert "hunter2" not in str(caught.value)


def test_a_secret_cannot_be_written_as_json():
    with pytest.raises(TypeError) as caught:
        json.dumps({"password": Secret("hunter2")})
    assert "hunter2" not in str(caught.value)


def test_a_secret_has_no_dictionary_and_gives_no_state():
    with pytest.raises(TypeError):
        vars(Secret("hunter2"))
    with pytest.raises(TypeError, match="no state"):
        Secret("hunter2").__getstate__()


def test_a_secret_cannot_be_changed():
    secret = Secret("hunter2")
    with pytest.raises(AttributeError, match="cannot be changed"):
        secret._text = "other"
    with pytest.raises(AttributeError, match="cannot be changed"):
        del secret._text
    assert secret.reveal() == "hunter2"


def test_copies_of_a_secret_stay_secret():
    @dataclasses.dataclass
    class Holder:
        secret: Secret

    secret = Secret("hunter2")
    assert copy.copy(secret) is secret
    assert copy.deepcopy({"a": [secret]})["a"][0] is secret
    assert dataclasses.asdict(Holder(secret)) == {"secret": secret}
    assert "hunter2" not in repr(dataclasses.asdict(Holder(secret)))


def test_secrets_are_compared_by_their_text_and_with_secrets_only():
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("\udcff") == Secret("\udcff")


def test_an_empty_secret_is_false():
    assert not Secret("")
    assert Secret("x")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("nats://nats-1:4222", "nats://nats-1:4222"),
        ("nats-1:4222", "nats-1:4222"),
        ("nats://user:hunter2@nats-1:4222", "nats://***@nats-1:4222"),
        ("nats://hunter2@nats-1", "nats://***@nats-1"),
        ("user:hunter2@nats-1", "***@nats-1"),
        ("https://u:p@hunter2@host/path", "https://***@host/path"),
        ("https://u:hun/hunter2@host", "https://***@host"),
        ("https://u:hun?hunter2@host", "https://***@host"),
        ("https://u:hun#hunter2@host", "https://***@host"),
        ("https://host/path?token=hunter2", "https://host/path?***"),
        ("https://host/path#hunter2", "https://host/path?***"),
        ("https://u:hun\nhunter2@host", "https://***@host"),
        ("", ""),
    ],
)
def test_an_address_shows_all_but_its_credentials(text, masked):
    assert str(SecretUrl(text)) == masked
    assert SecretUrl(text).reveal() == text


def test_how_long_a_comparison_takes_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(mine: bytes, theirs: bytes) -> bool:
        compared.append((mine, theirs))
        return False

    monkeypatch.setattr("hmac.compare_digest", compare)

    assert Secret("hunter2") != Secret("hunter2")
    assert compared == [(b"hunter2", b"hunter2")]
