from __future__ import annotations

import re
from typing import Any

import pytest
from cqc.events.v1.asset_events_pb2 import AssetCreated
from cqi.testing.v1.echo_pb2 import EchoHappened
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from chassis.bus.topics import check_topic, snake_case, topic_for, type_for


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("AssetCreated", "asset_created"),
        ("OHLCVUpdated", "ohlcv_updated"),
        ("PriceOfBTC", "price_of_btc"),
        ("L2BookSeen", "l2_book_seen"),
        ("Price24hMoved", "price24h_moved"),
        ("already_snake", "already_snake"),
        ("A", "a"),
    ],
)
def test_names_become_snake_case(name: str, expected: str) -> None:
    assert snake_case(name) == expected


@given(st.from_regex(r"[A-Z][A-Za-z0-9]{0,30}", fullmatch=True))
def test_any_message_name_becomes_lower_case_words_and_loses_no_letter(name: str) -> None:
    snake = snake_case(name)
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", snake)
    assert snake.replace("_", "") == name.lower()


@given(st.lists(st.from_regex(r"[A-Z][a-z]+[0-9]*", fullmatch=True), min_size=1, max_size=5))
def test_words_are_kept_apart(words: list[str]) -> None:
    assert snake_case("".join(words)) == "_".join(word.lower() for word in words)


def test_a_message_of_another_package_has_its_own_package_in_its_topic() -> None:
    assert topic_for(EchoHappened) == "cqi.testing.v1.echo_happened"
    assert type_for("cqi.testing.v1.echo_happened") is EchoHappened


def test_a_name_with_an_acronym_is_found_among_what_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    import types

    file = descriptor_pb2.FileDescriptorProto(
        name="acme/acronyms.proto",
        package="acme.acronyms",
        message_type=[descriptor_pb2.DescriptorProto(name=name) for name in ("OHLCVUpdated", "HTTPSeen", "HttpSeen")],
    )
    pool = descriptor_pool.Default()
    pool.Add(file)  # type: ignore[no-untyped-call]
    module: Any = types.ModuleType("acronyms_pb2")
    module.DESCRIPTOR = pool.FindFileByName("acme/acronyms.proto")
    monkeypatch.setitem(sys.modules, "acronyms_pb2", module)
    wanted = message_factory.GetMessageClass(pool.FindMessageTypeByName("acme.acronyms.OHLCVUpdated"))
    assert type_for(topic_for(wanted)) is wanted
    with pytest.raises(LookupError, match=r"acme\.acronyms\.HTTPSeen and acme\.acronyms\.HttpSeen"):
        type_for("acme.acronyms.http_seen")


def test_a_topic_that_nobody_knows_says_what_to_import() -> None:
    with pytest.raises(LookupError, match=r"import the module that defines acme\.orders\.v1\.OrderShipped"):
        type_for("acme.orders.v1.order_shipped")


@pytest.mark.parametrize("wrong", [AssetCreated(), "cqc.events.v1.asset_created", int, None], ids=repr)
def test_what_is_no_message_type_has_no_topic(wrong: Any) -> None:
    with pytest.raises(TypeError, match="generated protobuf class"):
        topic_for(wrong)


def test_a_message_inside_of_another_has_no_topic() -> None:
    nested = message_factory.GetMessageClass(Struct.DESCRIPTOR.nested_types_by_name["FieldsEntry"])
    with pytest.raises(TypeError, match="inside of another"):
        topic_for(nested)


@pytest.mark.parametrize("wrong", ["", " ", "a b", "a..b", ".a", "a.", "a.*", "a.>", "a\n"])
def test_what_cannot_be_a_topic_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="is no topic"):
        check_topic(wrong)
