from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jwt.algorithms import get_default_algorithms

NOW = 1_800_000_000.0
ALGORITHMS = get_default_algorithms()


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def as_bytes(part: Any) -> bytes:
    return part if isinstance(part, bytes) else json.dumps(part).encode()


@dataclass(frozen=True)
class Pair:
    """A key pair that signs whatever it is told to, however odd."""

    private: Any

    @property
    def pem(self) -> str:
        return self.public_as(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    @property
    def private_pem(self) -> str:
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    def public_as(self, encoding: Encoding, form: PublicFormat) -> bytes:
        return self.private.public_key().public_bytes(encoding, form)

    def token(self, claims: Any, algorithm: str = "ES256", header: Any = None) -> str:
        """A token of exactly these claims, each a dict or the raw JSON bytes; `header` replaces the usual one."""
        head = {"alg": algorithm, "typ": "JWT"} if header is None else header
        text = f"{b64(as_bytes(head))}.{b64(as_bytes(claims))}"
        return f"{text}.{b64(ALGORITHMS[algorithm].sign(text.encode(), self.private))}"


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


_MAKE: dict[str, Callable[[], Any]] = {
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "weak rsa": lambda: rsa.generate_private_key(65537, 1024),
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "k256": lambda: ec.generate_private_key(ec.SECP256K1()),
    "brainpool": lambda: ec.generate_private_key(ec.BrainpoolP256R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ed448": ed448.Ed448PrivateKey.generate,
}


@pytest.fixture(scope="session")
def pair() -> Callable[[str], Pair]:
    """Key pairs by name, each made once."""
    made: dict[str, Pair] = {}

    def get(name: str) -> Pair:
        if name not in made:
            made[name] = Pair(_MAKE[name]())
        return made[name]

    return get


@pytest.fixture
def clock() -> Clock:
    return Clock()
