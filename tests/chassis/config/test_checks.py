from __future__ import annotations

import pytest

from chassis.config import ConfigurationError, Problem, load


def problems(uses=(), dev=False, **variables):
    environ = {f"CQI_{name}": value for name, value in variables.items()}
    try:
        load(environ=environ, defaults={"service.name": "cqar"}, uses=uses, dev=dev)
    except ConfigurationError as error:
        return [(problem.key, problem.message) for problem in error.problems]
    return []


def keys(**variables):
    return [key for key, _ in problems(**variables)]


def test_a_part_that_is_used_needs_an_address():
    found = dict(problems(uses=("database", "cache", "bus")))
    assert list(found) == ["database.host", "cache.host"]
    assert "CQI_DATABASE_HOST" in found["database.host"]


def test_with_dev_the_parts_need_no_address():
    assert problems(uses=("database", "cache", "bus"), dev=True) == []
    assert problems(EVENTBUS_BACKEND="jetstream", dev=True) == []


def test_parts_that_are_not_used_need_no_address():
    assert problems() == []


def test_a_database_needs_user_and_name():
    assert keys(DATABASE_HOST="db") == ["database.user", "database.database"]
    assert keys(DATABASE_HOST="db", DATABASE_USER="u", DATABASE_DATABASE="d") == []


@pytest.mark.parametrize(
    ("variables", "key"),
    [
        ({"DATABASE_MIN_CONNS": "30"}, "database.min_conns"),
        ({"CACHE_MIN_IDLE_CONNS": "11"}, "cache.min_idle_conns"),
        ({"SERVER_GRPC_PORT": "8080"}, "server.http_port"),
        ({"SERVER_DRAIN_DELAY": "26s"}, "server.drain_delay"),
        ({"TRACING_ENABLED": "true"}, "tracing.endpoint"),
        ({"EVENTBUS_BACKEND": "jetstream"}, "eventbus.servers"),
        ({"EVENTBUS_BACKOFF": ""}, "eventbus.backoff"),
        ({"METRICS_PATH": "/health/live"}, "metrics.path"),
        ({"METRICS_PATH": "/health/"}, "metrics.path"),
    ],
)
def test_options_that_do_not_fit_together_are_told(variables, key):
    assert keys(**variables) == [key]


def test_options_that_fit_together_are_not():
    assert problems(SERVER_GRPC_PORT="0", SERVER_HTTP_PORT="0") == []
    assert problems(SERVER_DRAIN_DELAY="25s") == []
    assert problems(TRACING_ENABLED="true", TRACING_ENDPOINT="collector:4317") == []


def test_whoever_loads_may_have_rules_of_its_own_for_the_values_that_are_good():
    def also(values, origins):
        assert "server.host" not in values
        yield Problem("cache.db", origins["cache.db"], f"not {values['cache.db']}")

    with pytest.raises(ConfigurationError) as caught:
        load(environ={"CQI_SERVER_HOST": "a b", "CQI_CACHE_DB": "3"}, defaults={"service.name": "cqar"}, also=also)
    first, second = caught.value.problems
    assert first.key == "server.host"
    assert str(second) == "cache.db (CQI_CACHE_DB): not 3"


def test_a_rule_is_not_asked_about_values_that_are_no_good_themselves():
    assert keys(TRACING_ENABLED="perhaps") == ["tracing.enabled"]
    assert keys(SERVER_DRAIN_DELAY="x", SERVER_SHUTDOWN_TIMEOUT="1s") == ["server.drain_delay"]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("SERVER_HOST", ["0.0.0.0", "::", "localhost"], ["", "http://x", "a b", "[::1]", "a/b"]),
        ("SERVER_GRPC_PORT", ["0", "65535"], ["-1", "65536"]),
        ("DATABASE_PORT", ["1"], ["0"]),
        ("CACHE_HOST", ["", "redis", "10.0.0.1", "::1"], ["redis:6379", "redis://x", "u@x"]),
        ("SERVICE_NAME", ["cqar", "Asset-Registry_2"], ["", "2x", "a.b", "a b", "a" * 64, "ä"]),
        ("METRICS_NAMESPACE", ["a_b", "a-b", "a:b"], ["", "1a", "a b", "a.b"]),
        ("METRICS_PATH", ["/m", "/a/b"], ["", "m", "/a b", "/a?b", "/{x}"]),
        ("EVENTBUS_SERVERS", ["nats://u:p@a:1,tls://b", "a:4222", ""], ["http://a", "nats:/a", "nats://a b"]),
        ("EVENTBUS_STREAM_NAME", ["CQC_EVENTS"], ["", "a.b", "a>", "*"]),
        ("EVENTBUS_MAX_DELIVER", ["1"], ["0", "-1"]),
        ("EVENTBUS_ACK_WAIT", ["1ms"], ["0"]),
        ("AUTH_PUBLIC_METHODS", ["/a.B/C", "/a.b.C/D,/B/C"], ["a.B/C", "/a.B/*", "/a.B/C/", "/a.B/../C", "/"]),
        ("TRACING_SAMPLE_RATE", ["0", "1", ".5"], ["-0.1", "1.1", "inf"]),
        ("LOG_OUTPUT", ["stderr", "STDOUT"], ["/var/log/x", ""]),
        ("LOG_LEVEL", ["debug", "WARN"], ["trace", "warning"]),
        ("SERVER_MAX_METADATA_BYTES", ["8KiB"], ["1", "4GiB"]),
        ("SERVER_KEEPALIVE_TIME", ["1s"], ["999ms"]),
        ("SERVER_LOOP_LAG_WARNING", ["0", "250ms"], ["-1s", "1"]),
        ("SERVER_LOOP_LAG_LIMIT", ["0", "1m"], ["-1s", "10", "10 s s"]),
    ],
)
def test_each_option_takes_what_it_can_and_nothing_else(name, good, bad):
    for value in good:
        assert name.lower() not in {key.replace(".", "_") for key in keys(**{name: value})}, value
    for value in bad:
        assert keys(**{name: value}) == [name.lower().replace("_", ".", 1)], value
