from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.interceptors.echo_kit import Recording, Serving


@pytest.fixture
async def serving() -> AsyncIterator[Serving]:
    async with AsyncExitStack() as stack:
        yield Serving(stack)


@pytest.fixture
async def recording() -> Recording:
    return Recording()
