from __future__ import annotations

from typing import Any

import pytest
from cqc.assets.v1.asset_pb2 import AssetType
from cqc.services.v1 import asset_registry_pb2 as pb
from cqc.services.v1.asset_registry_pb2_grpc import AssetRegistryServicer as Generated
from google.protobuf.descriptor import FieldDescriptor
from google.rpc.error_details_pb2 import BadRequest

from chassis.errors import InvalidInput
from examples.asset_registry.servicer import AssetRegistryServicer
from examples.asset_registry.validation import MAX_CHARACTERS, bounded, check, check_filters

REQUESTS = [
    method.input_type
    for method in pb.DESCRIPTOR.services_by_name["AssetRegistry"].methods
    if getattr(AssetRegistryServicer, method.name) is not getattr(Generated, method.name)
]


def refusal(request: Any, *required: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        check(request, required=required)
    (detail,) = caught.value.details
    assert isinstance(detail, BadRequest)
    (violation,) = detail.field_violations
    text = f"{violation.field}: {violation.description}"
    assert str(caught.value) == f"invalid input for {text}"
    return text


def test_every_text_of_every_request_has_a_length() -> None:
    texts = {
        field.name for request in REQUESTS for field in request.fields if field.type == FieldDescriptor.TYPE_STRING
    }
    assert texts == set(MAX_CHARACTERS)


@pytest.mark.parametrize("request_type", REQUESTS, ids=lambda descriptor: descriptor.name)
def test_an_empty_request_that_requires_nothing_is_fine(request_type: Any) -> None:
    request = getattr(pb, request_type.name)()
    check(request)
    check_filters(request)


def test_a_missing_field_is_named() -> None:
    assert refusal(pb.CreateAssetRequest(name="Bitcoin"), "symbol", "name") == "symbol: is required"


def test_a_field_that_is_there_and_empty_is_not_missing_but_empty() -> None:
    assert refusal(pb.GetAssetRequest(asset_id=""), "asset_id") == "asset_id: must not be empty"


@pytest.mark.parametrize("field", ["category", "description", "logo_url", "website_url"])
def test_some_texts_may_be_empty(field: str) -> None:
    check(pb.UpdateAssetRequest(asset_id="a-1", **{field: ""}))  # type: ignore[arg-type]


@pytest.mark.parametrize("field", ["asset_id", "symbol", "name"])
def test_an_update_cannot_empty_what_every_asset_has(field: str) -> None:
    assert refusal(pb.UpdateAssetRequest(**{field: ""})) == f"{field}: must not be empty"  # type: ignore[arg-type]


def test_an_enum_that_says_nothing_is_refused_with_what_could_be_said() -> None:
    text = refusal(pb.CreateAssetRequest(asset_type=AssetType.ASSET_TYPE_UNSPECIFIED), "asset_type")
    assert text.startswith(
        "asset_type: must not be unspecified; expected is one of ASSET_TYPE_NATIVE, ASSET_TYPE_ERC20,"
    )


def test_a_number_that_the_enum_does_not_have_is_refused() -> None:
    request = pb.CreateAssetRequest.FromString(b"\x18\x63")  # asset_type = 99, as a newer client might send it
    assert refusal(request) == "asset_type: 99 is no value of AssetType"


@pytest.mark.parametrize(
    "field", sorted({field.name for field in pb.CreateAssetRequest.DESCRIPTOR.fields} & set(MAX_CHARACTERS))
)
def test_a_text_may_be_as_long_as_said_and_no_longer(field: str) -> None:
    most = MAX_CHARACTERS[field]
    text = ("https://x.io/" if field.endswith("_url") else "").ljust(most, "ä")
    check(pb.CreateAssetRequest(**{field: text}))  # type: ignore[arg-type]
    expected = f"{field}: must have at most {most} characters, and has {most + 1}"
    assert refusal(pb.CreateAssetRequest(**{field: text + "ä"})) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["a\nb", "a\0b", "a\x1bb", "a\u202eb", "a\tb"])
def test_control_characters_have_no_place_in_names(text: str) -> None:
    assert refusal(pb.CreateAssetRequest(name=text)) == "name: must not contain line breaks or other control characters"


@pytest.mark.parametrize("text", [" BTC", "BTC ", " "])
def test_spaces_around_a_name_are_refused(text: str) -> None:
    assert refusal(pb.CreateAssetRequest(symbol=text)) == "symbol: must not begin or end with spaces"


def test_a_description_is_free_text_but_for_what_databases_cannot_keep() -> None:
    check(pb.CreateAssetRequest(description=" one\n\ttwo "))
    assert refusal(pb.CreateAssetRequest(description="a\0b")) == "description: must not contain NUL characters"


@pytest.mark.parametrize("url", ["bitcoin.org", "javascript:alert(1)", "https://", "https:// x", "ftp://x.io"])
def test_an_address_is_one_of_the_web(url: str) -> None:
    expected = "website_url: must be an address that begins with https:// or http://"
    assert refusal(pb.CreateAssetRequest(website_url=url)) == expected


def test_a_filter_that_is_empty_is_no_filter() -> None:
    check_filters(pb.ListAssetsRequest(category="", page_token="", asset_type=AssetType.ASSET_TYPE_UNSPECIFIED))


def test_a_filter_that_cannot_be_meant_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"^invalid input for asset_type: 99 is no value of AssetType$"):
        check_filters(pb.ListAssetsRequest.FromString(b"\x18\x63"))
    with pytest.raises(InvalidInput, match=r"^invalid input for category: must have at most 64 characters"):
        check_filters(pb.ListAssetsRequest(category="x" * 65))


@pytest.mark.parametrize(("asked", "given"), [(0, 50), (1, 1), (50, 50), (500, 500), (501, 500), (2**31 - 1, 500)])
def test_a_size_is_bounded(asked: int, given: int) -> None:
    assert bounded("page_size", asked, default=50, most=500) == given


def test_a_default_above_the_most_is_the_most() -> None:
    assert bounded("page_size", 0, default=50, most=10) == 10


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(
        InvalidInput, match=r"^invalid input for limit: must not be negative, and is -1; 0 stands for 50$"
    ):
        bounded("limit", -1, default=50, most=500)
