"""The tables of mutants: what protects, how it is taken out, and the tests that then fail."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TABLES = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Mutant:
    """One protection, and the change that takes it out."""

    area: str
    fault: str
    protects: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def applied_to(self, text: str) -> str:
        """The file's text without the protection; raises ValueError where it cannot be told what to change."""
        times = text.count(self.old) if self.old else 0
        if times != 1:
            raise ValueError(f"`old` must occur once in {self.file} and occurs {times} times: {self.old!r}")
        if self.old == self.new:
            raise ValueError(f"`new` is the same as `old`: {self.old!r}")
        return text.replace(self.old, self.new)


def areas(folder: Path = TABLES) -> list[str]:
    """The names of all tables."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def read(area: str, folder: Path = TABLES) -> list[Mutant]:
    """The mutants of one table; raises ValueError for a row that is not in the form of all others."""
    rows = tomllib.loads((folder / f"{area}.toml").read_text()).get("mutant", [])
    return [_mutant(area, number, row) for number, row in enumerate(rows, 1)]


def _mutant(area: str, number: int, row: dict[str, Any]) -> Mutant:
    expected = {field.name for field in fields(Mutant)} - {"area"}
    if row.keys() != expected:
        raise ValueError(f"{area}.toml, row {number}: it has {sorted(row)} and should have {sorted(expected)}")
    texts = [name for name in expected - {"tests"} if not isinstance(row[name], str)]
    tests = row["tests"]
    if texts or not isinstance(tests, list) or not tests or not all(isinstance(each, str) for each in tests):
        raise ValueError(f"{area}.toml, row {number}: `tests` must be a list of node ids, and the others texts")
    if not row["protects"].strip():
        raise ValueError(f"{area}.toml, row {number}: `protects` must say what is protected")
    return Mutant(area, **{**row, "tests": tuple(tests)})


def problems(mutant: Mutant, root: Path = ROOT) -> Iterator[str]:
    """What is wrong with a row, found without running anything."""
    path = root / mutant.file
    if not path.is_file():
        yield f"there is no file {mutant.file}"
    else:
        try:
            changed = mutant.applied_to(path.read_text())
            if path.suffix == ".py":
                ast.parse(changed)
        except SyntaxError as error:
            yield f"with `new`, {mutant.file} is no Python any more: {error}"
        except ValueError as error:
            yield str(error)
    for test in mutant.tests:
        file, _, name = test.partition("::")
        if not (root / file).is_file():
            yield f"there is no file {file}"
        elif name and name.partition("[")[0] not in _tests_in(root / file):
            yield f"there is no test {name} in {file}"


def _tests_in(path: Path) -> set[str]:
    """The names of the tests that a file defines, of those in classes as `Class::test`."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            names.add(node.name)
            names |= {f"{node.name}::{each.name}" for each in node.body if isinstance(each, _FUNCTIONS)}
    return {name for name in names if name.rpartition("::")[2].startswith(("test_", "Test"))}


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
