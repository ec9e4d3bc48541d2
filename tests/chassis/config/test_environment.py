from __future__ import annotations

from dataclasses import dataclass

import pytest

from chassis.config import ConfigurationError, Secret, load

NAMED = {"service.name": "cqar"}


@dataclass(frozen=True)
class Settings:
    venue_key: Secret = Secret("")
    service_host: str = ""
    folder_file: str = ""


def loaded(environ):
    return load(Settings, prefix="CQAR", environ=environ, defaults=NAMED)


def problems(environ):
    with pytest.raises(ConfigurationError) as caught:
        loaded(environ)
    return [str(problem) for problem in caught.value.problems]


def test_an_unknown_variable_is_a_warning_that_names_the_nearest():
    assert loaded({"CQAR_DATABASE_HOTS": "db"}).warnings == (
        "environment variable CQAR_DATABASE_HOTS is unknown and not used; CQAR_DATABASE_HOST is the nearest known one",
    )


def test_a_variable_of_the_go_sibling_is_a_warning_with_the_reason():
    (port, registry) = loaded({"CQAR_METRICS_PORT": "9091", "CQAR_REGISTRY_BACKEND": "redis"}).warnings
    assert "server.http_port" in port
    assert "service discovery is not part of this version" in registry


def test_variables_of_others_are_nobodys_business():
    assert loaded({"PATH": "/bin", "CQARX_HOST": "x", "CQAR": "x"}).warnings == ()


@pytest.mark.parametrize(
    "name",
    [
        "CQAR_SERVICE_HOST",
        "CQAR_SERVICE_PORT",
        "CQAR_SERVICE_PORT_GRPC",
        "CQAR_PORT",
        "CQAR_PORT_9000_TCP",
        "CQAR_PORT_9000_TCP_ADDR",
        "CQAR_POSTGRES_SERVICE_HOST",
        "CQAR_POSTGRES_SERVICE_PORT",
        "CQAR_POSTGRES_PORT_5432_TCP_PROTO",
    ],
)
def test_what_kubernetes_injects_is_ignored(name):
    assert loaded({name: "10.0.0.1"}).warnings == ()


def test_a_port_that_kubernetes_injects_for_a_service_named_like_a_section_is_ignored():
    config = loaded({"CQAR_DATABASE_PORT": "tcp://10.0.0.1:5432", "CQAR_VAULT_PORT": "udp://10.0.0.1:1"})
    assert (config.database.port, config.warnings) == (5432, ())


def test_own_keys_that_look_like_kubernetes_are_read():
    config = loaded({"CQAR_SERVICE_NAME": "other", "CQAR_SETTINGS_SERVICE_HOST": "x"})
    assert (config.service.name, config.settings.service_host) == ("other", "x")


@pytest.mark.parametrize(
    ("content", "secret"), [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a "), ("", "")]
)
def test_a_secret_can_be_mounted_as_a_file_and_loses_one_newline(tmp_path, content, secret):
    file = tmp_path / "key"
    file.write_bytes(content.encode())
    config = loaded({"CQAR_SETTINGS_VENUE_KEY_FILE": str(file)})
    assert config.settings.venue_key.reveal() == secret
    assert config.origins["settings.venue_key"] == "file named by CQAR_SETTINGS_VENUE_KEY_FILE"
    assert config.warnings == ()


def test_a_mounted_list_has_an_item_a_line(tmp_path):
    file = tmp_path / "keys"
    file.write_text("cqmd:one\nother:two\n")
    config = loaded({"CQAR_AUTH_API_KEYS_FILE": str(file)})
    assert config.auth.api_keys == (Secret("cqmd:one"), Secret("other:two"))


def test_only_secrets_are_mounted():
    (warning,) = loaded({"CQAR_SERVER_HOST_FILE": "/etc/hosts"}).warnings
    assert "CQAR_SERVER_HOST_FILE is unknown" in warning
    assert loaded({"CQAR_SETTINGS_FOLDER_FILE": "x"}).settings.folder_file == "x"


def test_a_secret_from_two_sources_is_refused(tmp_path):
    environ = {"CQAR_DATABASE_PASSWORD": "a", "CQAR_DATABASE_PASSWORD_FILE": str(tmp_path / "x")}
    assert problems(environ) == [
        "database.password (CQAR_DATABASE_PASSWORD_FILE): one source is expected: CQAR_DATABASE_PASSWORD is set, too"
    ]


def test_a_mounted_file_that_cannot_be_read_is_told(tmp_path):
    binary, large = tmp_path / "binary", tmp_path / "large"
    binary.write_bytes(b"\xff")
    large.write_bytes(b"x" * 70_000)
    for path, reason in (
        (tmp_path / "nope", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (binary, "other bytes"),
        (large, "is larger"),
        ("\0", "no such file"),
    ):
        (line,) = problems({"CQAR_DATABASE_PASSWORD_FILE": str(path)})
        assert line.startswith("database.password (file named by CQAR_DATABASE_PASSWORD_FILE): a file")
        assert reason in line


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("a,b", ["a", "b"]),
        ("cqmd:a, other:b,", ["cqmd:a", "other:b"]),
        ('["a,b", {"cqmd": "c"}]', ["a,b", "cqmd:c"]),
        ('{"cqmd": ["a", "b:c"], "other": "sha256:00"}', ["cqmd:a", "cqmd:b:c", "other:sha256:00"]),
        ("[]", []),
    ],
)
def test_api_keys_come_as_a_list_as_pairs_or_as_a_mapping(text, keys):
    assert [key.reveal() for key in loaded({"CQAR_AUTH_API_KEYS": text}).auth.api_keys] == keys


@pytest.mark.parametrize(
    "text", ["", " ", "{", '{"a:b": "c"}', '{"": "c"}', '[""]', "[1]", '{"a": null}', '{"a": [[1]]}']
)
def test_api_keys_that_are_none_are_refused_and_never_shown(text):
    (line,) = problems({"CQAR_AUTH_API_KEYS": text})
    assert line.startswith("auth.api_keys (CQAR_AUTH_API_KEYS): ")
    assert "got" not in line


PUBLIC = "-----BEGIN PUBLIC KEY-----\\nMFkw\\n-----END PUBLIC KEY-----"


def test_a_public_key_may_stand_on_one_line():
    config = loaded({"CQAR_AUTH_JWT_PUBLIC_KEY": PUBLIC})
    assert config.auth.jwt_public_key.reveal() == PUBLIC.replace("\\n", "\n")


def test_an_empty_public_key_is_not_taken_for_none():
    (line,) = problems({"CQAR_AUTH_JWT_PUBLIC_KEY": ""})
    assert "leave it out for none" in line
