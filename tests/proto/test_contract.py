"""The generated modules say what the table of facts says, row by row, and nothing else."""

from __future__ import annotations

import csv
import importlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cqc
import grpc
import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

Row = tuple[str, str, str, str, str, str]  # kind, owner, number, name, type, presence

with (Path(__file__).parent / "contract.tsv").open(newline="") as table:
    FACTS = [
        (fact["file"], (fact["kind"], fact["owner"], fact["number"], fact["name"], fact["type"], fact["presence"]))
        for fact in csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE)
    ]
FILES = sorted({file for file, _ in FACTS})
METHODS = [(file, row) for file, row in FACTS if row[0] == "method"]


def module_of(file: str, suffix: str = "_pb2") -> Any:
    return importlib.import_module(file.removesuffix(".proto").replace("/", ".") + suffix)


def options_of(part: Any) -> str:
    """What the table has no column for; never empty when there is such a thing."""
    return f" with options {part.options}" if part.HasField("options") else ""


def type_of(field: FieldDescriptorProto) -> str:
    if field.type_name:
        return field.type_name.removeprefix(".") + options_of(field)
    return FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower() + options_of(field)


def presence_of(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return "repeated"
    if field.proto3_optional:
        return "optional"
    if field.HasField("oneof_index"):
        return f"oneof {message.oneof_decl[field.oneof_index].name}"
    return "implicit"


def rows_of_enum(enum: EnumDescriptorProto, scope: str) -> Iterator[Row]:
    owner = f"{scope}.{enum.name}"
    yield "enum", owner, "", "", options_of(enum), ""
    for value in enum.value:
        yield "value", owner, str(value.number), value.name, options_of(value), ""


def rows_of_message(message: DescriptorProto, scope: str) -> Iterator[Row]:
    owner = f"{scope}.{message.name}"
    yield "message", owner, "", "", options_of(message), ""
    for field in message.field:
        yield "field", owner, str(field.number), field.name, type_of(field), presence_of(field, message)
    for nested in message.nested_type:
        yield from rows_of_message(nested, owner)
    for enum in message.enum_type:
        yield from rows_of_enum(enum, owner)


def rows_of_file(file: FileDescriptorProto) -> Iterator[Row]:
    for enum in file.enum_type:
        yield from rows_of_enum(enum, file.package)
    for message in file.message_type:
        yield from rows_of_message(message, file.package)
    for service in file.service:
        owner = f"{file.package}.{service.name}"
        yield "service", owner, "", "", options_of(service), ""
        for method in service.method:
            taken, given = method.input_type.removeprefix("."), method.output_type.removeprefix(".")
            asks = f"({'stream ' * method.client_streaming}{taken})"
            gets = f"({'stream ' * method.server_streaming}{given})"
            yield "method", owner, "", method.name, f"{asks} -> {gets}{options_of(method)}", ""


def generated_rows(file: str) -> list[Row]:
    descriptor = FileDescriptorProto()
    module_of(file).DESCRIPTOR.CopyToProto(descriptor)
    return list(rows_of_file(descriptor))


def differences(stated: list[Row], generated: list[Row]) -> list[str]:
    """One line for each row that is on one side only, or there more often."""
    lost, gained = Counter(stated) - Counter(generated), Counter(generated) - Counter(stated)
    return [
        f"{verdict}: {' '.join(part for part in row if part)}"
        for verdict, rows in (("not in the generated module", lost), ("not in the table", gained))
        for row in sorted(rows.elements())
    ]


@pytest.mark.parametrize("file", FILES)
def test_the_generated_module_says_what_the_table_says(file: str) -> None:
    stated = [row for name, row in FACTS if name == file]
    assert differences(stated, generated_rows(file)) == []


@pytest.mark.parametrize("file", FILES)
def test_the_module_is_a_proto3_file_of_the_name_and_package_of_its_place(file: str) -> None:
    descriptor = FileDescriptorProto()
    module_of(file).DESCRIPTOR.CopyToProto(descriptor)
    package = file.rsplit("/", 1)[0].replace("/", ".")
    assert (descriptor.name, descriptor.package, descriptor.syntax) == (file, package, "proto3")
    assert not descriptor.HasField("options")
    assert list(descriptor.extension) == []


@pytest.mark.parametrize("file", FILES)
def test_every_message_enum_and_value_can_be_imported_from_the_module(file: str) -> None:
    module = module_of(file)
    for kind, owner, number, name, _, _ in (row for stated, row in FACTS if stated == file):
        if kind in ("message", "enum"):
            assert getattr(module, owner.rsplit(".", 1)[1]).DESCRIPTOR.full_name == owner
        elif kind == "value":
            assert getattr(module, name) == int(number)


def test_there_is_a_module_for_each_file_of_the_table_and_no_other() -> None:
    root = Path(cqc.__path__[0]).parent
    assert sorted(path.relative_to(root).as_posix() for path in root.glob("cqc/**/*.proto")) == FILES
    modules = sorted(path.relative_to(root).as_posix() for path in root.glob("cqc/**/*_pb2.py"))
    assert modules == sorted(file.replace(".proto", "_pb2.py") for file in FILES)


def test_the_contract_is_whole() -> None:
    """The counts that CQC v0.4.0 is known to have, so that a table that lost rows is found, too."""
    kinds = Counter(row[0] for file in FILES for row in generated_rows(file))
    assert len(FILES) == 37
    assert kinds == {"message": 309, "field": 1327, "enum": 22, "value": 176, "service": 5, "method": 121}


def test_a_difference_is_told_with_its_row() -> None:
    stated: list[Row] = [("field", "cqc.assets.v1.Chain", "5", "network_id", "int64", "optional")]
    generated: list[Row] = [("field", "cqc.assets.v1.Chain", "5", "network_id", "int32", "optional")]
    assert differences(stated, generated) == [
        "not in the generated module: field cqc.assets.v1.Chain 5 network_id int64 optional",
        "not in the table: field cqc.assets.v1.Chain 5 network_id int32 optional",
    ]


class RecordingChannel:
    """Stands in for a channel; remembers which method was built as which kind."""

    def __init__(self) -> None:
        self.kinds: dict[str, str] = {}

    def __getattr__(self, kind: str) -> Any:
        def build(path: str, **_: Any) -> None:
            self.kinds[path] = kind

        return build


class RecordingServer:
    """Stands in for a server; remembers the handlers that a generated module registers."""

    def __init__(self) -> None:
        self.handlers: dict[str, dict[str, Any]] = {}

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        assert len(handlers) == 1

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        self.handlers[service] = handlers


def kind_of(type_: str) -> str:
    asks, gets = type_.split(" -> ")
    return "_".join("stream" if side.startswith("(stream ") else "unary" for side in (asks, gets))


SERVICES = [(file, row[1]) for file, row in FACTS if row[0] == "service"]


@pytest.mark.parametrize(("file", "service"), SERVICES)
def test_the_stub_calls_each_method_of_the_table_as_its_kind(file: str, service: str) -> None:
    channel = RecordingChannel()
    getattr(module_of(file, "_pb2_grpc"), f"{service.rsplit('.', 1)[1]}Stub")(channel)
    assert channel.kinds == {
        f"/{service}/{name}": kind_of(type_) for _, (_, owner, _, name, type_, _) in METHODS if owner == service
    }


@pytest.mark.parametrize(("file", "service"), SERVICES)
def test_the_servicer_registers_each_method_of_the_table_as_its_kind(file: str, service: str) -> None:
    module, short, server = module_of(file, "_pb2_grpc"), service.rsplit(".", 1)[1], RecordingServer()
    getattr(module, f"add_{short}Servicer_to_server")(getattr(module, f"{short}Servicer")(), server)
    registered = {
        name: "_".join(
            "stream" if streams else "unary" for streams in (handler.request_streaming, handler.response_streaming)
        )
        for name, handler in server.handlers[service].items()
    }
    assert registered == {name: kind_of(type_) for _, (_, owner, _, name, type_, _) in METHODS if owner == service}
    assert all(isinstance(handler, grpc.RpcMethodHandler) for handler in server.handlers[service].values())
