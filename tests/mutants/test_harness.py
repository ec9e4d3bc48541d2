"""The harness itself, on a repository of one module and one test."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.mutants import origin
from tests.mutants.__main__ import main
from tests.mutants.running import Outcome, copy_of
from tests.mutants.table import ROOT, problems, read

_ROW = """
[[mutant]]
fault = ""
protects = "{protects}"
file = "chassis/limit.py"
old = '''{old}'''
new = '''{new}'''
tests = ["tests/test_limit.py::{test}"]
"""
_MODULE = """\
def limited(value):
    return min(value, 10)
"""
_TESTS = """\
import time

from chassis.limit import limited


def test_a_large_value_is_limited():
    assert limited(11) == 10


def test_a_small_value_is_itself():
    assert limited(1) == 1


def test_what_fails_anyway():
    assert limited(1) == 2
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Loading all of the suite's plugins takes longer than these tests, which need none of them.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    root = tmp_path / "tree"
    for name, text in {
        "chassis/__init__.py": "",
        "chassis/limit.py": _MODULE,
        "tests/test_limit.py": _TESTS,
        "tests/mutants/origin.py": (ROOT / "tests/mutants/origin.py").read_text(),
        "tests/mutants/running.py": (ROOT / "tests/mutants/running.py").read_text(),
        "tests/mutants/table.py": (ROOT / "tests/mutants/table.py").read_text(),
        "pyproject.toml": "[tool.pytest.ini_options]\npythonpath = ['.']\n",
        ".gitignore": "ignored.txt\n",
        "ignored.txt": "",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    return root


def _table(
    tree: Path,
    *,
    old: str = "min(value, 10)",
    new: str = "value",
    test: str = "test_a_large_value_is_limited",
    protects: str = "A limit",
) -> Path:
    folder = tree / "tables"
    folder.mkdir(exist_ok=True)
    with (folder / "limit.toml").open("a") as file:
        file.write(_ROW.format(old=old, new=new, test=test, protects=protects))
    return folder


def test_a_mutant_whose_test_fails_is_caught(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], root=tree, tables=_table(tree)) == 0
    told = capsys.readouterr().out
    assert "caught" in told
    assert "test_limit.py::test_a_large_value_is_limited" in told
    assert "1 of 1 mutants were caught" in told
    assert (tree / "chassis/limit.py").read_text() == _MODULE


def test_a_mutant_that_no_test_notices_has_survived(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = _table(tree, test="test_a_small_value_is_itself")
    assert main([], root=tree, tables=tables) == 1
    assert "SURVIVED" in capsys.readouterr().out


def test_a_test_that_fails_without_the_mutant_proves_nothing(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], root=tree, tables=_table(tree, test="test_what_fails_anyway")) == 1
    assert "FAILS ANYWAY" in capsys.readouterr().out


def test_code_that_cannot_even_be_imported_proves_nothing(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = _table(tree, old="def limited", new="import nothing_like_this\ndef limited")
    assert main([], root=tree, tables=tables) == 1
    assert "DID NOT RUN" in capsys.readouterr().out


def test_a_mutant_that_hangs_is_caught_by_timeout(tree: Path) -> None:
    (mutant,) = read("limit", _table(tree, new="[None for _ in iter(int, 1)]"))
    with copy_of(tree) as copy, copy.without(mutant):
        assert copy.run(mutant.tests, limit=3).outcome is Outcome.TIMED_OUT


def test_a_single_test_that_hangs_is_caught_by_timeout(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tests.mutants.running.TEST_LIMIT", 1)
    tables = _table(tree, new="[None for _ in iter(int, 1)]")
    assert main([], root=tree, tables=tables) == 0
    assert "caught by timeout" in capsys.readouterr().out


def test_a_process_that_dies_has_noticed(tree: Path) -> None:
    (mutant,) = read("limit", _table(tree, new="__import__('os').abort()"))
    with copy_of(tree) as copy, copy.without(mutant):
        result = copy.run(mutant.tests)
    assert result.outcome is Outcome.FAILED
    assert "died of signal" in result.by


def test_several_can_be_tried_at_a_time(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = _table(tree, protects="The first")
    _table(tree, protects="Another", new="max(value, 10)")
    _table(tree, protects="A third", new="10", test="test_a_small_value_is_itself")
    assert main(["-j", "2"], root=tree, tables=tables) == 0
    assert "3 of 3 mutants were caught" in capsys.readouterr().out


def test_rows_are_chosen_by_area_and_text(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = _table(tree, protects="The first")
    _table(tree, protects="Another", test="test_a_small_value_is_itself")
    assert main(["limit", "-k", "first"], root=tree, tables=tables) == 0
    assert "Another" not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["elsewhere"], root=tree, tables=tables)
    with pytest.raises(SystemExit):
        main(["-k", "nothing like this"], root=tree, tables=tables)


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ({"old": "max("}, "occurs 0 times"),
        ({"old": "value"}, "occurs 2 times"),
        ({"new": "min(value, 10)"}, "same as `old`"),
        ({"new": "min(value"}, "no Python any more"),
        ({"test": "test_of_nothing"}, "there is no test test_of_nothing"),
    ],
)
def test_a_row_that_does_not_fit_is_told(tree: Path, row: dict[str, str], wrong: str) -> None:
    (mutant,) = read("limit", _table(tree, **row))
    (problem,) = problems(mutant, tree)
    assert wrong in problem


def test_a_row_in_another_form_is_refused(tree: Path) -> None:
    tables = _table(tree)
    (tables / "limit.toml").write_text('[[mutant]]\nprotects = "A limit"\n')
    with pytest.raises(ValueError, match=r"limit.toml, row 1"):
        read("limit", tables)


def test_the_copy_has_what_git_would_keep_and_nothing_else(tree: Path) -> None:
    with copy_of(tree) as copy:
        assert (copy.folder / "chassis/limit.py").is_file()
        assert not (copy.folder / "ignored.txt").exists()


def test_code_from_elsewhere_than_the_copy_is_found(tree: Path) -> None:
    assert origin.strangers(str(ROOT)) == []
    assert str(Path(origin.__file__)) in origin.strangers(str(tree))


def test_a_run_on_other_code_than_the_copys_proves_nothing(tree: Path) -> None:
    outside = tree.parent / "outside" / "examples"
    outside.mkdir(parents=True)
    (outside / "__init__.py").write_text("")
    path = tree / "tests/test_limit.py"
    path.write_text(f"import sys\nsys.path.insert(0, {str(outside.parent)!r})\nimport examples\n{_TESTS}")
    with copy_of(tree) as copy:
        result = copy.run(["tests/test_limit.py::test_a_small_value_is_itself"])
    assert result.outcome is Outcome.UNUSABLE
    assert "other code" in result.by
