"""Which servers a service needs, and how it learns their addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chassis.config import Config, load
from chassis.dev import DevServers, overrides_for, wanted_for

ALL = ("database", "cache", "bus")


def configuration(**overrides: Any) -> Config:
    return load(
        environ={},
        uses=ALL,
        dev=True,
        defaults={"service.name": "cqar"},
        overrides={key.replace("__", "."): value for key, value in overrides.items()},
    )


def test_every_part_without_an_address_wants_its_server() -> None:
    assert wanted_for(ALL, configuration()) == ("postgres", "redis", "nats")
    assert wanted_for(("cache",), configuration()) == ("redis",)
    assert wanted_for((), configuration()) == ()


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"database__host": "db", "database__user": "u", "database__database": "d"}, "postgres"),
        ({"cache__host": "redis"}, "redis"),
        ({"eventbus__servers": "nats://n:4222"}, "nats"),
        ({"eventbus__backend": "memory"}, "nats"),
    ],
)
def test_a_part_whose_address_is_given_wants_none(given: dict[str, str], missing: str) -> None:
    assert set(wanted_for(ALL, configuration(**given))) == {"postgres", "redis", "nats"} - {missing}


def test_a_bus_that_is_said_to_be_jetstream_wants_its_server() -> None:
    assert wanted_for(("bus",), configuration(eventbus__backend="jetstream")) == ("nats",)


def test_addresses_are_known_before_anything_runs_and_stay(tmp_path: Path) -> None:
    servers = DevServers(tmp_path / ".chassis", ["postgres", "nats", "redis"])
    before = configuration()
    config = load(
        environ={},
        uses=ALL,
        dev=True,
        defaults={"service.name": "cqar"},
        overrides=overrides_for(servers, ALL, before),
    )
    assert (config.database.host, config.database.port) == ("127.0.0.1", servers.postgres.port)
    assert (config.database.user, config.database.database) == ("dev", "cqar")
    assert config.database.password.reveal() == servers.postgres.password
    assert config.database.ssl_mode == "disable"
    assert (config.cache.host, config.cache.port) == ("127.0.0.1", servers.redis.port)
    assert config.cache.password.reveal() == servers.redis.password
    assert [url.reveal() for url in config.eventbus.servers] == [
        f"nats://dev:{servers.nats.password}@127.0.0.1:{servers.nats.port}"
    ]
    assert config.eventbus.backend == "jetstream"
    assert config.origins["database.host"] == "--dev"
    again = DevServers(tmp_path / ".chassis", ["postgres"])
    assert (again.postgres.port, again.postgres.password) == (servers.postgres.port, servers.postgres.password)


def test_the_database_has_the_configured_name_where_there_is_one(tmp_path: Path) -> None:
    config = configuration(database__database="prices")
    overrides = overrides_for(DevServers(tmp_path, ["postgres"]), ("database",), config)
    assert overrides["database.database"].value == "prices"
