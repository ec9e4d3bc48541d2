"""No table rots: each row still fits the file that it changes, and names tests that there are."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.mutants.table import Mutant, areas, problems, read

_ALL = [mutant for area in areas() for mutant in read(area)]


def test_there_are_tables() -> None:
    assert len(_ALL) >= 40


@pytest.mark.parametrize("mutant", _ALL, ids=[f"{each.area}-{each.protects}" for each in _ALL])
def test_a_row_fits_its_file_and_names_tests_that_there_are(mutant: Mutant) -> None:
    assert list(problems(mutant)) == []


def test_no_change_is_listed_twice() -> None:
    changes = Counter((each.file, each.old, each.new) for each in _ALL)
    assert [change for change, times in changes.items() if times > 1] == []
