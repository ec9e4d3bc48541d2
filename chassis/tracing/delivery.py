"""Spans on their way to the collector: a bounded queue, a thread, and counts; never in anyone's way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import cast

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext, TraceFlags

from chassis.tracing.call_span import CallSpan

_log = logging.getLogger("chassis.tracing")

_BATCH_SIZE = 512
# Spans that were noted down are handed over many in a row, which takes a fifth of what one at a time does: so many, or
# those of so many seconds.
_IN_A_ROW = 64
_GATHERING = 0.1
_SECONDS_BETWEEN_WARNINGS = 60.0
# Loggers of the SDK that speak in the thread that exports, beside those of the exporter's own modules.
_SDK_LOGGERS = ("opentelemetry.sdk._shared_internal", "opentelemetry.exporter.otlp.common.http")
# Below it: has whole addresses in its lines, and nothing that would explain anything.
_BELOW = ("urllib3.connectionpool", "urllib3.util.retry")


class Delivery:
    """Takes ended spans, hands them to an exporter in batches, and counts what became of them."""

    def __init__(
        self,
        exporter: SpanExporter,
        where: str,
        *,
        batch_timeout: float,
        queue_size: int,
        secrets: Sequence[str] = (),
    ) -> None:
        self.where = where
        self.exported = 0
        self._dropped = 0
        self.failing = False
        self._queue_size = queue_size
        self._exporter = exporter
        self._secrets = secrets
        self._loop = asyncio.get_running_loop()
        self._ended_just_now: deque[CallSpan] = deque()
        self._waiting = 0  # accepted, and neither exported nor dropped yet
        self._closed = False
        self._abandoned = False
        self._ended = False
        self._warned = -_SECONDS_BETWEEN_WARNINGS
        self._lock = threading.Lock()
        self._chatter = _Chatter(exporter)
        self._bounded = _BoundedProcessor(self, batch_timeout, queue_size)

    @property
    def dropped(self) -> int:
        """Spans that are lost."""
        self.hand_over()  # which is where it is found out
        return self._dropped

    @property
    def processor(self) -> BatchSpanProcessor:
        """What the SDK gives the spans to."""
        return self._bounded

    # The event loop.

    def take(self, span: CallSpan) -> None:
        """Have a span exported that was only noted down."""
        spans = self._ended_just_now
        spans.append(span)
        if len(spans) >= _IN_A_ROW or self._closed:
            self.hand_over()
        elif len(spans) == 1:
            self._loop.call_later(_GATHERING, self.hand_over)

    # The user's threads.

    def hand_over(self) -> None:
        """Give all that has ended just now to the thread that exports."""
        spans = self._ended_just_now
        with contextlib.suppress(IndexError):  # another thread may do the same
            while spans:
                span = spans.popleft()
                if self.accept():
                    self._bounded.add(_Noted(span))

    def accept(self) -> bool:
        """Whether there is place for one more span; it is counted as waiting, or as dropped."""
        with self._lock:
            if self._waiting < self._queue_size and not self._closed:
                self._waiting += 1
                return True
            self._dropped += 1
            warn = not self._closed and self._may_warn()
        if warn:
            _log.warning("spans are dropped: %s does not take them as fast as they come", self.where)
        return False

    # The thread that exports.

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Hand a batch to the exporter; whatever it does, nothing is raised and nothing is logged but one line."""
        if self._abandoned:
            return SpanExportResult.FAILURE
        with self._chatter:
            try:
                taken = self._exporter.export(spans) is SpanExportResult.SUCCESS
                reason = self._chatter.heard
            except Exception as error:
                taken, reason = False, f"{type(error).__name__}: {error}"
        self._settle(len(spans), taken, reason)
        return SpanExportResult.SUCCESS if taken else SpanExportResult.FAILURE

    def _settle(self, count: int, taken: bool, reason: str) -> None:
        with self._lock:
            if self._abandoned:  # counted as dropped already
                return
            self._waiting -= count
            was_failing, self.failing = self.failing, not taken
            if taken:
                self.exported += count
            else:
                self._dropped += count
            dropped = self._dropped
            warn = not taken and self._may_warn()
        if warn:
            for secret in self._secrets:  # exporters tell of the address as they have it
                reason = reason.replace(secret, "***")
            _log.warning("spans are lost: %s does not take them (%s); %d so far", self.where, reason, dropped)
        elif taken and was_failing:
            _log.info("%s takes spans again; %d were lost", self.where, dropped)

    def _may_warn(self) -> bool:
        now = time.monotonic()
        if now - self._warned < _SECONDS_BETWEEN_WARNINGS:
            return False
        self._warned = now
        return True

    # The event loop.

    async def close(self, timeout: float) -> None:
        """Export what waits, for `timeout` seconds at most; raises TimeoutError where that was not enough."""
        if self._closed:
            return
        self.hand_over()
        self._closed = True
        loop = asyncio.get_running_loop()
        over = asyncio.Event()

        # The SDK's own shutdown blocks for as long as the collector likes; a daemon thread can be left behind, also
        # when the process ends.
        def shut_down() -> None:
            try:
                self._bounded.shutdown()  # type: ignore[no-untyped-call]
                self._end_exporter()
            finally:
                self._chatter.remove()
                with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile: nobody waits any more
                    loop.call_soon_threadsafe(over.set)

        threading.Thread(target=shut_down, name="chassis-tracing-stop", daemon=True).start()
        try:
            async with asyncio.timeout(timeout):
                await over.wait()
        except TimeoutError:
            if lost := self._abandon():
                raise TimeoutError(
                    f"{self.where} did not take the last {lost} spans within {timeout:g} s: they are lost"
                ) from None
        finally:
            self._abandon()

    def _abandon(self) -> int:
        with self._lock:
            lost, self._waiting = self._waiting, 0
            self._dropped += lost
            if not lost:
                return 0
            self._abandoned = True
        # Ends what the exporter is waiting for, where it listens.
        threading.Thread(target=self._end_exporter, name="chassis-tracing-interrupt", daemon=True).start()
        return lost

    def _end_exporter(self) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = True
        with self._chatter:
            try:
                self._exporter.shutdown()
            except Exception as error:
                _log.debug("closing the exporter failed: %s", error)


class _BoundedProcessor(BatchSpanProcessor):
    """The SDK's batches, without its silent loss when they come too fast."""

    def __init__(self, delivery: Delivery, batch_timeout: float, queue_size: int) -> None:
        self._delivery = delivery
        super().__init__(
            _Handover(delivery),
            max_queue_size=queue_size,
            schedule_delay_millis=batch_timeout * 1000,
            max_export_batch_size=min(_BATCH_SIZE, queue_size),
        )

    def on_end(self, span: ReadableSpan) -> None:
        context = span.get_span_context()
        if context is not None and context.trace_flags.sampled and self._delivery.accept():
            self.add(span)

    def force_flush(self, timeout_millis: int | None = None) -> bool:
        self._delivery.hand_over()
        return super().force_flush(timeout_millis)

    def add(self, span: ReadableSpan | _Noted) -> None:
        super().on_end(cast(ReadableSpan, span))


class _Noted:
    """A span on its way: the SDK only looks whether it is recorded, and all else is found out by who exports it."""

    __slots__ = ("span",)

    context = SpanContext(1, 1, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))

    def __init__(self, span: CallSpan) -> None:
        self.span = span


class _Handover(SpanExporter):
    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._delivery.export([each.span.exported() if isinstance(each, _Noted) else each for each in spans])

    def shutdown(self) -> None:
        """Nothing: the delivery ends the exporter itself, once."""


class _Chatter(logging.Filter):
    """What an exporter says while it works for us, with tracebacks and for every try: heard, and kept from the log."""

    def __init__(self, exporter: SpanExporter) -> None:
        super().__init__()
        self.heard = "no reason given"
        self._threads: set[int] = set()
        names = {cls.__module__ for cls in type(exporter).__mro__ if cls.__module__ != "builtins"}
        self._loggers = [logging.getLogger(name) for name in sorted(names.union(_SDK_LOGGERS, _BELOW))]
        for logger in self._loggers:
            logger.addFilter(self)

    def remove(self) -> None:
        for logger in self._loggers:
            logger.removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.thread not in self._threads:
            return True
        if record.name not in _BELOW:
            self.heard = record.getMessage()
        return False

    def __enter__(self) -> None:
        self.heard = "no reason given"
        self._threads.add(threading.get_ident())

    def __exit__(self, *exception: object) -> None:
        self._threads.discard(threading.get_ident())
