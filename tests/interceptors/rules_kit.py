"""The messages of rules/orders.proto, compiled when they are first needed, as a service with rules would do it."""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module, resources
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from google.protobuf import descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc
from protovalidate import ViolationPb

SOURCES = Path(__file__).parent / "rules"


@cache
def orders() -> tuple[Any, Any]:
    """The modules `orders_pb2` and `orders_pb2_grpc`."""
    # protovalidate brings validate.proto compiled, as part of its own messages.
    known = FileDescriptorSet()
    for module in (descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2):
        module.DESCRIPTOR.CopyToProto(known.file.add())
    known.file.add().ParseFromString(ViolationPb.desc().file.proto.to_binary())
    target = Path(mkdtemp(prefix="orders_for_tests-"))
    image = target / "validate.binpb"
    image.write_bytes(known.SerializeToString())
    well_known = resources.files("grpc_tools") / "_proto"
    done = protoc.main(
        [
            "protoc",
            f"--descriptor_set_in={image}",
            f"-I{SOURCES}",
            f"-I{well_known}",
            f"--python_out={target}",
            f"--grpc_python_out={target}",
            "buf/validate/validate.proto",
            "orders.proto",
        ]
    )
    assert done == 0, "protoc could not compile the rules; its messages are above"
    sys.path.insert(0, str(target))
    try:
        return import_module("orders_pb2"), import_module("orders_pb2_grpc")
    finally:
        sys.path.remove(str(target))
