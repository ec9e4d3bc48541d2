"""The generated types let users write typed servicers and clients, and refuse what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

PROTO = Path(__file__).parents[2] / "proto"

HEAD = """
    from __future__ import annotations

    from collections.abc import AsyncIterator

    import grpc.aio
    from cqc.services.v1 import asset_registry_pb2_grpc as registry
    from cqc.services.v1.asset_registry_pb2 import GetAssetRequest, GetAssetResponse
    from cqi.testing.v1 import echo_pb2_grpc as echo
    from cqi.testing.v1.echo_pb2 import OUTCOME_CRASH, EchoReply, EchoRequest, Outcome

    Context = grpc.aio.ServicerContext[EchoRequest, EchoReply]
"""


def mypy(folder: Path, source: str) -> str:
    """What mypy, as strict as it gets, says about a module of a user of the packages."""
    (folder / "user.py").write_text(textwrap.dedent(HEAD) + textwrap.dedent(source))
    (folder / "mypy.ini").write_text("[mypy]\n")  # none of this project's own settings
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", "mypy.ini", "--hide-error-context", "user.py"],
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(PROTO)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_servicers_of_all_four_kinds_and_their_clients_pass(tmp_path: Path) -> None:
    source = """
        class Echo(echo.EchoServiceServicer):
            async def Echo(self, request: EchoRequest, context: Context) -> EchoReply:
                context.set_code(grpc.StatusCode.OK)
                return EchoReply(text=request.text, facts={"outcome": Outcome.Name(request.outcome)})

            async def EchoStream(self, request: EchoRequest, context: Context) -> AsyncIterator[EchoReply]:
                for index in range(request.count if request.HasField("count") else 1):
                    yield EchoReply(text=request.text, index=index)

            async def Collect(self, request_iterator: AsyncIterator[EchoRequest], context: Context) -> EchoReply:
                return EchoReply(text="".join([request.text async for request in request_iterator]))

            async def Converse(
                self, request_iterator: AsyncIterator[EchoRequest], context: Context
            ) -> AsyncIterator[EchoReply]:
                async for request in request_iterator:
                    yield EchoReply(text=request.text)


        class OneOfMany(registry.AssetRegistryServicer):
            async def GetAsset(
                self, request: GetAssetRequest, context: grpc.aio.ServicerContext[GetAssetRequest, GetAssetResponse]
            ) -> GetAssetResponse:
                response = GetAssetResponse()
                response.asset.asset_id = request.asset_id
                return response


        async def use(server: grpc.aio.Server, channel: grpc.aio.Channel) -> int:
            echo.add_EchoServiceServicer_to_server(Echo(), server)
            registry.add_AssetRegistryServicer_to_server(OneOfMany(), server)
            stub = echo.EchoServiceStub(channel)
            reply = await stub.Echo(EchoRequest(text="hello", outcome=OUTCOME_CRASH), timeout=1.0)
            collected = await stub.Collect(iter([EchoRequest()]))
            last = 0
            async for one in stub.EchoStream(EchoRequest(count=3)):
                last = one.index
            call = stub.Converse()
            await call.write(EchoRequest())
            return reply.index + collected.index + last


        def use_blocking(channel: grpc.Channel) -> str:
            return echo.EchoServiceStub(channel).Echo(EchoRequest(text="hello")).text
    """
    assert mypy(tmp_path, source) == "Success: no issues found in 1 source file\n"


def test_a_field_that_does_not_exist_and_a_value_of_the_wrong_type_are_refused(tmp_path: Path) -> None:
    source = """
        EchoRequest(txt="hello")
        EchoRequest(text=1)
        EchoRequest(outcome=3)
        EchoRequest().HasField("txt")
    """
    said = mypy(tmp_path, source)
    assert 'Unexpected keyword argument "txt"' in said
    assert 'Argument "text" to "EchoRequest" has incompatible type "int"; expected "str"' in said
    assert 'Argument "outcome" to "EchoRequest" has incompatible type "int"' in said
    assert said.rstrip().endswith("Found 4 errors in 1 file (checked 1 source file)")


def test_a_handler_that_returns_the_wrong_message_is_refused(tmp_path: Path) -> None:
    source = """
        class Echo(echo.EchoServiceServicer):
            async def Echo(self, request: EchoRequest, context: Context) -> EchoRequest:
                return request
    """
    assert 'Return type "Coroutine[Any, Any, EchoRequest]" of "Echo" incompatible' in mypy(tmp_path, source)
