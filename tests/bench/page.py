"""docs/performance.md has the figures of one run: those of docs/performance.json, in tables that are made from it.

    python -m tests.bench --publish bench-results/FILE.json

writes both; a test sees that they are the same. Words around the tables are written by hand.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.bench.report import tables

_DOCS = Path(__file__).parents[2] / "docs"
PAGE = _DOCS / "performance.md"
FIGURES = _DOCS / "performance.json"

_TABLE = re.compile(r"(?<=<!-- table: )(\w+)( -->\n).*?(?=<!-- end -->\n)", re.DOTALL)
_ROW = 4  # how deep the rows of tables lie


def publish(run: Path, page: Path = PAGE, figures: Path = FIGURES) -> None:
    """Have the page show this run; raises ValueError where it is none, or does not have all that the page shows."""
    told = _without_rounds(json.loads(run.read_text(encoding="utf-8")))
    filled_page = filled(page.read_text(encoding="utf-8"), told)
    figures.write_text(_text(told) + "\n", encoding="utf-8")
    page.write_text(filled_page, encoding="utf-8")


def filled(page: str, told: dict[str, Any]) -> str:
    """The page with the tables of a run between its marks, `<!-- table: unary -->` and `<!-- end -->`.

    Raises ValueError where the run has other suites than the page.
    """
    suites, shown = told["suites"], [match[1] for match in _TABLE.finditer(page)]
    if sorted(shown) != sorted(suites):
        raise ValueError(f"the page shows {' '.join(shown)}, and the run has {' '.join(suites)}")
    return _TABLE.sub(lambda match: f"{match[1]}{match[2]}\n{tables(suites[match[1]])}\n", page)


def _without_rounds(told: Any) -> dict[str, Any]:
    """What is published of a run: what it came to, and not what each round did."""
    try:
        suites = {
            name: {key: value for key, value in suite.items() if key != "samples"}
            for name, suite in told["suites"].items()
        }
    except (TypeError, KeyError, AttributeError):
        raise ValueError("this is not what `make bench` writes") from None
    return {**told, "suites": suites}


def _text(value: Any, depth: int = 0) -> str:
    """JSON with a line for each row of a table, so that one sees what has changed."""
    inner = list(value.values() if isinstance(value, dict) else value if isinstance(value, list) else [])
    if depth == _ROW or not any(isinstance(each, dict | list) for each in inner):
        return json.dumps(value, ensure_ascii=False)
    texts = [_text(each, depth + 1) for each in inner]
    if isinstance(value, dict):
        texts = [f"{json.dumps(name, ensure_ascii=False)}: {text}" for name, text in zip(value, texts, strict=True)]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    indent = "\n" + " " * depth
    return opening + ",".join(f"{indent} {text}" for text in texts) + indent + closing
