"""A marker is planted as every secret, from every source, good and bad; it must be in nothing that can be seen."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import pickle
import traceback
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import attrs
import pytest

from chassis.auth import problems_of
from chassis.config import ConfigurationError, Secret, SecretUrl, load
from chassis.config.describe import table, template
from chassis.config.load import catalogue_of

NAMED = {"service.name": "cqar"}
MARKER = "hunter2canary"


@dataclass(frozen=True)
class Account:
    name: str
    password: Secret


@dataclass(frozen=True)
class Settings:
    key: Secret = Secret("")
    keys: tuple[Secret, ...] = ()
    named: dict[str, Secret] = dataclasses.field(default_factory=dict)
    url: SecretUrl = SecretUrl("")  # noqa: RUF009
    maybe: Secret | None = None
    accounts: tuple[Account, ...] = ()


GOOD = {
    "database.password": MARKER,
    "cache.password": MARKER,
    "eventbus.servers": f"nats://{MARKER}:{MARKER}@nats-1:4222",
    "tracing.endpoint": f"https://u:{MARKER}@collector:4317/?token={MARKER}",
    "auth.api_keys": f"cqmd:{MARKER}",
    "auth.jwt_public_key": f"-----BEGIN PUBLIC KEY-----\\n{MARKER}\\n-----END PUBLIC KEY-----",
    "settings.key": MARKER,
    "settings.keys": f"{MARKER},{MARKER}x",
    "settings.named": json.dumps({"a": MARKER}),
    "settings.url": f"https://{MARKER}@host",
    "settings.maybe": MARKER,
    "settings.accounts": json.dumps([{"name": "a", "password": MARKER}]),
}
SECRETS = [key for key, knob in catalogue_of(Settings).items() if knob.secret]

BAD_JSON = (
    f'["{MARKER}"',
    f'{{"{MARKER}": [1, 2]}}',
    f'{{"a": {{"{MARKER}": 1}}}}',
    f'[["{MARKER}"]]',
    f'[{{"{MARKER}": 1}}]',
)
BAD = {
    "database.password": [f"{MARKER}\udcff"],
    "cache.password": [f"{MARKER}\udcff"],
    "eventbus.servers": [f"http://{MARKER}@x", f'["{MARKER}"', f"nats://u:{MARKER} x@y"],
    "tracing.endpoint": [f"{MARKER}\udcff"],
    "auth.api_keys": [*BAD_JSON[:1], f'{{"{MARKER}": null}}', f'{{"{MARKER}:": "x"}}', f"{MARKER}\udcff"],
    "auth.jwt_public_key": [MARKER, f"-----BEGIN RSA PRIVATE KEY-----{MARKER}-----END RSA PRIVATE KEY-----"],
    "settings.key": [f"{MARKER}\udcff"],
    "settings.keys": [BAD_JSON[0], BAD_JSON[3], BAD_JSON[4]],
    "settings.named": [MARKER, *BAD_JSON[:3], f'{{"a": "{MARKER}", "a": 1}}', f'{{"{MARKER}": null}}'],
    "settings.url": [f"{MARKER}\udcff"],
    "settings.maybe": [f"{MARKER}\udcff"],
    "settings.accounts": [
        MARKER,
        *BAD_JSON,
        f'[{{"name": "{MARKER}", "password": 1}}]',
        f'[{{"password": "{MARKER}"}}]',
    ],
}


def variable(key):
    return f"CQI_{key.upper().replace('.', '_')}"


def all_that_can_be_seen(config):
    yield repr(config)
    yield str(config)
    yield f"{config}"
    yield table(config)
    yield template(config=config)
    yield repr(dataclasses.asdict(config))
    yield repr(copy.deepcopy(config))
    yield repr(dataclasses.replace(config))
    yield repr(dict(config.origins))
    yield repr(config.warnings)
    yield json.dumps(dataclasses.asdict(config), default=str)
    yield logging.LogRecord("x", 20, "f", 1, "%s %r", (config, config), None).getMessage()
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError) as caught:
            pickle.dumps(config, protocol)
        yield "".join(traceback.format_exception(caught.value))
    with pytest.raises(TypeError) as caught:
        json.dumps(dataclasses.asdict(config))
    yield "".join(traceback.format_exception(caught.value))


def all_that_an_error_says(error):
    yield str(error)
    yield repr(error)
    yield repr(error.problems)
    yield repr(error.warnings)
    yield "".join(traceback.format_exception(error))
    yield pickle.dumps(error.problems).decode("latin-1")
    assert error.__cause__ is None
    assert error.__context__ is None


def sources(key, value, tmp_path):
    """Plant a value by each way there is: variable, mounted file, file, variable within the file, default, override."""
    yield {"environ": {variable(key): value}}
    if value.isascii():
        mounted, file = tmp_path / "mounted", tmp_path / "config.yaml"
        mounted.write_text(value + "\n")
        yield {"environ": {f"{variable(key)}_FILE": str(mounted)}}
        section, name = key.split(".")
        file.write_text(f"{section}:\n  {name}: {json.dumps(value)}\n")
        yield {"file": file, "environ": {}}
        file.write_text(f"{section}:\n  {name}: ${{PLANTED}}\n")
        yield {"file": file, "environ": {"PLANTED": value}}
    yield {"overrides": {key: value}, "environ": {}}
    yield {"defaults": {**NAMED, key: value}, "environ": {}}


def test_every_secret_has_its_marker_here():
    assert set(SECRETS) == set(GOOD) == set(BAD)


@pytest.mark.parametrize("key", SECRETS)
def test_a_good_secret_is_in_nothing_that_can_be_seen(key, tmp_path):
    for source in sources(key, GOOD[key], tmp_path):
        config = load(Settings, **{"defaults": NAMED, **source})
        assert key not in [origin_key for origin_key, origin in config.origins.items() if origin == "default"]
        for text in all_that_can_be_seen(config):
            assert MARKER not in text


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BAD.items() for value in values])
def test_a_bad_secret_is_in_no_message(key, value, tmp_path):
    for source in sources(key, value, tmp_path):
        with pytest.raises(ConfigurationError) as caught:
            load(Settings, also=problems_of, **{"defaults": NAMED, **source})
        assert {problem.key for problem in caught.value.problems} == {key}
        for text in all_that_an_error_says(caught.value):
            assert MARKER not in text


@pytest.mark.parametrize(
    "value",
    [
        f"*{MARKER}",
        f"!{MARKER} x",
        f"!{MARKER}",
        f"&{MARKER} [",
        f"'{MARKER}",
        f'"{MARKER}\\q"',
        f"%{MARKER}: :",
        f"@{MARKER}",
        f"a: {MARKER}: b",
        f"{{{MARKER}",
        f"[{MARKER}",
        f"|{MARKER}",
        f"x\n {MARKER}: y",
        f"!!python/name:{MARKER} x",
    ],
)
def test_a_password_that_yaml_cannot_read_is_in_no_message(value, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(f"database:\n  password: {value}\n")
    with pytest.raises(ConfigurationError) as caught:
        load(file=file, environ={}, defaults=NAMED)
    for text in all_that_an_error_says(caught.value):
        assert MARKER not in text


def test_an_address_in_the_wrong_place_is_shown_without_its_credentials():
    with pytest.raises(ConfigurationError) as caught:
        load(environ={"CQI_DATABASE_HOST": f"postgres://u:{MARKER}@db/x"}, defaults=NAMED)
    assert "got 'postgres://***@db/x'" in str(caught.value)


def test_a_section_that_is_no_mapping_is_not_shown(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(f"database: {MARKER}\nauth: [{MARKER}]\n")
    with pytest.raises(ConfigurationError) as caught:
        load(file=file, environ={}, defaults=NAMED)
    assert MARKER not in str(caught.value)


def test_the_value_of_an_unknown_variable_is_not_shown():
    config = load(environ={"CQI_DATABASE_PASWORD": MARKER}, defaults=NAMED)
    assert config.warnings
    assert MARKER not in repr(config)


@dataclass(frozen=True)
class Chatty:
    key: Secret = Secret("")
    named: dict[str, Secret] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        for secret in (self.key, *self.named.values()):
            if secret:
                raise ValueError(f"{secret.reveal()} is a bad key")


def refuse(instance, attribute, value):
    raise ValueError(f"not good: {value.reveal()}")


@attrs.frozen
class Validated:
    key: Secret = attrs.field(default=Secret("x"), validator=refuse)


@pytest.mark.parametrize(
    ("settings", "environ"),
    [
        (Chatty, {"CQI_SETTINGS_KEY": MARKER}),
        (Chatty, {"CQI_SETTINGS_NAMED": json.dumps({"a": MARKER})}),
        (Validated, {"CQI_SETTINGS_KEY": MARKER}),
    ],
)
def test_a_check_of_the_service_that_shows_a_secret_is_not_passed_on(settings, environ):
    with pytest.raises(ConfigurationError, match="has a secret in it") as caught:
        load(settings, environ=environ, defaults=NAMED)
    for text in all_that_an_error_says(caught.value):
        assert MARKER not in text


@dataclass(frozen=True)
class Venue:
    key: Secret = Secret("")


@attrs.frozen
class Desk:
    venue: Venue


@dataclass(frozen=True)
class Nested:
    desk: Desk

    def __post_init__(self):
        raise ValueError(f"{self.desk.venue.key.reveal()} is a bad key")


@dataclass(frozen=True)
class Addressed:
    url: SecretUrl

    def __post_init__(self):
        if not self.url.reveal().startswith("nats://"):
            raise ValueError("an address that begins with nats:// is expected")
        assert urlsplit(self.url.reveal()).port is None


@dataclass(frozen=True)
class Cutting:
    key: Secret = Secret("")

    def __post_init__(self):
        raise ValueError(f"a key is expected that is not of {unquote(self.key.reveal())[2:8].upper()!r}")


@pytest.mark.parametrize(
    ("settings", "variable", "value", "piece"),
    [
        (Nested, "CQI_SETTINGS_DESK_VENUE_KEY", "hunter2", "hunter2"),
        (Addressed, "CQI_SETTINGS_URL", "nats://me:hunter/2@nats-1", "hunter"),
        (Nested, "CQI_SETTINGS_DESK_VENUE_KEY", "pw", "pw"),
        (Cutting, "CQI_SETTINGS_KEY", "myhunter2", "HUNTER"),
        (Cutting, "CQI_SETTINGS_KEY", "my%68%75%6e%74%65%72", "HUNTER"),
    ],
)
def test_a_check_that_shows_a_piece_of_a_secret_or_one_of_a_class_within_is_not_passed_on(
    settings, variable, value, piece
):
    with pytest.raises(ConfigurationError, match="has a secret in it") as caught:
        load(settings, environ={variable: value}, defaults=NAMED)
    for text in all_that_an_error_says(caught.value):
        assert piece not in text


def test_what_a_check_says_of_an_address_is_told_where_it_shows_only_what_may_be_seen():
    with pytest.raises(ConfigurationError, match=r"refused: an address that begins with nats:// is expected"):
        load(Addressed, environ={"CQI_SETTINGS_URL": "amqp://me:hunter2@nats-1"}, defaults=NAMED)
    with pytest.raises(ConfigurationError, match=r"refused: Port could not be cast .* 'http'"):
        load(Addressed, environ={"CQI_SETTINGS_URL": "nats://me:hunter2@nats-1:http"}, defaults=NAMED)
