"""A copy of the tree in which protections are taken out, and the tests that are run there."""

from __future__ import annotations

import enum
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.table import Mutant

TEST_LIMIT = 30  # seconds for one test; the suite's own limit is for machines that do much else
LIMIT = 120.0  # seconds for all tests of a mutant
ELSEWHERE = 86  # the exit code where other code than the copy's was tested

_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+?\.py(?:::.+?)?)(?: - .*)?$", re.MULTILINE)
_TIMED_OUT = "from pytest-timeout"


class Outcome(enum.Enum):
    """What the tests said."""

    PASSED = "passed"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    UNUSABLE = "unusable"  # the tests did not come to run


@dataclass(frozen=True, slots=True)
class Result:
    """How the tests ended, which of them failed first, and all that they wrote."""

    outcome: Outcome
    by: str
    seconds: float
    output: str


class Copy:
    """A copy of the files of a repository: those tracked, and those that could be."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=root,
            check=True,
            stdout=subprocess.PIPE,
        )
        for name in filter(None, os.fsdecode(listed.stdout).split("\0")):
            # Tracked, and deleted in the working tree: it is not in the copy either.
            if (root / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / name, folder / name)

    @contextmanager
    def without(self, mutant: Mutant) -> Iterator[None]:
        """Take a protection out, and put it back."""
        path = self.folder / mutant.file
        whole = path.read_text()
        path.write_text(mutant.applied_to(whole))
        self._forget(path)
        try:
            yield
        finally:
            path.write_text(whole)
            self._forget(path)

    def run(self, tests: Sequence[str], *, limit: float = LIMIT) -> Result:
        """Run tests on the copy's code, until the first one fails."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "--tb=short", "-rfE"]
        command += [
            "-p",
            "no:cacheprovider",
            "-p",
            "timeout",
            "-p",
            "tests.mutants.origin",
            f"--timeout={TEST_LIMIT}",
            *tests,
        ]
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # A group of its own: what a hanging test has started is ended with it.
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            return Result(Outcome.TIMED_OUT, f"nothing for {limit:g} s", time.perf_counter() - started, output)
        return _result(process.returncode, output, time.perf_counter() - started)

    def _environment(self) -> dict[str, str]:
        # What is installed in the environment points to the tree that was copied; this comes before it.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", "COV_CORE_"))}
        paths = os.pathsep.join((str(self.folder), str(self.folder / "proto")))
        return {**kept, "PYTHONPATH": paths, "CHASSIS_MUTANTS_COPY": str(self.folder), "PYTEST_ADDOPTS": ""}

    def _forget(self, path: Path) -> None:
        # Python takes a file of the same second and size for the same file.
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink()


def _result(code: int, output: str, seconds: float) -> Result:
    if code == 0:
        return Result(Outcome.PASSED, "", seconds, output)
    if code < 0:
        return Result(Outcome.FAILED, f"the process died of signal {-code}", seconds, output)
    failed = _FAILED.search(output)
    # 1 is pytest's "tests have failed"; another code says that they did not come to run.
    if code != 1 or failed is None:
        if code == 1 and _TIMED_OUT in output:  # pytest-timeout ends the process where it cannot end the test
            return Result(Outcome.TIMED_OUT, "", seconds, output)
        why = "other code than the copy's was tested" if code == ELSEWHERE else f"pytest ended with {code}"
        return Result(Outcome.UNUSABLE, why, seconds, output)
    return Result(Outcome.TIMED_OUT if _TIMED_OUT in output else Outcome.FAILED, failed[1], seconds, output)


@contextmanager
def copy_of(root: Path) -> Iterator[Copy]:
    """A copy of the tree in a temporary folder, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        yield Copy(root, Path(folder).resolve())
