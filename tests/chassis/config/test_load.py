from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import attrs
import pytest

from chassis.config import (
    ByteSize,
    Check,
    ConfigurationError,
    Duration,
    Given,
    Secret,
    SecretUrl,
    between,
    find_file,
    knob,
    load,
)

NAMED = {"service.name": "cqar"}


class Mode(enum.Enum):
    FAST = 1
    SAFE = 2


@dataclass(frozen=True)
class Limits:
    items: int = 10
    wait: Duration = 1.0


@dataclass(frozen=True)
class Venue:
    name: str
    key: Secret = Secret("")
    weight: float = knob(1.0, doc="Weight.", check=between(0, 9))


@dataclass(frozen=True)
class Settings:
    page_size: int = knob(50, doc="Items of a page.", check=between(1, 1000))
    refresh: Duration = 30.0
    buffer: ByteSize = 1024
    region: str = "eu"
    ratio: float = 0.5
    mode: Mode = Mode.FAST
    side: Literal["buy", "sell"] = "buy"
    key: Secret = Secret("")
    limit: int | None = None
    folder: Path = Path("data")
    names: list[str] = knob([], doc="Names.")
    waits: tuple[Duration, ...] = ()
    weights: dict[str, float] = knob({}, doc="Weights.")
    tags: frozenset[str] = frozenset()
    limits: Limits = Limits(items=20)
    venues: list[Venue] = knob([], doc="Venues.")


def with_file(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def problems_of(*args, **kwargs):
    kwargs.setdefault("environ", {})
    kwargs.setdefault("defaults", NAMED)
    with pytest.raises(ConfigurationError) as caught:
        load(*args, **kwargs)
    return caught.value.problems


def only_problem(*args, **kwargs):
    (problem,) = problems_of(*args, **kwargs)
    return problem


def test_the_defaults_are_those_that_are_promised():
    config = load(environ={}, defaults=NAMED)
    assert config.service.name == "cqar"
    assert (config.server.host, config.server.grpc_port, config.server.http_port) == ("127.0.0.1", 9000, 8080)
    assert (config.server.drain_delay, config.server.shutdown_timeout) == (5.0, 25.0)
    assert not config.server.enable_reflection
    assert config.metrics.enabled
    assert (config.eventbus.backend, config.eventbus.consumer_name) == ("memory", "cqar")
    assert (config.tracing.service_name, config.tracing.environment) == ("cqar", "development")
    assert config.auth.api_keys == ()
    assert config.settings is None
    assert config.warnings == ()


def test_dev_changes_the_defaults_of_drain_and_reflection_and_says_so():
    config = load(environ={}, defaults=NAMED, dev=True)
    assert (config.server.drain_delay, config.server.enable_reflection) == (0.0, True)
    assert config.origins["server.drain_delay"] == "default with --dev"


def test_dev_does_not_change_what_is_given():
    environ = {"CQI_SERVER_DRAIN_DELAY": "3s", "CQI_SERVER_ENABLE_REFLECTION": "false"}
    config = load(environ=environ, defaults=NAMED, dev=True)
    assert (config.server.drain_delay, config.server.enable_reflection) == (3.0, False)


def test_the_environment_wins_over_the_file_and_overrides_over_both(tmp_path):
    file = with_file(tmp_path, "server:\n  grpc_port: 1001\n  http_port: 1002\n  host: localhost\n")
    config = load(
        file=file,
        environ={"CQI_SERVER_HTTP_PORT": "2002", "CQI_SERVER_HOST": "::1"},
        defaults={**NAMED, "server.grpc_port": 1},
        overrides={"server.host": "127.0.0.2"},
    )
    assert (config.server.grpc_port, config.server.http_port, config.server.host) == (1001, 2002, "127.0.0.2")
    assert config.origins["server.grpc_port"] == f"{file}:2"
    assert config.origins["server.http_port"] == "CQI_SERVER_HTTP_PORT"
    assert config.origins["server.host"] == "set by what runs the service"
    assert config.origins["service.name"] == "default of the service"
    assert config.origins["log.level"] == "default"


def test_an_override_can_tell_its_own_origin():
    config = load(environ={}, defaults=NAMED, overrides={"server.grpc_port": Given(0, "--port")})
    assert config.origins["server.grpc_port"] == "--port"


def test_the_environment_wins_over_a_file_value_that_is_no_good(tmp_path):
    file = with_file(tmp_path, "database:\n  password: ${NOWHERE}\n  port: x\n")
    environ = {"CQI_DATABASE_PASSWORD": "p", "CQI_DATABASE_PORT": "1"}
    assert load(file=file, environ=environ, defaults=NAMED).database.password == Secret("p")


def test_zero_false_and_empty_mean_what_they_say():
    environ = {
        "CQI_TRACING_SAMPLE_RATE": "0",
        "CQI_METRICS_ENABLED": "false",
        "CQI_SERVICE_ENV": "",
        "CQI_CACHE_DEFAULT_TTL": "0",
        "CQI_EVENTBUS_SERVERS": "",
    }
    config = load(environ=environ, defaults=NAMED)
    assert config.tracing.sample_rate == 0
    assert config.metrics.enabled is False
    assert config.service.env == config.tracing.environment == ""
    assert config.cache.default_ttl == 0
    assert config.eventbus.servers == ()


def test_the_bus_is_jetstream_once_it_has_servers():
    config = load(environ={"CQI_EVENTBUS_SERVERS": "nats://a:4222, nats://u:p@b:4222"}, defaults=NAMED)
    assert config.eventbus.backend == "jetstream"
    assert config.eventbus.servers == (SecretUrl("nats://a:4222"), SecretUrl("nats://u:p@b:4222"))
    assert config.origins["eventbus.backend"] == "default, from eventbus.servers"


def test_a_hyphen_of_the_name_becomes_an_underscore_in_metrics():
    assert load(environ={"CQI_SERVICE_NAME": "asset-registry"}, defaults=NAMED).metrics.namespace == "asset_registry"
    assert load(environ={"CQI_METRICS_NAMESPACE": "a-b"}, defaults=NAMED).metrics.namespace == "a_b"


def test_a_missing_name_is_told_with_the_variable_that_sets_it():
    problem = only_problem(environ={}, defaults={}, prefix="CQAR")
    assert str(problem).startswith("service.name (not set): a value is expected: text")
    assert "CQAR_SERVICE_NAME" in problem.message


def test_all_problems_come_at_once_each_with_key_origin_and_what_is_expected(tmp_path):
    file = with_file(tmp_path, "server:\n  grpc_port: ninety\n  drain_delay: 30\nlog:\n  level: loud\n  levle: info\n")
    environ = {"CQI_TRACING_SAMPLE_RATE": "2", "CQI_METRICS_ENABLED": "perhaps"}
    lines = [str(problem) for problem in problems_of(file=file, environ=environ)]
    assert lines == [
        f"log.levle ({file}:6): unknown key; log.level is the nearest one",
        f"server.grpc_port ({file}:2): a whole number is expected, got 'ninety'",
        f"server.drain_delay ({file}:3): a duration such as 30s, 5m, 1h30m or 100ms is expected: "
        "a number needs its unit, got '30'",
        f"log.level ({file}:5): one of debug, info, warn, error is expected, got 'loud'",
        "metrics.enabled (CQI_METRICS_ENABLED): true or false (or yes, no, on, off, 1, 0) is expected, got 'perhaps'",
        "tracing.sample_rate (CQI_TRACING_SAMPLE_RATE): a number from 0 to 1 is expected, got '2'",
    ]


def test_the_text_of_the_error_is_one_line_for_each_problem():
    environ = {"CQI_SERVER_GRPC_PORT": "a\nb", "CQI_LOG_LEVEL": "x\ny"}
    with pytest.raises(ConfigurationError) as caught:
        load(environ=environ, defaults=NAMED)
    assert len(str(caught.value).splitlines()) == len(caught.value.problems) == 2


def test_the_error_has_the_warnings_too_as_they_may_explain_it():
    with pytest.raises(ConfigurationError) as caught:
        load(environ={"CQI_DATABASE_HOTS": "db"}, defaults=NAMED, uses=("database",))
    assert "CQI_DATABASE_HOST is the nearest" in caught.value.warnings[0]


def test_a_service_has_settings_of_many_types_from_the_file(tmp_path):
    file = with_file(
        tmp_path,
        """
settings:
  page_size: 7
  refresh: 1m
  buffer: 4KiB
  region: no
  ratio: 1e-3
  mode: safe
  side: SELL
  key: hunter2
  limit: 3
  folder: /srv/data
  names: [a, 1.10]
  waits: [1s, 2m]
  weights: {a: 1, b: .5}
  tags: [x, x]
  limits:
    wait: 5s
  venues:
    - name: one
      key: k1
    - {name: two, weight: 2}
""",
    )
    assert load(Settings, file=file, environ={}, defaults=NAMED).settings == Settings(
        page_size=7,
        refresh=60.0,
        buffer=4096,
        region="no",
        ratio=0.001,
        mode=Mode.SAFE,
        side="sell",
        key=Secret("hunter2"),
        limit=3,
        folder=Path("/srv/data"),
        names=["a", "1.10"],
        waits=(1.0, 120.0),
        weights={"a": 1.0, "b": 0.5},
        tags=frozenset({"x"}),
        limits=Limits(items=20, wait=5.0),
        venues=[Venue("one", Secret("k1")), Venue("two", weight=2.0)],
    )


def test_a_service_has_the_same_settings_from_the_environment():
    environ = {
        "CQAR_SETTINGS_PAGE_SIZE": "7",
        "CQAR_SETTINGS_NAMES": "a, b",
        "CQAR_SETTINGS_WAITS": '["1s", "2m"]',
        "CQAR_SETTINGS_WEIGHTS": '{"a": 1, "b": 0.5}',
        "CQAR_SETTINGS_TAGS": "x",
        "CQAR_SETTINGS_LIMITS_WAIT": "5s",
        "CQAR_SETTINGS_VENUES": '[{"name": "one", "key": "k1"}]',
        "CQAR_SETTINGS_LIMIT": "3",
        "CQAR_SETTINGS_FOLDER": "/srv",
    }
    config = load(Settings, prefix="CQAR", environ=environ, defaults=NAMED)
    assert config.warnings == ()
    assert config.settings == Settings(
        page_size=7,
        names=["a", "b"],
        waits=(1.0, 120.0),
        weights={"a": 1.0, "b": 0.5},
        tags=frozenset({"x"}),
        limits=Limits(items=20, wait=5.0),
        venues=[Venue("one", Secret("k1"))],
        limit=3,
        folder=Path("/srv"),
    )


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("PAGE_SIZE", "0", "a number from 1 to 1000 is expected, got '0'"),
        ("PAGE_SIZE", "1.0", "a whole number is expected, got '1.0'"),
        ("PAGE_SIZE", "", "a whole number is expected, got ''"),
        ("RATIO", "nan", "a number is expected, got 'nan'"),
        ("RATIO", "1e999", "a finite number is expected, got '1e999'"),
        ("MODE", "slow", "one of fast, safe is expected, got 'slow'"),
        ("BUFFER", "4 apples", "a number of bytes such as 65536, 64KiB or 4MiB is expected, got '4 apples'"),
        ("FOLDER", "", "a path is expected, got ''"),
        ("REGION", "\udcff", "a text in UTF-8 is expected, got '\\udcff'"),
        ("WAITS", "1s,2", "a duration such as 30s, 5m, 1h30m or 100ms is expected: a number needs its unit at [1]"),
        ("WAITS", "[1]", "a duration such as 30s, 5m, 1h30m or 100ms is expected: a number needs its unit at [0]"),
        ("WAITS", "[", "a list with commas, or as JSON, is expected, got '['"),
        ("WAITS", "[" * 100_000, "a list with commas, or as JSON, is expected, got '" + "[" * 60 + "'..."),
        ("NAMES", "[[]]", "a text is expected at [0]"),
        ("WEIGHTS", "a=1", "a JSON mapping is expected, got 'a=1'"),
        ("WEIGHTS", "[]", "a mapping is expected, got '[]'"),
        ("WEIGHTS", '{"a": "x"}', "a number is expected at a"),
        ("WEIGHTS", '{"a": NaN}', "a finite number is expected at a"),
        ("WEIGHTS", '{"a": 1, "a": 2}', 'a JSON mapping that has each name once is expected, got \'{"a": 1, "a": 2}\''),
        ("VENUES", "[1]", "a mapping is expected"),
        ("VENUES", "[{}]", "name is missing"),
        ("VENUES", '[{"name": "a", "weight": 10}]', "a number from 0 to 9 is expected"),
        ("VENUES", '[{"name": "a", "wieght": 1}]', "no keys but those of Venue are expected"),
    ],
)
def test_a_bad_setting_says_what_is_expected(name, value, message):
    problem = only_problem(Settings, environ={f"CQI_SETTINGS_{name}": value})
    assert problem.key == f"settings.{name.lower()}"
    assert problem.origin == f"CQI_SETTINGS_{name}"
    assert problem.message.replace("\\\\", "\\").startswith(message)


def test_all_problems_of_a_list_come_at_once():
    problems = problems_of(Settings, environ={"CQI_SETTINGS_WAITS": "1s,2,3s,x"})
    assert [problem.message.rpartition(" ")[2] for problem in problems] == ["[1]", "[3]"]


def test_a_setting_without_default_has_to_be_given():
    @dataclass(frozen=True)
    class Needy:
        venue: str = knob(doc="Venue to watch.")

    problem = only_problem(Needy)
    assert problem.key == "settings.venue"
    assert problem.message == "a value is expected: text (Venue to watch); set it in the file or as CQI_SETTINGS_VENUE"
    assert load(Needy, environ={"CQI_SETTINGS_VENUE": "x"}, defaults=NAMED).settings.venue == "x"


def test_what_post_init_refuses_is_a_problem_like_every_other(tmp_path):
    @dataclass(frozen=True)
    class Ordered:
        low: int = 1
        high: int = 2

        def __post_init__(self):
            if self.low > self.high:
                raise ValueError("low is above high")

    file = with_file(tmp_path, "settings:\n  low: 5\n  high: 3\n")
    problem = only_problem(Ordered, file=file)
    assert str(problem) == f"settings ({file}:2, {file}:3): refused: low is above high"


def test_all_that_attrs_validators_refuse_comes_at_once():
    @attrs.frozen
    class Validated:
        low: int = attrs.field(default=1, validator=attrs.validators.ge(0), metadata={"doc": "Low."})
        high: int = attrs.field(default=1, validator=attrs.validators.le(9))

    environ = {"CQI_SETTINGS_LOW": "-1", "CQI_SETTINGS_HIGH": "10"}
    assert [problem.key for problem in problems_of(Validated, environ=environ)] == ["settings.low", "settings.high"]
    assert load(Validated, environ={"CQI_SETTINGS_LOW": "3"}, defaults=NAMED).settings == Validated(low=3)


def test_attrs_classes_with_converters_and_factories_work():
    @attrs.frozen
    class Converted:
        name: str = attrs.field(default="x", converter=str.upper, validator=attrs.validators.min_len(1))
        names: list[str] = attrs.field(factory=list)
        _hidden: int = 1

    environ = {"CQI_SETTINGS_NAME": "abc", "CQI_SETTINGS_HIDDEN": "5"}
    assert load(Converted, environ=environ, defaults=NAMED).settings == Converted("ABC", [], 5)
    assert only_problem(Converted, environ={"CQI_SETTINGS_NAME": ""}).key == "settings"


def test_a_check_of_ones_own_gives_its_words():
    @dataclass(frozen=True)
    class Even:
        number: int = knob(2, doc="Even.", check=Check(lambda number: number % 2 == 0, "an even number"))

    assert only_problem(Even, environ={"CQI_SETTINGS_NUMBER": "3"}).message == "an even number is expected, got '3'"


def test_settings_that_cannot_be_read_are_the_developers_error():
    @dataclass
    class Union:
        value: int | str = 1

    @dataclass
    class Anything:
        value: object = None

    @dataclass
    class Unknown:
        value: Nowhere = None  # noqa: F821

    @dataclass
    class Clash:
        limits: Limits = Limits()
        limits_wait: int = 1

    @attrs.frozen
    class Dependent:
        a: int = 1
        b: int = attrs.field(default=attrs.Factory(lambda self: self.a, takes_self=True))

    cases = {
        int: "has to be a dataclass",
        Union: "settings.value has the type int | str",
        Anything: "settings.value has the type",
        Unknown: "Nowhere",
        Clash: "same environment variable",
        Dependent: "depends on other fields",
    }
    for cls, message in cases.items():
        with pytest.raises(TypeError, match=message.replace("|", r"\|")):
            load(cls, environ={}, defaults=NAMED)


def test_unknown_keys_in_code_are_the_developers_error():
    with pytest.raises(ValueError, match=r"nearest one is server\.grpc_port"):
        load(environ={}, defaults=NAMED, overrides={"server.grpc_prot": 1})


def test_unknown_parts_and_impossible_prefixes_are_the_developers_error():
    with pytest.raises(ValueError, match="there is no 'databse'"):
        load(environ={}, defaults=NAMED, uses=("databse",))
    for prefix in ("", "cqar", "CQAR_", "9", "A-B"):
        with pytest.raises(ValueError, match="environment prefix"):
            load(environ={}, defaults=NAMED, prefix=prefix)


def test_a_configuration_cannot_be_changed():
    config = load(environ={}, defaults=NAMED)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.server = None
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.server.grpc_port = 1
    with pytest.raises(TypeError):
        config.origins["server.grpc_port"] = "x"


def test_two_configurations_know_nothing_of_each_other():
    one = load(prefix="ONE", environ={"ONE_SERVER_GRPC_PORT": "1", "TWO_SERVER_GRPC_PORT": "2"}, defaults=NAMED)
    two = load(prefix="TWO", environ={"ONE_SERVER_GRPC_PORT": "1", "TWO_SERVER_GRPC_PORT": "2"}, defaults=NAMED)
    assert (one.server.grpc_port, two.server.grpc_port) == (1, 2)
    assert one.warnings == two.warnings == ()


def test_a_problem_that_shows_only_in_use_is_told_with_its_origin():
    config = load(environ={"CQI_AUTH_API_KEYS": "short"}, defaults=NAMED)
    assert str(config.problem("auth.api_keys", "too short")) == "auth.api_keys (CQI_AUTH_API_KEYS): too short"


def test_the_named_file_has_to_be_there_and_config_yaml_is_found(tmp_path):
    assert find_file(None, tmp_path) is None
    file = with_file(tmp_path, "")
    assert find_file(None, tmp_path) == file
    assert find_file(file, Path("/")) == file
    for path, message in ((tmp_path / "nope.yaml", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(ConfigurationError, match=message):
            find_file(path, tmp_path)


def test_what_nobody_who_runs_the_service_said_is_a_default(tmp_path):
    file = tmp_path / "default"
    file.write_text("log:\n  level: debug\n")
    config = load(file=file, environ={"CQI_SERVER_HOST": "::1"}, defaults={**NAMED, "service.version": "1.2"}, dev=True)
    keys = ("server.grpc_port", "service.version", "server.drain_delay", "eventbus.backend", "tracing.service_name")
    assert [key for key in keys if not config.is_default(key)] == []
    assert not config.is_default("server.host")
    assert not config.is_default("log.level")


def test_a_file_whose_name_begins_with_default_is_no_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("default.yaml").write_text("log:\n  level: debug\n")
    config = load(file=Path("default.yaml"), environ={}, defaults=NAMED)
    assert config.origins["log.level"] == "default.yaml:2"
    assert not config.is_default("log.level")


def test_a_service_has_its_name_in_traces_also_where_that_is_left_empty():
    config = load(environ={"CQI_TRACING_SERVICE_NAME": ""}, defaults=NAMED)
    assert config.tracing.service_name == "cqar"
    assert config.origins["tracing.service_name"] == "default, from service.name"


def test_an_environment_of_traces_that_is_left_empty_is_none():
    config = load(environ={"CQI_TRACING_ENVIRONMENT": ""}, defaults=NAMED)
    assert (config.tracing.environment, config.service.env) == ("", "development")
    assert config.origins["tracing.environment"] == "CQI_TRACING_ENVIRONMENT"
