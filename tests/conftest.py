from __future__ import annotations

import gc
import logging
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.leftovers import heeded

pytest_plugins = ["chassis.testing.servers"]

# How long an example takes says something of the machine and its other work, and nothing of the code.
settings.register_profile("cq-chassis", deadline=None)
settings.load_profile("cq-chassis")


def pytest_collection_finish() -> None:
    """Keep collections of garbage from looking at thousands of tests, for a quarter of a second each."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _no_logs_are_left_behind() -> Iterator[None]:
    """What takes log records still, behind the last test, is of a service that was not stopped to its end."""
    yield
    assert [handler for handler in logging.getLogger().handlers if type(handler).__name__ == "LogsHandler"] == []


@pytest.fixture(autouse=True, scope="session")
def _no_test_answers_for_the_loop_of_another() -> Iterator[None]:
    logger = logging.getLogger("asyncio")
    logger.addFilter(heeded)
    yield
    logger.removeFilter(heeded)
