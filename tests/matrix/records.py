"""The four records of a call, and whether they say the same."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chassis.logging import Logs
from chassis.metrics import Metrics
from chassis.tracing import Tracing

OBSERVERS = ("log", "metric", "span")


@dataclass(frozen=True)
class Records:
    """What was recorded of one call: the word for how it ended that is on the wire, and those in each record."""

    wire: str
    log: list[str] = field(default_factory=list)
    metric: list[str] = field(default_factory=list)
    span: list[str] = field(default_factory=list)


def disagreements(records: Records, present: tuple[str, ...]) -> list[str]:
    """Which of the records that must be there say another thing than the wire, say nothing, or say it twice."""
    return [
        f"{name} says {found or 'nothing'}, the wire says {records.wire}"
        for name in OBSERVERS
        if (found := getattr(records, name)) != ([records.wire] if name in present else [])
    ]


class Observed:
    """The observers of one service, and what they have recorded so far."""

    def __init__(self, name: str = "echo") -> None:
        self.metrics = Metrics(name)
        self.lines: list[str] = []
        self.logs = Logs(name, level="info", output=self.lines)
        self.spans = InMemorySpanExporter()
        self.tracing = Tracing(name, sample_rate=1)
        assert self.tracing.recorder is not None
        self.tracing.recorder.provider.add_span_processor(SimpleSpanProcessor(self.spans))
        self.tracing.recorder.deliver = lambda span: self.spans.export([span.exported()])

    def counted(self, metric: str, *labels: str) -> Counter[tuple[str, ...]]:
        """A counter by the values of its labels."""
        counts: Counter[tuple[str, ...]] = Counter()
        for family in self.metrics.registry.collect():
            for sample in family.samples:
                if sample.name == f"{self.metrics.namespace}_{metric}":
                    counts[tuple(sample.labels[label] for label in labels)] += int(sample.value)
        return counts

    def logged(self, message: str) -> dict[str, list[dict[str, Any]]]:
        """The lines that have this message, by the request id of their call."""
        assert self.logs.flush(5)
        found: dict[str, list[dict[str, Any]]] = {}
        for line in map(json.loads, self.lines):
            if line["message"] == message:
                found.setdefault(line["request_id"], []).append(line)
        return found

    def traced(self, trace_id: str, attribute: str, kind: str) -> list[str]:
        """An attribute of all spans of this kind in a trace."""
        return [
            str((span.attributes or {}).get(attribute))
            for span in self.spans.get_finished_spans()
            if span.kind.name == kind and f"{span.context.trace_id:032x}" == trace_id
        ]

    def forget(self) -> None:
        """Begin anew, so that looking through what was recorded does not take longer and longer."""
        assert self.logs.flush(5)
        self.lines.clear()
        self.spans.clear()
