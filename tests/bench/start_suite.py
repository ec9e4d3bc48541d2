"""How long processes take to import and configure a service, beside grpc.aio alone, and to start one with all parts."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.bench.backing import Place, backing
from tests.bench.child import Launcher, Meter
from tests.bench.cores import pin
from tests.bench.statistics import Goal, Sample
from tests.bench.suite import Column, Comparison, Measure, Suite, Variant, cpu_ms, wall_ms

if TYPE_CHECKING:
    from chassis.dev.servers import ServerName

_ROOT = Path(__file__).parent.parent.parent
_PATIENCE = 60.0
_PORTS = {"grpc_port": 0, "http_port": 0}
_SERVERS: Sequence[ServerName] = ("postgres", "redis", "nats")


def _variant(name: str, code: str, **settings: object) -> Variant:
    return Variant(name, "", settings={"code": code, **settings})


_CONFIGURE = "from tests.bench.starting import configure; configure({file!r})"
_START = "from tests.bench.starting_whole import main; main({file!r})"

_PYTHON = _variant("python itself", "pass")
_GRPC = _variant("import grpc.aio", "import grpc.aio")
_CHASSIS = _variant("ServiceChassis, a servicer, configuration", _CONFIGURE)
_WITH_AUTH = _variant("the same, with every part and auth configured", _CONFIGURE, whole=True)
_WHOLE = _variant("start to ready, every part: all of it", _START, whole=True)
_OWN = _variant("start to ready, every part: without imports", _START, whole=True, own=True)

_GOALS = [
    Comparison(
        "ServiceChassis, a servicer, configuration / import grpc.aio",
        *(_CHASSIS.name, _GRPC.name, wall_ms, Goal(4, 2.5, at_most=True)),
    ),
    Comparison(
        "the same, with every part and auth configured / import grpc.aio",
        *(_WITH_AUTH.name, _GRPC.name, wall_ms, Goal(at_most=True)),
    ),
    Comparison("import grpc.aio / python itself", _GRPC.name, _PYTHON.name, wall_ms, Goal(at_most=True)),
    Comparison(
        "start to ready, every part, without imports",
        *(_OWN.name, "", wall_ms, Goal(ambition=1000, at_most=True), "alone", "ms"),
    ),
]


@contextmanager
def _session(launcher: Launcher, variants: Sequence[Variant]) -> Iterator[Measure]:
    with backing(_SERVERS) as place, tempfile.TemporaryDirectory() as folder:
        little, whole = Path(folder) / "little.yaml", Path(folder) / "whole.yaml"
        little.write_text(yaml.safe_dump({"server": _PORTS, "log": {"level": "info"}}))
        whole.write_text(yaml.safe_dump(_configuration(place(), launcher.credentials.public_key)))
        yield lambda variant: _measure(variant, whole if variant.settings.get("whole") else little, launcher.core)


def _configuration(place: Place, public_key: str) -> dict[str, dict[str, object]]:
    dotted = {
        **place,
        "auth.jwt_public_key": public_key,
        "tracing.enabled": True,
        "tracing.endpoint": "http://127.0.0.1:4317",
        "tracing.insecure": True,
    }
    sections: dict[str, dict[str, object]] = {"server": dict(_PORTS)}
    for key, value in dotted.items():
        section, _, name = key.partition(".")
        sections.setdefault(section, {})[name] = value
    return sections


def _measure(variant: Variant, file: Path, core: int | None) -> Sample:
    code = str(variant.settings["code"]).format(file=str(file))
    before = _cpu_of_children()
    started = time.perf_counter()
    process = subprocess.run(
        [sys.executable, "-c", code],
        cwd=_ROOT,
        preexec_fn=lambda: pin(core),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # where log lines go
        stderr=subprocess.PIPE,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )
    wall, used = time.perf_counter() - started, _cpu_of_children() - before
    if process.returncode:
        raise RuntimeError(f"{variant.name!r} ended with {process.returncode}:\n{process.stderr}")
    if variant.settings.get("own"):
        told: dict[str, Any] = json.loads(process.stderr.splitlines()[-1])
        wall, used = told["own_wall"], told["own_cpu"]
    return Meter(used).sample(1, wall)


def _cpu_of_children() -> float:
    """Seconds that all ended children have used, user and system time."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def start_suite() -> Suite:
    """Each turn is a new process."""
    return Suite(
        *("start", "Starting", "starts"),
        [_PYTHON, _GRPC, _CHASSIS, _WITH_AUTH, _WHOLE, _OWN],
        _GOALS,
        _session,
        turns=3,
        subject="process",
        columns=(Column("ms", wall_ms, spread=True), Column("CPU ms", cpu_ms)),
        saturates=False,
    )
