"""Every example in a docstring runs and shows what it says, and every package has one."""

from __future__ import annotations

import contextvars
import doctest
import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = [(ROOT / name, ROOT) for name in ("chassis", "interceptors", "examples")]
FOLDERS += [(ROOT / "proto" / name, ROOT / "proto") for name in ("cqc", "cqi")]


def modules() -> Iterator[tuple[str, Path]]:
    for folder, root in FOLDERS:
        for path in sorted(folder.rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            yield name.removesuffix(".__init__"), path


WITH_EXAMPLES = [name for name, path in modules() if ">>>" in path.read_text(encoding="utf-8")]
PACKAGES = [name for name, path in modules() if path.name == "__init__.py"]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_of_the_module_run(name: str) -> None:
    said: list[str] = []
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for each in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        # In a context of its own: what an example makes its own there stays there.
        contextvars.copy_context().run(runner.run, each, out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)
    assert runner.tries > 0, f"{name} has >>> where no docstring is"


@pytest.mark.parametrize("name", PACKAGES)
def test_the_package_says_what_it_is_for_and_shows_it(name: str) -> None:
    doc = importlib.import_module(name).__doc__ or ""
    assert doctest.DocTestParser().get_examples(doc)
