from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.contracts.bus_kit import KITS, World


@pytest.fixture(params=KITS)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """Services on an event bus, once for each backend."""
    world = World(KITS[request.param][1](request))
    yield world
    await world.close()
