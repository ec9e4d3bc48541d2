"""What suites have in common whose variants are clients of one real server, each with as much work as it is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tests.bench.suite import Comparison, Suite, Variant, working

if TYPE_CHECKING:
    from chassis.dev.servers import ServerName


def client(kind: str, name: str, by: str, count: int, **settings: object) -> Variant:
    """A client that works with the library `by`, `count` times in a turn: about a quarter of a second."""
    return Variant(name, kind, settings={"by": by, "count": count, **settings})


def client_suite(
    name: str,
    title: str,
    what: str,
    variants: Sequence[Variant],
    comparisons: Sequence[Comparison],
    *,
    server: ServerName,
    scale: float,
) -> Suite:
    """A suite of them, each of which does `scale` times as much as it usually does."""
    session = working([server], scale)
    return Suite(
        *(name, title, what, variants, comparisons, session),
        turns=3,
        subject="client",
        saturates=False,
    )
