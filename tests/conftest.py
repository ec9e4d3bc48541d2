from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from hypothesis import settings

pytest_plugins = ["chassis.testing.servers"]

# How long an example takes says something of the machine and its other work, and nothing of the code.
settings.register_profile("cq-chassis", deadline=None)
settings.load_profile("cq-chassis")


@pytest.fixture(autouse=True, scope="module")
def _no_logs_are_left_behind() -> Iterator[None]:
    """What takes log records still, behind a module, is of a service that was not stopped to its end."""
    before = _logs()
    yield
    assert _logs() == before


def _logs() -> list[logging.Handler]:
    return [handler for handler in logging.getLogger().handlers if type(handler).__name__ == "LogsHandler"]
