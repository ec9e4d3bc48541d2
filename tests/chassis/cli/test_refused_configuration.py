"""Whatever is wrong with a configuration ends `chassis run` before anything runs: exit code 2, the key on stderr."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PATIENCE = 30.0

SERVICE = """
from dataclasses import dataclass
from chassis import ServiceChassis
from chassis.config import Duration, between, knob

@dataclass(frozen=True)
class Limits:
    items: int = 10
    wait: Duration = 1.0

@dataclass(frozen=True)
class Venue:
    name: str
    weight: float = knob(1.0, doc="Weight.", check=between(0, 9))
    limits: Limits = Limits()

class Priced(ServiceChassis):
    name = "priced"
    env_prefix = "PRICED"

    @dataclass(frozen=True)
    class Settings:
        venues: tuple[Venue, ...] = ()
        waits: tuple[Duration, ...] = ()
        limits: Limits = Limits()

    async def on_start(self):
        print("it runs")
"""

VENUES = "PRICED_SETTINGS_VENUES"


def refused(folder: Path, file: str, **environment: str) -> list[str]:
    """What `chassis run` says of a configuration, line by line, without the first."""
    (folder / "svc.py").write_text(SERVICE)
    if file:
        (folder / "config.yaml").write_text(file)
    ran = subprocess.run(
        [sys.executable, "-m", "chassis.cli", "run", "svc:Priced"],
        cwd=folder,
        env={**os.environ, "PRICED_SERVER_GRPC_PORT": "0", "PRICED_SERVER_HTTP_PORT": "0", **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    first, *lines = ran.stderr.splitlines()
    assert (ran.returncode, ran.stdout, first) == (2, "", "chassis: the configuration can not be used")
    assert all(line.startswith("  ") for line in lines)
    return [line.strip().replace(f"{folder}{os.sep}", "") for line in lines]


WAITS = "PRICED_SETTINGS_WAITS"
METHODS = "PRICED_AUTH_PUBLIC_METHODS"


@pytest.mark.parametrize(
    ("file", "environment", "says"),
    [
        # A typing error.
        (
            "server:\n  grcp_port: 1\n",
            {},
            "server.grcp_port (config.yaml:2): unknown key; server.grpc_port is the nearest one",
        ),
        ("servre:\n  grpc_port: 1\n", {}, "servre (config.yaml:1): unknown key; server is the nearest one"),
        ("settings:\n  limits:\n    itmes: 3\n", {}, "settings.limits.itmes (config.yaml:3): unknown key; …"),
        # An unknown key.
        ("server:\n  colour: red\n", {}, "server.colour (config.yaml:2): unknown key…"),
        ("metrics:\n  port: 9090\n", {}, "metrics.port (config.yaml:2): not used here…"),
        # A unit that is missing, wrong, or of something else.
        ("server:\n  drain_delay: 5\n", {}, "server.drain_delay (config.yaml:2): a duration … needs its unit, got '5'"),
        ("server:\n  loop_lag_limit: 10sec\n", {}, "server.loop_lag_limit (config.yaml:2): a duration …, got '10sec'"),
        (
            "",
            {"PRICED_SERVER_LOOP_LAG_WARNING": "5MiB"},
            "server.loop_lag_warning (PRICED_SERVER_LOOP_LAG_WARNING): a duration …, got '5MiB'",
        ),
        (
            "",
            {"PRICED_SERVER_HTTP_MAX_BODY_BYTES": "1s"},
            "server.http_max_body_bytes (PRICED_SERVER_HTTP_MAX_BODY_BYTES): a number of bytes …, got '1s'",
        ),
        ("settings:\n  limits: {wait: 3}\n", {}, "settings.limits.wait (config.yaml:2): a duration …, got '3'"),
        # A value of another type.
        ("server:\n  keepalive_time: [1s]\n", {}, "server.keepalive_time (config.yaml:2): a duration …, got a list"),
        ("server: 9000\n", {}, "server (config.yaml:1): a mapping of options such as host is expected"),
        # Lists, and lists of mappings, over those of the file: which item, and what of it.
        ("", {WAITS: "1s,2"}, f"settings.waits ({WAITS}): a duration … at [1]"),
        ("", {VENUES: '[{"name": "a"}, {"name": "b", "weight": 10}]'}, f"settings.venues ({VENUES}): … at [1].weight"),
        ("", {VENUES: '[{"name": "a", "wieght": 1}]'}, f"settings.venues ({VENUES}): no keys but … at [0]: wieght"),
        ("", {VENUES: '[{"weight": 1}]'}, f"settings.venues ({VENUES}): name is missing at [0].name"),
        ("", {VENUES: '[{"name": "a", "limits": {"wait": 2}}]'}, f"settings.venues ({VENUES}): … at [0].limits.wait"),
        ("", {VENUES: '[{"name": "a"'}, f"settings.venues ({VENUES}): a list with commas, or as JSON, is expected, …"),
        ("settings:\n  venues: [{name: a}]\n", {VENUES: "b"}, f"settings.venues ({VENUES}): a mapping … at [0]"),
        ("", {METHODS: "/a.B/C,a.B/D"}, f"auth.public_methods ({METHODS}): a full method name …, for each item, …"),
    ],
)
def test_a_mistake_is_refused_at_the_start_with_its_key_and_its_place(
    tmp_path: Path, file: str, environment: dict[str, str], says: str
) -> None:
    (line,) = refused(tmp_path, file, **environment)
    assert re.fullmatch(".*".join(map(re.escape, says.split("…"))), line), line


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    file = "server:\n  grcp_port: 1\n  drain_delay: 5\nsettings:\n  venues:\n    - {name: a, weight: 11}\n    - {}\n"
    lines = refused(tmp_path, file, PRICED_LOG_LEVEL="loud", PRICED_SETTINGS_WAITS="1")
    assert {(line.partition(" (")[0], line.rpartition(" at ")[2] if " at " in line else "") for line in lines} == {
        ("server.grcp_port", ""),
        ("server.drain_delay", ""),
        ("settings.venues", "[0].weight"),
        ("settings.venues", "[1].name"),
        ("settings.waits", "[0]"),
        ("log.level", ""),
    }


def test_a_file_that_cannot_be_read_is_told_with_the_line(tmp_path: Path) -> None:
    lines = refused(tmp_path, "server:\n  grpc_port: [1\n")
    assert len(lines) == 1
    assert "config.yaml" in lines[0]
