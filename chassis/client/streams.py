from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

_Reply = TypeVar("_Reply")


@asynccontextmanager
async def reading(call: Any) -> AsyncIterator[AsyncIterator[Any]]:
    """Read a stream of replies, and end the call when the block is left, however that happens.

    A stream that is left early with a bare `async for` goes on until its deadline.

    ```python
    async with reading(stub.StreamPrices(request)) as prices:
        async for price in prices:
            if price.price < limit:
                break
    ```
    """
    try:
        yield call
    finally:
        call.cancel()
