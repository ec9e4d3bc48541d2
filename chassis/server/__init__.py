"""The gRPC server of a service, and what generated code registers with it.

>>> from chassis.server import Registrar
>>> from cqi.testing.v1 import echo_pb2_grpc as rpc
>>> registrar = Registrar()
>>> rpc.add_EchoServiceServicer_to_server(rpc.EchoServiceServicer(), registrar)
>>> registrar.services
('cqi.testing.v1.EchoService',)
"""

from chassis.server.grpc_server import GrpcServer, Limits
from chassis.server.registrar import Registrar

__all__ = ["GrpcServer", "Limits", "Registrar"]
