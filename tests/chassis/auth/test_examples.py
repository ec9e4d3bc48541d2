from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import chassis.auth

MODULES = ["chassis.auth", *(f"chassis.auth.{one.name}" for one in pkgutil.iter_modules(chassis.auth.__path__))]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_docstrings_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_the_package_has_an_example() -> None:
    assert doctest.testmod(chassis.auth).attempted > 0
