from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chassis.logging import Logs


class Log:
    """A log that a test reads: `log.lines()` flushes and parses."""

    def __init__(self, *, name: str = "cqar", **options: Any) -> None:
        self.raw: list[str] = []
        self.logs = Logs(name, **{"output": self.raw, **options})
        self.logs.install()

    @property
    def logger(self) -> Any:
        return self.logs.logger

    def texts(self) -> list[str]:
        assert self.logs.flush(30)
        return self.raw

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.texts()]

    def line(self) -> dict[str, Any]:
        (line,) = self.lines()
        return line

    def messages(self) -> list[str]:
        return [line["message"] for line in self.lines()]


@pytest.fixture
def open_log() -> Iterator[Callable[..., Log]]:
    opened: list[Log] = []

    def open_one(**options: Any) -> Log:
        log = Log(**options)
        opened.append(log)
        return log

    yield open_one
    for log in opened:
        assert log.logs.close(30)


@pytest.fixture
def log(open_log: Callable[..., Log]) -> Log:
    return open_log()
