"""`chassis config`: enough to run a service without opening its source."""

from __future__ import annotations

from pathlib import Path

import pytest

from chassis.cli import main

SERVICE = """
from dataclasses import dataclass
from chassis import ServiceChassis
from chassis.config import Secret, knob

class Priced(ServiceChassis):
    name = "priced"
    env_prefix = "PRICED"

    @dataclass(frozen=True)
    class Settings:
        venue_key: Secret = knob(Secret(""), doc="Key for the venue's API.")
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "priced_service.py").write_text(SERVICE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_without_a_service_it_lists_every_option_with_default_and_meaning(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config"]) == 0
    out = capsys.readouterr().out
    assert "server.grpc_port" in out
    assert "9000" in out
    assert "Port for gRPC" in out


def test_for_a_service_it_shows_values_and_origins_and_never_a_secret(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRICED_SERVER_GRPC_PORT", "9123")
    monkeypatch.setenv("PRICED_SETTINGS_VENUE_KEY", "canary-in-the-mine")
    assert main(["config", "priced_service:Priced"]) == 0
    out = capsys.readouterr().out
    assert "9123" in out
    assert "PRICED_SERVER_GRPC_PORT" in out
    assert "settings.venue_key" in out
    assert "canary" not in out


def test_as_yaml_it_is_a_file_that_can_be_loaded(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "priced_service:Priced", "--format", "yaml"]) == 0
    (here / "written.yaml").write_text(capsys.readouterr().out)
    assert main(["config", "priced_service:Priced", "--config", "written.yaml"]) == 0


def test_the_target_in_pyproject_is_the_default_here_too(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "pyproject.toml").write_text('[tool.chassis]\nservice = "priced_service:Priced"\n')
    assert main(["config"]) == 0
    assert "settings.venue_key" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["not toml [", "[tool.chassis]\nservice = 7\n"])
def test_a_pyproject_that_cannot_be_used_is_told_in_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    (here / "pyproject.toml").write_text(content)
    assert main(["config"]) == 2
    err = capsys.readouterr().err
    assert "pyproject.toml" in err
    assert len(err.splitlines()) == 1


def test_a_file_that_is_not_there_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "priced_service:Priced", "--config", "nothing.yaml"]) == 2
    assert "nothing.yaml" in capsys.readouterr().err


def test_what_the_module_itself_raises_is_passed_on_to_its_author(here: Path) -> None:
    (here / "broken_service.py").write_text("import a_library_that_is_not_installed\n")
    with pytest.raises(ModuleNotFoundError, match="a_library_that_is_not_installed"):
        main(["config", "broken_service:Anything"])
