"""The facts of a call, and the one shape of everything that happens around it.

>>> from chassis.call import Call, Kind, Method
>>> call = Call(Method.grpc("/pkg.Greeter/Greet", Kind.UNARY_UNARY, "server"))
>>> call.code.name, len(call.request_id)
('OK', 32)
"""

from chassis.call.call import Call, current_call, current_principal, enter, headers_of, is_cancelled, leave, time_left
from chassis.call.chain import Interceptor, Proceed, compose, on_message
from chassis.call.method import HTTP_VERBS, PROBES, Kind, Method, PerMethod
from chassis.call.principal import Principal
from chassis.call.trace_context import TraceContext

__all__ = [
    "HTTP_VERBS",
    "PROBES",
    "Call",
    "Interceptor",
    "Kind",
    "Method",
    "PerMethod",
    "Principal",
    "Proceed",
    "TraceContext",
    "compose",
    "current_call",
    "current_principal",
    "enter",
    "headers_of",
    "is_cancelled",
    "leave",
    "on_message",
    "time_left",
]
