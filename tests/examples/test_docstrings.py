from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import examples.asset_registry
import examples.listing_watch

MODULES = [
    "examples",
    *(
        name
        for package in (examples.asset_registry, examples.listing_watch)
        for name in (
            package.__name__,
            *(f"{package.__name__}.{module.name}" for module in pkgutil.iter_modules(package.__path__)),
        )
    ),
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_docstrings_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("name", ["examples", "examples.asset_registry", "examples.listing_watch"])
def test_each_package_has_an_example(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).attempted > 0
