"""`chassis run examples.asset_registry.service:AssetRegistry --dev`, as a developer meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from cqc.services.v1 import asset_registry_pb2 as pb
from cqc.services.v1.asset_registry_pb2_grpc import AssetRegistryStub

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "examples" / "asset_registry" / "config.yaml"
BEARER = (("authorization", "Bearer demo-key-for-the-tour"),)
PATIENCE = 30.0

pytestmark = pytest.mark.timeout(120)


class Service:
    """The registry in a process of its own, with the servers that it starts for itself."""

    def __init__(self, folder: Path) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "CQAR_SERVER_GRPC_PORT": "0",
            "CQAR_SERVER_HTTP_PORT": "0",
        }
        target = "examples.asset_registry.service:AssetRegistry"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "chassis.cli", "run", target, "--dev", "--config", str(CONFIG)],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.lines: list[dict[str, Any]] = []
        self.address = self._until("service started")["grpc_address"]

    def _until(self, message: str) -> dict[str, Any]:
        assert self.process.stdout is not None
        for text in self.process.stdout:
            self.lines.append(json.loads(text))
            if self.lines[-1]["message"] == message:
                return self.lines[-1]
        raise AssertionError(f"ended without {message!r}: {self.lines}")

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        rest, _ = self.process.communicate(timeout=PATIENCE)
        self.lines += [json.loads(text) for text in rest.splitlines()]
        return self.process.returncode


@contextmanager
def running_service(folder: Path) -> Iterator[Service]:
    service = Service(folder)
    try:
        yield service
    finally:
        service.process.kill()
        service.process.communicate()


def test_what_was_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    with running_service(tmp_path) as service, grpc.insecure_channel(service.address) as channel:
        create = pb.CreateAssetRequest(symbol="BTC", name="Bitcoin", asset_type=1)  # type: ignore[arg-type]
        created = AssetRegistryStub(channel).CreateAsset(create, metadata=BEARER, timeout=PATIENCE).asset
        assert service.terminate() == 0
        assert service.lines[-1]["message"] == "service stopped"
        assert [line for line in service.lines if line["level"] not in ("debug", "info")] == []
    with running_service(tmp_path) as service, grpc.insecure_channel(service.address) as channel:
        stub = AssetRegistryStub(channel)
        request = pb.GetAssetRequest(asset_id=created.asset_id)
        assert stub.GetAsset(request, metadata=BEARER, timeout=PATIENCE).asset == created
        with pytest.raises(grpc.RpcError) as refused:
            stub.CreateAsset(create, metadata=BEARER, timeout=PATIENCE)
        assert refused.value.code() is grpc.StatusCode.ALREADY_EXISTS
        assert service.terminate() == 0
