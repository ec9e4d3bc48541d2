"""`make demo` shows what it says, and notices when something is not as it should be."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from examples.demo.__main__ import demo
from examples.demo.session import EXPECTED
from examples.demo.stage import ROOT

pytestmark = pytest.mark.timeout(120)


async def test_the_session_goes_as_expected_and_shows_calls_trace_logs_metrics_and_health(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert await demo(once=True) == 0
    out = capsys.readouterr().out
    for shown in ("ALREADY_EXISTS", "UNAUTHENTICATED", "asset_created", "listing-watch", "consumer", "healthy"):
        assert shown in out
    assert "cqar_event_published_total" in out
    assert "PostgreSQL back" in out
    assert "✗" not in out
    assert "all as expected" in out


async def test_one_planted_wrong_expectation_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    assert await demo(once=True, expected={**EXPECTED, "missing": "OK"}, outages=False) == 1
    assert "missing: expected OK, got NOT_FOUND" in capsys.readouterr().out


def test_it_stays_up_with_things_to_try_until_ctrl_c() -> None:
    environment = {**os.environ, "DEMO_ONCE": "0"}
    process = subprocess.Popen(
        [sys.executable, "-m", "examples.demo"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "grpcurl" in line:
            break
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 0
    assert any("curl http://127.0.0.1:" in line for line in lines)


async def test_services_that_do_not_start_are_no_endless_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CQAR_SERVER_HOST", "192.0.2.1")  # no address of this machine
    with pytest.raises(RuntimeError, match=r"a service ended by itself.*set server.host"):
        await asyncio.wait_for(demo(once=True), 60)
