from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chassis import ServiceChassis
from chassis.auth import ApiKeyAuthenticator, CombinedAuthenticator, JwtAuthenticator, Unauthorized, from_config
from chassis.config.problems import ConfigurationError
from chassis.config.secret import Secret
from chassis.config.sections import AuthConfig

PairOf = Callable[[str], Any]
KEYS = (Secret("cqmd:dev_key_cqmd_12345"),)


def test_nothing_configured_is_no_authenticator() -> None:
    assert from_config(AuthConfig()) is None


def test_api_keys_alone_accept_no_tokens() -> None:
    authenticator = from_config(AuthConfig(api_keys=KEYS))
    assert isinstance(authenticator, ApiKeyAuthenticator)
    assert authenticator.authenticate("dev_key_cqmd_12345").id == "cqmd"


def test_the_public_key_may_be_given_as_text_or_as_a_file(pair: PairOf, tmp_path: Path) -> None:
    file = tmp_path / "issuer.pem"
    file.write_text(pair("p256").pem)
    token = pair("p256").token({"sub": "user:7", "exp": time.time() + 600})
    for section in (
        AuthConfig(jwt_public_key=Secret(pair("p256").pem)),
        AuthConfig(jwt_public_key=Secret(pair("p256").pem.replace("\n", "\\n"))),
        AuthConfig(jwt_public_key_path=file),
    ):
        authenticator = from_config(section)
        assert isinstance(authenticator, JwtAuthenticator)
        assert authenticator.authenticate(token).id == "7"


def test_every_option_for_tokens_reaches_the_authenticator(pair: PairOf) -> None:
    keys = pair("rsa")
    authenticator = from_config(
        AuthConfig(
            jwt_public_key=Secret(keys.pem),
            jwt_algorithms=("PS256",),
            jwt_issuer="https://id",
            jwt_audience=("cqar", "platform"),
            jwt_leeway=60.0,
        )
    )
    assert isinstance(authenticator, JwtAuthenticator)
    assert authenticator.algorithms == ("PS256",)
    good = {"sub": "user:7", "iss": "https://id", "aud": "platform", "exp": time.time() - 30}
    assert authenticator.authenticate(keys.token(good, "PS256")).id == "7"
    for bad in ({"iss": "https://other"}, {"aud": "cqmd"}, {"exp": time.time() - 90}):
        with pytest.raises(Unauthorized):
            authenticator.authenticate(keys.token(good | bad, "PS256"))
    with pytest.raises(Unauthorized):
        authenticator.authenticate(keys.token(good, "RS256"))


def test_both_configured_accept_both(pair: PairOf) -> None:
    authenticator = from_config(AuthConfig(api_keys=KEYS, jwt_public_key=Secret(pair("p256").pem)))
    assert isinstance(authenticator, CombinedAuthenticator)
    token = pair("p256").token({"sub": "service:cqmd", "exp": time.time() + 600})
    assert authenticator.authenticate(token) == authenticator.authenticate(token)
    assert {authenticator.authenticate(one).scheme for one in (token, "dev_key_cqmd_12345")} == {"jwt", "api_key"}


def problems(section: AuthConfig, **options: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        from_config(section, **options)
    return [str(problem) for problem in caught.value.problems]


def test_all_problems_are_told_at_once_with_their_origin_and_without_a_key(pair: PairOf) -> None:
    section = AuthConfig(api_keys=(Secret("cqmd:c4n4ry"),), jwt_public_key=Secret(pair("p256").private_pem))
    told = problems(section, origin_of=lambda key: f"origin of {key}")
    assert [line.split(":")[0] for line in told] == [
        "auth.api_keys (origin of auth.api_keys)",
        "auth.jwt_public_key (origin of auth.jwt_public_key)",
    ]
    assert "c4n4ry" not in "".join(told)
    assert pair("p256").private_pem.splitlines()[1] not in "".join(told)


class Anything(ServiceChassis):
    name = "anything"


def refused(**environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        Anything.configure(environ={f"CQI_{name}": value for name, value in environ.items()})
    return [problem.key for problem in caught.value.problems]


def test_a_service_is_told_all_that_is_wrong_with_its_keys_together_with_all_else(pair: PairOf) -> None:
    options = {"AUTH_JWT_ALGORITHMS": "HS256", "AUTH_JWT_ISSUER": " ", "AUTH_API_KEYS": "cqmd:c4n4ry"}
    assert refused(SERVER_GRPC_PORT="many", AUTH_JWT_PUBLIC_KEY=pair("p256").pem, **options) == [
        "server.grpc_port",
        "auth.api_keys",
        "auth.jwt_algorithms",
        "auth.jwt_issuer",
    ]


def test_nothing_is_said_of_what_depends_on_a_value_that_cannot_be_read() -> None:
    assert refused(AUTH_JWT_PUBLIC_KEY="", AUTH_JWT_ISSUER="https://id", AUTH_API_KEYS="cqmd:c4n4ry") == [
        "auth.jwt_public_key",
        "auth.api_keys",
    ]


@pytest.mark.parametrize("algorithm", ["HS256", "none", "rs256", "RS256,HS512", "RS1"])
def test_algorithms_whose_key_is_a_secret_are_never_accepted_from_an_environment(algorithm: str, pair: PairOf) -> None:
    keys = refused(AUTH_JWT_ALGORITHMS=algorithm, AUTH_JWT_PUBLIC_KEY=pair("rsa").pem)
    assert keys == ["auth.jwt_algorithms"]


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"jwt_algorithms": ("ES256",)}, "auth.jwt_algorithms"),
        ({"jwt_issuer": "https://id"}, "auth.jwt_issuer"),
        ({"jwt_audience": ("cqar",)}, "auth.jwt_audience"),
        ({"jwt_leeway": 5.0}, "auth.jwt_leeway"),
    ],
)
def test_rules_for_tokens_without_a_key_are_a_problem(options: Any, key: str) -> None:
    (told,) = problems(AuthConfig(api_keys=KEYS, **options))
    assert told.startswith(f"{key} (configuration): is set, but there is no key")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"jwt_algorithms": ("HS256",)}, "auth.jwt_algorithms (configuration): HS256 is symmetric"),
        ({"jwt_algorithms": ("RS256",)}, "auth.jwt_algorithms (configuration): RS256 does not fit"),
        ({"jwt_issuer": " "}, "auth.jwt_issuer (configuration): issuer must be"),
        ({"jwt_audience": ("",)}, "auth.jwt_audience (configuration): audience must be"),
        ({"jwt_leeway": -1.0}, "auth.jwt_leeway (configuration): leeway must be"),
        ({"jwt_public_key_path": Path("key.pem")}, "auth.jwt_public_key_path (configuration): either this or"),
    ],
)
def test_a_problem_names_the_key_that_it_belongs_to(options: Any, expected: str, pair: PairOf) -> None:
    (told,) = problems(AuthConfig(jwt_public_key=Secret(pair("p256").pem), **options))
    assert told.startswith(expected)


def test_a_file_that_cannot_be_read_or_holds_something_else_is_a_problem(pair: PairOf, tmp_path: Path) -> None:
    binary, private = tmp_path / "binary", tmp_path / "private.pem"
    binary.write_bytes(bytes(range(256)) * 1000)
    private.write_text(pair("p256").private_pem)
    expected = {
        tmp_path / "missing.pem": "cannot be read: No such file or directory",
        tmp_path: "cannot be read: Is a directory",
        Path("~no-such-user-of-this-machine/key.pem"): "cannot be read",
        binary: "longer than 65536 bytes",
        private: "a private key was given",
    }
    for path, words in expected.items():
        (told,) = problems(AuthConfig(jwt_public_key_path=path))
        assert told.startswith("auth.jwt_public_key_path (configuration): ")
        assert words in told
