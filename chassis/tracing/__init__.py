"""Spans of a service's calls, sent to an OpenTelemetry collector; W3C trace context in and out, with or without them.

>>> import asyncio
>>> from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
>>> async def main():
...     collector = InMemorySpanExporter()
...     tracing = Tracing("cqar", sample_rate=1, exporter=collector)
...     await tracing.start()
...     with tracing.tracer.start_as_current_span("rebuild index"):
...         pass
...     await tracing.stop()
...     return [span.name for span in collector.get_finished_spans()], tracing.exported
>>> asyncio.run(main())
(['rebuild index'], 1)
"""

from chassis.tracing.propagation import hand_on
from chassis.tracing.tracing import Tracing

__all__ = ["Tracing", "hand_on"]
