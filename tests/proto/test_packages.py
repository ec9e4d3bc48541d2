"""The packages of the contract import without a warning and carry their types."""

from __future__ import annotations

import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import cqc
import cqi
import google.protobuf
import grpc
import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(
    {"cqc", "cqi"}
    | {
        found.name
        for top in (cqc, cqi)
        for found in pkgutil.walk_packages(top.__path__, f"{top.__name__}.")
        if found.ispkg
    }
)


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def test_every_folder_with_a_module_is_a_package() -> None:
    folders = {path.parent for top in (cqc, cqi) for path in Path(top.__path__[0]).rglob("*.proto")}
    assert {".".join(folder.relative_to(ROOT / "proto").parts) for folder in folders} <= set(PACKAGES)


@pytest.mark.parametrize("top", [cqc, cqi])
def test_type_checkers_are_told_that_the_package_is_typed(top: object) -> None:
    [folder] = top.__path__  # type: ignore[attr-defined]
    assert (Path(folder) / "py.typed").exists()


def test_all_modules_import_without_a_warning() -> None:
    modules = sorted(
        ".".join(path.relative_to(ROOT / "proto").with_suffix("").parts) for path in (ROOT / "proto").rglob("*_pb2*.py")
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import {', '.join(modules)}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(modules) == 37 + 5 + 2 + 1


def test_the_dependencies_allow_no_version_that_the_generated_code_refuses() -> None:
    """Generated code checks at import that grpcio and protobuf are not older than what generated it."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    floors = dict(re.findall(r"^(grpcio|protobuf)>=([\d.]+)", "\n".join(declared), re.MULTILINE))
    stub = (ROOT / "proto/cqi/testing/v1/echo_pb2_grpc.py").read_text()
    module = (ROOT / "proto/cqi/testing/v1/echo_pb2.py").read_text()
    for package, pattern, text, installed in (
        ("grpcio", r"GRPC_GENERATED_VERSION = '([\d.]+)'", stub, grpc.__version__),
        ("protobuf", r"# Protobuf Python Version: ([\d.]+)", module, google.protobuf.__version__),
    ):
        needed = re.search(pattern, text)
        assert needed is not None
        assert numbers(floors[package]) >= numbers(needed[1]), f"pyproject.toml allows {package} {floors[package]}"
        assert numbers(installed) >= numbers(needed[1])
