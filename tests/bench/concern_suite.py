"""What each concern costs a unary call: by CPU time, in many short rounds, as the difference of the same round.

A concern takes a hundredth or two of what a call takes in all, and the machine's speed changes by more than that from
one minute to the next. Within a round of a few seconds it is nearly the same for all servers, and of many rounds the
median is known far better than what any of them says.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.bench import variants as v
from tests.bench.statistics import Goal
from tests.bench.suite import Comparison, Session, Suite, Variant, cpu

_ROUNDS = 8  # for each round that is asked for

_GOAL = Goal(20, 8, at_most=True)
# Each concern's cost is what is saved by leaving it out, with all the others in place.
_LEFT_OUT: dict[str, Sequence[str]] = {
    "tracing (0.1)": ["TracingInterceptor"],
    "metrics": ["MetricsInterceptor"],
    "logging": ["LoggingInterceptor"],
    "auth": ["AuthInterceptor"],
    "deadline": ["DeadlineInterceptor"],
    "recovery and errors": ["RecoveryInterceptor", "ErrorsInterceptor"],
}
_WITHOUT = {
    name: Variant(f"chassis without {name}", "chassis_service", settings={"tracing": 0.1, "without": classes})
    for name, classes in _LEFT_OUT.items()
}
_SEAM = Variant("chassis, no concern", "chassis_service", settings={"tracing": None, "bare_seam": True})
# Two processes of the same code are not quite alike (where things lie in memory): this says how far they are not.
_AGAIN = Variant("chassis, all concerns, a second time", v.FULL.kind, settings=v.FULL.settings)


def _difference(title: str, over: Variant, under: Variant, goal: Goal) -> Comparison:
    return Comparison(title, over.name, under.name, cpu, goal, "difference", "us")


_REPORTED = Goal(at_most=True)
_VARIANTS = [v.BARE, _SEAM, v.FULL, *_WITHOUT.values(), _AGAIN]
_COMPARED = [
    *(_difference(name, v.FULL, without, _GOAL) for name, without in _WITHOUT.items()),
    _difference("the seam itself", _SEAM, v.BARE, _REPORTED),
    _difference("all of it", v.FULL, v.BARE, _REPORTED),
    _difference("the same server a second time", v.FULL, _AGAIN, _REPORTED),
]


def concern_suite(session: Session) -> Suite:
    """The suite of them, where `session` measures one round of unary calls."""
    return Suite(*("concerns", "What each concern costs", "calls", _VARIANTS, _COMPARED, session), short_rounds=_ROUNDS)
