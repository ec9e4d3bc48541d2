from __future__ import annotations

import random

import pytest
from cqc.assets.v1.asset_pb2 import Asset
from cqc.assets.v1.chain_pb2 import Chain
from google.protobuf import struct_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto
from google.protobuf.wrappers_pb2 import StringValue
from hypothesis import given
from hypothesis import strategies as st

from chassis.cache.value import decode
from tests.contracts.random_messages import random_message


@given(st.binary())
def test_any_bytes_are_a_message_of_the_type_or_nothing(data: bytes) -> None:
    found = decode(data, Asset)
    assert found is None or (type(found) is Asset and found.ByteSize() == len(data))


@given(st.integers(0, 2**32), st.data())
def test_bytes_that_were_cut_off_are_nothing_or_end_between_two_fields(seed: int, data: st.DataObject) -> None:
    # The entries of a map have no order of their own.
    whole = random_message(Asset, random.Random(seed)).SerializeToString(deterministic=True)
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    found = decode(cut, Asset)
    assert found is None or found.SerializeToString(deterministic=True) == cut


@given(st.integers(0, 2**32), st.binary(min_size=1, max_size=8))
def test_bytes_with_something_behind_them_are_nothing_or_all_of_it_is_of_the_type(seed: int, more: bytes) -> None:
    whole = random_message(Asset, random.Random(seed)).SerializeToString()
    found = decode(whole + more, Asset)
    assert found is None or found.ByteSize() == len(whole) + len(more)


def test_a_field_from_a_newer_schema_is_seen_at_any_depth() -> None:
    inner = struct_pb2.Value(string_value="x").SerializeToString() + b"\xa2\x06\x03new"
    entry = b"\x0a\x01k\x12" + bytes([len(inner)]) + inner
    data = b"\x0a" + bytes([len(entry)]) + entry
    assert struct_pb2.Struct.FromString(data).fields["k"].string_value == "x"
    assert decode(data, struct_pb2.Struct) is None


def test_a_repeated_field_is_no_single_one() -> None:
    twice = DescriptorProto(field=[FieldDescriptorProto(name="a"), FieldDescriptorProto(name="b")])
    data = b"".join(field.SerializeToString() for field in twice.field)
    assert decode(data, StringValue) is None


def test_an_older_schema_reads_as_unset_fields() -> None:
    assert decode(b"\x0a\x03a-1", Asset) == Asset(asset_id="a-1")


def test_a_type_with_the_same_fields_cannot_be_told_apart() -> None:
    # What bare bytes cannot show, and docs/cache.md says so.
    assert decode(Chain(chain_id="1", chain_name="Ethereum").SerializeToString(), Asset) == Asset(
        asset_id="1", symbol="Ethereum"
    )


@pytest.mark.parametrize("data", [b"", StringValue().SerializeToString()])
def test_nothing_is_the_message_without_fields(data: bytes) -> None:
    assert decode(data, Asset) == Asset()
