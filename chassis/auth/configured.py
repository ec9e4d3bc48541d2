from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from chassis.auth.api_key import ApiKeyAuthenticator
from chassis.auth.authenticator import Authenticator
from chassis.auth.combined import CombinedAuthenticator
from chassis.auth.jwt import JwtAuthenticator
from chassis.auth.public_key import MAX_PEM_BYTES, choose_algorithms, load_public_key

if TYPE_CHECKING:
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
    from chassis.config.problems import ConfigurationError, Problem

    problems: list[Problem] = []

    def report(name: str, message: str) -> None:
        key = f"auth.{name}"
        problems.append(Problem(key, origin_of(key), message))

    api_keys = _api_keys(section, report)
    jwt = _jwt(section, report)
    if problems:
        raise ConfigurationError(problems)
    if api_keys is not None and jwt is not None:
        return CombinedAuthenticator(api_keys, jwt)
    return api_keys if api_keys is not None else jwt


def _api_keys(section: AuthConfig, report: Callable[[str, str], None]) -> ApiKeyAuthenticator | None:
    if not section.api_keys:
        return None
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
    where = "jwt_public_key" if path is None else "jwt_public_key_path"
    try:
        pem = inline if path is None else _read(path)
        key = load_public_key(pem)
    except ValueError as problem:
        report(where, str(problem))
        return None
    try:
        algorithms = choose_algorithms(key, section.jwt_algorithms or None)
    except ValueError as problem:
        report("jwt_algorithms", str(problem))
        return None
    try:
        return JwtAuthenticator(
            pem,
            algorithms=algorithms,
            issuer=section.jwt_issuer or None,
            audience=section.jwt_audience or None,
            leeway=section.jwt_leeway,
        )
    except ValueError as problem:
        report(f"jwt_{str(problem).split()[0]}", str(problem))
    return None


def _read(path: Path) -> bytes:
    """Read the file with the key; raises ValueError that says why it cannot be."""
    try:
        with path.expanduser().open("rb") as file:
            return file.read(MAX_PEM_BYTES + 1)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    raise ValueError(f"the file with the public key cannot be read: {reason}")


def _revealed(value: Secret | str) -> str:
    return value if isinstance(value, str) else value.reveal()
