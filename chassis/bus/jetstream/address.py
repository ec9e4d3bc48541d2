from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from chassis.address import host_port
from chassis.config import Secret, SecretUrl

_PORTS = {"ws": 80, "wss": 443}


class Login(NamedTuple):
    """User and password, or a token, or nothing."""

    user: str | None
    password: str | None
    token: str | None


@dataclass(frozen=True, slots=True)
class Address:
    """One server of NATS, and how to log in there."""

    url: str
    place: str
    user: Secret
    password: Secret

    @classmethod
    def of(cls, url: SecretUrl) -> Address:
        """Take a configured address apart; the scheme may be left out, and the port where it is 4222.

        >>> address = Address.of(SecretUrl("nats://cqar:p%40ss@nats-1"))
        >>> address
        Address(url='nats://nats-1:4222', place='nats-1:4222', user=Secret('***'), password=Secret('***'))
        >>> address.password.reveal()
        'p@ss'

        A user without a password is a token. Raises ValueError for what is no address.
        """
        text = url.reveal()
        scheme, found, rest = text.partition("://")
        if not found:
            scheme, rest = "nats", text
        # A password may have any character in it, so all up to the last @ belongs to the credentials.
        credentials, _, place = rest.rpartition("@")
        try:
            parts = urlsplit(f"//{place}")
            name, port = parts.hostname, parts.port
        except ValueError:
            name = port = None
        if not name:
            raise ValueError(f"{url} is no address of a NATS server, such as nats://nats-1:4222")
        user, _, password = credentials.partition(":")
        place = host_port(name, port or _PORTS.get(scheme, 4222))
        return cls(f"{scheme}://{place}", place, Secret(unquote(user)), Secret(unquote(password)))

    @property
    def login(self) -> Login:
        """The credentials, as nats-py takes them."""
        if self.password:
            return Login(self.user.reveal(), self.password.reveal(), None)
        return Login(None, None, self.user.reveal() or None)

    def neighbour(self, place: str) -> Address:
        """Another server of the same cluster, which it told of: the same scheme and credentials."""
        return Address(f"{self.url.partition('://')[0]}://{place}", place, self.user, self.password)


def places_of(addresses: Iterable[Address]) -> str:
    """Where they are, for people."""
    return ", ".join(address.place for address in addresses)
