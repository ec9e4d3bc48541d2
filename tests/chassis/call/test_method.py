from __future__ import annotations

import pytest

from chassis.call import Kind, Method


@pytest.mark.parametrize(
    ("path", "service", "name"),
    [
        ("/cqc.services.v1.AssetRegistry/GetAsset", "cqc.services.v1.AssetRegistry", "GetAsset"),
        ("/Greeter/Greet", "Greeter", "Greet"),
        ("Greeter/Greet", "Greeter", "Greet"),
        ("/odd/path/with/Name", "odd/path/with", "Name"),
        ("/", "", ""),
        ("", "", ""),
        ("Greet", "", "Greet"),
    ],
)
def test_a_path_is_taken_apart(path: str, service: str, name: str) -> None:
    method = Method.grpc(path, Kind.UNARY_UNARY, "server")

    assert (method.path, method.service, method.name) == (path, service, name)


def test_methods_are_compared_by_identity() -> None:
    one, two = (Method.grpc("/pkg.Greeter/Greet", Kind.UNARY_UNARY, "server") for _ in range(2))

    assert one != two
    assert len({one, two}) == 2


def test_a_method_is_known_and_closed_unless_it_says_otherwise() -> None:
    method = Method("http", "server", "/assets/{id}", "", "GET", Kind.UNARY_UNARY)

    assert method.known
    assert not method.public
    assert repr(method) == "<Method http server GET /assets/{id}>"


@pytest.mark.parametrize(
    ("path", "probe"),
    [
        ("/grpc.health.v1.Health/Check", True),
        ("/grpc.health.v1.Health/Watch", True),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", True),
        ("/grpc.health.v1.Health/check", False),
        ("/grpc.health.v1.HealthCheck/Check", False),
        ("/pkg.Greeter/Greet", False),
    ],
)
def test_probes_are_known_by_their_exact_names(path: str, probe: bool) -> None:
    assert Method.grpc(path, Kind.UNARY_UNARY, "server").probe is probe


def test_calls_going_out_say_where_to() -> None:
    assert Method.grpc("/a/B", Kind.UNARY_UNARY, "client", "prices:9000").target == "prices:9000"
    assert Method.grpc("/a/B", Kind.UNARY_UNARY, "server").target == ""


def test_sides_are_served_or_made() -> None:
    assert Method.grpc("/a/B", Kind.UNARY_UNARY, "server").served
    assert not Method.grpc("/a/B", Kind.UNARY_UNARY, "client").served


@pytest.mark.parametrize(
    ("kind", "request_streaming", "response_streaming"),
    [
        (Kind.UNARY_UNARY, False, False),
        (Kind.UNARY_STREAM, False, True),
        (Kind.STREAM_UNARY, True, False),
        (Kind.STREAM_STREAM, True, True),
        (Kind.EVENT, False, False),
    ],
)
def test_kinds_say_what_streams(kind: Kind, request_streaming: bool, response_streaming: bool) -> None:
    assert (kind.request_streaming, kind.response_streaming) == (request_streaming, response_streaming)
