"""Which core does what: one for what is measured, another for all that it is measured with."""

from __future__ import annotations

import os


def cores() -> tuple[int | None, int | None]:
    """The core for the process measured and the one for the rest; None for both where there are not two."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[1]) if len(usable) > 1 else (None, None)


def pin(core: int | None) -> None:
    """Have this process, and those that it starts from here on, run on one core."""
    if core is not None:
        os.sched_setaffinity(0, {core})
