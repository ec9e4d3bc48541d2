"""`make bench`: measure, as ratios in interleaved runs, and show what is reached.

    make bench                    everything, five rounds, about a quarter of an hour
    make bench ROUNDS=3           a quick look
    make bench SUITES=unary       some of it: unary concerns methods streaming latency
                                  publish consume cache database start memory
    make bench LOAD=own           without h2load, where it is installed
    python -m tests.bench --publish bench-results/FILE.json
                                  show this run in docs/performance.md, and keep its figures beside it

What is measured runs on one core, the load on another, or the real servers where a client is measured; nothing but
127.0.0.1 is used. Figures of one machine mean nothing on another, their ratios do. The results are written to
bench-results/ as JSON, too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from chassis.dev import DevError
from tests.bench import load, page, report
from tests.bench.cache_suite import cache_suite
from tests.bench.child import Launcher
from tests.bench.consume_suite import consume_suite
from tests.bench.cores import cores, pin
from tests.bench.credentials import Credentials
from tests.bench.database_suite import database_suite
from tests.bench.memory_suite import memory_suite
from tests.bench.publish_suite import publish_suite
from tests.bench.rpc_suites import rpc_suites
from tests.bench.start_suite import start_suite
from tests.bench.suite import Suite
from tests.bench.summary import summary

_ROUNDS = 5
_RESULTS = Path("bench-results")


def main(arguments: Sequence[str] = ()) -> int:
    """Run what the environment asks for, or publish what was run; returns the exit code."""
    if arguments:
        return _publish(arguments)
    try:
        rounds, h2load = _rounds(), _with_h2load()
        suites = all_suites(h2load=h2load)
        wanted = os.environ.get("SUITES", "").replace(",", " ").split()
        known = [suite.name for suite in suites]
        for name in wanted:
            if name not in known:
                raise ValueError(f"SUITES: there is no {name!r}; there are {' '.join(known)}")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    measured_core, load_core = cores()
    if measured_core is None:
        print("There is only one core: what is measured shares it with the load, and little is said.", file=sys.stderr)
    pin(load_core)
    about = report.facts(rounds, "h2load" if h2load else "own client")
    launcher = Launcher(measured_core, Credentials.new())
    measured = []
    for suite in suites:
        if wanted and suite.name not in wanted:
            continue
        try:
            samples = suite.run(launcher, rounds, _tell)
        except (RuntimeError, OSError, DevError) as error:
            print(f"{suite.title}: {error}", file=sys.stderr)
            return 1
        measured.append((suite, samples))
        print(f"## {suite.title}\n\n{report.tables(summary(suite, samples))}", flush=True)
    path = report.save(_RESULTS, about, measured)
    print(f"load by {about['load']}; saved to {path}")
    share = report.disturbed(measured)
    if share is not None:
        print(f"a server had only {share:.0%} of its core in a round: something else is running, and ratios are rough")
    for suite, samples in measured:
        for title in report.missed(suite, samples):
            print(f"floor not reached: {suite.title}: {title}")
    return 0


def _publish(arguments: Sequence[str]) -> int:
    if len(arguments) != 2 or arguments[0] != "--publish":
        print("usage: python -m tests.bench [--publish FILE]", file=sys.stderr)
        return 2
    try:
        page.publish(Path(arguments[1]))
    except (OSError, ValueError) as error:
        print(f"{arguments[1]} is not published: {error}", file=sys.stderr)
        return 1
    return 0


def all_suites(*, h2load: bool) -> list[Suite]:
    """All there are, in the order in which they are run; unary calls are made by h2load or by our own client."""
    return [
        *rpc_suites(h2load=h2load),
        publish_suite(),
        consume_suite(),
        cache_suite(),
        database_suite(),
        start_suite(),
        memory_suite(),
    ]


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _rounds() -> int:
    text = os.environ.get("ROUNDS", "") or str(_ROUNDS)
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"ROUNDS is a number of rounds, 1 or more, and not {text!r}")
    return int(text)


def _with_h2load() -> bool:
    choice = os.environ.get("LOAD", "")
    if choice not in ("", "own", "h2load"):
        raise ValueError(f"LOAD is own or h2load, and not {choice!r}")
    if choice == "h2load" and not load.has_h2load():
        raise ValueError("LOAD: h2load is not installed (Debian: nghttp2-client)")
    return choice != "own" and load.has_h2load()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
