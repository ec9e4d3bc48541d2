"""Measures in a process of its own, so that whatever traces the tests is not in the way.

`python -m tests.guard.measure` prints the counts of several calls as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any

from tests.guard.figures import Counts, least
from tests.guard.planted import NAMES

KINDS = ("unsampled", "sampled", "event published", "event handled")
_WARM_UP = 20  # calls
# A context variable's place in a context depends on its address, and where two of them meet, the context is a block
# larger: in one process of seven to twenty, and hardly ever at the same place in six.
_PROCESSES = 6
_ROOT = Path(__file__).parents[2]


def measured(*, planted: str = "", runs: int = 1) -> list[dict[str, Counts]]:
    """What a call costs, by kind, counted so many times; raises RuntimeError where it cannot be counted."""
    command = [sys.executable, "-m", "tests.guard.measure", "--runs", str(runs), "--planted", planted]
    with ThreadPoolExecutor() as threads:
        processes = list(threads.map(_measured_in_a_process, [command] * _PROCESSES))
    return [{kind: least([run[kind] for run in same]) for kind in KINDS} for same in zip(*processes, strict=True)]


def _measured_in_a_process(command: list[str]) -> list[dict[str, Counts]]:
    # Coverage would count along, and the order of sets and dicts of others is left to chance otherwise.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", "COV_CORE_"))}
    environment |= {"PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join((str(_ROOT), str(_ROOT / "proto")))}
    ended = subprocess.run(
        command,
        check=False,
        cwd=_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if ended.returncode:
        raise RuntimeError(f"the calls could not be counted:\n{ended.stderr}")
    return [{kind: Counts.of_json(value) for kind, value in run.items()} for run in json.loads(ended.stdout)]


async def _measure(planted: str, runs: int) -> list[dict[str, Any]]:
    # Imported here: whoever asks for a measurement needs none of it.
    from tests.guard import planted as concerns
    from tests.guard.counting import count
    from tests.guard.events import event_handled, event_published
    from tests.guard.subject import subject

    subjects = {
        "unsampled": partial(subject, sampled=False),
        "sampled": partial(subject, sampled=True),
        "event published": event_published,
        "event handled": event_handled,
    }
    results: list[dict[str, Any]] = [{} for _ in range(runs)]
    for kind in KINDS:
        with subjects[kind](around=lambda stack: concerns.planted(planted, stack)) as calls:
            for _ in range(_WARM_UP):
                copy_context().run(calls.call)
            count(calls.call)
            for result in results:
                result[kind] = count(calls.call).as_json()
    return results


def main() -> None:
    """Count, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--planted", choices=NAMES, default="")
    options = parser.parse_args()
    results = asyncio.run(_measure(options.planted, options.runs))
    sys.stdout.write(json.dumps(results))
    sys.stdout.flush()
    os._exit(0)  # the thread of the exporter waits for what is never sent


if __name__ == "__main__":
    main()
