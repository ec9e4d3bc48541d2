"""What a call costs, without a clock: `python -m tests.guard` compares it with what was saved, `--update` saves it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tests.guard.figures import MEASURES, VERSION, complaint, save, saved_figures, table
from tests.guard.measure import measured


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, or save; 1 where a call costs more than it may."""
    parser = argparse.ArgumentParser("python -m tests.guard", description=__doc__)
    parser.add_argument("--update", action="store_true", help=f"save the figures of Python {VERSION} from now on")
    options = parser.parse_args(arguments)
    (now,) = measured()
    before = saved_figures()
    failed = False
    for kind, counts in now.items():
        totals = ", ".join(f"{total} {measure}" for total, measure in zip(counts.totals, MEASURES, strict=True))
        _write(f"{kind}: {totals} (Python {VERSION})")
        if kind not in before:
            _write("  nothing was saved for it before")
        elif not options.update and (said := complaint(kind, before[kind], counts)) is not None:
            failed = True
            _write(said)
        elif before[kind] != counts:
            _write("\n".join(table(before[kind], counts)))
    if options.update:
        save(now)
    return 1 if failed else 0


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
