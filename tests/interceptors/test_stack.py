"""The one list of all concerns."""

from __future__ import annotations

import subprocess
import sys
from itertools import permutations

import pytest

import interceptors
from chassis.auth import ApiKeyAuthenticator
from chassis.call import Kind, Method
from chassis.errors import AlreadyExists
from chassis.limits import TokenBucket
from chassis.logging import Logs
from chassis.metrics import Metrics
from chassis.tracing import Tracing
from interceptors import (
    DeadlineInterceptor,
    IdentityInterceptor,
    RateLimitInterceptor,
    Rule,
    ValidationInterceptor,
    behind_auth,
    default_stack,
)

SERVED = Method.grpc("/pkg.Greeter/Greet", Kind.UNARY_UNARY, "server")
MADE = Method.grpc("/pkg.Prices/Get", Kind.UNARY_UNARY, "client")
LIMIT = RateLimitInterceptor(Rule(TokenBucket(rate=1)))
KNOWN = ApiKeyAuthenticator({"cqmd": ["a-key-of-a-caller-0123456789"]})


def names(stack: list[interceptors.RpcInterceptor], method: Method | None = None) -> list[str]:
    return [type(each).__name__.removesuffix("Interceptor") for each in stack if method is None or each.applies(method)]


def full() -> list[interceptors.RpcInterceptor]:
    stack = default_stack(
        tracing=Tracing("cqar"),
        metrics=Metrics("cqar"),
        logs=Logs("cqar", output=[]),
        authenticator=KNOWN,
        identity=IdentityInterceptor("token"),
        default_deadline=5,
    )
    return behind_auth(stack, LIMIT, ValidationInterceptor())  # type: ignore[return-value]


def test_a_call_that_is_served_goes_through_them_in_this_order() -> None:
    outer = ["Recovery", "Tracing", "Metrics", "Logging", "Deadline"]
    assert names(full(), SERVED) == [*outer, "Auth", "RateLimit", "Validation", "Errors"]


def test_a_call_going_out_goes_through_the_same_list() -> None:
    assert names(full(), MADE) == ["Tracing", "Metrics", "Logging", "Deadline", "Identity", "RequestId", "Errors"]


def test_what_needs_something_to_work_with_is_there_only_with_it() -> None:
    assert names(default_stack()) == ["Recovery", "Deadline", "RequestId", "Errors"]  # type: ignore[arg-type]


def test_the_deadline_and_the_translations_go_where_they_belong() -> None:
    stack = default_stack(default_deadline=5, translate={KeyError: AlreadyExists})

    (deadline,) = (each for each in stack if isinstance(each, DeadlineInterceptor))
    assert deadline.default == 5


@pytest.mark.parametrize("authenticator", [None, KNOWN])
def test_concerns_of_a_service_come_behind_authentication_and_where_it_would_be(
    authenticator: ApiKeyAuthenticator | None,
) -> None:
    stack = behind_auth(default_stack(authenticator=authenticator), LIMIT, ValidationInterceptor())

    auth = [] if authenticator is None else ["Auth"]
    inner = ["RateLimit", "Validation", "RequestId", "Errors"]
    assert names(stack) == ["Recovery", "Deadline", *auth, *inner]  # type: ignore[arg-type]


class Own(interceptors.RpcInterceptor):
    """A concern that only one service has."""


def test_those_of_the_chassis_keep_their_order_however_they_are_added_and_a_services_own_come_behind_them() -> None:
    once = behind_auth(default_stack(), Own(), ValidationInterceptor(), LIMIT)
    assert names(once) == ["Recovery", "Deadline", "RateLimit", "Validation", "Own", "RequestId", "Errors"]  # type: ignore[arg-type]

    twice = behind_auth(behind_auth(default_stack(), ValidationInterceptor()), LIMIT)
    assert names(twice) == ["Recovery", "Deadline", "RateLimit", "Validation", "RequestId", "Errors"]  # type: ignore[arg-type]


@pytest.mark.parametrize("order", [*permutations((LIMIT, ValidationInterceptor(), Own()))])
def test_it_is_the_same_list_one_by_one(order: list[interceptors.RpcInterceptor]) -> None:
    stack = default_stack(authenticator=KNOWN)
    for each in order:
        stack = behind_auth(stack, each)
    inner = ["RateLimit", "Validation", "Own", "RequestId", "Errors"]
    assert names(stack) == ["Recovery", "Deadline", "Auth", *inner]  # type: ignore[arg-type]


def test_what_a_service_has_put_elsewhere_stays_there() -> None:
    per_host = RateLimitInterceptor(Rule(TokenBucket(rate=1), per=()))
    given = [per_host, Own(), *default_stack(authenticator=KNOWN), Own()]
    stack = behind_auth(given, ValidationInterceptor(), LIMIT)
    assert [each for each in stack if each in given] == given
    assert stack[0] is per_host
    inner = ["RateLimit", "Validation", "RequestId", "Errors", "Own"]
    assert names(stack[2:]) == ["Recovery", "Deadline", "Auth", *inner]  # type: ignore[arg-type]


def test_a_subclass_has_the_place_of_its_class() -> None:
    class Stricter(ValidationInterceptor):
        """With checks of its own."""

    stack = behind_auth(default_stack(), Stricter(), LIMIT)
    assert names(stack)[2:4] == ["RateLimit", "Stricter"]  # type: ignore[arg-type]


def test_in_a_list_without_the_usual_ones_they_come_last() -> None:
    assert names(behind_auth([DeadlineInterceptor()], LIMIT)) == ["Deadline", "RateLimit"]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", interceptors.__all__)
def test_all_that_is_promised_can_be_imported(name: str) -> None:
    assert getattr(interceptors, name).__name__ == name


def test_a_name_that_there_is_not_is_told() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Recovery'"):
        _ = interceptors.Recovery


def test_an_interceptor_costs_no_more_imports_than_its_own() -> None:
    script = "import sys, interceptors; interceptors.RecoveryInterceptor; print([m for m in sys.modules if 'opentelemetry' in m or 'prometheus' in m or 'jwt' in m])"  # noqa: E501

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
