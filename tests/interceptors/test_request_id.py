from __future__ import annotations

from chassis.call import Call, compose
from interceptors import RequestIdInterceptor
from tests.interceptors.around_kit import MADE, SERVED


async def test_the_request_id_goes_along() -> None:
    parent = Call(SERVED)
    call = Call(MADE, parent=parent)

    async def handle(call: Call) -> None: ...

    await compose([RequestIdInterceptor()], MADE, handle)(call)

    assert call.metadata["x-request-id"] == parent.request_id
    assert not RequestIdInterceptor().applies(SERVED)


async def test_a_request_id_that_was_given_is_kept() -> None:
    call = Call(MADE)
    call.metadata["x-request-id"] = "r-1"

    async def handle(call: Call) -> None: ...

    await compose([RequestIdInterceptor()], MADE, handle)(call)

    assert call.metadata["x-request-id"] == "r-1"
