"""The same endings seen by calls that go out through the full stack of a client.

What the client records is what its caller sees, and what the server recorded. By nature they differ only where the
client's side ended the call: it has its status at once, while the server learns of it and records it a moment later.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
import pytest_asyncio
from cqi.testing.v1 import echo_pb2 as pb

from chassis.call import Call, Kind, Proceed
from chassis.errors import TABLE, ChassisError
from chassis.testing.echo import EchoServicer
from interceptors import IdentityInterceptor, RpcInterceptor, client_interceptors, default_stack
from tests.matrix.endings import ENDINGS, KINDS, PATHS, TEXT, WITHOUT_CREDENTIALS, Ending
from tests.matrix.records import OBSERVERS, Observed, Records, disagreements
from tests.matrix.stacks import TOKEN, Served, authenticator, full

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Arrivals(RpcInterceptor):
    """Tells that a call has reached the server."""

    def __init__(self) -> None:
        self.any = asyncio.Event()

    async def around(self, call: Call, proceed: Proceed) -> Any:
        self.any.set()
        return await proceed(call)


@dataclass(frozen=True)
class Made:
    """A call that went out: what came out of it, and what both sides recorded."""

    error: BaseException | None
    client: Records
    server: Records


class Pair:
    """A client and a server with all observers."""

    def __init__(self) -> None:
        self.client, self.server = Observed("caller"), Observed("echo")
        self._arrivals = Arrivals()
        around = [self._arrivals, *full(self.server, authenticator())]
        self._served = Served(around, EchoServicer(), composed=True)
        self._channels: dict[bool, grpc.aio.Channel] = {}

    async def start(self) -> None:
        for observed in (self.client, self.server):
            observed.logs.level = "debug"
            observed.logs.install()
        await self._served.start()
        for known in (True, False):
            around = default_stack(
                tracing=self.client.tracing,
                metrics=self.client.metrics,
                logs=self.client.logs,
                identity=IdentityInterceptor(TOKEN) if known else None,
            )
            self._channels[known] = grpc.aio.insecure_channel(
                self._served.address, interceptors=client_interceptors(around)
            )

    async def stop(self) -> None:
        for channel in self._channels.values():
            await channel.close()
        await self._served.stop()
        for observed in (self.client, self.server):
            observed.logs.close()

    async def make(self, kind: Kind, ending: Ending) -> Made:
        """Make a call that is to end like this."""
        for timeout in ending.timeouts:
            made = await self._make(kind, ending, timeout)
            if self._arrivals.any.is_set():
                return made
        raise TimeoutError("the machine is too busy: no call arrived in time")

    async def _make(self, kind: Kind, ending: Ending, timeout: float) -> Made:
        self._arrivals.any.clear()
        before = [self._counted(each, side) for each, side in ((self.client, "_client"), (self.server, ""))]
        for observed in (self.client, self.server):
            observed.forget()
        path = PATHS[kind] if ending.known else "/cqi.testing.v1.EchoService/Nothing"
        method = getattr(self._channels[ending.credentials], kind.value)(
            path, response_deserializer=pb.EchoReply.FromString
        )
        call = method(_request(kind, ending), timeout=timeout)
        if ending.cancelled:
            await self._arrivals.any.wait()
            call.cancel()
        error = await _end_of(call, kind)
        await self._served.idle()
        wire = _code(error)
        client = self._records(self.client, "grpc client call completed", "CLIENT", wire, before[0], "_client")
        server = self._records(self.server, "grpc call completed", "SERVER", wire, before[1], "")
        return Made(error, client, server)

    @staticmethod
    def _counted(observed: Observed, side: str) -> Any:
        return observed.counted(f"grpc{side}_calls_total", "status_code")

    def _records(self, observed: Observed, message: str, span: str, wire: str, before: Any, side: str) -> Records:
        lines = [line for group in observed.logged(message).values() for line in group]
        spans = [each for each in observed.spans.get_finished_spans() if each.kind.name == span]
        return Records(
            wire,
            log=[line["code"] for line in lines],
            metric=[code for (code,) in (self._counted(observed, side) - before).elements()],
            span=[str((each.attributes or {})["rpc.response.status_code"]) for each in spans],
        )


def _request(kind: Kind, ending: Ending) -> Any:
    asked = pb.EchoRequest(text=TEXT, outcome=ending.outcome, code=ending.raised)
    raw = asked.SerializeToString() if ending.decodable else b"\xff\xff\xff"
    return iter([raw]) if kind.request_streaming else raw


async def _end_of(call: Any, kind: Kind) -> BaseException | None:
    try:
        if kind.response_streaming:
            async for _ in call:
                pass
        else:
            await call
    except (Exception, asyncio.CancelledError) as error:
        return error
    return None


def _code(error: BaseException | None) -> str:
    if error is None:
        return "OK"
    return error.code.name if isinstance(error, ChassisError) else "CANCELLED"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pair() -> AsyncIterator[Pair]:
    pair = Pair()
    await pair.start()
    yield pair
    await pair.stop()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)
@pytest.mark.parametrize("ending", [*ENDINGS, *WITHOUT_CREDENTIALS], ids=str)
async def test_both_sides_record_what_the_caller_sees(pair: Pair, ending: Ending, kind: Kind) -> None:
    made = await pair.make(kind, ending)

    assert made.client.wire == ending.code.name
    assert disagreements(made.client, OBSERVERS) == []
    assert disagreements(made.server, OBSERVERS) == []
    if ending.message is not None and made.error is not None:
        assert str(made.error).startswith(ending.message)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)
@pytest.mark.parametrize("cls", TABLE, ids=lambda cls: cls.__name__)
async def test_the_error_that_was_raised_comes_out_and_is_recorded_on_both_sides(
    pair: Pair, cls: type[ChassisError], kind: Kind
) -> None:
    name = cls.meaning.code.name
    made = await pair.make(kind, Ending(name, cls.meaning.code, TEXT, pb.OUTCOME_DOMAIN_ERROR, name))

    assert type(made.error) is cls
    assert str(made.error) == TEXT
    assert disagreements(made.client, OBSERVERS) == disagreements(made.server, OBSERVERS) == []
