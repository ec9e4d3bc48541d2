from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from chassis.config import Duration, Secret, knob, load
from chassis.config.describe import table, template, value_of, written
from chassis.config.load import catalogue_of

NAMED = {"service.name": "cqar"}


@dataclass(frozen=True)
class Venue:
    """A venue."""

    name: str = "x"
    wait: Duration = 1.0


@dataclass(frozen=True)
class Settings:
    needed: str = knob(doc="A word without default.")
    refresh: Duration = knob(30.0, doc="How often prices are fetched.")
    key: Secret = knob(Secret(""), doc="Key of the venue.")
    venue: Venue = Venue()
    venues: tuple[Venue, ...] = ()
    weights: dict[str, Duration] = knob({}, doc="Weights.")
    words: tuple[str, ...] = ("a b", "null", "${x}", "#")
    limit: int | None = 3


def loaded(**variables):
    environ = {"CQAR_SETTINGS_NEEDED": "x", **{f"CQAR_{name}": value for name, value in variables.items()}}
    return load(Settings, prefix="CQAR", environ=environ, defaults=NAMED)


def test_every_option_has_documentation_and_is_in_the_table_and_the_template():
    text, file = table(), template()
    for key, knob_ in catalogue_of().items():
        assert knob_.doc.endswith("."), key
        assert re.search(rf"^  {re.escape(key)}  ", text, re.MULTILINE), key
        assert knob_.variable("CQI") in text, key
        assert re.search(rf"^  # {key.rpartition('.')[2]}:", file, re.MULTILINE), key


def test_the_table_tells_type_default_documentation_and_variable():
    lines = table(None, "CQAR", Settings).splitlines()
    at = next(number for number, line in enumerate(lines) if "settings.refresh" in line)
    assert lines[at].split() == ["settings.refresh", "duration", "30s"]
    assert lines[at + 1].strip() == "How often prices are fetched. [CQAR_SETTINGS_REFRESH]"
    assert any(line.split() == ["settings.needed", "text", "required"] for line in lines)
    assert any(line.split()[:3] == ["settings.venue.wait", "duration", "1s"] for line in lines)
    assert "[CQAR_SETTINGS_KEY or CQAR_SETTINGS_KEY_FILE]" in table(None, "CQAR", Settings)


def test_the_table_of_a_service_has_values_and_origins_and_warnings():
    text = table(loaded(SERVER_GRPC_PORT="1234", SETTINGS_KEY="hunter2", LOG_LEVLE="x"))
    assert re.search(r"server\.grpc_port +whole number +9000 += 1234 +\(CQAR_SERVER_GRPC_PORT\)", text)
    assert re.search(r'settings\.key +secret +"" += "\*\*\*" +\(CQAR_SETTINGS_KEY\)', text)
    assert "CQAR_LOG_LEVEL is the nearest" in text


def test_no_line_of_the_table_without_values_is_too_long_for_a_terminal():
    assert max(len(line) for line in table().splitlines()) <= 118


def test_the_template_as_it_is_gives_the_defaults(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(template("CQAR", Settings))
    config = load(Settings, prefix="CQAR", file=file, environ={"CQAR_SETTINGS_NEEDED": "x"}, defaults=NAMED)
    assert config.settings == loaded().settings
    assert config.server == loaded().server


def test_every_commented_line_of_the_template_is_a_good_one(tmp_path):
    lines = template("CQAR", Settings).splitlines()
    lines = [re.sub(r"^( +)# (\w+:(?! #)( .*)?)$", r"\1\2", line) for line in lines]
    lines = [line for line in lines if not re.match(r" +(needed|jwt_public_key|jwt_public_key_path):", line)]
    file = tmp_path / "config.yaml"
    file.write_text("\n".join(lines))
    config = load(Settings, prefix="CQAR", file=file, environ={"CQAR_SETTINGS_NEEDED": "x"}, defaults=NAMED)
    expected = loaded()
    assert config.origins["server.grpc_port"].startswith(str(file))
    assert (config.settings, config.server, config.auth) == (expected.settings, expected.server, expected.auth)
    assert (config.eventbus, config.database) == (expected.eventbus, expected.database)


def test_the_template_of_a_configuration_gives_it_back_but_for_secrets(tmp_path):
    config = loaded(
        SERVER_DRAIN_DELAY="1.5s",
        EVENTBUS_BACKOFF="1s,1h",
        SETTINGS_VENUES='[{"name": "a ${b}", "wait": "2s"}, {"name": ""}]',
        SETTINGS_WEIGHTS='{"a: b": "1s"}',
        SETTINGS_WORDS="no, null, é",
        SETTINGS_KEY="hunter2",
        AUTH_API_KEYS="hunter2",
    )
    text = template(config=config)
    assert "hunter2" not in text
    file = tmp_path / "config.yaml"
    file.write_text(text)
    again = load(Settings, prefix="CQAR", file=file, environ={"CQAR_SETTINGS_KEY": "hunter2"}, defaults=NAMED)
    assert again.settings == config.settings
    assert (again.server, again.eventbus) == (config.server, config.eventbus)


def test_a_class_without_documentation_has_a_summary_all_the_same():
    assert "settings: The service's own options." in table(None, "CQAR", Settings)
    assert "settings.venue: A venue." in table(None, "CQAR", Settings)


@pytest.mark.parametrize(
    ("value", "annotation", "text"),
    [
        (None, int | None, "null"),
        (True, bool, "true"),
        (0.5, float, "0.5"),
        ("no: x", str, '"no: x"'),
        ("${A}", str, '"$${A}"'),
    ],
)
def test_values_are_written_as_a_file_has_them(value, annotation, text):
    assert written(value, annotation) == text


def test_a_value_is_found_by_its_key():
    assert value_of(loaded(), "settings.venue.wait") == 1.0


def test_the_template_shows_the_defaults_of_the_service_in_place_of_those_of_the_chassis():
    lines = template(config=load(environ={}, defaults={**NAMED, "service.version": "1.2"})).splitlines()
    assert "  # version: 1.2" in lines
    assert "  # name: cqar" in lines
    assert "  # env: development" in lines


def test_what_comes_from_a_file_named_default_is_written_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("default.yaml").write_text("log:\n  level: debug\n")
    assert "  level: debug" in template(config=load(file=Path("default.yaml"), environ={}, defaults=NAMED)).splitlines()
