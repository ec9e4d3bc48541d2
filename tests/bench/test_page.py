"""The page about performance shows the figures that are kept beside it, and no others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import __main__ as command
from tests.bench import page, report
from tests.bench.statistics import Goal, Sample
from tests.bench.suite import Comparison, Suite, Variant, kept_up, rate
from tests.bench.summary import summary

SUITE = Suite(
    *("unary", "Unary calls", "calls", [Variant("a", "bare"), Variant("b", "bare")]),
    [Comparison("a / b", "a", "b", rate, Goal(0.85, 0.92))],
    kept_up(lambda children: lambda child: Sample(1, 1)),
)
SAMPLES = {"a": [Sample(2512.34, 397.123), Sample(2600.5, 390.2)], "b": [Sample(3000.4, 333.3), Sample(2900, 340)]}
BEFORE = "What was found:\n\n<!-- table: unary -->\nsomething old\n<!-- end -->\n\nWhy.\n"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return report.save(tmp_path / "results", {"time": "2026-01-01T00:00:00Z", "rounds": 2}, [(SUITE, SAMPLES)])


def test_the_tables_of_the_page_are_those_of_the_figures_beside_it() -> None:
    shown = page.PAGE.read_text(encoding="utf-8")
    assert page.filled(shown, json.loads(page.FIGURES.read_text(encoding="utf-8"))) == shown


def test_every_suite_has_a_table_on_the_page() -> None:
    kept = json.loads(page.FIGURES.read_text(encoding="utf-8"))
    assert list(kept["suites"]) == [suite.name for suite in command.all_suites(h2load=False)]


def test_a_run_is_published_as_it_was_shown_when_it_was_made(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, figures = tmp_path / "performance.md", tmp_path / "performance.json"
    shown.write_text(BEFORE)
    monkeypatch.setattr(page.publish, "__defaults__", (shown, figures))
    assert command.main(["--publish", str(run)]) == 0
    table = report.tables(summary(SUITE, SAMPLES))
    assert shown.read_text() == f"What was found:\n\n<!-- table: unary -->\n\n{table}\n<!-- end -->\n\nWhy.\n"
    kept = json.loads(figures.read_text())
    assert (kept["time"], kept["suites"]["unary"]["rounds"]) == ("2026-01-01T00:00:00Z", 2)
    assert "samples" not in kept["suites"]["unary"]
    assert page.filled(shown.read_text(), kept) == shown.read_text()


def test_the_figures_have_a_line_for_each_row(run: Path, tmp_path: Path) -> None:
    shown, figures = tmp_path / "performance.md", tmp_path / "performance.json"
    shown.write_text(BEFORE)
    page.publish(run, shown, figures)
    lines = [line.strip() for line in figures.read_text().splitlines()]
    assert '"a": [[2556, 2512, 2600], 394, 1.0],' in lines
    assert len([line for line in lines if line.startswith('{"title": "a / b", "median": 0.87,')]) == 1


def test_a_run_of_some_suites_is_not_published(run: Path, tmp_path: Path) -> None:
    shown, figures = tmp_path / "performance.md", tmp_path / "performance.json"
    shown.write_text(BEFORE + "<!-- table: methods -->\n<!-- end -->\n")
    with pytest.raises(ValueError, match="the page shows unary methods, and the run has unary"):
        page.publish(run, shown, figures)
    assert not figures.exists()
    assert "something old" in shown.read_text()


@pytest.mark.parametrize("text", ["[]", '{"suites": [1]}', "{", '{"suites": {"unary": 1}}'])
def test_what_is_no_run_is_not_published(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.json"
    file.write_text(text)
    assert command.main(["--publish", str(file)]) == 1
    assert f"{file} is not published: " in capsys.readouterr().err


def test_only_one_file_can_be_published(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--publish", "a.json", "b.json"]) == 2
    assert command.main(["unary"]) == 2
    assert capsys.readouterr().err.count("usage: python -m tests.bench [--publish FILE]") == 2
