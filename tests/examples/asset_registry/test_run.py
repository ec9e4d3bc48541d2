"""`chassis run examples.asset_registry.service:AssetRegistry --dev`, as a developer meets it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import grpc
import pytest
from cqc.services.v1 import asset_registry_pb2 as pb
from cqc.services.v1.asset_registry_pb2_grpc import AssetRegistryStub

from tests.process import PATIENCE, Process, processes

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "examples" / "asset_registry" / "config.yaml"
BEARER = (("authorization", "Bearer demo-key-for-the-tour"),)

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[[], Process]]:
    """The registry in a process of its own, with the servers that it starts for itself."""
    with processes(tmp_path) as start:
        yield partial(
            start,
            *("run", "examples.asset_registry.service:AssetRegistry", "--dev", "--config", str(CONFIG)),
            PYTHONPATH=str(ROOT),
            CQAR_SERVER_GRPC_PORT="0",
            CQAR_SERVER_HTTP_PORT="0",
        )


def test_what_was_stored_is_there_after_a_restart(run: Callable[[], Process]) -> None:
    service = run()
    with grpc.insecure_channel(service.until("service started")["grpc_address"]) as channel:
        create = pb.CreateAssetRequest(symbol="BTC", name="Bitcoin", asset_type=1)  # type: ignore[arg-type]
        created = AssetRegistryStub(channel).CreateAsset(create, metadata=BEARER, timeout=PATIENCE).asset
        code, lines, err = service.end(by=signal.SIGTERM)
        assert (code, err) == (0, "")
        assert lines[-1]["message"] == "service stopped"
        assert [line for line in lines if line["level"] not in ("debug", "info")] == []
    service = run()
    with grpc.insecure_channel(service.until("service started")["grpc_address"]) as channel:
        stub = AssetRegistryStub(channel)
        request = pb.GetAssetRequest(asset_id=created.asset_id)
        assert stub.GetAsset(request, metadata=BEARER, timeout=PATIENCE).asset == created
        with pytest.raises(grpc.RpcError) as refused:
            stub.CreateAsset(create, metadata=BEARER, timeout=PATIENCE)
        assert refused.value.code() is grpc.StatusCode.ALREADY_EXISTS
        assert service.ended(by=signal.SIGTERM) == 0
