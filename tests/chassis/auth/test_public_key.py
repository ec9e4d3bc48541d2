from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm

from chassis.auth.public_key import choose_algorithms, load_public_key

PairOf = Callable[[str], Any]


@pytest.mark.parametrize(
    ("kind", "algorithms"),
    [
        ("rsa", ("RS256", "RS384", "RS512")),
        ("p256", ("ES256",)),
        ("p384", ("ES384",)),
        ("p521", ("ES512",)),
        ("k256", ("ES256K",)),
        ("ed25519", ("EdDSA",)),
        ("ed448", ("EdDSA",)),
    ],
)
def test_a_key_says_which_algorithms_fit(kind: str, algorithms: tuple[str, ...], pair: PairOf) -> None:
    assert choose_algorithms(load_public_key(pair(kind).pem), None) == algorithms


def test_a_key_may_come_as_pkcs1_or_bytes_or_with_spaces_around_or_with_escaped_line_ends(pair: PairOf) -> None:
    rsa = pair("rsa")
    numbers = load_public_key(rsa.pem).public_numbers()  # type: ignore[union-attr]
    for form in (
        rsa.public_as(Encoding.PEM, PublicFormat.PKCS1),
        rsa.pem.encode(),
        f"\n  {rsa.pem}\n\n",
        "\ufeff" + rsa.pem,
        rsa.pem.replace("\n", "\r\n"),
        rsa.pem.strip().replace("\n", "\\n"),
    ):
        assert load_public_key(form).public_numbers() == numbers  # type: ignore[union-attr]


def certificate(pair: Any) -> str:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, pair.private.public_key(), 7, start, start + timedelta(days=1))
    return builder.sign(pair.private, SHA256()).public_bytes(Encoding.PEM).decode()


UNUSABLE: dict[str, tuple[Callable[[PairOf], Any], str]] = {
    "private key": (lambda pair: pair("p256").private_pem, "a private key was given"),
    "private key in front": (lambda pair: pair("p256").private_pem + pair("p256").pem, "a private key was given"),
    "private key behind": (lambda pair: pair("p256").pem + pair("p256").private_pem, "a private key was given"),
    "escaped private key": (lambda p: p("p256").private_pem.replace("\n", "\\n"), "a private key was given"),
    "certificate": (lambda pair: certificate(pair("p256")), "a certificate was given"),
    "two keys": (lambda pair: pair("p256").pem + pair("p384").pem, "must be one PEM text"),
    "text in front": (lambda pair: "the key:\n" + pair("p256").pem, "must be one PEM text"),
    "empty": (lambda pair: "", "must be one PEM text"),
    "secret": (lambda pair: "an-hmac-secret-of-32-characters!", "must be one PEM text"),
    "jwk": (lambda p: json.dumps(ECAlgorithm.to_jwk(p("p256").private.public_key(), True)), "must be one PEM text"),
    "ssh": (lambda p: p("p256").public_as(Encoding.OpenSSH, PublicFormat.OpenSSH), "must be one PEM text"),
    "der": (lambda p: p("p256").public_as(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), "must be"),
    "damaged": (lambda pair: pair("p256").pem.replace("M", "!", 1), "cannot be read"),
    "cut": (lambda pair: pair("rsa").pem[:200] + "\n-----END PUBLIC KEY-----\n", "cannot be read"),
    "no end": (lambda pair: pair("p256").pem.split("-----END")[0], "cannot be read"),
    "weak rsa": (lambda pair: pair("weak rsa").pem, "has 1024 bits; 2048 to 8192"),
    "other curve": (lambda pair: pair("brainpool").pem, "has no JWT algorithm"),
    "key exchange": (
        lambda pair: (
            x25519.X25519PrivateKey.generate()
            .public_key()
            .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        ),
        "cannot sign",
    ),
    "huge": (lambda pair: pair("p256").pem + " " * 10 + "x" * 100_000, "longer than"),
    "not text": (lambda pair: 7, "not int"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_what_is_no_usable_public_key_is_refused_without_showing_it(case: str, pair: PairOf) -> None:
    make, expected = UNUSABLE[case]
    text = make(pair)
    with pytest.raises(ValueError, match=re.escape(expected)) as caught:
        load_public_key(text)
    assert caught.value.__context__ is None
    body = [line for line in str(text).replace("\\n", "\n").splitlines() if len(line) > 20 and "-----" not in line]
    assert not any(line in str(caught.value) for line in body)


@pytest.mark.parametrize(
    ("kind", "wanted", "expected"),
    [
        ("rsa", ["HS256"], "HS256 is symmetric"),
        ("rsa", ["RS256", "HS256"], "HS256 is symmetric"),
        ("rsa", ["hs512"], "hs512 is symmetric"),
        ("rsa", ["none"], "nobody signed"),
        ("rsa", ["NoNe"], "nobody signed"),
        ("rsa", ["rs256"], "unknown algorithm 'rs256'"),
        ("rsa", ["RSA-OAEP"], "unknown algorithm"),
        ("rsa", [""], "unknown algorithm"),
        ("rsa", [7], "must be names"),
        ("rsa", [], "at least one"),
        ("rsa", "RS256", "must be a list"),
        ("rsa", ["ES256"], "ES256 does not fit the public key, which can verify RS256"),
        ("rsa", ["RS256", "EdDSA"], "EdDSA does not fit"),
        ("p256", ["RS256"], "RS256 does not fit"),
        ("p256", ["ES384"], "ES384 does not fit the public key, which can verify ES256"),
        ("k256", ["ES256"], "ES256 does not fit"),
        ("ed25519", ["ES256"], "ES256 does not fit"),
    ],
)
def test_algorithms_that_are_unsafe_or_do_not_fit_are_refused(
    kind: str, wanted: Any, expected: str, pair: PairOf
) -> None:
    with pytest.raises(ValueError, match=re.escape(expected)):
        choose_algorithms(load_public_key(pair(kind).pem), wanted)


def test_named_algorithms_are_taken_as_they_are(pair: PairOf) -> None:
    key = load_public_key(pair("rsa").pem)
    assert choose_algorithms(key, ["PS256", "RS512", "PS256"]) == ("PS256", "RS512")
