"""A plugin for pytest: the run fails where code from elsewhere than the copy of the tree was tested."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

_OURS = ("chassis", "interceptors", "cqc", "cqi", "examples", "tests")


def strangers(folder: str) -> list[str]:
    """The files of our modules that were imported from outside of a folder."""
    return [
        file
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in _OURS
        and (file := getattr(module, "__file__", None))
        and not Path(file).resolve().is_relative_to(folder)
    ]


def pytest_sessionfinish(session: Any) -> None:
    # Imported here: the number is all that it needs of that module.
    from tests.mutants.running import ELSEWHERE

    found = strangers(os.environ["CHASSIS_MUTANTS_COPY"])
    if found:
        sys.stderr.write(f"imported from elsewhere than the copy: {', '.join(found)}\n")
        session.exitstatus = ELSEWHERE
