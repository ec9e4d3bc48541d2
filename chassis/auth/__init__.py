"""Who is calling: API keys and JSON Web Tokens in, a `Principal` out.

>>> from chassis.auth import ApiKeyAuthenticator, JwtAuthenticator, Unauthorized, token_from
>>> authenticator = ApiKeyAuthenticator({"cqmd": ["key-of-this-month", "key-of-last-month"]})
>>> principal = authenticator.authenticate(token_from(["Bearer key-of-last-month"]))
>>> principal.id, principal.kind, principal.scheme
('cqmd', 'service', 'api_key')

A token of an issuer is verified with the public half of its key (here one is made up for the example):

>>> import jwt, time
>>> from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
>>> from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
>>> issuers_key = Ed25519PrivateKey.generate()
>>> pem = issuers_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
>>> authenticator = JwtAuthenticator(public_key=pem, algorithms=["EdDSA"], audience="cqar", leeway=30)
>>> claims = {"sub": "user:7d5e", "aud": "cqar", "exp": time.time() + 60, "roles": ["trader"]}
>>> principal = authenticator.authenticate(jwt.encode(claims, issuers_key, "EdDSA"))
>>> principal, principal.claims["roles"]
(Principal(id='7d5e', kind='user', scheme='jwt'), ('trader',))

`from_config` builds what the section `auth` of the configuration asks for, and `@public` marks what may be called
without any credentials. What is not accepted has one message for the caller; the reason is for the log alone:

>>> try:
...     authenticator.authenticate("something else")
... except Unauthorized as error:
...     print(error, "|", error.detail)
invalid or expired credentials | JWT: it is not a signed token in compact form
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

# Not like the others: its module has the same name, and would be found in its place.
from chassis.auth.public import public

if TYPE_CHECKING:
    from chassis.auth.api_key import ApiKeyAuthenticator
    from chassis.auth.authenticator import INVALID_CREDENTIALS, Authenticator, refused
    from chassis.auth.bearer import token_from
    from chassis.auth.combined import CombinedAuthenticator
    from chassis.auth.configured import from_config, problems_of
    from chassis.auth.jwt import JwtAuthenticator
    from chassis.call import Principal, current_principal
    from chassis.errors import Unauthorized

# Looked up when first used (PEP 562): a service loads what it checks its callers with, and nothing where it does not.
_HOME = {
    "INVALID_CREDENTIALS": "chassis.auth.authenticator",
    "ApiKeyAuthenticator": "chassis.auth.api_key",
    "Authenticator": "chassis.auth.authenticator",
    "CombinedAuthenticator": "chassis.auth.combined",
    "JwtAuthenticator": "chassis.auth.jwt",
    "Principal": "chassis.call",
    "Unauthorized": "chassis.errors",
    "current_principal": "chassis.call",
    "from_config": "chassis.auth.configured",
    "problems_of": "chassis.auth.configured",
    "refused": "chassis.auth.authenticator",
    "token_from": "chassis.auth.bearer",
}

__all__ = [
    "INVALID_CREDENTIALS",
    "ApiKeyAuthenticator",
    "Authenticator",
    "CombinedAuthenticator",
    "JwtAuthenticator",
    "Principal",
    "Unauthorized",
    "current_principal",
    "from_config",
    "problems_of",
    "public",
    "refused",
    "token_from",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'chassis.auth' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
