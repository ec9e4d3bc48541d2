"""Take each protection out and see the tests fail: `python -m tests.mutants [AREA...] [-k TEXT] [-j JOBS]`."""

from __future__ import annotations

import argparse
import queue
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.running import Copy, Outcome, Result, copy_of
from tests.mutants.table import ROOT, TABLES, Mutant, areas, problems, read

_SAID = {Outcome.FAILED: "caught", Outcome.TIMED_OUT: "caught by timeout", Outcome.PASSED: "SURVIVED"}
_TAIL = 30  # lines of pytest's output that are shown where something is wrong


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one mutant."""

    mutant: Mutant
    said: str
    by: str
    seconds: float
    output: str = ""

    @property
    def caught(self) -> bool:
        """Whether a test failed without the protection, and passes with it."""
        return self.said in (_SAID[Outcome.FAILED], _SAID[Outcome.TIMED_OUT])


Judged = dict[tuple[str, ...], Result]
"""How sets of tests end without a mutant."""


def judge(mutants: Sequence[Mutant], root: Path, jobs: int, tell: Callable[[Verdict], None]) -> list[Verdict]:
    """Run the tests of each mutant, without the mutant and with it; `jobs` copies of the tree are used side by side."""
    whole: Judged = {}
    telling = threading.Lock()
    with ExitStack() as stack:
        copies: queue.Queue[Copy] = queue.Queue()
        for _ in range(min(jobs, len(mutants))):
            copies.put(stack.enter_context(copy_of(root)))

        def one(mutant: Mutant) -> Verdict:
            copy = copies.get()
            try:
                verdict = _verdict(mutant, whole, copy)
            finally:
                copies.put(copy)
            with telling:
                tell(verdict)
            return verdict

        with ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(one, mutants))


def _verdict(mutant: Mutant, whole: Judged, copy: Copy) -> Verdict:
    wrong = list(problems(mutant, copy.folder))
    if wrong:
        return Verdict(mutant, "NO SUCH ROW", "; ".join(wrong), 0.0)
    tests = tuple(sorted(mutant.tests))
    before = whole.get(tests)
    if before is None:
        before = whole[tests] = copy.run(tests)
    if before.outcome is not Outcome.PASSED:
        return Verdict(mutant, "FAILS ANYWAY", before.by, before.seconds, before.output)
    with copy.without(mutant):
        after = copy.run(mutant.tests)
    said = _SAID.get(after.outcome, "DID NOT RUN")
    return Verdict(mutant, said, after.by, after.seconds, after.output)


def main(arguments: Sequence[str] | None = None, *, root: Path = ROOT, tables: Path = TABLES) -> int:
    """Judge the tables' mutants; 1 where a protection is not proven by a test."""
    parser = argparse.ArgumentParser("python -m tests.mutants", description=__doc__)
    parser.add_argument("areas", nargs="*", metavar="AREA", help=f"of {', '.join(areas(tables))}; all without")
    parser.add_argument("-k", dest="text", default="", help="only rows with this text in what they protect, or in file")
    parser.add_argument("-j", dest="jobs", type=int, default=1, help="how many are tried at a time; 1 without")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.areas) - set(areas(tables)))
    if unknown:
        parser.error(f"there is no table {', '.join(unknown)}: there are {', '.join(areas(tables))}")
    text = options.text.lower()
    chosen = [
        mutant
        for area in options.areas or areas(tables)
        for mutant in read(area, tables)
        if text in mutant.protects.lower() or text in mutant.file.lower()
    ]
    if not chosen:
        parser.error(f"no row has {options.text!r} in what it protects or in its file")
    return _conclude(judge(chosen, root, max(options.jobs, 1), _tell))


def _tell(verdict: Verdict) -> None:
    mutant = verdict.mutant
    fault = f" (fault {mutant.fault})" if mutant.fault else ""
    _write(f"{verdict.said:<17} {verdict.seconds:5.1f} s  {mutant.file}  {mutant.protects}{fault}")
    _write(f"{'':<26} {verdict.by}" if verdict.by else "")


def _write(line: str) -> None:
    if line:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def _conclude(verdicts: Sequence[Verdict]) -> int:
    bad = [verdict for verdict in verdicts if not verdict.caught]
    for verdict in bad:
        _write(f"\n{verdict.said}: {verdict.mutant.area}.toml, {verdict.mutant.protects}")
        _write("\n".join(f"    {line}" for line in verdict.output.splitlines()[-_TAIL:]))
    _write(f"\n{len(verdicts) - len(bad)} of {len(verdicts)} mutants were caught")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
