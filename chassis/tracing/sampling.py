"""Which traces are recorded: decided from the trace id, before anything is built."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import Link, SpanKind
from opentelemetry.trace.span import TraceState
from opentelemetry.util.types import Attributes

DECIDED = Context()
"""Nothing is current, and the new trace that begins here is to be recorded; known by being this very object."""


class RatioSampler(ParentBased):
    """OpenTelemetry's parent-based sampler by trace id, whose decision on a new trace can be asked for beforehand.

    Services with the same rate, in other languages too, keep the same traces: the rule is that of
    TraceIdRatioBased, which takes the low 64 bits of the id.

    `below` is what the last 16 of a trace id's 32 hex digits are below, where a trace that begins here is recorded.

    >>> sampler = RatioSampler(0.25)
    >>> "3fffffffffffffff" < sampler.below, "4000000000000000" < sampler.below
    (True, False)
    """

    def __init__(self, rate: float) -> None:
        root = TraceIdRatioBased(rate)
        super().__init__(root)
        # Digits of the same number compare as the numbers do, and need no conversion; "g" is above all of them.
        self.below = f"{root.bound:016x}" if root.bound <= TraceIdRatioBased.TRACE_ID_LIMIT else "g"

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        if parent_context is DECIDED:
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)
        return super().should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)


class ToldIdGenerator(IdGenerator):
    """Draws ids, and gives a trace and its first span those that were decided on before."""

    def __init__(self, generator: random.Random) -> None:
        self._draw = generator.getrandbits
        # Each thread its own: a span that a user begins in another thread must not take it.
        self._told = threading.local()

    def tell(self, trace_id: str | None, span_id: str) -> None:
        """The ids for the next span that begins in this thread, and for its trace if it begins one."""
        if trace_id is not None:
            self._told.trace_id = int(trace_id, 16)
        self._told.span_id = int(span_id, 16)

    def generate_trace_id(self) -> int:
        told: int | None = self._told.__dict__.pop("trace_id", None)
        return told or self._draw(128) or 1  # 0 means none

    def generate_span_id(self) -> int:
        told: int | None = self._told.__dict__.pop("span_id", None)
        return told or self._draw(64) or 1

    def is_trace_id_random(self) -> bool:
        return True
