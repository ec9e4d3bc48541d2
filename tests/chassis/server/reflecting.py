"""A client that knows nothing of a server but its address: it learns the rest by reflection."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

# The messages of v1 and v1alpha are the same on the wire.
from grpc_reflection.v1alpha import reflection_pb2


class ReflectionClient:
    """Lists a server's services, and calls their methods with requests built from the descriptors that it got.

    Its descriptors are in a pool of its own: nothing that is imported here helps it.
    """

    def __init__(self, channel: grpc.aio.Channel, version: str = "v1", metadata: Any = ()) -> None:
        self._channel = channel
        self._metadata = metadata
        self._ask = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        self._pool = DescriptorPool()
        self._files: set[str] = set()

    async def services(self) -> list[str]:
        """The full names of all services."""
        (answer,) = await self._asked(reflection_pb2.ServerReflectionRequest(list_services=""))
        return [service.name for service in answer.list_services_response.service]

    async def method(self, service: str, name: str) -> MethodDescriptor:
        """What the server says of one of its methods."""
        if service not in self._files:
            await self._load(reflection_pb2.ServerReflectionRequest(file_containing_symbol=service))
            self._files.add(service)
        return self._pool.FindServiceByName(service).methods_by_name[name]

    async def request(self, service: str, method: str, **fields: Any) -> Message:
        """A request for a method, with these fields."""
        return GetMessageClass((await self.method(service, method)).input_type)(**fields)

    async def call(self, service: str, method: str, **fields: Any) -> Message:
        """Call a method that has one request and one reply."""
        descriptor = await self.method(service, method)
        reply = GetMessageClass(descriptor.output_type)
        request = await self.request(service, method, **fields)
        calling = self._channel.unary_unary(
            f"/{service}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=reply.FromString,
        )
        answer: Message = await calling(request, metadata=self._metadata)
        return answer

    async def _load(self, request: reflection_pb2.ServerReflectionRequest) -> None:
        for answer in await self._asked(request):
            if answer.HasField("error_response"):
                raise LookupError(answer.error_response.error_message)
            files = [
                descriptor_pb2.FileDescriptorProto.FromString(raw)
                for raw in answer.file_descriptor_response.file_descriptor_proto
            ]
            # Servers may send a file alone, or with what it imports, in any order.
            known = {file.name: file for file in files}
            for file in files:
                await self._add(file, known)

    async def _add(
        self, file: descriptor_pb2.FileDescriptorProto, known: dict[str, descriptor_pb2.FileDescriptorProto]
    ) -> None:
        if file.name in self._files:
            return
        for name in file.dependency:
            if name in known:
                await self._add(known[name], known)
            elif name not in self._files:
                await self._load(reflection_pb2.ServerReflectionRequest(file_by_filename=name))
        self._files.add(file.name)
        self._pool.Add(file)

    async def _asked(
        self, request: reflection_pb2.ServerReflectionRequest
    ) -> list[reflection_pb2.ServerReflectionResponse]:
        return [answer async for answer in self._ask(iter([request]), metadata=self._metadata)]
