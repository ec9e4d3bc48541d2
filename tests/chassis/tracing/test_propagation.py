from __future__ import annotations

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.trace import TraceState

from chassis.call import Call, Kind, Method
from chassis.tracing import hand_on
from chassis.tracing.propagation import tracestate_of

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


class Received(Call):
    __slots__ = ("headers",)

    def __init__(self, *headers: tuple[str, str]) -> None:
        metadata = dict(reversed(headers))  # the first of each name
        super().__init__(Method.grpc("/pkg.Greeter/Greet", Kind.UNARY_UNARY, "server"), metadata=metadata)
        self.headers = headers

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


def sent_on(parent: Call | None, **own: str) -> dict[str, str]:
    call = Call(Method.grpc("/pkg.Names/Get", Kind.UNARY_UNARY, "client"), parent=parent)
    call.metadata.update(own)
    hand_on(call)
    return dict(call.metadata)


def test_trace_context_and_baggage_go_on_as_they_came() -> None:
    headers = {"traceparent": TRACEPARENT, "tracestate": "congo=t61rcWkgMzE", "baggage": "user=a%20b;p=1"}
    assert sent_on(Received(*headers.items())) == headers


def test_headers_that_came_several_times_are_joined() -> None:
    parent = Received(("traceparent", TRACEPARENT), ("tracestate", "a=1"), ("tracestate", "b=2"))
    assert sent_on(parent)["tracestate"] == "a=1,b=2"


@pytest.mark.parametrize(
    "tracestate",
    [
        "a=1",
        "a0/_-*=1",
        "0tenant@system=x",
        "a=1, b=2 ,,c= two words",
        f"a={'x' * 256}",
        f"{'a' * 256}=1",
        ",".join(f"k{number}=1" for number in range(32)),
    ],
)
def test_a_tracestate_goes_on_as_it_came(tracestate: str) -> None:
    parent = Received(("traceparent", TRACEPARENT), ("tracestate", tracestate))
    assert sent_on(parent)["tracestate"] == tracestate
    assert TraceState.from_header([tracestate])


@pytest.mark.parametrize(
    "tracestate",
    [
        "???",
        "a",
        "a=",
        "=1",
        "A=1",
        "0a=1",
        "a=1,b",
        "a=1=2",
        "a b=1",
        "a=1;b=2=",
        "a@B=1",
        "a@=1",
        f"a={'x' * 257}",
        f"{'a' * 257}=1",
        ",".join(f"k{number}=1" for number in range(33)),
    ],
)
def test_a_tracestate_that_is_none_goes_nowhere(tracestate: str) -> None:
    parent = Received(("traceparent", TRACEPARENT), ("tracestate", tracestate))
    assert sent_on(parent) == {"traceparent": TRACEPARENT}


@settings(max_examples=300)
@given(st.lists(st.text("aB0_@=, \t;~/", max_size=6), max_size=40).map(",".join))
def test_of_no_tracestate_that_goes_on_there_is_a_warning_in_the_log(tracestate: str) -> None:
    said: list[logging.LogRecord] = []
    logger = logging.getLogger("opentelemetry.trace.span")

    def hear(record: logging.LogRecord) -> bool:
        said.append(record)
        return False

    logger.addFilter(hear)
    try:
        taken = tracestate_of(Received(("tracestate", tracestate)))
        if taken is not None:
            TraceState.from_header([taken])
    finally:
        logger.removeFilter(hear)
    assert said == []


def test_a_tracestate_does_not_go_on_without_its_trace() -> None:
    assert sent_on(Received(("traceparent", "nonsense"), ("tracestate", "a=1"), ("baggage", "k=v"))) == {
        "baggage": "k=v"
    }


def test_what_the_callers_code_set_stays() -> None:
    parent = Received(("traceparent", TRACEPARENT), ("tracestate", "a=1"), ("baggage", "k=v"))
    assert sent_on(parent, traceparent="own", baggage="mine=1") == {"traceparent": "own", "baggage": "mine=1"}


@pytest.mark.parametrize("value", ["", "k=ÿ", "k=\x07", "k=" + "v" * 8192], ids=["empty", "latin", "control", "long"])
def test_baggage_that_grpc_would_not_send_is_left_behind(value: str) -> None:
    assert sent_on(Received(("baggage", value))) == {}


def test_outside_of_a_call_there_is_nothing_to_hand_on() -> None:
    assert sent_on(None) == {}
