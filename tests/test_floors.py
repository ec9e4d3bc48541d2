"""The floors of the house: what may import what is checked, and no module stands beside them."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
LINTER = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
FLOORS = next(contract["layers"] for contract in LINTER["contracts"] if contract["type"] == "layers")


def test_imports_go_down_only() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_every_module_stands_on_a_floor() -> None:
    on_floors = {name.strip() for floor in FLOORS for name in floor.split("|")}
    modules = {
        f"chassis.{path.stem}"
        for path in (ROOT / "chassis").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    modules.discard("chassis.__init__")
    assert modules | {"interceptors"} == on_floors


def test_no_module_is_a_drawer() -> None:
    drawers = {"utils", "util", "common", "types", "helpers", "misc"}
    found = [
        path for package in ("chassis", "interceptors") for path in (ROOT / package).rglob("*") if path.stem in drawers
    ]
    assert not found
