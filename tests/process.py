"""A service as an operator meets it: `chassis run` as a process, with its lines, signals and exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

PATIENCE = 20.0


class Process:
    """`chassis run` in a folder of its own."""

    def __init__(self, folder: Path, target: str | None, **settings: str) -> None:
        environment = {
            "CQI_SERVER_GRPC_PORT": "0",
            "CQI_SERVER_HTTP_PORT": "0",
            "CQI_SERVER_DRAIN_DELAY": "0s",
            **{f"CQI_{name.upper()}": value for name, value in settings.items()},
        }
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "chassis.cli", "run", *([target] if target else [])],
            cwd=folder,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[dict[str, Any]] = []

    def until(self, message: str) -> dict[str, Any]:
        """Read log lines until one with this message."""
        assert self.popen.stdout is not None
        for text in self.popen.stdout:
            line = json.loads(text)
            self.lines.append(line)
            if line["message"] == message:
                return dict(line)
        raise AssertionError(
            f"ended without {message!r}: {self.lines} {self.popen.stderr and self.popen.stderr.read()}"
        )

    def send(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def end(self) -> tuple[int, list[dict[str, Any]], str]:
        """Wait for the end; returns exit code, all log lines, and what went to stderr."""
        out, err = self.popen.communicate(timeout=PATIENCE)
        self.lines += [json.loads(line) for line in out.splitlines()]
        return self.popen.returncode, self.lines, err
