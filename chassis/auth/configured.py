from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chassis.auth.api_key import ApiKeyAuthenticator
    from chassis.auth.authenticator import Authenticator
    from chassis.auth.jwt import JwtAuthenticator
    from chassis.config.problems import Problem
    from chassis.config.secret import Secret
    from chassis.config.sections import AuthConfig


def from_config(
    section: AuthConfig, origin_of: Callable[[str], str] = lambda key: "configuration"
) -> Authenticator | None:
    """Build what the section `auth` asks for: API keys, tokens, or both; None where it asks for nothing.

    `origin_of` tells for a key such as `auth.api_keys` where its value came from.

    Raises `chassis.config.ConfigurationError` with all problems at once; none of them shows a key.

    >>> from chassis.config.secret import Secret
    >>> from chassis.config.sections import AuthConfig
    >>> authenticator = from_config(AuthConfig(api_keys=(Secret("cqmd:dev_key_cqmd_12345"),)))
    >>> authenticator.authenticate("dev_key_cqmd_12345").id
    'cqmd'
    >>> from_config(AuthConfig()) is None
    True
    """
    # Here and not above: authenticators and interceptors are used without a configuration, too.
    from chassis.config.problems import ConfigurationError

    api_keys, jwt, problems = _built(section, origin_of)
    if problems:
        raise ConfigurationError(problems)
    if api_keys is not None and jwt is not None:
        from chassis.auth.combined import CombinedAuthenticator

        return CombinedAuthenticator(api_keys, jwt)
    return api_keys if api_keys is not None else jwt


def problems_of(values: Mapping[str, Any], origins: Mapping[str, str]) -> list[Problem]:
    """Find all that `from_config` would raise for the values of the section `auth`, for `chassis.config.load(also=…)`.

    Both are by key, such as `auth.api_keys`. A value that is missing has a problem already, and nothing is said of
    what depends on it.

    >>> from chassis.config.secret import Secret
    >>> for problem in problems_of({"auth.api_keys": (Secret("cqmd:short"),)}, {"auth.api_keys": "config.yaml:7"}):
    ...     print(problem)
    auth.api_keys (config.yaml:7): API keys: entry 1 has 5 characters; a key has 16 to 512
    """
    from chassis.config.sections import AuthConfig

    good = {key.removeprefix("auth."): value for key, value in values.items() if key.startswith("auth.")}
    if not all(field.name in good for field in fields(AuthConfig) if field.name.startswith("jwt_")):
        good = {name: value for name, value in good.items() if not name.startswith("jwt_")}
    return _built(AuthConfig(**good), origins.__getitem__)[2]


def _built(
    section: AuthConfig, origin_of: Callable[[str], str]
) -> tuple[ApiKeyAuthenticator | None, JwtAuthenticator | None, list[Problem]]:
    from chassis.config.problems import Problem

    problems: list[Problem] = []

    def report(name: str, message: str) -> None:
        key = f"auth.{name}"
        problems.append(Problem(key, origin_of(key), message))

    return _api_keys(section, report), _jwt(section, report), problems


def _api_keys(section: AuthConfig, report: Callable[[str, str], None]) -> ApiKeyAuthenticator | None:
    if not section.api_keys:
        return None
    # Here and not above, as the one for tokens: a service loads what it is configured with.
    from chassis.auth.api_key import ApiKeyAuthenticator

    try:
        return ApiKeyAuthenticator([_revealed(key) for key in section.api_keys])
    except ValueError as problem:
        report("api_keys", str(problem))
    return None


def _jwt(section: AuthConfig, report: Callable[[str, str], None]) -> JwtAuthenticator | None:
    inline, path = _revealed(section.jwt_public_key), section.jwt_public_key_path
    if inline and path is not None:
        report("jwt_public_key_path", "either this or auth.jwt_public_key is expected, not both")
        return None
    if not inline and path is None:
        # Somebody who says what tokens have to look like believes that they are checked.
        for name in ("jwt_algorithms", "jwt_issuer", "jwt_audience", "jwt_leeway"):
            if getattr(section, name):
                report(name, "is set, but there is no key: auth.jwt_public_key or auth.jwt_public_key_path is expected")
        return None
    from chassis.auth.jwt import JwtAuthenticator
    from chassis.auth.public_key import load_public_key

    where = "jwt_public_key" if path is None else "jwt_public_key_path"
    try:
        pem = inline if path is None else _read(path)
        load_public_key(pem)
    except ValueError as problem:
        report(where, str(problem))
        return None
    options: dict[str, Any] = {
        "algorithms": section.jwt_algorithms,
        "issuer": section.jwt_issuer,
        "audience": section.jwt_audience,
        "leeway": section.jwt_leeway,
    }
    given = {name: value for name, value in options.items() if value}
    good = True
    # Each alone, so that all that is wrong is told, each under its own key.
    for name, value in given.items():
        try:
            JwtAuthenticator(pem, **{name: value})
        except ValueError as problem:
            report(f"jwt_{name}", str(problem))
            good = False
    return JwtAuthenticator(pem, **given) if good else None


def _read(path: Path) -> bytes:
    """Read the file with the key; raises ValueError that says why it cannot be."""
    from chassis.auth.public_key import MAX_PEM_BYTES

    try:
        with path.expanduser().open("rb") as file:
            return file.read(MAX_PEM_BYTES + 1)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    raise ValueError(f"the file with the public key cannot be read: {reason}")


def _revealed(value: Secret | str) -> str:
    return value if isinstance(value, str) else value.reveal()
