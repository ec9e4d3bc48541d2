from __future__ import annotations

import pytest

from chassis.bus.jetstream import JetStreamBackend
from chassis.bus.jetstream.address import Address
from chassis.config import SecretUrl


@pytest.mark.parametrize(
    ("text", "url", "login"),
    [
        ("nats://nats-1:4333", "nats://nats-1:4333", (None, None, None)),
        ("nats-1", "nats://nats-1:4222", (None, None, None)),
        ("nats-1:4333/", "nats://nats-1:4333", (None, None, None)),
        ("tls://a:b@nats-1", "tls://nats-1:4222", ("a", "b", None)),
        ("nats://a:p%40s%3As@nats-1", "nats://nats-1:4222", ("a", "p@s:s", None)),
        ("nats://a:p@s@nats-1", "nats://nats-1:4222", ("a", "p@s", None)),
        ("nats://t0ken@nats-1", "nats://nats-1:4222", (None, None, "t0ken")),
        ("wss://nats-1", "wss://nats-1:443", (None, None, None)),
        ("nats://[::1]:4222", "nats://[::1]:4222", (None, None, None)),
    ],
)
def test_an_address_says_where_to_connect_and_as_whom(
    text: str, url: str, login: tuple[str | None, str | None, str | None]
) -> None:
    address = Address.of(SecretUrl(text))
    assert address.url == url
    assert address.login == login


def test_an_address_shows_no_secret() -> None:
    address = Address.of(SecretUrl("nats://cqar:hunter2@nats-1"))
    assert "hunter2" not in repr(address)
    assert "hunter2" not in repr(address.neighbour("nats-2:4222"))
    assert address.neighbour("nats-2:4222").login == address.login


@pytest.mark.parametrize("text", ["nats://", "nats://a:s3cret@", "nats://a:s3cret@host:port"])
def test_what_is_no_address_is_refused_without_its_secret(text: str) -> None:
    with pytest.raises(ValueError, match="no address of a NATS server") as raised:
        JetStreamBackend([SecretUrl(text)], client_name="test")
    assert "s3cret" not in str(raised.value)


def test_at_least_one_address_is_needed() -> None:
    with pytest.raises(ValueError, match="at least one"):
        JetStreamBackend([], client_name="test")
