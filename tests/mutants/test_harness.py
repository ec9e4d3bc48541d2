"""The harness itself, on a repository of one module and one test."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mutants import origin
from tests.mutants.__main__ import Verdict, main
from tests.mutants.running import Outcome, copy_of
from tests.mutants.table import ROOT, Mutant, problems, read

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


@pytest.fixture(autouse=True, scope="module")
def _plain_pytest() -> Iterator[None]:
    # Loading all of the suite's plugins takes longer than these tests, which need none of them.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        yield


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return _tree(tmp_path / "tree")


def _tree(root: Path) -> Path:
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


@dataclass(frozen=True)
class Told:
    """What a run of the harness told."""

    code: int
    text: str
    module: str

    def of(self, protects: str) -> tuple[str, str]:
        """The verdict on a row, and who has noticed."""
        lines = self.text.splitlines()
        (number,) = (number for number, line in enumerate(lines) if line.endswith(f"chassis/limit.py  {protects}"))
        return re.split(r" {2,}| +[0-9.]+ s ", lines[number])[0], lines[number + 1].strip()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """One run, two at a time, over a row of each kind: each costs a process of pytest or two."""
    tree = _tree(tmp_path_factory.mktemp("told") / "tree")
    tables = _table(tree, protects="By a test")
    _table(tree, protects="By nobody", new="min(10, value)")
    _table(tree, protects="By a test that fails anyway", test="test_what_fails_anyway")
    _table(tree, protects="Not to be imported", old="def limited", new="import nothing_like_this\ndef limited")
    _table(tree, protects="By a timeout", new="[None for _ in iter(int, 1)]")
    _table(tree, protects="By dying", new="__import__('os').abort()")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as said:
        patch.setattr("tests.mutants.running.TEST_LIMIT", 2)
        code = main(["-j", "2"], root=tree, tables=tables)
    return Told(code, said.getvalue(), (tree / "chassis/limit.py").read_text())


def test_a_mutant_whose_test_fails_is_caught(told: Told) -> None:
    assert told.of("By a test") == ("caught", "tests/test_limit.py::test_a_large_value_is_limited")


def test_a_mutant_that_no_test_notices_has_survived(told: Told) -> None:
    assert told.of("By nobody")[0] == "SURVIVED"


def test_a_test_that_fails_without_the_mutant_proves_nothing(told: Told) -> None:
    assert told.of("By a test that fails anyway")[0] == "FAILS ANYWAY"


def test_code_that_cannot_even_be_imported_proves_nothing(told: Told) -> None:
    assert told.of("Not to be imported")[0] == "DID NOT RUN"


def test_a_single_test_that_hangs_is_caught_by_timeout(told: Told) -> None:
    assert told.of("By a timeout")[0] == "caught by timeout"


def test_a_process_that_dies_has_noticed(told: Told) -> None:
    said, by = told.of("By dying")
    assert said == "caught"
    assert "died of signal" in by


def test_what_was_not_caught_is_counted_and_makes_the_run_fail(told: Told) -> None:
    assert told.code == 1
    assert told.text.endswith("\n3 of 6 mutants were caught\n")
    assert told.text.count("\nSURVIVED: limit.toml, By nobody\n") == 1


def test_the_tree_itself_is_never_changed(told: Told) -> None:
    assert told.module == _MODULE


def test_a_run_in_which_all_are_caught_ends_with_0(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (mutant,) = read("limit", tables := _table(tree))
    for said, code in (("caught", 0), ("caught by timeout", 0), ("SURVIVED", 1)):
        verdicts = [Verdict(mutant, said, "", 0.0, "")]
        monkeypatch.setattr("tests.mutants.__main__.judge", lambda *_, verdicts=verdicts: verdicts)
        assert main([], root=tree, tables=tables) == code


def test_a_mutant_that_hangs_is_caught_by_timeout(tree: Path) -> None:
    (mutant,) = read("limit", _table(tree, new="[None for _ in iter(int, 1)]"))
    with copy_of(tree) as copy, copy.without(mutant):
        assert copy.run(mutant.tests, limit=2).outcome is Outcome.TIMED_OUT


def test_rows_are_chosen_by_area_and_text(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = _table(tree, protects="The first")
    _table(tree, protects="Another", test="test_a_small_value_is_itself")
    chosen: list[str] = []

    def judge(mutants: Sequence[Mutant], *_: object) -> list[Verdict]:
        chosen.extend(mutant.protects for mutant in mutants)
        return []

    monkeypatch.setattr("tests.mutants.__main__.judge", judge)
    main(["limit", "-k", "first"], root=tree, tables=tables)
    assert chosen == ["The first"]
    main([], root=tree, tables=tables)
    assert chosen == ["The first", "The first", "Another"]
    for nothing in (["elsewhere"], ["-k", "nothing like this"]):
        with pytest.raises(SystemExit):
            main(nothing, root=tree, tables=tables)


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
