from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chassis.call import Call, Method, PerMethod, Proceed
from chassis.tracing import Tracing, hand_on
from interceptors.interceptor import RpcInterceptor

if TYPE_CHECKING:
    from chassis.tracing.conventions import SpanShape


class TracingInterceptor(RpcInterceptor):
    """Gives each call its place in a trace, and a span if the trace is recorded.

    The same for calls that are served and calls going out, for events published and processed. With tracing off, what
    came with the call being served is handed on.
    """

    transparent = True

    def __init__(self, tracing: Tracing) -> None:
        self._recorder = tracing.recorder
        self._shapes = PerMethod(self._shape_of)

    def applies(self, method: Method) -> bool:
        if self._recorder is None:
            return not method.served
        return bool(self._shapes[method])  # made now, and not by the first call

    async def around(self, call: Call, proceed: Proceed) -> Any:
        recorder = self._recorder
        if recorder is None:
            if not call.method.served:
                hand_on(call)
            return await proceed(call)
        shape = self._shapes[call.method]
        begin = recorder.open_served if shape.served else recorder.open_going_out
        token, span, own = begin(call, shape)
        try:
            return await proceed(call)
        except GeneratorExit:  # thrown away with its event loop, in a context that is not the call's own
            token = span = None
            raise
        finally:
            if token is not None:
                recorder.detach(token)
            if span is not None:
                recorder.close(call, shape, span, own)

    def _shape_of(self, method: Method) -> SpanShape:
        # Imported here: a service without tracing does not pay for OpenTelemetry.
        from chassis.tracing.conventions import SpanShape

        return SpanShape(method)
