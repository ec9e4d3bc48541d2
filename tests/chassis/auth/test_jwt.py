from __future__ import annotations

import base64
import hmac
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm

from chassis.auth import INVALID_CREDENTIALS, JwtAuthenticator, Unauthorized

PairOf = Callable[[str], Any]
NOW = 1_800_000_000.0
CANARY = "c4n4ry-subject"
GOOD = {"sub": CANARY, "exp": NOW + 60}


@pytest.fixture
def es256(pair: PairOf, clock: Any) -> JwtAuthenticator:
    return JwtAuthenticator(pair("p256").pem, clock=clock)


def refusal(authenticator: JwtAuthenticator, token: str) -> Unauthorized:
    with pytest.raises(Unauthorized) as caught:
        authenticator.authenticate(token)
    return caught.value


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def assert_refused(authenticator: JwtAuthenticator, token: str, caplog: pytest.LogCaptureFixture) -> Unauthorized:
    """Refused with the one message, and nothing of the token anywhere that could be written down."""
    with caplog.at_level(logging.DEBUG):
        error = refusal(authenticator, token)
    assert str(error) == INVALID_CREDENTIALS
    assert list(chain(error)) == [error]
    # Our own words are all there is: fixed texts of this package.
    told = f"{error!r} {error.args} {error.detail} {error.details} {error.trailers} {caplog.text}"
    assert CANARY not in told
    for part in token.split("."):
        assert len(part) < 8 or part not in told
    return error


# What is accepted.


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        ("rsa", "RS256"),
        ("rsa", "RS384"),
        ("rsa", "RS512"),
        ("rsa", "PS256"),
        ("rsa", "PS384"),
        ("rsa", "PS512"),
        ("p256", "ES256"),
        ("p384", "ES384"),
        ("p521", "ES512"),
        ("k256", "ES256K"),
        ("ed25519", "EdDSA"),
        ("ed448", "EdDSA"),
    ],
)
def test_a_token_of_each_family_is_accepted(kind: str, algorithm: str, pair: PairOf, clock: Any) -> None:
    keys = pair(kind)
    authenticator = JwtAuthenticator(keys.pem, algorithms=[algorithm], clock=clock)
    token = keys.token(GOOD, algorithm)
    principal = authenticator.authenticate(token)
    assert (principal.id, principal.kind, principal.scheme) == (CANARY, "user", "jwt")
    assert principal.expires_at == NOW + 60
    assert principal.token == token
    assert token not in repr(principal)


@pytest.mark.parametrize(
    ("subject", "kind", "identity"),
    [
        ("service:cqmd", "service", "cqmd"),
        ("user:7d5e", "user", "7d5e"),
        ("7d5e", "user", "7d5e"),
        ("auth0|7d5e", "user", "auth0|7d5e"),
        ("Service:cqmd", "user", "Service:cqmd"),
        ("user:service:cqmd", "user", "service:cqmd"),
        ("Jürgen Groß", "user", "Jürgen Groß"),
        ("x" * 255, "user", "x" * 255),
    ],
)
def test_the_subject_says_whether_a_service_or_a_user_is_calling(
    subject: str, kind: str, identity: str, pair: PairOf, es256: JwtAuthenticator
) -> None:
    principal = es256.authenticate(pair("p256").token({"sub": subject, "exp": NOW + 1}))
    assert (principal.kind, principal.id, principal.claims["sub"]) == (kind, identity, subject)


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "ES256"},
        {"alg": "ES256", "typ": "at+jwt"},
        {"alg": "ES256", "typ": "application/AT+JWT"},
        {"alg": "ES256", "typ": "JWT", "kid": "2026-05/key:1"},
        {"alg": "ES256", "x5t": "c2hhMQ", "x5c": ["MIIB"]},
    ],
)
def test_harmless_headers_of_common_issuers_are_accepted(header: Any, pair: PairOf, es256: JwtAuthenticator) -> None:
    assert es256.authenticate(pair("p256").token(GOOD, header=header)).id == CANARY


@pytest.mark.parametrize(
    ("options", "claims"),
    [
        ({"issuer": "https://id"}, {"iss": "https://id"}),
        ({"issuer": ["https://id", "https://old"]}, {"iss": "https://old"}),
        ({"audience": "cqar"}, {"aud": "cqar"}),
        ({"audience": "cqar"}, {"aud": ["cqmd", "cqar"]}),
        ({"audience": {"cqar", "platform"}}, {"aud": "platform"}),
        ({}, {"iss": "https://anyone"}),
        ({}, {"x": json.loads('{"a":[' * 15 + "1" + "]}" * 15)}),
        ({}, {"nbf": NOW, "iat": NOW - 0.5, "jti": "1"}),
        ({"leeway": 30}, {"exp": NOW - 29, "nbf": NOW + 30, "iat": NOW + 30}),
    ],
)
def test_issuer_audience_and_times_that_fit_are_accepted(options: Any, claims: Any, pair: PairOf, clock: Any) -> None:
    authenticator = JwtAuthenticator(pair("p256").pem, clock=clock, **options)
    assert authenticator.authenticate(pair("p256").token(GOOD | claims)).id == CANARY


def test_claims_cannot_be_changed_by_whoever_reads_them(pair: PairOf, es256: JwtAuthenticator) -> None:
    token = pair("p256").token(GOOD | {"roles": ["reader"], "realm": {"roles": ["reader"]}})
    claims: Any = es256.authenticate(token).claims
    for change in (
        lambda: claims.update(sub="admin"),
        lambda: claims["roles"].append("admin"),
        lambda: claims["realm"].update(roles=["admin"]),
        lambda: claims["realm"]["roles"].append("admin"),
    ):
        with pytest.raises(AttributeError):
            change()
    assert es256.authenticate(token).claims["realm"]["roles"] == ("reader",)


# What is refused: each maker gets the key pairs and gives a token for an ES256 authenticator of the pair "p256".


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def hmac_token(secret: bytes, header: dict[str, Any] | None = None) -> str:
    head = {"alg": "HS256", "typ": "JWT"} | (header or {})
    text = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(GOOD).encode())}"
    return f"{text}.{b64(hmac.digest(secret, text.encode(), 'sha256'))}"


def unsigned(algorithm: Any, signature: str = "") -> Callable[[PairOf], str]:
    head = b64(json.dumps({"alg": algorithm, "typ": "JWT"}).encode())
    return lambda pair: f"{head}.{b64(json.dumps(GOOD).encode())}.{signature}"


def signed(claims: Any = None, header: Any = None) -> Callable[[PairOf], str]:
    """By the right key: only what it says is wrong."""
    head = {"alg": "ES256", "typ": "JWT"} | header if isinstance(header, dict) else header
    return lambda pair: pair("p256").token(GOOD if claims is None else claims, header=head)


def claiming(**claims: Any) -> Callable[[PairOf], str]:
    return signed(GOOD | claims)


def raw_claim(name: str, json_text: str) -> Callable[[PairOf], str]:
    """One claim as raw JSON, for what Python would not write."""
    rest = json.dumps({key: value for key, value in GOOD.items() if key != name})[1:-1]
    return signed(f'{{{rest}, "{name}": {json_text}}}'.encode())


def without(name: str) -> Callable[[PairOf], str]:
    return signed({key: value for key, value in GOOD.items() if key != name})


def jwk_of(pair: Any) -> dict[str, Any]:
    return ECAlgorithm.to_jwk(pair.private.public_key(), True)


def by_another_key(header: Callable[[Any], dict[str, Any]]) -> Callable[[PairOf], str]:
    """Signed by an attacker, who brings a key or the way to one along."""
    return lambda pair: pair("p384").token(GOOD, "ES384", {"alg": "ES256", "typ": "JWT"} | header(pair("p384")))


def changed(change: Callable[[str], str]) -> Callable[[PairOf], str]:
    return lambda pair: change(pair("p256").token(GOOD))


def part(number: int, change: Callable[[str], str]) -> Callable[[PairOf], str]:
    def make(pair: PairOf) -> str:
        parts = pair("p256").token(GOOD).split(".")
        parts[number] = change(parts[number])
        return ".".join(parts)

    return make


def last_bits(segment: str) -> str:
    """The same bytes for a tolerant decoder: the last character's unused bits are set."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return segment[:-1] + alphabet[alphabet.index(segment[-1]) | 1]


HOSTILE: dict[str, Callable[[PairOf], str]] = {
    # no signature
    "alg none": unsigned("none"),
    "alg None": unsigned("None"),
    "alg NONE with a signature": unsigned("NONE", "c2lnbmF0dXJl"),
    "alg nOnE": unsigned("nOnE"),
    "alg none with spaces": unsigned(" none "),
    "alg empty": unsigned("", "c2ln"),
    "alg null": unsigned(None, "c2ln"),
    "alg a list": unsigned(["ES256"], "c2ln"),
    "alg an object": unsigned({"ES256": 1}, "c2ln"),
    "alg a number": unsigned(256, "c2ln"),
    "alg true": unsigned(True, "c2ln"),
    "alg in another case": unsigned("es256", "c2ln"),
    "signature left out": changed(lambda token: token.rpartition(".")[0] + "."),
    "signature and dot left out": changed(lambda token: token.rpartition(".")[0]),
    # the public key as an HMAC secret
    "HS256 with the PEM": lambda pair: hmac_token(pair("p256").pem.encode()),
    "HS256 with the PEM without its last line end": lambda pair: hmac_token(pair("p256").pem.strip().encode()),
    "HS256 with the DER": lambda pair: hmac_token(
        pair("p256").public_as(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ),
    "HS256 with the point": lambda pair: hmac_token(
        pair("p256").public_as(Encoding.X962, PublicFormat.UncompressedPoint)
    ),
    "HS256 with the JWK": lambda pair: hmac_token(json.dumps(jwk_of(pair("p256"))).encode()),
    "HS256 with nothing": lambda pair: hmac_token(b""),
    "HS256 called ES256": lambda pair: hmac_token(pair("p256").pem.encode(), {"alg": "ES256"}),
    # another key
    "another key of the kind": lambda pair: pair("k256").token(GOOD, "ES256K", {"alg": "ES256"}),
    "another algorithm": lambda pair: pair("rsa").token(GOOD, "RS256"),
    "embedded jwk": by_another_key(lambda own: {"jwk": jwk_of(own)}),
    "jku": by_another_key(lambda own: {"jku": "http://127.0.0.1:1/jwks.json"}),
    "x5u": by_another_key(lambda own: {"x5u": "http://127.0.0.1:1/chain.pem"}),
    "x5c": by_another_key(lambda own: {"x5c": ["MIIB"]}),
    "kid of a path": by_another_key(lambda own: {"kid": "../../../../dev/null"}),
    "kid of SQL": by_another_key(lambda own: {"kid": "' UNION SELECT 'key' --"}),
    # headers, by the right key
    "jwk by the right key": signed(header={"jwk": {"kty": "oct", "k": "AA"}}),
    "jku by the right key": signed(header={"jku": "http://127.0.0.1:1/jwks.json"}),
    "x5u by the right key": signed(header={"x5u": "http://127.0.0.1:1/chain.pem"}),
    "crit of an unknown name": signed(header={"crit": ["exp-v2"], "exp-v2": 1}),
    "crit empty": signed(header={"crit": []}),
    "crit b64": signed(header={"crit": ["b64"], "b64": True}),
    "b64 true": signed(header={"b64": True}),
    "b64 false": signed(header={"b64": False}),
    "detached payload": part(1, lambda _: ""),
    "zip": signed(header={"zip": "DEF"}),
    "enc": signed(header={"enc": "A128GCM"}),
    "kid of 100 KB": signed(header={"kid": "k" * 100_000}),
    "kid of 1 KB": signed(header={"kid": "k" * 1_000}),
    "kid a number": signed(header={"kid": 7}),
    "kid of control characters": signed(header={"kid": "a\nb"}),
    "typ of a logout token": signed(header={"typ": "logout+jwt"}),
    "typ of a DPoP proof": signed(header={"typ": "dpop+jwt"}),
    "typ a list": signed(header={"typ": ["JWT"]}),
    "typ null": signed(header={"typ": None}),
    "no alg": signed(header=b'{"typ": "JWT"}'),
    "alg twice": signed(header=b'{"alg": "none", "alg": "ES256"}'),
    "header a list": signed(header=b'["ES256"]'),
    "header a string": signed(header=b'"ES256"'),
    "header empty": signed(header=b""),
    "header not JSON": signed(header=b"{alg: ES256}"),
    "header in UTF-16": signed(header='{"alg": "ES256"}'.encode("utf-16")),
    "header with a byte order mark": signed(header=b'\xef\xbb\xbf{"alg": "ES256"}'),
    "header nested deeply": signed(header=b'{"alg": "ES256", "x": ' + b"[" * 2_000 + b"]" * 2_000 + b"}"),
    # claims, by the right key
    "no exp": without("exp"),
    "exp null": claiming(exp=None),
    "exp text": claiming(exp=str(int(NOW + 60))),
    "exp true": claiming(exp=True),
    "exp a list": claiming(exp=[NOW + 60]),
    "exp negative": claiming(exp=-1),
    "exp in milliseconds": claiming(exp=(NOW + 60) * 1000),
    "exp of 10^400": raw_claim("exp", "1" + "0" * 400),
    "exp of 5000 digits": raw_claim("exp", "9" * 5000),
    "exp of 1e400": raw_claim("exp", "1e400"),
    "exp NaN": raw_claim("exp", "NaN"),
    "exp Infinity": raw_claim("exp", "Infinity"),
    "expired": claiming(exp=NOW - 1),
    "expired just now": claiming(exp=NOW),
    "not valid yet": claiming(nbf=NOW + 1),
    "nbf text": claiming(nbf="0"),
    "nbf null": claiming(nbf=None),
    "nbf of 10^400": raw_claim("nbf", "1" + "0" * 400),
    "issued in the future": claiming(iat=NOW + 1),
    "iat text": claiming(iat="yesterday"),
    "no sub": without("sub"),
    "sub null": claiming(sub=None),
    "sub empty": claiming(sub=""),
    "sub of spaces": claiming(sub="  "),
    "sub with a space in front": claiming(sub=f" {CANARY}"),
    "sub a number": claiming(sub=7),
    "sub a list": claiming(sub=[CANARY]),
    "sub of control characters": claiming(sub=f"{CANARY}\r\nx-admin: 1"),
    "sub with NUL": claiming(sub=f"{CANARY}\x00"),
    "sub with an escape": claiming(sub=f"{CANARY}\x1b[2J"),
    "sub written backwards": claiming(sub=f"{CANARY}\u202enimda"),
    "sub with a zero width space": claiming(sub=f"{CANARY}\u200b"),
    "sub with half a surrogate": raw_claim("sub", '"\\ud800"'),
    "sub of 256 characters": claiming(sub="x" * 256),
    "sub of a service without a name": claiming(sub="service:"),
    "sub of a service that is a space": claiming(sub="service: "),
    "sub of a user without an id": claiming(sub="user:"),
    "sub twice": raw_claim("exp", f'{int(NOW + 60)}, "sub": "admin"'),
    "aud that nobody configured": claiming(aud="somebody"),
    "jti a number": claiming(jti=7),
    "iss a list": claiming(iss=["https://id"]),
    "claims a list": signed(b'["sub"]'),
    "claims a string": signed(b'"sub"'),
    "claims null": signed(b"null"),
    "claims empty": signed(b"{}"),
    "claims not JSON": signed(b"sub=admin"),
    "claims not UTF-8": signed(b'{"sub": "\xff\xfe", "exp": 1800000060}'),
    "claims nested deeply": raw_claim("x", "[" * 2_900 + "]" * 2_900),
    "claims nested as deeply as JSON can be read": raw_claim("x", "[" * 900 + "]" * 900),
    "claims of 33 levels": raw_claim("x", "[" * 32 + "]" * 32),
    "claims of a number of 5000 digits": raw_claim("x", "9" * 5_000),
    # form
    "64 KiB": claiming(x="x" * 65_536),
    "just above 8 KiB": claiming(x="x" * 6_000),
    "empty": lambda pair: "",
    "dots": lambda pair: "..",
    "a word": lambda pair: "token",
    "four parts": changed(lambda token: f"{token}.e30"),
    "five parts, as encrypted tokens have": changed(lambda token: f"{token}.e30.e30"),
    "padded header": part(0, lambda segment: segment + "=" * (-len(segment) % 4 or 4)),
    "padded payload": part(1, lambda segment: segment + "=" * (-len(segment) % 4 or 4)),
    "padded signature": part(2, lambda segment: segment + "=="),
    "standard alphabet": part(2, lambda segment: "+/" + segment[2:]),
    "unused bits set": part(2, last_bits),
    "line end behind": changed(lambda token: token + "\n"),
    "space in front": changed(lambda token: " " + token),
    "NUL behind": changed(lambda token: token + "\x00"),
    "not ASCII": changed(lambda token: token + "é"),
    "half a surrogate": changed(lambda token: token + "\ud800"),
    "lower case": changed(str.lower),
    "signature of zeros": part(2, lambda _: b64(bytes(64))),
    "signature too short": part(2, lambda segment: segment[:40]),
    "signature in DER": part(2, lambda _: b64(bytes.fromhex("3006020101020101"))),
    "payload of another token": part(1, lambda _: b64(json.dumps(GOOD | {"sub": "admin"}).encode())),
    "JSON serialisation": changed(lambda token: json.dumps({"protected": token})),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_token_is_refused_and_leaves_nothing_behind(
    case: str, pair: PairOf, es256: JwtAuthenticator, caplog: pytest.LogCaptureFixture
) -> None:
    assert_refused(es256, HOSTILE[case](pair), caplog)


@pytest.mark.parametrize(
    ("options", "claims", "detail"),
    [
        ({"issuer": "https://id"}, {}, "issuer"),
        ({"issuer": "https://id"}, {"iss": "https://id/"}, "issuer"),
        ({"issuer": "https://id"}, {"iss": ["https://id"]}, "'iss'"),
        ({"issuer": "https://id"}, {"iss": None}, "'iss'"),
        ({"issuer": "https://id.example"}, {"iss": "https://id"}, "issuer"),
        ({"audience": "cqar"}, {}, "no 'aud'"),
        ({"audience": "cqar"}, {"aud": "cqmd"}, "audience"),
        ({"audience": "cqar"}, {"aud": ["cqmd", "CQAR"]}, "audience"),
        ({"audience": "cqar"}, {"aud": []}, "audience"),
        ({"audience": "cqar"}, {"aud": None}, "'aud'"),
        ({"audience": "cqar"}, {"aud": {"cqar": 1}}, "'aud'"),
        ({"audience": "cqar"}, {"aud": ["cqar", 7]}, "'aud'"),
        ({"audience": "cqar"}, {"aud": "cqar-test"}, "audience"),
        ({"leeway": 30}, {"exp": NOW - 30}, "expired"),
        ({"leeway": 30}, {"nbf": NOW + 31}, "not valid yet"),
        ({"leeway": 30}, {"iat": NOW + 31}, "future"),
    ],
)
def test_the_wrong_parties_and_times_are_refused_and_only_the_log_learns_why(
    options: Any, claims: Any, detail: str, pair: PairOf, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    authenticator = JwtAuthenticator(pair("p256").pem, clock=clock, **options)
    error = assert_refused(authenticator, pair("p256").token(GOOD | claims), caplog)
    assert error.detail is not None
    assert detail in error.detail


@pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
def test_an_rsa_token_of_the_other_family_or_a_padded_one_is_refused(
    algorithm: str, pair: PairOf, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    keys = pair("rsa")
    authenticator = JwtAuthenticator(keys.pem, algorithms=[algorithm], clock=clock)
    other = "PS256" if algorithm == "RS256" else "RS256"
    assert_refused(authenticator, keys.token(GOOD, other), caplog)
    assert_refused(authenticator, keys.token(GOOD, algorithm) + "==", caplog)
    assert_refused(authenticator, keys.token(GOOD, other, {"alg": algorithm}), caplog)
    assert authenticator.authenticate(keys.token(GOOD, algorithm)).id == CANARY


# The memory of verified tokens.


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What signatures were really checked."""
    seen: list[str] = []
    check = JwtAuthenticator._signed

    def counting(self: JwtAuthenticator, token: str, algorithm: str) -> bool:
        seen.append(token)
        return check(self, token, algorithm)

    monkeypatch.setattr(JwtAuthenticator, "_signed", counting)
    return seen


def test_a_verified_token_is_remembered_until_it_expires(
    pair: PairOf, clock: Any, checks: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    authenticator = JwtAuthenticator(pair("p256").pem, leeway=5, clock=clock)
    token = pair("p256").token(GOOD)
    first = authenticator.authenticate(token)
    clock.now = NOW + 64.9
    assert authenticator.authenticate(token) is first
    assert checks == [token]
    assert first.expires_at == NOW + 65
    clock.now = NOW + 65
    assert "expired" in str(assert_refused(authenticator, token, caplog).detail)
    assert "expired" in str(assert_refused(authenticator, token, caplog).detail)


def test_failures_are_not_remembered(pair: PairOf, clock: Any, es256: JwtAuthenticator, checks: list[str]) -> None:
    token = pair("p256").token(GOOD | {"nbf": NOW + 10})
    refusal(es256, token)
    clock.now = NOW + 10
    assert es256.authenticate(token).id == CANARY
    assert len(checks) == 2


def test_only_verified_tokens_take_up_memory_and_only_so_many(pair: PairOf, clock: Any, checks: list[str]) -> None:
    authenticator = JwtAuthenticator(pair("p256").pem, cache_size=3, clock=clock)
    tokens = [pair("p256").token(GOOD | {"jti": str(number)}) for number in range(4)]
    for token in tokens:
        authenticator.authenticate(token)
    for number in range(50):
        refusal(authenticator, f"{tokens[3]}{number:04}")
    del checks[:]
    for token in tokens[1:]:
        authenticator.authenticate(token)
    assert checks == []
    authenticator.authenticate(tokens[0])
    assert checks == [tokens[0]]


def test_a_cache_of_size_zero_remembers_nothing(pair: PairOf, clock: Any, checks: list[str]) -> None:
    authenticator = JwtAuthenticator(pair("p256").pem, cache_size=0, clock=clock)
    token = pair("p256").token(GOOD)
    authenticator.authenticate(token)
    authenticator.authenticate(token)
    assert checks == [token, token]


def test_two_authenticators_do_not_share_what_they_remember(pair: PairOf, clock: Any, es256: JwtAuthenticator) -> None:
    token = pair("p256").token(GOOD)
    es256.authenticate(token)
    refusal(JwtAuthenticator(pair("p256").pem, issuer="https://id", clock=clock), token)
    refusal(JwtAuthenticator(pair("k256").pem, clock=clock), token)


def test_by_default_the_time_is_that_of_the_system(pair: PairOf) -> None:
    authenticator = JwtAuthenticator(pair("p256").pem)
    assert authenticator.authenticate(pair("p256").token({"sub": "a", "exp": time.time() + 600})).id == "a"
    assert "expired" in str(refusal(authenticator, pair("p256").token({"sub": "a", "exp": time.time() - 1})).detail)


# Configuration.


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"algorithms": ["HS256"]}, "symmetric"),
        ({"algorithms": ["ES256", "HS256"]}, "symmetric"),
        ({"algorithms": ["RS256"]}, "does not fit"),
        ({"issuer": ""}, "issuer must be"),
        ({"issuer": []}, "issuer must be"),
        ({"audience": " "}, "audience must be"),
        ({"audience": ["cqar", ""]}, "audience must be"),
        ({"leeway": -1}, "leeway must be"),
        ({"leeway": float("nan")}, "leeway must be"),
        ({"leeway": float("inf")}, "leeway must be"),
        ({"max_token_bytes": 0}, "max_token_bytes must be"),
        ({"cache_size": -1}, "cache_size must be"),
    ],
)
def test_options_that_would_not_be_safe_are_refused(options: Any, expected: str, pair: PairOf) -> None:
    with pytest.raises(ValueError, match=expected):
        JwtAuthenticator(pair("p256").pem, **options)


def test_importing_the_package_does_not_import_cryptography_and_using_api_keys_neither() -> None:
    code = (
        "import sys, chassis.auth as auth; auth.ApiKeyAuthenticator(['dev_key_cqmd_12345']);"
        "print(sorted({'jwt', 'cryptography'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# What nobody thought of.


@given(token=st.text() | st.from_regex(r"eyJ[\w-]{0,40}\.[\w-]{0,40}\.[\w-]{0,40}", fullmatch=True))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_text_is_never_accepted_and_never_anything_but_unauthorized(token: str, es256: JwtAuthenticator) -> None:
    assert str(refusal(es256, token)) == INVALID_CREDENTIALS


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_good_token_changed_anywhere_is_never_accepted(
    data: st.DataObject, pair: PairOf, es256: JwtAuthenticator
) -> None:
    token = pair("p256").token(GOOD)
    start = data.draw(st.integers(0, len(token)))
    end = data.draw(st.integers(start, min(len(token), start + 8)))
    mutant = token[:start] + data.draw(st.text("abzAZ019-_.= \n\x00é", max_size=8)) + token[end:]
    if mutant != token:
        assert str(refusal(es256, mutant)) == INVALID_CREDENTIALS


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    header=st.dictionaries(st.sampled_from(["alg", "typ", "kid", "crit", "b64", "jwk", "x"]), json_values),
    claims=st.dictionaries(st.sampled_from(["sub", "exp", "nbf", "iat", "iss", "aud", "jti", "x"]), json_values),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rightly_signed_nonsense_is_a_clean_principal_or_unauthorized(
    header: Any, claims: Any, pair: PairOf, es256: JwtAuthenticator
) -> None:
    token = pair("p256").token(GOOD | claims, header={"alg": "ES256"} | header)
    refused: Unauthorized | None = None
    try:
        principal = es256.authenticate(token)
    except Unauthorized as error:
        refused = error
    if refused is not None:
        assert (str(refused), list(chain(refused))) == (INVALID_CREDENTIALS, [refused])
    else:
        assert principal.id
        assert principal.id.isprintable()
        assert principal.expires_at is not None
        assert NOW < principal.expires_at < 10**12
