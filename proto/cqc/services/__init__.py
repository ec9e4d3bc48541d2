"""The platform's five gRPC services, with their requests and responses.

The messages are in the subpackage of their version.

>>> from cqc.services.v1 import asset_registry_pb2
>>> asset_registry_pb2.DESCRIPTOR.package
'cqc.services.v1'
"""
