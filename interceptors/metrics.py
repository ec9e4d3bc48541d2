from __future__ import annotations

from collections.abc import Callable
from typing import Any

from grpc import StatusCode

from chassis.call import Call, Kind, Method, PerMethod, Proceed
from chassis.metrics import Counter, Gauge, GaugeSeries, Histogram, HistogramSeries, Metrics
from chassis.metrics.catalogue import (
    AUTH_FAILURES,
    EVENT_HANDLE_DURATION,
    EVENT_HANDLED,
    EVENT_IN_FLIGHT,
    EVENT_PUBLISH_DURATION,
    EVENT_PUBLISH_ERRORS,
    EVENT_PUBLISHED,
    GRPC_CALL_DURATION,
    GRPC_CALLS,
    GRPC_CALLS_IN_FLIGHT,
    GRPC_CLIENT_CALL_DURATION,
    GRPC_CLIENT_CALLS,
    HTTP_REQUEST_DURATION,
    HTTP_REQUEST_SIZE,
    HTTP_REQUESTS,
    HTTP_RESPONSE_SIZE,
    UNKNOWN,
)
from interceptors.interceptor import RpcInterceptor


class MetricsInterceptor(RpcInterceptor):
    """Counts and times calls: RPCs, HTTP requests, events, and calls going out, by the code that went over the wire.

    A stream is recorded once, at its end. Calls of methods that do not exist share one label value. The duration of
    a call whose trace is recorded names that trace, as an exemplar. Watching health is not counted: it has no end but
    that of its watcher, and would be failures (CANCELLED) on every dashboard.

    >>> from chassis.metrics import Metrics
    >>> interceptor = MetricsInterceptor(Metrics("greeter"))
    """

    transparent = True

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        # Those that are made anew find their series again by the labels.
        self._recorders = PerMethod(lambda method: _RECORDERS[method.system, method.side](metrics, method))

    def applies(self, method: Method) -> bool:
        watch = method.probe and method.kind is Kind.UNARY_STREAM
        return self._metrics.enabled and (method.system, method.side) in _RECORDERS and not watch

    async def around(self, call: Call, proceed: Proceed) -> Any:
        recorder = self._recorders[call.method]
        in_flight = recorder.in_flight
        in_flight.level += 1
        try:
            return await proceed(call)
        finally:
            in_flight.level -= 1
            trace = call.trace
            recorder.end(call, trace.trace_id if trace is not None and trace.sampled else None)


class _Recorder:
    """Records the calls of one method, in series that are looked up once."""

    __slots__ = ("in_flight",)

    def __init__(self, in_flight: GaugeSeries) -> None:
        self.in_flight = in_flight

    def end(self, call: Call, trace_id: str | None) -> None:
        """The call is over; `trace_id` is that of its trace where it is recorded."""
        raise NotImplementedError


class _ByCode(_Recorder):
    """RPCs on both sides, and events that are handled: how many ended with which code, and how long they took."""

    __slots__ = ("_auth_failures", "_calls", "_durations", "_name", "_series")

    def __init__(
        self,
        method: Method,
        calls: Counter,
        durations: Histogram,
        in_flight: Gauge | None = None,
        auth_failures: Counter | None = None,
    ) -> None:
        self._name = _label_of(method)
        super().__init__(GaugeSeries() if in_flight is None else in_flight.labels(self._name))
        self._calls = calls
        self._durations = durations
        self._auth_failures = auth_failures
        # By identity: the hash of an enum is a Python function, and would be called for every call.
        self._series: dict[int, HistogramSeries] = {}

    def end(self, call: Call, trace_id: str | None) -> None:
        code = call.code
        durations = self._series.get(id(code)) or self._series_of(code)
        durations.observe(call.over(), trace_id)
        if code is not StatusCode.OK and self._auth_failures is not None:
            _count_auth_failure(self._auth_failures, call)

    def _series_of(self, code: StatusCode) -> HistogramSeries:
        durations = self._series[id(code)] = self._durations.labels(self._name, code.name)
        # Each call has one duration: its observation is all that is recorded, and the two can never disagree.
        self._calls.labels(self._name, code.name).set_function(durations.count)
        return durations


class _Published(_Recorder):
    """Events that are published."""

    __slots__ = ("_duration", "_errors", "_published", "_topic")

    def __init__(self, method: Method, metrics: Metrics) -> None:
        super().__init__(GaugeSeries())
        self._topic = _label_of(method)
        self._published = metrics.get(EVENT_PUBLISHED).labels(self._topic)
        self._errors = metrics.get(EVENT_PUBLISH_ERRORS)
        self._duration = metrics.get(EVENT_PUBLISH_DURATION).labels(self._topic)

    def end(self, call: Call, trace_id: str | None) -> None:
        if call.code is StatusCode.OK:
            self._published.level += 1  # events are published on one thread, the event loop's
        else:
            self._errors.labels(self._topic, call.code.name).inc()
        self._duration.observe(call.over(), trace_id)


class _Requested(_Recorder):
    """HTTP requests that are served; their calls have `http_status`, `request_size` and `response_size`."""

    __slots__ = ("_auth_failures", "_durations", "_labels", "_request_size", "_requests", "_response_sizes", "_series")

    def __init__(self, method: Method, metrics: Metrics) -> None:
        super().__init__(GaugeSeries())
        # Callers make up verbs as freely as paths: where there is no such route, neither is a label.
        self._labels = method.name if method.known else UNKNOWN, _label_of(method)
        self._requests = metrics.get(HTTP_REQUESTS)
        self._durations = metrics.get(HTTP_REQUEST_DURATION)
        self._response_sizes = metrics.get(HTTP_RESPONSE_SIZE)
        self._request_size = metrics.get(HTTP_REQUEST_SIZE).labels(*self._labels)
        self._auth_failures = metrics.get(AUTH_FAILURES)
        self._series: dict[int, tuple[HistogramSeries, HistogramSeries]] = {}

    def end(self, call: Any, trace_id: str | None) -> None:
        durations, response_sizes = self._series.get(call.http_status) or self._series_of(call.http_status)
        durations.observe(call.over(), trace_id)
        if call.response_size is not None:
            response_sizes.observe(call.response_size)
        if call.request_size is not None:
            self._request_size.observe(call.request_size)
        if call.code is not StatusCode.OK:
            _count_auth_failure(self._auth_failures, call)

    def _series_of(self, status: int) -> tuple[HistogramSeries, HistogramSeries]:
        labels = *self._labels, str(status)
        durations = self._durations.labels(*labels)
        self._requests.labels(*labels).set_function(durations.count)
        series = self._series[status] = durations, self._response_sizes.labels(*labels)
        return series


def _label_of(method: Method) -> str:
    return method.path if method.known else UNKNOWN


def _count_auth_failure(auth_failures: Counter, call: Call) -> None:
    if call.code is StatusCode.UNAUTHENTICATED or call.code is StatusCode.PERMISSION_DENIED:
        auth_failures.labels(call.method.system, call.code.name).inc()


_RECORDERS: dict[tuple[str, str], Callable[[Metrics, Method], _Recorder]] = {
    ("grpc", "server"): lambda metrics, method: _ByCode(
        method,
        metrics.get(GRPC_CALLS),
        metrics.get(GRPC_CALL_DURATION),
        metrics.get(GRPC_CALLS_IN_FLIGHT),
        metrics.get(AUTH_FAILURES),
    ),
    ("grpc", "client"): lambda metrics, method: _ByCode(
        method, metrics.get(GRPC_CLIENT_CALLS), metrics.get(GRPC_CLIENT_CALL_DURATION)
    ),
    ("event", "server"): lambda metrics, method: _ByCode(
        method, metrics.get(EVENT_HANDLED), metrics.get(EVENT_HANDLE_DURATION), metrics.get(EVENT_IN_FLIGHT)
    ),
    ("event", "client"): lambda metrics, method: _Published(method, metrics),
    ("http", "server"): lambda metrics, method: _Requested(method, metrics),
}
