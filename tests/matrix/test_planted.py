"""The matrix finds an observer that guesses how a call ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from grpc import StatusCode

from chassis.auth import ApiKeyAuthenticator
from chassis.call import Call, Interceptor, Kind, Proceed
from chassis.errors import ChassisError
from chassis.metrics.catalogue import GRPC_CALLS
from interceptors import MetricsInterceptor, RpcInterceptor
from tests.matrix.endings import ENDINGS, KINDS, Ending
from tests.matrix.playing import Server
from tests.matrix.records import OBSERVERS, Observed, disagreements
from tests.matrix.stacks import STYLES, Stack, full

pytestmark = pytest.mark.asyncio(loop_scope="session")

ABORTS = [ending for ending in ENDINGS if ending.name in ("abort", "abort with status")]
OK = next(ending for ending in ENDINGS if ending.code is StatusCode.OK)


class GuessingMetrics(RpcInterceptor):
    """Counts a call as OK unless something crashed, as if `abort` were the handler's ordinary way to return."""

    def __init__(self, observed: Observed) -> None:
        self._calls = observed.metrics.get(GRPC_CALLS)

    async def around(self, call: Call, proceed: Proceed) -> Any:
        guess = "OK"
        try:
            return await proceed(call)
        except ChassisError:
            raise
        except Exception:
            guess = "INTERNAL"
            raise
        finally:
            self._calls.labels(call.method.path, guess).inc()


def _with_a_guess(observed: Observed, known: ApiKeyAuthenticator | None) -> Sequence[Interceptor]:
    return [
        GuessingMetrics(observed) if isinstance(each, MetricsInterceptor) else each for each in full(observed, known)
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=STYLES)
async def guessing(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    stack = Stack("full stack with a guess", _with_a_guess, OBSERVERS, composed=True)
    with ThreadPoolExecutor(4) as callers:
        server = Server(stack, request.param, auth=False, callers=callers)
        await server.start()
        yield server
        await server.stop()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)
@pytest.mark.parametrize("ending", ABORTS, ids=str)
async def test_a_metric_that_says_ok_for_an_abort_fails(guessing: Server, ending: Ending, kind: Kind) -> None:
    played = await guessing.play(kind, ending)

    assert disagreements(played.records, OBSERVERS) == [f"metric says ['OK'], the wire says {ending.code.name}"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)
async def test_a_guess_that_happens_to_be_right_passes(guessing: Server, kind: Kind) -> None:
    played = await guessing.play(kind, OK)

    assert disagreements(played.records, OBSERVERS) == []


@pytest.mark.parametrize("present", [("log",), ("metric",), ("span",)], ids=str)
async def test_a_record_that_is_missing_or_made_twice_fails(guessing: Server, present: tuple[str, ...]) -> None:
    played = await guessing.play(Kind.UNARY_UNARY, OK)
    (name,) = present

    missing = disagreements(_changed(played.records, name, []), OBSERVERS)
    twice = disagreements(_changed(played.records, name, ["OK", "OK"]), OBSERVERS)

    assert missing == [f"{name} says nothing, the wire says OK"]
    assert twice == [f"{name} says ['OK', 'OK'], the wire says OK"]


def _changed(records: Any, name: str, said: list[str]) -> Any:
    return replace(records, **{name: said})
