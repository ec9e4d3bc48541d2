"""A call costs no more than it did, counted in functions, bytecodes and blocks of memory: the same on every machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.guard import __main__ as guard
from tests.guard.figures import Counts, complaint, least, limits, save, saved_figures
from tests.guard.measure import KINDS, measured


@pytest.fixture(scope="module")
def unchanged() -> dict[str, Counts]:
    """What a call costs here and now, with an interceptor that can be replaced by a dearer one."""
    return measured(planted="same")[0]


def test_a_call_costs_no_more_than_it_did() -> None:
    # Of an interpreter whose figures nobody has saved, the tests below still prove that the guard works.
    (now,) = measured()
    said = [complaint(kind, saved, now[kind]) for kind, saved in saved_figures().items()]
    assert not any(said), "\n\n".join(filter(None, said))


def test_the_figures_are_saved_for_the_oldest_and_the_newest_python() -> None:
    for version in ("3.11", "3.13"):
        assert saved_figures(version).keys() == set(KINDS)


@pytest.mark.timeout(300)  # they are counted in twelve processes, some seconds each
def test_five_counts_and_those_of_another_process_are_equal() -> None:
    runs = [*measured(runs=5), *measured()]
    assert len(runs) == 6
    assert all(run == runs[0] for run in runs)
    assert runs[0]["sampled"].totals > runs[0]["unsampled"].totals


@pytest.mark.parametrize(
    ("planted", "grown", "where"),
    [
        ("one dict", "blocks allocated", "planted.py _OneDict.around"),
        ("one function", "functions entered", "planted.py _nothing"),
        ("one concern", "functions entered", "chassis/call/chain.py"),
    ],
)
def test_what_a_call_costs_more_is_told(unchanged: dict[str, Counts], planted: str, grown: str, where: str) -> None:
    (now,) = measured(planted=planted)
    for kind in KINDS:
        said = complaint(kind, unchanged[kind], now[kind])
        assert said is not None
        assert grown in said
        assert where in said
        assert "python -m tests.guard --update" in said


def test_the_same_again_and_less_are_no_reason_to_complain(unchanged: dict[str, Counts]) -> None:
    same = unchanged["sampled"]
    assert complaint("sampled", same, same) is None
    assert complaint("sampled", same, unchanged["unsampled"]) is None


def test_bytecodes_have_a_little_headroom_and_the_others_none() -> None:
    saved = Counts({"a.py f": (10, 1000, 100)})
    assert limits(saved) == (10, 1020, 100)
    assert complaint("unsampled", saved, Counts({"a.py f": (10, 1020, 100)})) is None
    said = complaint("unsampled", saved, Counts({"a.py f": (10, 1021, 100)}))
    assert said is not None
    assert "bytecodes executed: 1021, at most 1020 (saved: 1000)" in said
    assert "1000 -> 1021" in said


def test_of_several_looks_each_functions_least_figures_count() -> None:
    looks = [Counts({"a.py f": (1, 2, 9), "b.py once": (1, 1, 1)}), Counts({"a.py f": (1, 3, 8)})]
    assert least(looks) == Counts({"a.py f": (1, 2, 8)})


def test_figures_are_saved_beside_those_of_other_interpreters(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    old, new = {"unsampled": Counts({"a.py f": (1, 2, 3)})}, {"unsampled": Counts({"b.py g": (4, 5, 6)})}
    assert saved_figures("3.11", path) == {}
    save(old, "3.11", path)
    save(new, "3.13", path)
    assert saved_figures("3.11", path) == old
    assert saved_figures("3.13", path) == new
    assert json.loads(path.read_text())["3.13"]["unsampled"]["totals"] == [4, 5, 6]


def test_the_command_compares_and_saves(
    tmp_path: Path,
    unchanged: dict[str, Counts],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "figures.json"
    less = {kind: Counts({"a.py f": (1, 1, 1)}) for kind in KINDS}
    monkeypatch.setattr(guard, "measured", lambda: [unchanged])
    monkeypatch.setattr(guard, "save", lambda figures: save(figures, path=path))
    monkeypatch.setattr(guard, "saved_figures", lambda: saved_figures(path=path))
    save(less, path=path)
    assert guard.main([]) == 1
    assert "costs more than it did" in capsys.readouterr().out
    assert guard.main(["--update"]) == 0
    assert guard.main([]) == 0
    assert saved_figures(path=path) == unchanged
