"""The key that signs the token of all calls, made anew for each run."""

from __future__ import annotations

import time
from dataclasses import dataclass

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

_LIFETIME = 24 * 3600.0  # seconds; longer than any run


@dataclass(frozen=True, slots=True)
class Credentials:
    """An RS256 token, and the public key that it is verified with."""

    public_key: str
    token: str

    @classmethod
    def new(cls) -> Credentials:
        """Make a key of 2048 bits, and a token of an ordinary size."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public_key = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        now = time.time()
        claims = {
            "sub": "service:bench",
            "iss": "https://identity.example.com",
            "iat": int(now),
            "exp": int(now + _LIFETIME),
        }
        return cls(public_key.decode(), jwt.encode(claims, key, algorithm="RS256"))
