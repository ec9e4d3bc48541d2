"""The public key that tokens are verified with: loading it, and which algorithms it can be used for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey

MIN_RSA_BITS = 2048  # RFC 7518, sections 3.3 and 3.5
MAX_RSA_BITS = 8192  # verifying grows with the size, and a caller decides how often it is done
MAX_PEM_BYTES = 64 * 1024

RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
CURVE_ALGORITHMS = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512", "secp256k1": "ES256K"}
EDWARDS_ALGORITHMS = ("EdDSA",)
ASYMMETRIC_ALGORITHMS = (*RSA_ALGORITHMS, *CURVE_ALGORITHMS.values(), *EDWARDS_ALGORITHMS)

_PUBLIC_LABELS = ("PUBLIC KEY", "RSA PUBLIC KEY")


def load_public_key(pem: str | bytes) -> PublicKey:
    """Give the key of a PEM text (PKIX `PUBLIC KEY` or PKCS#1 `RSA PUBLIC KEY`).

    A text whose line ends came through an environment variable as the two characters `\\n` is understood.

    Raises ValueError for everything else: private keys, certificates, JWKs, several keys, RSA keys below 2048 or
    above 8192 bits, and kinds of keys and curves that no JWT algorithm is defined for. The message never shows
    anything of the text.
    """
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    text = _text(pem)
    _check_label(text)
    try:
        key = load_pem_public_key(text.encode("ascii"))
    except Exception:  # the library's own classes, ValueError and more: they say nothing that helps and may quote
        key = None
    if key is None:
        raise ValueError("the public key cannot be read: its PEM text is damaged or of an unsupported kind")
    return _checked(key)


def algorithms_of(key: PublicKey) -> tuple[str, ...]:
    """List the JWT algorithms that signatures of `key` can be verified with (RFC 7518, RFC 8037, RFC 8812)."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    if isinstance(key, RSAPublicKey):
        return RSA_ALGORITHMS
    if isinstance(key, EllipticCurvePublicKey):
        return (CURVE_ALGORITHMS[key.curve.name],)
    return EDWARDS_ALGORITHMS


def choose_algorithms(key: PublicKey, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Give the algorithms to accept: `wanted`, or those that fit the key when nothing is wanted.

    For an RSA key that is RS256, RS384 and RS512, as the Go sibling has it; PS algorithms are named to be accepted.

    Raises ValueError for an empty list, unknown names, `none`, HMAC algorithms, and algorithms of another kind of key.
    """
    possible = algorithms_of(key)
    if wanted is None:
        return tuple(name for name in possible if not name.startswith("PS"))
    if isinstance(wanted, (str, bytes)) or not wanted:
        raise ValueError("algorithms must be a list of at least one name, such as ['RS256']")
    for name in wanted:
        _check_algorithm(name, possible)
    return tuple(dict.fromkeys(wanted))


def _text(pem: str | bytes) -> str:
    if not isinstance(pem, (str, bytes)):
        raise ValueError(f"the public key must be PEM text, not {type(pem).__name__}")
    if len(pem) > MAX_PEM_BYTES:
        raise ValueError(f"the public key's text is longer than {MAX_PEM_BYTES} bytes")
    text = pem.decode("latin-1") if isinstance(pem, bytes) else pem
    text = text.strip().removeprefix("\ufeff")
    if not text.isascii():
        raise ValueError("the public key must be PEM text (it begins with -----BEGIN PUBLIC KEY-----)")
    return text if "\n" in text else text.replace("\\n", "\n")


def _check_label(text: str) -> None:
    labels = [line.strip("- \r")[6:] for line in text.split("\n") if line.startswith("-----BEGIN ")]
    if any("PRIVATE KEY" in label for label in labels):
        raise ValueError(
            "a private key was given where the public key belongs; "
            "give the public half (openssl pkey -in FILE -pubout), and treat the private key as exposed"
        )
    if any("CERTIFICATE" in label for label in labels):
        raise ValueError(
            "a certificate was given where the public key belongs; give its key (openssl x509 -in FILE -pubkey -noout)"
        )
    if len(labels) != 1 or labels[0] not in _PUBLIC_LABELS or not text.startswith("-----BEGIN "):
        raise ValueError("the public key must be one PEM text (it begins with -----BEGIN PUBLIC KEY-----)")


def _checked(key: object) -> PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    if isinstance(key, RSAPublicKey):
        if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            raise ValueError(f"the RSA key has {key.key_size} bits; {MIN_RSA_BITS} to {MAX_RSA_BITS} are accepted")
        return key
    if isinstance(key, EllipticCurvePublicKey):
        if key.curve.name not in CURVE_ALGORITHMS:
            raise ValueError(f"the curve {key.curve.name} has no JWT algorithm; use {', '.join(CURVE_ALGORITHMS)}")
        return key
    if isinstance(key, (Ed25519PublicKey, Ed448PublicKey)):
        return key
    raise ValueError("this kind of key cannot sign tokens; use an RSA, elliptic curve, Ed25519 or Ed448 key")


def _check_algorithm(name: object, possible: Collection[str]) -> None:
    if not isinstance(name, str):
        raise ValueError("algorithms must be names, such as 'RS256'")
    if name.upper().startswith("HS"):
        raise ValueError(
            f"{name} is symmetric: whoever knows the public key could sign tokens with it; "
            f"use one of {', '.join(ASYMMETRIC_ALGORITHMS)}"
        )
    if name.lower() == "none":
        raise ValueError("the algorithm none accepts tokens that nobody signed")
    if name not in ASYMMETRIC_ALGORITHMS:
        raise ValueError(f"unknown algorithm {name[:20]!r}; use one of {', '.join(ASYMMETRIC_ALGORITHMS)}")
    if name not in possible:
        raise ValueError(f"{name} does not fit the public key, which can verify {', '.join(possible)}")
