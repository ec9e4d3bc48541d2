from __future__ import annotations

import logging
import random
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from chassis.call import TraceContext, current_call
from chassis.component import Component

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Tracer

    from chassis.tracing.delivery import Delivery
    from chassis.tracing.recorder import Recorder

_log = logging.getLogger("chassis.tracing")


class Tracing(Component):
    """Records spans with an OpenTelemetry SDK of its own, and sends them; nothing of it is global to the process.

    Off (`enabled=False`) it costs nothing and imports nothing: `tracer` makes no spans, and what comes in with a
    call is still handed on.

    | parameter | |
    |---|---|
    | `endpoint` | the collector: `host:4317`, or a URL, whose scheme then decides about TLS; empty: spans go nowhere |
    | `export_mode` | `grpc` or `http`: OTLP over which of the two |
    | `insecure` | no TLS, where the endpoint has no scheme |
    | `sample_rate` | share of traces that is recorded, 0 to 1, where the caller has not decided |
    | `batch_timeout` | seconds that a span waits at most until it is sent |
    | `queue_size` | spans that wait at most; those that find no place are dropped, and counted |
    | `stop_timeout` | seconds that the last spans get to be delivered when the service stops |
    | `exporter` | takes the spans instead of the endpoint |

    Headers for the collector and certificates come from OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_HEADERS, …),
    more resource attributes from OTEL_RESOURCE_ATTRIBUTES; OTEL_SDK_DISABLED=true turns it off.

    Raises ValueError for values that make no sense.

    >>> tracing = Tracing("cqar", enabled=False)
    >>> with tracing.tracer.start_as_current_span("nothing is recorded") as span:
    ...     span.is_recording()
    False
    """

    name = "tracing"
    required = False

    def __init__(
        self,
        service_name: str,
        *,
        version: str = "",
        environment: str = "",
        enabled: bool = True,
        endpoint: str = "",
        export_mode: Literal["grpc", "http"] = "grpc",
        insecure: bool = False,
        sample_rate: float = 0.1,
        batch_timeout: float = 5.0,
        queue_size: int = 2048,
        stop_timeout: float = 3.0,
        exporter: SpanExporter | None = None,
        randomness: random.Random | None = None,
    ) -> None:
        if not 0 <= sample_rate <= 1:
            raise ValueError(f"the sample rate must be between 0 and 1, not {sample_rate}")
        if batch_timeout <= 0 or stop_timeout < 0 or queue_size < 1:
            raise ValueError("batch_timeout and queue_size must be more than 0, and stop_timeout not less")
        if export_mode not in ("grpc", "http"):
            raise ValueError(f"spans are exported by grpc or http, not by {export_mode!r}")
        self.service_name = service_name
        self.version = version
        self.environment = environment
        self.endpoint = endpoint
        self.export_mode = export_mode
        self.insecure = insecure
        self.sample_rate = sample_rate
        self.batch_timeout = batch_timeout
        self.queue_size = queue_size
        self.stop_timeout = stop_timeout
        self._exporter = exporter
        self._delivery: Delivery | None = None
        self._recorder: Recorder | None = None
        if enabled:
            # Imported here: a service without tracing does not pay for OpenTelemetry.
            from chassis.tracing.recorder import Recorder, sdk_disabled

            if not sdk_disabled():
                # Not the module's shared generator: a user's `random.seed(0)` would give all replicas the same ids.
                # It only has to be unlike others, nobody must be kept from guessing it.
                randomness = randomness or random.Random()  # noqa: S311
                self._recorder = Recorder(service_name, version, environment, sample_rate, randomness)

    @property
    def recorder(self) -> Recorder | None:
        """What begins and ends the spans of calls, for interceptors; None when tracing is off."""
        return self._recorder

    @property
    def enabled(self) -> bool:
        """Whether spans are recorded."""
        return self._recorder is not None

    @cached_property
    def tracer(self) -> Tracer:
        """OpenTelemetry's tracer for spans of your own; they lie within the call's, and follow its sampling."""
        if self._recorder is not None:
            return self._recorder.provider.get_tracer(self.service_name, self.version or None)
        from opentelemetry.trace import NoOpTracer

        return NoOpTracer()

    def current(self) -> TraceContext | None:
        """Give the span that is open here, for log lines; None where it is that of the call being served, or none."""
        if self._recorder is None:
            return None
        from opentelemetry.trace import get_current_span

        from chassis.tracing.recorder import UnsampledSpan

        span = get_current_span()
        if isinstance(span, UnsampledSpan) or not (context := span.get_span_context()).is_valid:
            return None
        span_id, call = f"{context.span_id:016x}", current_call()
        if call is not None and call.trace is not None and call.trace.span_id == span_id:
            return None
        return TraceContext(f"{context.trace_id:032x}", span_id, context.trace_flags.sampled)

    @property
    def exported(self) -> int:
        """Spans that the collector took."""
        return self._delivery.exported if self._delivery is not None else 0

    @property
    def dropped(self) -> int:
        """Spans that were lost: no place in the queue, refused by the collector, or not delivered before the stop."""
        return self._delivery.dropped if self._delivery is not None else 0

    async def start(self) -> None:
        """Begin to send; a collector that cannot be reached delays nothing, and fails nothing.

        Raises StartError where the exporter cannot be made.
        """
        if self._recorder is None or self._delivery is not None:
            return
        self._recorder.begin()
        exporter = self._exporter
        if exporter is None and not self.endpoint:
            _log.info("spans are recorded and sent nowhere: no endpoint is configured")
            return
        from chassis.tracing.delivery import Delivery
        from chassis.tracing.otlp import otlp_exporter, secrets_in, target_name

        if exporter is None:
            exporter = otlp_exporter(self.endpoint, self.export_mode, insecure=self.insecure)
        where = target_name(self.endpoint) if self._exporter is None else type(exporter).__name__
        self._delivery = Delivery(
            exporter,
            where,
            batch_timeout=self.batch_timeout,
            queue_size=self.queue_size,
            secrets=secrets_in(self.endpoint),
        )
        self._recorder.provider.add_span_processor(self._delivery.processor)
        self._recorder.begin_delivery(self._delivery.take)

    async def stop(self) -> None:
        """Deliver what is left, for `stop_timeout` at most; what is not delivered then is dropped, and counted.

        Raises TimeoutError where it had to be dropped.
        """
        if self._delivery is not None:
            await self._delivery.close(self.stop_timeout)

    async def check(self) -> None:
        """Raise while the collector does not take spans."""
        if self._delivery is not None and self._delivery.failing:
            raise RuntimeError(f"the collector takes no spans; {self.dropped} were lost so far")
